"""Claude Code from npm, in a directory of the user's own, for machines where no `claude` is on PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from launcher.errors import HostError
from tooling.machine import which
from tooling.report import say

PACKAGE = "@anthropic-ai/claude-code"


def prefix() -> Path:
    """Where npm puts it: $XDG_DATA_HOME/claude-sandbox/npm."""
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path.home() / ".local/share"
    return base / "claude-sandbox/npm"


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
    where = prefix()
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    npm = [
        which("npm") or "npm",
        "install",
        "--prefix",
        str(where),
        "--no-fund",
        "--no-audit",
        "--no-update-notifier",
    ]
    # npm 11 may hold install scripts back, older ones run them: so never by npm, but here, once.
    _run([*npm, "--ignore-scripts", PACKAGE])
    package = where / "node_modules" / PACKAGE
    _run([which("node") or "node", str(package / "install.cjs")], cwd=package)
    _run([str(directory() / "claude"), "--version"])


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    say(f"$ {' '.join(command)}")
    try:
        status = subprocess.run(command, cwd=cwd, stdout=sys.stderr, check=False).returncode
    except OSError as error:
        raise HostError(
            f"cannot start {command[0]}: {error.strerror}", "is Node.js with npm installed?"
        ) from None
    if status:
        raise HostError(
            f"Claude Code could not be installed: {command[0]} ended with {status}", "its output is above"
        )
