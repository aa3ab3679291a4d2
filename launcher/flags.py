"""The command line: one table of flags, from which the parser, `--help` and the completions are made.

Not argparse: importing it costs 6.5 ms of a 25 ms start, and it would take the agent's own flags for ours.
Flags stand before PROJECT; everything after PROJECT belongs to the agent, untouched.
"""

from __future__ import annotations

import os

from launcher.errors import UserError
from launcher.record import Record
from launcher.request import Machine, Request, Share
from launcher.spec.table import ROWS
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
LEAST_MEMORY, LEAST_TASKS = 32 << 20, 16  # below these nothing starts
LONGEST_SOCKET = 107  # unix(7), sun_path without its NUL
# The VM's: flag, its field, least and most.
NUMBERS = (("--memory", "memory_mib", 128, 1 << 22), ("--cores", "cores", 1, 255))
MOST_TASKS = 1 << 22  # the kernel's own limit, PID_MAX_LIMIT
OWN = ("HOME", "XDG_RUNTIME_DIR", "CLAUDE_SANDBOX")  # true inside in one value only


class Flag(Record):
    """`metavar` "" for a switch; "[=json]" style when the value is optional and joined by `=`.

    `backend`: the one that knows it, "" when each does.
    """

    name: str
    metavar: str
    help: str
    backend: str = ""


FLAGS = (
    Flag(name="--shell", metavar="", help="bash instead of the agent; ARGs go to bash: --shell P -c 'id'"),
    Flag(name="--tmux", metavar="", help="the agent inside tmux, session sandbox:NAME; again to attach"),
    Flag(name="--no-network", metavar="", help="no network but loopback"),
    Flag(name="--gh-token", metavar="", help="forward GH_TOKEN and GITHUB_TOKEN"),
    Flag(name="--with", metavar="ROW", help="add a row that is off by default (repeatable)"),
    Flag(name="--without", metavar="ROW", help="leave a row of the table out (repeatable)"),
    Flag(name="--env", metavar="NAME", help="forward one more environment variable (repeatable)"),
    Flag(
        name="--share", metavar="PATH[:ro|:rw]", help="one more host path, read-only by default (repeatable)"
    ),
    Flag(
        name="--protect",
        metavar="",
        help="host-triggers (.envrc, .git/config, …) read-only, not only watched",
    ),
    Flag(name="--restore", metavar="", help="put back what the last run changed among the host-triggers"),
    Flag(
        name="--explain", metavar="[=json]", help="print what every row grants here, and why; start nothing"
    ),
    Flag(
        name="--check", metavar="[=json]", help="print what this machine lacks, with the fix; start nothing"
    ),
    Flag(
        name="--max-memory",
        metavar="SIZE",
        help="memory for all inside, as 512M, 4G or 50% (of the machine's)",
    ),
    Flag(name="--max-tasks", metavar="N", help="processes and threads inside, together; 4096 unless said"),
    Flag(name="--cpus", metavar="N", help="processors, as 2 or 0.5; all unless said"),
    Flag(
        name="--user", metavar="NAME", help="for root: whose sandbox it is, without sudo", backend="container"
    ),
    Flag(
        name="--memory",
        metavar="MIB",
        help="the guest's memory; else 4096, or 2048 without KVM",
        backend="vm",
    ),
    Flag(name="--cores", metavar="N", help="its processors; 4 unless said, 1 without KVM", backend="vm"),
    Flag(
        name="--display", metavar="auto|window|none", help="a window for the browser's screen", backend="vm"
    ),
    Flag(name="--accel", metavar="auto|kvm|tcg", help="who executes the guest's code", backend="vm"),
    Flag(name="--kernel", metavar="PATH", help="the guest's kernel, a bzImage or vmlinux", backend="vm"),
    Flag(name="--qmp-socket", metavar="PATH", help="one more socket for QMP, at PATH", backend="vm"),
    Flag(name="--console", metavar="virtio|ttyS0", help="the line that the agent has", backend="vm"),
    Flag(
        name="--filter-escapes",
        metavar="",
        help="no output that makes your terminal answer or write (OSC 52, DECRQSS, …)",
    ),
    Flag(name="--quiet", metavar="", help="no banner"),
    Flag(name="--completion", metavar="SHELL", help="print the completion script for bash, zsh or fish"),
    Flag(name="--version", metavar="", help="print the version"),
    Flag(name="--help", metavar="", help="print this help"),
)


