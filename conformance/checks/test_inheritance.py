"""Row inheritance: what a process passes on to those that it starts, unless they see to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from conformance.checks.probes.calls import PRELUDE, numbers
from conformance.harness import as_seen
from conformance.harness.boot import kind
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import PYTHON, literal, probe
from conformance.harness.machine import Machine
from conformance.harness.sandbox import OPENED, Sandbox
from conformance.harness.world import World
from fixtures.listeners import canary

# A caller with a bad state of everything that exec passes on. What it starts comes after its first argument.
CALLER = """
import ctypes, json, os, resource, signal, sys
given = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    assert result >= 0, ctypes.get_errno()
    return result
word = given["canary"].encode()
file = os.open(given["directory"] + "/secret", os.O_RDONLY)
directory = os.open(given["directory"], os.O_RDONLY | os.O_DIRECTORY)
for number in (9, 64, 200):
    os.dup2(file, number)
    os.dup2(directory, number + 1)
os.set_inheritable(file, True)
os.set_inheritable(directory, True)
# KEYCTL_JOIN_SESSION_KEYRING; a key in it, and KEYCTL_SETPERM: all for who possesses it, nothing for others.
call(given["keyctl"], 1, None)
key = call(given["add_key"], b"user", word, word, len(word), -3)
call(given["keyctl"], 5, key, 0x3F000000)
for name, soft in given["limits"].items():
    which = getattr(resource, name)
    resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))
for number in given["ignored"]:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, given["blocked"])
os.chdir(given["directory"])
os.umask(given["umask"])
os.execvp(sys.argv[2], sys.argv[2:])
"""
# Numbers that nobody else would set.
LIMITS = {
    "RLIMIT_NOFILE": 457,
    "RLIMIT_FSIZE": (1 << 30) + 12289,
    "RLIMIT_STACK": (7 << 20) + 4096,
}
IGNORED, BLOCKED = [1, 2, 13, 15], [10, 14]
STATE = "umask; pwd; grep SigIgn /proc/self/status; cat /proc/self/limits"
# Shells clear what is blocked; pid 1 and the shell's parent are none that were started by one.
MASKS = f"{STATE}; grep -hE '^Sig(Ign|Blk)' /proc/1/status /proc/$PPID/status"


def caller(host: World, word: str, umask: int = 0o077) -> tuple[str, ...]:
    """A command line for a caller in a bad state, to be followed by what it starts."""
    directory = host.services.scratch("caller")
    host.write(directory / "secret", word)
    program = host.write(directory / "caller.py", CALLER)
    state = {
        "canary": word, "directory": str(directory), "umask": umask, "limits": LIMITS, "ignored": IGNORED,
        "blocked": BLOCKED, **numbers(["keyctl", "add_key"]),
    }  # fmt: skip
    return (*PYTHON.split()[:2], str(program), json.dumps(state))


# What each descriptor of each process leads to: text, or the names in a directory.
DESCRIPTORS = """
import os
# In two halves: this program itself lies in a file that a descriptor leads to.
word = "".join(given["halves"])
found = []
for pid in [*filter(str.isdigit, os.listdir("/proc")), "self"]:
    for kind in ("fd", "cwd"):
        try:
            links = [f"/proc/{pid}/fd/{n}" for n in os.listdir(f"/proc/{pid}/fd")] if kind == "fd" else []
        except OSError:
            links = []
        for link in links or [f"/proc/{pid}/cwd"]:
            try:
                names = os.listdir(link)
                path = os.path.join(link, "secret")
            except OSError:
                names, path = [], link
            try:
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        found.append([link, file.read(200).decode(errors="replace")])
            except OSError:
                pass
            if "secret" in names:
                found.append([link, word])
print(ascii(sorted({link for link, text in found if word in text})))
"""


@covers("inheritance", "absent")
def test_nothing_that_the_caller_has_open_comes_along(sandbox: Sandbox) -> None:
    """No process inside has a descriptor that leads to a file that the launcher found open."""
    opened, word = sandbox.world.opened, sandbox.world.word

    control = as_seen.link(sandbox.pid, f"fd/{OPENED}")
    found = sandbox.inside.python(DESCRIPTORS, halves=[word[:20], word[20:]])

    with on_the_host():
        assert control == str(opened)
    assert found == []


# By what /proc/keys lists, and by a search of the session keyring (KEYCTL_SEARCH, KEYCTL_READ).
KEYS = """
with open("/proc/keys") as file:
    listed = given["canary"] in file.read()
word = ctypes.create_string_buffer(given["canary"].encode())
kind, payload = ctypes.create_string_buffer(b"user"), ctypes.create_string_buffer(200)
session = 2**32 - 3
key = call(given["keyctl"], 10, session, ctypes.addressof(kind), ctypes.addressof(word), 0)
if key > 0:
    call(given["keyctl"], 11, key, ctypes.addressof(payload), 200)
