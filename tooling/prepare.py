"""What a backend still needs on this machine: named, installed after one question; then the sandbox starts.

The launcher itself says what is missing (`--check=json`), so that there is one list of it.
"""

from __future__ import annotations

import compileall
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HostError
from tooling import agent, kernel, machine
from tooling.report import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tooling.backends import Backend

AGENT, KERNEL = "claude", "kernel"  # programs of lacks that no package of the machine's mends
LAUNCHER = Path(__file__).parent.parent / "launcher"


@dataclass(frozen=True, kw_only=True)
class Lack:
    """One thing that is lacking: `what` and `why` for people, the `program` that a package brings (or "")."""

    what: str
    why: str
    program: str
    required: bool
    fix: str


def launcher_command(backend: Backend) -> list[str]:
    """The start of the backend's command line: the installed program, by the interpreter that runs us.

    Not by its own first line, which no kernel can follow when the checkout's path holds a space.
    """
    installed = Path(sys.prefix) / "bin" / backend.program
    if not installed.exists():
        raise HostError(
            f"{backend.program} is not installed beside this invoke",
            f"in the checkout: {shlex.join([sys.executable, '-m', 'pip', 'install', '.'])}",
        )
    return [sys.executable, "-I", str(installed)]


def environment() -> dict[str, str]:
    """Ours, with the `claude` that we installed on PATH when there is one."""
    # Late, as the table is below.
    from launcher.host.environment import given

    return {**given(os.environ), "PATH": agent.path_with_agent(os.environ.get("PATH", os.defpath))}


def lacks(backend: Backend) -> list[Lack]:
    """What is lacking for `backend`, in the launcher's words. Raises HostError when it cannot be asked."""
    command = [*launcher_command(backend), "--check=json"]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=False, text=True)
    try:
        return [
            Lack(
                what=item["what"],
                why=item["why"],
                program=item["program"],
                required=item["required"],
                fix=item["fix"],
            )
            for item in json.loads(done.stdout)
        ]
    except (ValueError, KeyError, TypeError):
        raise HostError(
            f"{backend.program} --check=json ended with {done.returncode} and no list",
            f"see: {shlex.join(command)}",
        ) from None


def prepare(
    backend: Backend,
    *,
    yes: bool,
    optional: bool = True,
    needs_agent: bool = True,
    more_packages: Sequence[str] = (),
    retry: str = "",
) -> None:
    """Installs what `backend` lacks here, after one question; asks nothing when nothing is missing.

    With `optional` False only a missing requirement leads to the question (which then covers the rest, too).
    `more_packages` are asked for and installed in the same go; `retry` is the command that needs no asking.
    Raises HostError when a requirement is still missing at the end.
    """
    compiled(LAUNCHER)
    missing = [lack for lack in lacks(backend) if needs_agent or lack.program != AGENT]
    relevant = [lack for lack in missing if lack.required or optional]
    if not relevant and not more_packages:
        return
    for lack in missing:
        say(f"  {'missing' if lack.required else 'missing (optional)'}: {lack.what}: {lack.why}")
    packages = [*packages_for(missing), *more_packages]
    with_agent, with_kernel = (any(lack.program == name for lack in missing) for name in (AGENT, KERNEL))
    if packages or with_agent or with_kernel:
        asked = question(packages, with_agent=with_agent, with_kernel=with_kernel)
        machine.agree(asked, yes=yes, retry=retry or setup_command(backend))
        machine.install(packages)
        if with_agent:
            agent.install()
        if with_kernel:
            kernel.fetch(kernel.directory())
    left = [lack for lack in lacks(backend) if needs_agent or lack.program != AGENT]
    for lack in left:
        if lack.required:
            raise HostError(f"this machine lacks {lack.what}: {lack.why}", lack.fix)
    for lack in left:
        say(f"  still without {lack.what}; {lack.fix}")


def compiled(package: Path) -> None:
    """Write the bytecode of the checkout's launcher; nothing happens where that is not ours to write.

    Root, who starts containers, writes none in a user's directory, and would compile its part at each start.
    """
    if os.geteuid() != 0:
        compileall.compile_dir(package, quiet=2)


def packages_for(missing: Sequence[Lack]) -> list[str]:
    """The packages of this machine's manager that bring what is missing; npm itself for the agent."""
    # Late: a checkout whose table is being regenerated can still lint and test itself.
    from launcher.spec.table import PACKAGES

    programs = [lack.program for lack in missing if lack.program not in (AGENT, KERNEL)]
    with_agent = any(lack.program == AGENT for lack in missing)
    if with_agent and not (machine.which("npm") and machine.which("node")):
        programs.append("npm")  # whose package depends on that of node
    named = {program: packages for program, _, _, packages, _ in PACKAGES}
    known = [named[program] for program in programs if program in named]
    if not known:
        return []
    manager = machine.manager().name
    return list(dict.fromkeys(packages[manager] for packages in known))


def question(packages: Sequence[str], *, with_agent: bool, with_kernel: bool) -> str:
    """The one question: everything that would be installed, by whom and where."""
    parts = []
    if packages:
        sudo = "" if os.geteuid() == 0 else " and sudo"
        parts.append(f"{', '.join(packages)} (with {machine.manager().name}{sudo})")
    if with_agent:
        parts.append(f"Claude Code (from npm, into {agent.prefix()})")
    if with_kernel:
        parts.append(f"a kernel for the VM (from apt, into {kernel.directory()})")
    return f"Install {' and '.join(parts)}?"


def setup_command(backend: Backend) -> str:
    """What to type to have it all installed without a question."""
    return f"{shlex.quote(sys.argv[0])} setup --backend {backend.name} --yes"


def start(backend: Backend, project: str, *, flags: Sequence[str], arguments: Sequence[str]) -> None:
    """Becomes the launcher, which thereby has the caller's terminal, signals and status. Does not return."""
    before_project = ["--", project] if project.startswith("-") else [project]
    command = [*launcher_command(backend), *flags, *before_project, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment())
