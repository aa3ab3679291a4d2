"""The caller's terminal and a container: keys that mean something to nspawn, terminals beside pipes, and the
terminal as it was, whatever is killed.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.contained import as_root, contained, left, parts, under_rules
from tests.launcher.program import Machine

PATIENCE_S = 20.0
RESTORED_S = 3.0
# A terminal in raw mode, from which all is read up to a q.
KEYS = r"""
import os, sys, tty
tty.setraw(0)
os.write(1, b"<up>")
read = b""
while not read.endswith(b"q"):
    read += os.read(0, 100)
os.write(1, b"<" + read.hex().encode() + b">")
sys.exit(7)
"""
# What its descriptors are, every byte on stdout, a line read, and both outputs once more.
SCRIPT = r"""
on=; for n in 0 1 2; do if test -t $n; then on=$on$n; fi; done
cat "$0"; echo "terminals:$on"; echo ready >&2
IFS= read -r line; printf 'got %s\nand more\n' "$line"; printf 'e\nf\n' >&2
exit 7
"""
STREAMS = ("stdin", "stdout", "stderr")
EVERY_BYTE = bytes(range(256)) * 20


@pytest.fixture
def here() -> Iterator[Machine]:
    with contained() as made:
        yield made


def until(done: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.01)


@dataclass(frozen=True, kw_only=True)
class Pty:
    """A terminal for one command line: what is typed and shown there is the test's business."""

    master: int
    slave: int

    def modes(self) -> list[Any]:
        """Its attributes."""
        return termios.tcgetattr(self.slave)

    def start(self, machine: Machine, *words: str | Path, **given: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        """The machine's program with this terminal as its controlling one, and as what `given` leaves."""
        streams = dict.fromkeys(STREAMS, self.slave)
        return machine.start(
            *words,
            env={"TERM": "xterm"},
            start_new_session=True,
            **{"preexec_fn": self._control, **streams, **given},
        )

    def _control(self) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def wait(self, shown: bytes) -> None:
        """Read until this is shown."""
        came = b""
        deadline = time.monotonic() + PATIENCE_S
        while shown not in came:
            assert time.monotonic() < deadline, came
            if select.select([self.master], [], [], 0.1)[0]:
                came += os.read(self.master, 65536)


@pytest.fixture
def pty() -> Iterator[Pty]:
    master, slave = os.openpty()
    try:
        yield Pty(master=master, slave=slave)
    finally:
        os.close(master)
        os.close(slave)


def typed_to(here: Machine, pty: Pty, **how: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
    """KEYS in a container, once it listens."""
    script = here.write(here.project / "keys.py", KEYS)
    process = pty.start(here, "--quiet", "--shell", here.project, "-c", f"exec python3 -I {script}", **how)
    pty.wait(b"<up>")
    return process


def test_three_times_ctrl_bracket_are_three_keys(here: Machine, pty: Pty) -> None:
    """To nspawn's own terminal they mean that the container is to be killed (systemd-nspawn(1))."""
    process = typed_to(here, pty)

    os.write(pty.master, b"\x1d\x1d\x1dq")

    pty.wait(b"<" + b"\x1d\x1d\x1dq".hex().encode() + b">")
    assert process.wait(PATIENCE_S) == 7


@pytest.mark.parametrize("victim", ["nspawn", "keeper", "launcher", "monitor", "sudo"])
def test_whatever_is_killed_the_terminal_is_as_it_was(here: Machine, pty: Pty, victim: str) -> None:
    before = odd_modes(pty)
    process = typed_to(here, pty)
    running = parts(process.pid)
    if victim == "monitor" and victim not in running:
        pytest.skip("sudo has no pty of its own here: Defaults use_pty, in sudoers(5)")

    killed(here, pty, process, running[victim], before)


@pytest.mark.parametrize("victim", ["nspawn", "keeper", "launcher", "sudo"])
def test_so_it_is_where_sudo_has_no_pty_of_its_own(here: Machine, pty: Pty, victim: str) -> None:
    """The launcher is on the caller's terminal itself, and it is for it alone to mend it."""
    before = odd_modes(pty)
    # A sudo without a controlling terminal, which makes the rules, has no pty either.
    rules = under_rules("Defaults !use_pty", "{user} ALL=(ALL) NOPASSWD: ALL")
    prefix = (*rules, "setsid", "--ctty", "--wait")
    process = typed_to(here, pty, prefix=prefix, preexec_fn=None)
    running = parts(process.pid)
    running["sudo"] = running.pop("monitor")

    killed(here, pty, process, running[victim], before)


def odd_modes(pty: Pty) -> list[Any]:
    """Attributes that no terminal has by itself, which it then has."""
    odd = pty.modes()
    odd[3] |= termios.TOSTOP
    odd[6][termios.VERASE], odd[6][termios.VKILL] = b"\x08", b"\x18"
    termios.tcsetattr(pty.slave, termios.TCSANOW, odd)
    return pty.modes()


def killed(here: Machine, pty: Pty, process: subprocess.Popen[bytes], victim: int, before: list[Any]) -> None:
    """Kill one part of it, and see that the terminal is as before and nothing is left."""
    others = left()
    assert not pty.modes()[3] & (termios.ECHO | termios.ICANON), "the control: it is raw"

    as_root("kill", "-KILL", str(victim))

    assert process.wait(PATIENCE_S) != 0
    until(lambda: pty.modes() == before, f"{before}, but {pty.modes()}", RESTORED_S)
    until(lambda: not here.processes(), "end of all processes")
    until(lambda: left() <= others, "tidy end")


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """How a program ended that had a terminal and pipes, what came by each, and is the terminal as it was."""

    status: int
    said: dict[str, bytes]
    restored: bool


def streamed(machine: Machine, pty: Pty, terminals: set[str], *words: str | Path) -> Streamed:
    """A command line with a terminal for these of stdin, stdout and stderr, and pipes for the others; a line
    is typed, or sent, once it is ready for that.
    """
    before = pty.modes()
    pipes = {n: subprocess.PIPE for n in STREAMS if n not in terminals}
    process = pty.start(machine, *words, **pipes)
    ends = {pty.master: "terminal"}
    ends |= {end.fileno(): n for n in ("stdout", "stderr") if (end := getattr(process, n))}
    came = dict.fromkeys(ends, b"")
    waiting, deadline = True, time.monotonic() + PATIENCE_S
    while ends.keys() > {pty.master} or process.poll() is None or readable(pty.master):
        assert time.monotonic() < deadline, (terminals, came)
        for end in select.select(list(ends), [], [], 0.1)[0]:
            data = os.read(end, 65536)
            came[end] += data
            if not data:
                del ends[end]
        if waiting and any(b"ready" in data for data in came.values()):
            waiting = False
            answer(process, pty, before)
    # With a pipe among them, both sudo's own pty and the terminal may end a line, until sudo is read from.
    said = {"terminal": re.sub(rb"\r+\n", b"\n", came.pop(pty.master))}
    said |= {n: came[end.fileno()] for n in ("stdout", "stderr") if (end := getattr(process, n))}
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    return Streamed(status=process.returncode, said=said, restored=pty.modes() == before)


def answer(process: subprocess.Popen[bytes], pty: Pty, before: list[Any]) -> None:
    """The line that the script waits for."""
    if process.stdin:
        process.stdin.write(b"line\n")
        process.stdin.close()
        return
    # sudo makes the terminal raw once it is read from; where it does not, the line waits.
    deadline = time.monotonic() + 2
    while pty.modes() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    os.write(pty.master, b"line\r")


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0.1)[0])


@pytest.mark.parametrize(
    "terminals",
    [
        "stdin stdout stderr",
        "stdin stdout",
        "stdin stderr",
        "stdout stderr",
        "stdin",
        "stdout",
        "stderr",
    ],
)
def test_where_some_are_terminals_and_some_are_pipes_it_is_as_by_sudo(
    here: Machine, pty: Pty, terminals: str
) -> None:
    """The same bytes by each as of the same script by sudo, without a container."""
    every = here.project / "bytes"
    every.write_bytes(EVERY_BYTE)
    chosen = set(terminals.split())
    numbers = "".join(str(n) for n, name in enumerate(STREAMS) if name in chosen)
    by_sudo = replace(here, program=("sudo", "-n", "--", "bash"))

    control = streamed(by_sudo, pty, chosen, "-c", SCRIPT, every)
    found = streamed(here, pty, chosen, "--quiet", "--shell", here.project, "-c", SCRIPT, every)

    out = EVERY_BYTE + f"terminals:{numbers}\ngot line\nand more\n".encode()
    assert control.said.get("stdout", out) == out
    assert (control.status, control.restored) == (7, True)
    assert found == control