print(ascii({"listed": listed, "read": payload.value.decode()}))
"""


@covers("inheritance", "absent")
def test_no_descriptor_and_no_key_comes_along(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """No process inside has a descriptor or a directory that leads to an open file of the caller's, and a key
    in the caller's session keyring is neither listed nor found.
    """
    world, word = new_world(), canary()
    by, halves = caller(world, word), [word[:20], word[20:]]
    how = {"canary": word, **numbers(["keyctl"])}

    opened = on_host(world, by, DESCRIPTORS, halves=halves)
    key = on_host(world, by, PRELUDE + KEYS, **how)
    inside = fresh(world=world, prefix=by).inside
    found = inside.python(DESCRIPTORS, halves=halves)
    found_key = inside.python(PRELUDE + KEYS, timeout_s=30, **how)

    with on_the_host():
        assert {f"/proc/self/fd/{n}" for n in (9, 10, 64, 65, 200, 201)} <= set(opened)
        assert "/proc/self/cwd" in opened
        assert key == {"listed": True, "read": word}
    assert found == []
    assert found_key == {"listed": False, "read": ""}


@covers("inheritance", "absent", alike=True)
@pytest.mark.parametrize("umask", [0o077, 0], ids=["umask 077", "umask 000"])
def test_no_state_of_the_callers_process_comes_along(
    sandbox: Sandbox, fresh: Callable[..., Sandbox], new_world: Callable[..., World], umask: int
) -> None:
    """umask, directory, limits, ignored and blocked signals are those of any other sandbox."""
    world, word = new_world(), canary()
    by = caller(world, word, umask)
    bad = state(world.output((*by, "/bin/sh", "-c", STATE)))
    blocked = world.output((*by, "grep", "SigBlk", "/proc/self/status")).split()[1]

    expected = state(sandbox.inside.output(MASKS))
    other = fresh(world=world, prefix=by)
    found = state(other.inside.output(MASKS))
    other.inside.output("echo x > /project/of-inside")
    mode = (world.path / "of-inside").stat().st_mode & 0o777

    with on_the_host():
        assert bad["umask"] == f"{umask:04o}"
        assert int(blocked, 16) == mask(BLOCKED)
        assert bad["masks"][0][1] & mask(IGNORED) == mask(IGNORED)
    assert expected["masks"][0][1] & mask(IGNORED) == 0
    assert len(expected["masks"]) == 5
    with on_the_host():
        assert bad["limits"] >= set(map(str, LIMITS.values()))
    assert found["directory"] == str(world.path)
    assert {**found, "directory": ""} == {**expected, "directory": ""}
    assert expected["umask"] == "0022"
    assert mode == 0o644


@covers("inheritance", "absent", variant=("default", "no-network", "bare", "off"))
def test_no_state_comes_along_without_a_terminal(
    command: Sequence[str], cell: Cell, new_world: Callable[..., World]
) -> None:
    """The same in a script: no terminal, a command, and its end."""
    world, word = new_world(), canary()
    by = caller(world, word)
    how = {"halves": [word[:20], word[20:]]}
    shell = (*command, "--quiet", "--shell", str(world.path), "-c")
    bad = state(world.output((*by, "/bin/sh", "-c", STATE)))

    seconds = 30 * kind(cell.backend).pace
    program = f"{PYTHON} <<'EOF'\n{probe(DESCRIPTORS, how).decode()}\nEOF"
    *shown, leaked = world.output((*by, *shell, f"{MASKS}\n{program}"), timeout_s=seconds).splitlines()
    found = state("\n".join(shown))
    expected = state(world.output((*shell, MASKS), timeout_s=seconds))

    with on_the_host():
        assert bad["limits"] >= set(map(str, LIMITS.values()))
    assert literal(leaked) == []
    assert found["directory"] == str(world.path)
    assert {**found, "directory": ""} == {**expected, "directory": ""}


@covers("inheritance", "absent", means=True, by="QEMU's environment")
def test_who_breaks_out_into_qemu_finds_nothing_of_the_callers(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """QEMU's environment names nothing but PATH; neither descriptors nor directory of it are the caller's."""
    world, word = new_world(), canary()
    by = caller(world, word)

    other = fresh(world=world, prefix=by)
    qemu = cast("Machine", other).qemu
    environment = as_seen.read(qemu, "environ").decode()
    exported = as_seen.read(other.pid, "environ").decode()
    descriptors = as_seen.root("ls", "-l", f"/proc/{qemu}/fd", f"/proc/{other.pid}/fd").decode()
    directory = as_seen.link(qemu, "cwd")
    status = as_seen.read(qemu, "status").decode()

    of_qemu, of_launcher = descriptors.split(f"/proc/{other.pid}/fd:")
    with on_the_host():
        assert "/caller-" in of_launcher, "the launcher has the caller's descriptors"
        assert world.found_in(exported), "and its environment"
    assert [line.partition("=")[0] for line in environment.split("\0") if line] == ["PATH"]
    assert "/caller-" not in of_qemu
    assert "/caller-" not in directory
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    assert not int(ignored, 16) & mask([2, 15])


def on_host(host: World, by: tuple[str, ...], source: str, **given: Any) -> Any:  # noqa: ANN401  (JSON)
    """The probe as the caller starts it, without a sandbox."""
    return literal(host.output((*by, *PYTHON.split()[:2], "-c", probe(source, given).decode())))


def mask(numbers: list[int]) -> int:
    """Signals as proc(5) shows a set of them."""
    return sum(1 << number - 1 for number in numbers)


def state(text: str) -> dict[str, Any]:
    """What STATE and MASKS print: umask, directory, sets of signals, limits (the soft ones by themselves)."""
    umask, directory, *lines = text.splitlines()
    masks = [(line.split(":")[0], int(line.split()[1], 16)) for line in lines if line.startswith("Sig")]
    rows = [line for line in lines if line.startswith("Max ")]
    limits = {line[26:].split()[0] for line in rows}
    return {"umask": umask, "directory": directory, "masks": masks, "limits": limits, "rows": rows}
