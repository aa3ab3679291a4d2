"""The launcher in a guest where systemd is process 1, and what a container is to systemd there."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.errors import MissingProgram
from fixtures.guest.root import Share
from fixtures.guest.systemd import Ended, Guest, booted
from fixtures.process import output
from fixtures.users import current_user, scratch
from tests.launcher.program import ROOT

PLACE = "/opt/launcher"  # in the guest
PROGRAM = """\
#!/usr/bin/python3 -IB
import sys; sys.path.insert(0, "{place}")
from launcher.cli import program; program("{backend}")
"""
# All that a sandbox has outside of itself while it runs; below /run are systemd's units, too.
TRACES = """
machinectl list --no-legend
find /sys/fs/cgroup /run -name '*claude-*' -o -name 'run-*.scope' 2>/dev/null
grep -E 'claude-(nspawn|sandbox-[0-9])' /proc/1/mountinfo
grep -hxE 'systemd-nspawn|bwrap|busctl|xdg-dbus-proxy' /proc/[0-9]*/comm 2>/dev/null
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """A booted guest with the launcher in it; its `shared` is the directory `project` of the host."""

    guest: Guest
    project: Path
    shared: str

    def traces(self) -> str:
        """What sandboxes have there now, a line each."""
        return self.guest.run(TRACES).out

    def nothing_left(self) -> str:
        """Nothing once it is all gone; else what is still there after two minutes."""
        going = f'found=$({TRACES}); [ -n "$found" ] && [ $SECONDS -lt 120 ]'
        return self.guest.run(f'while {going}; do sleep 0.2; done; printf %s "$found"').out


@dataclass(frozen=True, kw_only=True)
class Held:
    """A sandbox that runs until `released`; `number`: of its script in the guest."""

    guest: Guest
    number: int
    project: str

    def released(self) -> Ended:
        """Let the agent end, and see how the launcher does."""
        self.guest.run(f"timeout 5 sh -c 'echo >{self.project}/held'")
        return self.ended()

    def ended(self) -> Ended:
        """How the launcher ends by itself."""
        return self.guest.wait(self.number)


@contextmanager
def world(words: str = "") -> Iterator[World]:
    """A World, the kernel with `words`. Skips the test where there cannot be one."""
    if os.geteuid() == 0:
        pytest.skip("as an ordinary user: invoke test")
    with scratch() as place, ExitStack() as stack:
        project = place / "project"
        project.mkdir()
        checkout = place / "checkout"
        shutil.copytree(
            ROOT / "launcher", checkout / "launcher", ignore=shutil.ignore_patterns("__pycache__")
        )
        # Without KVM to compile the launcher takes as long as to start it.
        output(("/usr/bin/python3", "-m", "compileall", "-q", str(checkout)))
        for backend in ("container", "bubblewrap"):
            program = checkout / backend
            program.write_text(PROGRAM.format(place=PLACE, backend=backend))
            program.chmod(0o755)
        shared = f"/home/{current_user().name}/shared"
        shares = (
            Share(source=checkout, target=PLACE),
            Share(source=project, target=shared, writable=True),
        )
        try:
            guest = stack.enter_context(booted(place, shares=shares, words=words))
        except MissingProgram as error:
            pytest.skip(f"unproven: {error}")
        yield World(guest=guest, project=project, shared=shared)


def command(backend: str, project: str, script: str, *flags: str) -> str:
    """The launcher's command line, for a shell in the guest."""
    return shlex.join((f"{PLACE}/{backend}", *flags, "--shell", project, "-c", script))


def hold(guest: Guest, backend: str, *flags: str, first: str = "", prefix: str = "") -> Held:
    """A sandbox whose agent has done `first`, waits now, and exits with 7 when it is released. `prefix`: what
    runs the launcher.
    """
    project = guest.output("cd $(mktemp -d ~/project-XXXX); mkfifo holds held; pwd").strip()
    script = f"{first}\necho >holds; read -r _ <held; exit 7"
    number = guest.start(f"{prefix} {command(backend, project, script, *flags)}")
    guest.output(f"timeout 120 cat {project}/holds")
    return Held(guest=guest, number=number, project=project)


def machine_of(guest: Guest) -> str:
    """The name of the one machine that systemd-machined comes to know."""
    return guest.output(
        'until name=$(machinectl list --no-legend | cut -d" " -f1); [ "$name" ]; do'
        ' sleep 0.2; [ $SECONDS -lt 120 ] || exit; done; printf %s "$name"'
    )


def properties(guest: Guest, asked: str) -> dict[str, str]:
    """What `machinectl show` or `systemctl show` print."""
    return dict(line.split("=", 1) for line in guest.output(asked).splitlines() if "=" in line)


def part_of(machine: str, part: str) -> str:
    """For a shell in the guest: has as $pid the process of a container that is its leader, nspawn, keeper,
    launcher or sudo. Each is the child of the next.
    """
    steps = ("leader", "nspawn", "keeper", "launcher", "sudo").index(part)
    up = "read -r _ _ _ pid _ </proc/$pid/stat;" * steps
    return f"pid=$(machinectl show -p Leader --value {machine}); {up}"
