"""Claude Code from npm, in a directory of the user's own, for machines where no `claude` is on PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HostError
from launcher.host.agent import installed
from tooling.machine import which
from tooling.report import say

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "@anthropic-ai/claude-code"


def prefix() -> Path:
    """Where npm puts it, and the launcher looks for it: $XDG_DATA_HOME/claude-sandbox/npm."""
    return Path(installed(os.environ, str(Path.home())))


def directory() -> Path:
    """The directory for PATH that holds `claude` once it is installed."""
    return prefix() / "node_modules/.bin"


def path_with_agent(path: str) -> str:
    """`path`, a value of PATH, with our own `claude` behind everything the user chose."""
    if not (directory() / "claude").exists():
        return path
    return f"{path}:{directory()}" if path else str(directory())


def install() -> None:
    """Installs it, npm's output on the terminal. Raises HostError when npm or the installed program fails."""
    # npm 11 may hold install scripts back, older ones run them: so never by npm, but here, once.
    npm_install(PACKAGE, where=prefix(), more=["--ignore-scripts"])
    package = prefix() / "node_modules" / PACKAGE
    _run([which("node") or "node", str(package / "install.cjs")], cwd=package)
    _run([str(directory() / "claude"), "--version"])


def npm_install(package: str, *, where: Path, more: Sequence[str] = ()) -> None:
    """Installs an npm package into `where`/node_modules. Raises HostError when npm fails."""
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Not --prefix, with which npm no longer reads the machine's npmrc. The file ends its search upwards.
    (where / "package.json").write_text('{"private": true}\n')
    _run([which("npm") or "npm", "install", "--no-fund", "--no-audit", *more, package], cwd=where)


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    say(f"$ {' '.join(command)}")
    try:
        status = subprocess.run(command, cwd=cwd, stdout=sys.stderr, check=False).returncode
    except OSError as error:
        raise HostError(
            f"cannot start {command[0]}: {error.strerror}", "is Node.js with npm installed?"
        ) from None
    if status:
        raise HostError(f"{' '.join(command[:2])} ended with {status}", "its output is above")
