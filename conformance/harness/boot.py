"""Start the public command line on a terminal, as an ordinary user: once for each backend and variant."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pexpect

from conformance.harness.cells import DEFAULT, TMUX, Variant
from conformance.harness.console import Console, Shared, Terminal
from conformance.harness.deadline import Deadline
from conformance.harness.errors import ConsoleError, HarnessError, NeverStarted
from conformance.harness.inside import Inside
from conformance.harness.mounts import Mounts
from conformance.harness.reaper import Reaper
from conformance.harness.services import Services
from conformance.harness.world import World
from fixtures import packages, users
from fixtures.users import User

START_S = 60.0
STOP_S = 10.0
ROOT = Path(__file__).parents[2]
SHELL = ("--norc", "--noprofile", "--noediting")

# Backend → the program that starts it. A new backend is a line here, and a Sandbox of its own in KINDS when
# its terminal is not the program's own.
PROGRAMS = {
    "bubblewrap": "claude-sandbox",
    "container": "claude-sandbox-container",
    "vm": "claude-sandbox-vm",
}


class Sandbox:
    """One sandbox that runs: `inside` asks it, `console` is the way in, `pid` the launcher's on the host."""

    def __init__(
        self,
        command: Sequence[str],
        world: World,
        *,
        flags: Sequence[str] = (),
        transcript: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.world = world
        self.flags = tuple(flags)
        self.command = tuple(command)
        self.argv = (*command, "--quiet", *flags, "--shell", str(world.path), *SHELL)
        self.environ = {**world.environ, **(environ or {})}
        shared = self._shared() if "--tmux" in flags else None
        started = time.monotonic()
        self.child = spawn(self.argv, world.user, self.environ, cwd=world.home)
        self.console = Console(cast("Terminal", self.child), transcript=transcript, shared=shared)
        try:
            self.console.open(Deadline(START_S))
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


# Backends whose sandbox is not attended over the program's own terminal.
KINDS: Mapping[str, type[Sandbox]] = {}


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start that was shared: for the matrix, and for people who wonder where the time goes."""

    backend: str
    variant: str
    seconds: float
    preparing: float


@dataclass(kw_only=True)
class Boots:
    """The shared sandboxes of a test run (of each of its workers), by backend and variant."""

    user: User
    command: Sequence[str] = ()
    on_start: Callable[[Start], None] = lambda _start: None
    services: Services = field(init=False)
    mounts: Mounts = field(init=False)
    _reaper: Reaper = field(init=False)
    _running: dict[tuple[str, str], Sandbox] = field(default_factory=dict)
    _failed: dict[tuple[str, str], NeverStarted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Sockets need a short path; and what homes lie in is hidden as the user's own home is.
        short = users.own(Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp")), self.user)
        homes = users.own(Path(tempfile.mkdtemp(prefix="cs-", dir=self.user.home)), self.user)
        self._reaper = Reaper(short, homes)
        self.mounts = Mounts()
        self.services = Services(short, homes, self.user)

    def get(self, backend: str, variant: Variant, rows: Iterable[str]) -> Sandbox:
        """The sandbox of this backend and variant, on a host that has what `rows` forward.

        Raises NeverStarted, again for each check once it has failed.
        """
        key = (backend, variant.name)
        if key in self._failed:
            raise NeverStarted(self._failed[key].what)
        sandbox = self._running.get(key)
        if sandbox is not None and sandbox.console.broken is not None:
            sandbox.close()
            sandbox = None
        if sandbox is None:
            try:
                sandbox = self._running[key] = self._start(backend, variant, rows)
            except NeverStarted as error:
                self._failed[key] = error
                raise
        return sandbox

    def world(self, rows: Iterable[str] = (), *, bare: bool = False) -> World:
        """A new host's user, who has what `rows` forward."""
        world = World(self.services, self.mounts, bare=bare)
        world.have(rows)
        return world

    def argv(self, backend: str) -> tuple[str, ...]:
        """The command line that starts this backend."""
        return tuple(self.command) or working_tree(self.services.directory, backend)

    def sandbox(
        self,
        backend: str,
        world: World,
        *,
        prefix: Sequence[str] = (),
        **how: Any,  # noqa: ANN401  (Sandbox's)
    ) -> Sandbox:
        """One more, shared with nobody. `prefix` goes before the command line, as nsenter(1) does."""
        return KINDS.get(backend, Sandbox)((*prefix, *self.argv(backend)), world, **how)

    def close(self) -> None:
        """End everything, and leave nothing."""
        with ExitStack() as stack:
            stack.callback(self._reaper.close)
            stack.callback(self.mounts.close)
            stack.callback(self.services.close)
            for sandbox in self._running.values():
                stack.callback(sandbox.close)
            # Services tidy up in what was hidden.
            stack.callback(self.mounts.show)

    def _start(self, backend: str, variant: Variant, rows: Iterable[str]) -> Sandbox:
        began = time.monotonic()
        world = self.world(rows, bare=variant.bare)
        transcript = self.services.directory / f"transcript-{backend}-{variant.name}"
        preparing = time.monotonic() - began
        sandbox = self.sandbox(backend, world, flags=variant.flags, transcript=transcript)
        self.on_start(
            Start(backend=backend, variant=variant.name, seconds=sandbox.seconds, preparing=preparing)
        )
        return sandbox


def spawn(
    argv: Sequence[str],
    user: User,
    environ: Mapping[str, str],
    *,
    cwd: Path,
    rows: int = 40,
    columns: int = 200,
) -> Any:  # noqa: ANN401  (pexpect.spawn of bytes, which its stubs cannot say)
    """Start a command on a new terminal, as the user, with exactly this environment."""
    whole = (*identity(user), *argv)
    child: Any = pexpect.spawn(
        whole[0],
        list(whole[1:]),
        env=dict(environ),
        cwd=str(cwd),
        dimensions=(rows, columns),
        timeout=None,
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


def launch(
    command: Sequence[str],
    world: World,
    *arguments: str,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line without a terminal, to its end: `launch(command, world, "--shell", path)`.

    Raises HarnessError when it does not come to one.
    """
    argv = (*identity(world.user), *command, *arguments)
    env = {**world.environ, **(environ or {})}
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=world.home,
        start_new_session=True,
    ) as child:
        try:
            out, err = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise HarnessError(f"`{shlex.join(argv)}` did not end within {timeout_s:g} s") from None
        finally:
            kill(held(descendants(child.pid)))
    return subprocess.CompletedProcess(argv, child.returncode, out, err)


def working_tree(directory: Path, backend: str) -> tuple[str, ...]:
    """A program that runs this checkout's launcher, whatever is installed."""
    program = directory / PROGRAMS[backend]
    # Root's own Python may lie where the sandboxes' user cannot read it.
    system = "/usr/bin/python3"
    python = system if os.geteuid() == 0 and os.access(system, os.X_OK) else sys.executable
    if not program.exists():
        lines = (
            f"#!{python}",
            "import sys",
            f"sys.path.insert(0, {str(ROOT)!r})",
            "from launcher.cli import main",
            f"sys.exit(main(sys.argv, {backend!r}))",
        )
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)
    return (str(program),)


def stop(child: Any) -> None:  # noqa: ANN401  (see spawn)
    """End a terminal's process and all that it has started."""
    left = held(descendants(child.pid)) if child.isalive() else []
    child.close(force=True)
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


__all__ = ["DEFAULT", "TMUX", "Boots", "Sandbox", "Start", "launch", "spawn"]
