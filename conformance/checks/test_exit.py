"""Row exit."""

from __future__ import annotations

import hashlib
import os
import random
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pexpect
import pytest

from conformance.harness import as_seen
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.sandbox import descendants, held, spawn
from conformance.harness.world import World
from fixtures.listeners import canary
from fixtures.process import wait_until

Launch = Callable[..., subprocess.CompletedProcess[bytes]]
PIPED = ("default", "no-network", "bare", "off")
ENDS = {"kill -TERM": 143, "0": 0, "7": 7, "125": 125, "255": 255, "kill -INT": 130, "kill -KILL": 137}
SIZE = 10 << 20
UP = ".up-"  # how a file begins that says that a process inside runs
WAIT_S = 90.0
TEE = """exec python3 -I -c '
import sys
while data := sys.stdin.buffer.read1(65536):
    for stream in (sys.stdout, sys.stderr):
        stream.buffer.write(data)
        stream.buffer.flush()
'"""


def script(end: str) -> str:
    return f"exit {end}" if end.isdigit() else f"{end} $$"


class Started:
    """A sandbox of the check's own, whose processes can be told from all others by a word."""

    def __init__(self, command: Sequence[str], world: World, text: str) -> None:
        self.world = world
        self.word = canary()
        # A name of a program inside: it stands in the command line of each, seen from the host.
        sleep = f"'echo >/project/{UP}$$; exec -a {self.word} sleep 1000'"
        lines = f"sleeper() {{ bash -c {sleep}; }}; {text.replace('$SLEEP', sleep)}"
        self.family: list[int] = []
        self.makers: set[int] = set()
        self.before = traces(world, self.makers)
        argv = (*command, "--quiet", "--shell", str(world.path), "-c", lines)
        self.child: Any = spawn(argv, world.user, world.environ, cwd=world.home)

    def sleepers(self, number: int) -> None:
        """Wait until so many of them run; what has been started for them on the host is remembered."""
        wait_until(
            lambda: None if (up := len(list(self.world.path.glob(f"{UP}*")))) == number else f"{up} run",
            f"{number} processes inside",
            timeout_s=WAIT_S,
        )
        processes = descendants(self.child.pid)
        self.family += held(processes)
        self.makers |= set(processes)

    def gone(self) -> None:
        """Assert that nothing is left: no process, no mount, no file, no directory, no abstract socket."""
        end = time.monotonic() + 10
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.02)
        assert left == []

    def left(self) -> list[str]:
        now = traces(self.world, self.makers)
        processes = [f"process {pid}" for pid in named(self.word)]
        return [*processes, *self.alive(), *sorted(now - self.before)]

    def wait(self) -> None:
        """Until all that it had started has ended, or for 10 s."""
        end = time.monotonic() + 10
        while self.alive() and time.monotonic() < end:
            time.sleep(0.02)

    def alive(self) -> list[str]:
        """How many of what it had started run still, if any."""
        alive = [number for number in self.family if not select.select([number], [], [], 0)[0]]
        return [f"{len(alive)} that it started"] if alive else []


Start = Callable[..., Started]


@pytest.fixture
def started(command: Sequence[str], new_world: Callable[..., World]) -> Iterator[Start]:
    """Starts one: `started("sleeper & wait")`."""
    running: list[Started] = []

    def start(text: str) -> Started:
        running.append(Started(command, new_world(), text))
        return running[-1]

    yield start
    for one in running:
        below = descendants(one.child.pid) if one.child.isalive() else []
        if below:
            # All at once would leave what one of them tidies up after another.
            as_seen.send(one.child.pid, signal.SIGKILL)
            one.wait()
        for pid in (*below, *named(one.word)):
            as_seen.send(pid, signal.SIGKILL)
        for number in one.family:
            os.close(number)
        if below:
            one.child.wait()
        one.child.close()