def parse(arguments: list[str], *, backend: str, program: str) -> Request:
    """The command line after the program's name, as a Request.

    Raises UserError for an unknown flag or row (with the nearest name), a missing value or PROJECT.
    """
    options, rest = _split(arguments, program, backend)
    names = [name for name, _ in options]
    action, json = "", False
    for name, value in options:
        if name in ("--explain", "--check"):
            action, json = name[2:], _json(name, value)
    for name in ("--restore", "--help", "--version", "--completion"):
        if name in names:
            action = name[2:]
    if action == "completion":
        rest = [dict(options)["--completion"]]
    if not rest and action not in ("help", "version", "check"):
        raise UserError(
            "PROJECT is missing", f"say which directory to work on: {program} ~/proj   (see {program} --help)"
        )
    without = frozenset(
        _row(v, "--without", lambda row: ROWS[row][2]) for n, v in options if n == "--without"
    )
    return Request(
        backend=backend,
        project=rest[0] if rest else "",
        args=tuple(rest[1:]),
        shell="--shell" in names,
        tmux="--tmux" in names,
        network="--no-network" not in names,
        protect="--protect" in names,
        quiet="--quiet" in names,
        filtered="--filter-escapes" in names,
        without=without,
        also=frozenset(_row(v, "--with", lambda row: not ROWS[row][3]) for n, v in options if n == "--with")
        | ({"gh-token"} if "--gh-token" in names else set()),
        env=tuple(_variable(v) for n, v in options if n == "--env"),
        shares=tuple(_share(v) for n, v in options if n == "--share"),
        action=action,
        json=json,
        user=dict(options).get("--user", ""),
        machine=_machine(dict(options)),
        **_limits(dict(options), without),
    )


def known(backend: str) -> tuple[Flag, ...]:
    """The flags of a backend."""
    return tuple(flag for flag in FLAGS if flag.backend in ("", backend))


