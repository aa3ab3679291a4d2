"""One sandbox: the public command line on a terminal, as an ordinary user, and its processes on the host."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pexpect

from conformance.harness import as_seen
from conformance.harness.console import Console, Shared, Terminal
from conformance.harness.deadline import Deadline
from conformance.harness.errors import ConsoleError, NeverStarted
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures import packages, users
from fixtures.terminal import hang_up
from fixtures.users import User

STOP_S = 10.0
OPENED = 9
SHELL = ("--norc", "--noprofile", "--noediting")


class Sandbox:
    """One sandbox that runs: `inside` asks it, `console` is the way in, `pid` the launcher's on the host.

    `start_s`: seconds that its start may take. `pace`: how many times as long what runs inside may take as it
    may on the host. `dear`: a start takes seconds, so that none is made without need (economy.py).
    """

    start_s = 60.0
    pace = 1.0
    dear = False

    def __init__(
        self,
        command: Sequence[str],
        world: World,
        *,
        flags: Sequence[str] = (),
        transcript: Path | None = None,
        environ: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.world = world
        self.flags = tuple(flags)
        self.command = tuple(command)
        self.argv = (*command, "--quiet", *flags, *self.more_flags(), "--shell", str(world.path), *SHELL)
        self.environ = {**world.environ, **(environ or {})}
        shared = self._shared() if "--tmux" in flags else None
        started = time.monotonic()
        self.child = spawn(
            self.argv, world.user, self.environ, cwd=world.home, within=within, opened=world.opened
        )
        self.console = Console(
            cast("Terminal", self.child), transcript=transcript, shared=shared, pace=self.pace
        )
        try:
            self.console.open(Deadline(self.start_s))
        except ConsoleError as error:
            self.close()
            raise NeverStarted(f"`{shlex.join(self.argv)}` came to no shell: {error}") from error
        except BaseException:
            self.close()
            raise
        self.seconds = time.monotonic() - started
        self.inside = Inside(self.console)

    @property
    def pid(self) -> int:
        return int(self.child.pid)

    def pids(self) -> list[int]:
        """The host's numbers of all processes of this sandbox, the launcher's first."""
        return descendants(self.pid)

    def inner(self) -> dict[int, int]:
        """Its processes, by their numbers inside: the host's."""
        return as_seen.inner(self.pids())

    @staticmethod
    def victim(launcher: int) -> int:
        """Of what a launcher of this kind has started: a process without which nothing inside goes on."""
        return descendants(launcher)[-1]

    def more_flags(self) -> tuple[str, ...]:
        """Flags that checks need of this start alone."""
        return ()

    def displays(self) -> list[tuple[int, int]]:
        """Graphics cards that it is made with, beside the host's own: vendor and device (PCI)."""
        return []

    def explain(self) -> str:
        """What `--explain=json` says to the same flags."""
        done = self.world.run((*self.command, *self.flags, "--explain=json", str(self.world.path)))
        return done.stdout + done.stderr

    def close(self) -> None:
        """End it: the shell is asked, then the launcher, then everything is killed that it has started."""
        try:
            if self.child.isalive():
                with suppress(ConsoleError):
                    self.console.leave(Deadline(STOP_S))
        finally:
            stop(self.child)

    def _shared(self) -> Shared:
        name = f".console-{secrets.token_hex(4)}"
        users.directory(self.world.path / name, self.world.user)
        return Shared(inside=f"/project/{name}", outside=self.world.path / name)


def spawn(
    argv: Sequence[str],
    user: User,
    environ: Mapping[str, str],
    *,
    cwd: Path,
    rows: int = 40,
    columns: int = 200,
    within: Sequence[str] = (),
    opened: Path | None = None,
) -> Any:  # noqa: ANN401  (pexpect.spawn of bytes, which its stubs cannot say)
    """Start a command on a new terminal, as the user, with exactly this environment.

    `within`: what makes us the user there, as a Lan's prefix does. `opened`: it finds this file as OPENED.
    """

    def leave_open() -> None:
        if opened:
            os.dup2(os.open(opened, os.O_RDONLY), OPENED)

    whole = (*(within or identity(user)), *argv)
    child: Any = pexpect.spawn(
        whole[0],
        list(whole[1:]),
        env=dict(environ),
        cwd=str(cwd),
        dimensions=(rows, columns),
        timeout=None,
        preexec_fn=leave_open,
    )
    child.delaybeforesend = None
    child.delayafterclose = child.delayafterterminate = 0
    child.ptyproc.delayafterclose = child.ptyproc.delayafterterminate = 0
    return child


def identity(user: User) -> tuple[str, ...]:
    """What goes before a command line for root to start it as the user; nothing for anybody else."""
    if os.geteuid() != 0:
        return ()
    who = (f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups", "--inh-caps=-all")
    return (packages.find("setpriv"), *who, "--")


def stop(child: Any) -> None:  # noqa: ANN401  (see spawn)
    """End a terminal's process and all that it has started."""
    left = held(descendants(child.pid)) if child.isalive() else []
    try:
        hang_up(child, timeout_s=STOP_S)
    finally:
        kill(left)


def held(pids: Iterable[int]) -> list[int]:
    """Descriptors of the processes: a number alone may be another's by the time that it is used."""
    found = []
    for pid in pids:
        with suppress(ProcessLookupError):
            found.append(os.pidfd_open(pid))
    return found


def kill(pidfds: Iterable[int]) -> None:
    """SIGKILL to each, and give the descriptors up."""
    for pidfd in pidfds:
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def descendants(pid: int) -> list[int]:
    """The process and all below it, by their parents (proc(5), /proc/PID/stat, field 4)."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                stat = Path(entry.path, "stat").read_text(errors="replace")
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [pid] if Path(f"/proc/{pid}").exists() else []
    for parent in found:
        found.extend(children.get(parent, ()))
    return found