def named(word: str) -> list[int]:
    """Live processes of the host whose command line has the word, or that run for its home."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                if word.encode() in Path(entry.path, "cmdline").read_bytes().split(b"\0")[0]:
                    found.append(int(entry.name))
    return found


def traces(world: World, makers: Collection[int]) -> set[str]:
    """All that a start could leave: what runs for this home, lies in its directories, or is mounted; and what
    one of `makers` has put its number to.
    """
    found = {str(path) for top in (world.home, world.runtime) for path in below(top)}
    # What is meant to be kept: the state directory, ~/.claude, and tmux's configuration.
    kept = (".local", ".claude", "project/.tmux", "project/.git", f"project/{UP}")
    found = {path for path in found if not path.startswith(tuple(str(world.home / name) for name in kept))}
    found |= {str(path) for path in Path("/tmp").iterdir() if _owner(path) == world.user.uid and _ours(path)}
    found |= orphaned(makers)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        found |= {"mount " + line.split()[4] for line in lines if str(world.home) in line}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                line = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ")
                if os.fsencode(world.home) in line:
                    found.add(f"process {entry.name} {line[:100]!r}")
    return found


def below(top: Path) -> list[Path]:
    """All that lies there, at a moment at which nothing of it goes away."""
    while True:
        with suppress(FileNotFoundError):
            return list(top.rglob("*"))


def orphaned(makers: Collection[int]) -> set[str]:
    """Cgroups of containers, and directories, with the number of one of these processes in their names.

    Of no others: somebody else's may have been killed at this moment, with who tidies up after it.
    """
    cgroups = Path("/sys/fs/cgroup")
    tops = (Path("/tmp"), Path("/run"), cgroups, *(path for path in cgroups.iterdir() if path.is_dir()))
    found = [path for top in tops for path in top.glob("claude-nspawn.*")]
    return {str(path) for path in found if _maker(path) in makers}


def _maker(path: Path) -> int:
    digits = path.name.removeprefix("claude-nspawn.").partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _owner(path: Path) -> int:
    try:
        return path.lstat().st_uid
    except OSError:
        return -1


def _ours(path: Path) -> bool:
    """Other tests and users have their own things in /tmp."""
    return "claude-sandbox" in path.name


@covers("exit", "same", variant=PIPED, alike=True)
@pytest.mark.parametrize("end", ENDS)
def test_the_status_passes_through(launch: Launch, new_world: Callable[..., World], end: str) -> None:
    """The agent's status is the launcher's: 0, 7, 125, 255, and 128 and the number of what killed it."""
    world = new_world()
    outside = world.run(("bash", "-c", f"bash -c '{script(end)}'; exit $?")).returncode

    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script(end))

    with on_the_host():
        assert outside == ENDS[end]
    assert (done.returncode, done.stdout) == (ENDS[end], b"")


@covers("exit", "same", variant="tmux", alike=True)
@pytest.mark.parametrize("end", ["7", "0", "kill -KILL"])
def test_the_status_passes_through_a_session(started: Start, end: str) -> None:
    """The agent's status is the launcher's, with a session between them too."""
    child = started(script(end)).child

    child.expect_exact(pexpect.EOF, timeout=WAIT_S)
    child.wait()

    assert child.exitstatus == ENDS[end]


@covers("exit", "same", variant=PIPED)
def test_pipes_are_byte_clean(launch: Launch, new_world: Callable[..., World]) -> None:
    """Ten megabytes of any bytes pass through stdin, stdout and stderr unchanged."""
    world = new_world()
    # Seeded, so that a failure can be looked at; every byte and every newline's neighbour is in it.
    data = random.Random(4).randbytes(SIZE)
    expected = hashlib.sha256(data).hexdigest()

    # Of buses that this host does not have the launcher speaks on stderr, too.
    flags = ("--quiet", "--without", "dbus-session", "--without", "dbus-system", "--shell")
    done = launch(world, *flags, str(world.path), "-c", TEE, stdin=data)

    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).hexdigest() == expected
    assert hashlib.sha256(done.stderr).hexdigest() == expected


@covers("exit", "same", variant=PIPED)
def test_a_closed_pipe_ends_the_agent(command: Sequence[str], new_world: Callable[..., World]) -> None:
    """Who writes to a pipe that nobody reads any more ends inside as outside: `… | head` comes to its end."""
    world = new_world()
    shell = f"{shlex.join(command)} --quiet --shell '{world.path}'"

    done = world.run(
        ("bash", "-c", f"{shell} -c 'yes; echo $? >/project/.yes' | head -c 4"), timeout_s=WAIT_S
    )

    assert done.stdout == "y\ny\n"
    said = world.path / ".yes"
    wait_until(lambda: None if said.exists() else "no status", "the end of yes", timeout_s=10)


@covers("exit", "same")
def test_nothing_is_left_after_the_end(started: Start) -> None:
    """When the agent ends, its children in the background end with it, and no file or mount is left."""
    until = "while [ ! -e /project/go ]; do sleep 0.05; done"
    one = started(f"sleeper & setsid bash -c $SLEEP & {until}")
    one.sleepers(2)

    (one.world.path / "go").touch()
    one.child.expect_exact(pexpect.EOF, timeout=WAIT_S)
    (one.world.path / "go").unlink()

    one.gone()


@covers("exit", "same", variant=PIPED)
def test_nothing_is_left_when_the_launcher_is_killed(started: Start) -> None:
    """SIGKILL of the launcher takes everything along: agent, children, helpers, mounts, directories."""
    one = started("sleeper & sleeper & wait")
    one.sleepers(2)

    as_seen.send(one.child.pid, signal.SIGKILL)

    one.gone()


@covers("exit", "same", variant=PIPED, alike=True)
@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT"])
def test_signals_reach_the_agent(started: Start, name: str) -> None:
    """INT, TERM, HUP and QUIT to the launcher reach the agent, which decides how it ends; nothing is left."""
    one = started(f"trap 'echo caught; exit 9' {name}; sleeper & echo armed; while :; do wait; done")
    one.child.expect_exact(b"armed", timeout=WAIT_S)
    one.sleepers(1)

    as_seen.send(one.child.pid, getattr(signal, f"SIG{name}"))
    one.child.expect_exact(pexpect.EOF, timeout=WAIT_S)
    one.child.wait()

    assert b"caught" in one.child.before
    assert one.child.exitstatus == 9
    one.gone()


@covers("exit", "same", variant=PIPED)
def test_nothing_is_left_whatever_was_killed(started: Start) -> None:
    """Whichever single process of a sandbox is killed, what it leaves behind goes with the launcher's end."""
    for index in range(1, 5):
        one = started("sleeper & wait")
        one.sleepers(1)
        victims = descendants(one.child.pid)
        if len(victims) < 2:
            raise HarnessError("the sandbox has no processes below the launcher")
        as_seen.send(victims[min(index, len(victims) - 1)], signal.SIGKILL)
        as_seen.send(one.child.pid, signal.SIGTERM)
        one.child.expect_exact(pexpect.EOF, timeout=WAIT_S)

        one.gone()
        if index >= len(victims) - 1:
            break


@covers("exit", "same", means=True, variant=PIPED)
def test_the_agent_dies_with_its_parent(started: Start) -> None:
    """The process that the launcher starts dies with it, before it could be told to."""
    one = started("sleeper & wait")
    one.sleepers(1)
    processes = descendants(one.child.pid)[1:]
    pidfds = [os.pidfd_open(pid) for pid in processes]

    as_seen.send(one.child.pid, signal.SIGKILL)

    ended = [bool(select.select([pidfd], [], [], 10)[0]) for pidfd in pidfds]
    for pidfd in pidfds:
        os.close(pidfd)
    assert ended == [True] * len(processes)
