"""Start the public command line: once for each backend and variant, or for one check alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.harness.cells import Variant
from conformance.harness.errors import HarnessError, NeverStarted
from conformance.harness.machine import Machine
from conformance.harness.mounts import Mounts
from conformance.harness.reaper import Reaper
from conformance.harness.sandbox import Sandbox, descendants, held, identity, kill
from conformance.harness.services import Services
from conformance.harness.shared import exported, furnish
from conformance.harness.world import World
from fixtures import users
from fixtures.users import User

ROOT = Path(__file__).parents[2]

# Backend → the program that starts it. A new backend is a line here, and a Sandbox of its own in KINDS when
# it is not attended, or not looked at, as the others are.
PROGRAMS = {
    "bubblewrap": "claude-sandbox",
    "container": "claude-sandbox-container",
    "vm": "claude-sandbox-vm",
}
KINDS: Mapping[str, type[Sandbox]] = {"vm": Machine}


def kind(backend: str) -> type[Sandbox]:
    """What its sandboxes are."""
    return KINDS.get(backend, Sandbox)


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
    _failed: dict[tuple[str, str], list[NeverStarted]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Sockets need a short path; and what homes lie in is hidden as the user's own home is.
        short = users.own(Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp")), self.user)
        homes = users.own(Path(tempfile.mkdtemp(prefix="cs-", dir=self.user.home)), self.user)
        self._reaper = Reaper(short, homes)
        self.mounts = Mounts()
        self.services = Services(short, homes, self.user)

    def get(self, backend: str, variant: Variant, rows: Collection[str]) -> Sandbox:
        """The sandbox of this backend and variant, on a host that has what `rows` forward.

        Raises NeverStarted, again for each check once it has failed; where a start is dear, twice.
        """
        key = (backend, variant.name)
        failed = self._failed.setdefault(key, [])
        if len(failed) > kind(backend).dear:
            raise NeverStarted(failed[-1].what)
        sandbox = self._running.get(key)
        if sandbox is not None and sandbox.console.broken is not None:
            sandbox.close()
            sandbox = None
        if sandbox is None:
            try:
                sandbox = self._running[key] = self._start(backend, variant, rows)
            except NeverStarted as error:
                failed.append(error)
                raise
        return sandbox

    def done(self, backend: str, variant: str) -> None:
        """End what the checks of this backend and variant have shared, if anything."""
        if (sandbox := self._running.pop((backend, variant), None)) is not None:
            sandbox.close()

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
        return kind(backend)((*prefix, *self.argv(backend)), world, **how)

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

    def _start(self, backend: str, variant: Variant, rows: Collection[str]) -> Sandbox:
        began = time.monotonic()
        world = self.world(rows, bare=variant.bare)
        furnish(world, rows)
        transcript = self.services.directory / f"transcript-{backend}-{variant.name}"
        preparing = time.monotonic() - began
        how: dict[str, Any] = {"transcript": transcript, "environ": exported(world, variant)}
        sandbox = self.sandbox(backend, world, flags=variant.flags, **how)
        self.on_start(
            Start(backend=backend, variant=variant.name, seconds=sandbox.seconds, preparing=preparing)
        )
        return sandbox


def launch(
    command: Sequence[str],
    world: World,
    *arguments: str,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    pace: float = 1.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line without a terminal, to its end: `launch(command, world, "--shell", path)`.

    `pace`: as Sandbox has it. Raises HarnessError when it does not come to one.
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
            out, err = child.communicate(stdin, timeout=pace * timeout_s)
        except subprocess.TimeoutExpired:
            raise HarnessError(f"`{shlex.join(argv)}` did not end within {pace * timeout_s:g} s") from None
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
