"""Installing programs with the machine's own package manager, after one question."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import HostError
from tooling.report import say

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Manager:
    """A package manager: its program, what brings its lists up to date (or nothing), what installs."""

    name: str
    program: str
    install: tuple[str, ...]
    refresh: tuple[str, ...] = ()


MANAGERS = (
    Manager(
        name="apt",
        program="apt-get",
        refresh=("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "update"),
        install=(
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-q",
            "install",
            "-y",
            "--no-install-recommends",
        ),
    ),
    Manager(name="dnf", program="dnf", install=("dnf", "install", "-y")),
    Manager(name="pacman", program="pacman", install=("pacman", "-S", "--needed", "--noconfirm")),
)


def which(program: str) -> str | None:
    """Where `program` is, looking also where an ordinary user's PATH does not (/usr/sbin)."""
    path = os.environ.get("PATH", "")
    return shutil.which(program, path=f"{path}:{SYSTEM_PATH}" if path else SYSTEM_PATH)


def manager() -> Manager:
    """This machine's package manager. Raises HostError when it is none of apt, dnf, pacman."""
    for candidate in MANAGERS:
        if which(candidate.program):
            return candidate
    known = ", ".join(candidate.name for candidate in MANAGERS)
    raise HostError(
        f"no package manager that is known here ({known})", "install what is missing by hand and try again"
    )


def as_root(command: Sequence[str]) -> list[str]:
    """`command` as root runs it: through sudo unless we are root. Raises HostError when there is no sudo."""
    if os.geteuid() == 0:
        return list(command)
    if not which("sudo"):
        raise HostError("installing needs root, and there is no sudo", f"as root: {shlex.join(command)}")
    return ["sudo", *command]


def agree(question: str, *, yes: bool, retry: str) -> None:
    """Returns when the person agrees.

    Raises HostError when they do not, or when there is nobody to ask; its hint is `retry`, a command.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise HostError("nobody to ask: stdin is no terminal", f"to install it: {retry}")
    sys.stderr.write(f"{question} [Y/n] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer or answer.strip().lower() not in ("", "y", "yes"):
        raise HostError("nothing was installed", f"to install it later: {retry}")


def install(packages: Sequence[str]) -> None:
    """Installs `packages` with the manager's own output on the terminal. Raises HostError when that fails."""
    if not packages:
        return
    found = manager()
    command = as_root([*found.install, *packages])
    if found.refresh:
        # A source that does not answer must not stop what the other sources have.
        subprocess.run(as_root(found.refresh), stdout=sys.stderr, check=False)
    say(f"$ {shlex.join(command)}")
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if status:
        raise HostError(
            f"{found.name} could not install {' '.join(packages)}",
            f"its output is above; again: {shlex.join(command)}",
        )