def _split(arguments: list[str], program: str, backend: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The flags, each with its value, and what stands after them."""
    flags = {flag.name: flag for flag in known(backend)}
    options: list[tuple[str, str]] = []
    todo = list(arguments)
    while todo:
        word = todo.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            todo.insert(0, word)
            break
        name, equals, value = word.partition("=")
        name = {"-h": "--help"}.get(name, name)
        if name not in flags:
            near = _nearest(name, flags, f"see {program} --help", cutoff=0.7)
            raise UserError(
                f"unknown flag {printable(word)}", f"{near} (the agent's own flags stand behind PROJECT)"
            )
        metavar = flags[name].metavar
        if not metavar and equals:
            raise UserError(f"{name} takes no value", f"write {name} alone")
        if metavar and not metavar.startswith("[") and not equals:
            if not todo:
                raise UserError(f"{name} needs a value", f"write {name} {metavar}")
            value = todo.pop(0)
        options.append((name, value))
    return options, todo


def _json(name: str, value: str) -> bool:
    if value not in ("", "json"):
        raise UserError(f"{name}={printable(value)} is not a form of output", f"write {name} or {name}=json")
    return value == "json"


def _row(name: str, flag: str, allowed: Callable[[str], object]) -> str:
    rows = [row for row in ROWS if allowed(row)]
    if name not in ROWS:
        raise UserError(
            f"{flag} {printable(name)}: there is no such row",
            _nearest(name, rows, "rows: " + ", ".join(rows)),
        )
    if name not in rows:
        why = "is part of what a sandbox is" if flag == "--without" else "is on by default"
        hint = (
            "--no-network switches the network off"
            if name == "network"
            else f"{flag} takes: {', '.join(rows)}"
        )
        raise UserError(f"{flag} {name}: this row {why}", hint)
    return name


def _variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        shown = printable(name) or "''"
        raise UserError(
            f"--env {shown} is not a variable's name",
            "give the name alone; its value comes from your environment",
        )
    if name in OWN:
        raise UserError(f"--env {name}: the sandbox has one of its own", "leave it out")
    return name


def _limits(options: dict[str, str], without: frozenset[str]) -> dict[str, Any]:
    """The Request's fields of those limits that are asked for."""
    asked = [name for name in ("--max-memory", "--max-tasks", "--cpus") if name in options]
    if not asked:
        return {}
    if "limits" in without:
        raise UserError(f"{asked[0]} is a limit, and --without limits leaves them out", "leave one out")
    found: dict[str, Any] = {}
    if "--max-memory" in options:
        found |= _memory(options["--max-memory"])
    if "--max-tasks" in options:
        found["max_tasks"] = _tasks(options["--max-tasks"])
    if "--cpus" in options:
        found["cpus"] = _cpus(options["--cpus"])
    return found


def _memory(value: str) -> dict[str, int]:
    shown = printable(value) or "''"
    hint = "write bytes, or as 512M, 4G, or a share of the machine's, as 50%"
    unit = value[-1:].upper() if value[-1:].isalpha() or value[-1:] == "%" else ""
    number = value[: -len(unit)] if unit else value
    if not _plain(number) or len(number) > 18 or unit not in {*UNITS, "%"}:
        raise UserError(f"--max-memory {shown} is not a size", hint)
    if unit == "%":
        if not 1 <= int(number) <= 100:
            raise UserError(f"--max-memory {shown} is no share of the machine's memory", "write 1% to 100%")
        return {"memory_share": int(number)}
    size = int(number) * UNITS[unit]
    if size < LEAST_MEMORY:
        raise UserError(f"--max-memory {shown} is too little to start anything", "write 32M or more")
    if size >= 1 << 62:
        raise UserError(f"--max-memory {shown} is more than any machine has", hint)
    return {"max_memory": size}


def _tasks(value: str) -> int:
    shown = printable(value) or "''"
    if not _plain(value) or len(value) > 18:
        raise UserError(f"--max-tasks {shown} is not a number", f"write {LEAST_TASKS} to {MOST_TASKS}")
    if not LEAST_TASKS <= int(value) <= MOST_TASKS:
        why = "is too few to start anything" if int(value) < LEAST_TASKS else "is more than a kernel counts"
        raise UserError(f"--max-tasks {shown} {why}", f"write {LEAST_TASKS} to {MOST_TASKS}")
    return int(value)


def _cpus(value: str) -> float:
    shown = printable(value) or "''"
    whole, dot, fraction = value.partition(".")
    if len(value) > 9 or not _plain(whole + fraction) or (dot and not fraction):
        raise UserError(f"--cpus {shown} is not a number", "write as 2, 1.5 or 0.5")
    if float(value) < 0.01:
        raise UserError(f"--cpus {shown} is too little to start anything", "write 0.01 or more")
    return float(value)


def _machine(options: dict[str, str]) -> Machine:
    """The VM's own flags."""
    found: dict[str, Any] = {}
    for name, field, least, most in NUMBERS:
        if name in options:
            value = options[name]
            if not _plain(value) or len(value) > 9 or not least <= int(value) <= most:
                shown = printable(value) or "''"
                raise UserError(f"{name} {shown} cannot be", f"write a number from {least} to {most}")
            found[field] = int(value)
    for flag in known("vm"):
        if flag.backend == "vm" and "|" in flag.metavar and flag.name in options:
            words, value = flag.metavar.split("|"), options[flag.name]
            if value not in words:
                near = _nearest(value, words, f"write one of: {', '.join(words)}")
                raise UserError(f"{flag.name} {printable(value)}: there is no such one", near)
            found[flag.name[2:]] = value
    for name, field in (("--kernel", "kernel"), ("--qmp-socket", "qmp_socket")):
        if name in options:
            if not options[name]:
                raise UserError(f"{name} is empty", f"write {name} PATH")
            found[field] = os.path.abspath(options[name])
    if "qmp_socket" in found:
        _socket(found["qmp_socket"])
    return Machine(**found)


def _socket(path: str) -> None:
    """A place for a socket: QEMU removes what is there before it makes one."""
    shown = f"--qmp-socket {printable(path)}"
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise UserError(
            f"{shown} has more than {LONGEST_SOCKET} bytes, too many for a socket", "take a shorter path"
        )
    if not os.path.isdir(os.path.dirname(path)):
        raise UserError(f"{shown}: there is no such directory", "make it first")
    if os.path.lexists(path):
        raise UserError(f"{shown} is there already", "take another name, or remove it")


def _plain(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _share(value: str) -> Share:
    path, colon, mode = value.rpartition(":")
    if colon and mode in ("ro", "rw"):
        return Share(path=path, mode=mode)
    return Share(path=value)


def _nearest(name: str, names: Iterable[str], otherwise: str, *, cutoff: float = 0.5) -> str:
    from difflib import get_close_matches  # only on the way to an error

    near = get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else otherwise


def help_text(program: str, backend: str) -> str:
    """What `--help` prints."""
    width = max(len(f.name + f.metavar) for f in known(backend)) + 3
    lines = [
        f"  {(f.name + ('' if f.metavar[:1] in ('', '[') else ' ') + f.metavar):{width}}{f.help}"
        for f in known(backend)
    ]
    return "\n".join(
        [
            f"usage: {program} [flags] PROJECT [ARG…]",
            "",
            f"Run Claude Code on the directory PROJECT inside a {backend} sandbox that gives it exactly",
            "what the table promises. All after PROJECT goes to the agent, untouched.",
            "",
            *lines,
            "",
            "exit status: the agent's own; 2 for a mistake here, 125 when the sandbox could not be started",
        ]
    )
