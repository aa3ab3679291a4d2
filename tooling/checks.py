"""What `invoke lint` and `invoke docs` run."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from launcher.errors import HostError
from tooling import arrows
from tooling.report import say

ROOT = Path(__file__).parent.parent


def lint(*, fix: bool) -> int:
    """Every check in turn, all of them even when one fails; the worst exit status."""
    for module in ("ruff", "mypy"):
        if importlib.util.find_spec(module) is None:
            raise HostError(f"{module} is not installed here", f"{sys.executable} -m pip install '.[dev]'")
    commands = [
        ["ruff", "check", *(["--fix"] if fix else []), "."],
        ["ruff", "format", *([] if fix else ["--check"]), "."],
        ["mypy"],
    ]
    worst = max(run_module(name, *arguments) for name, *arguments in commands)
    found = arrows.violations(ROOT)
    say(f"imports: {len(found)} against the arrows")
    for line in found:
        print(line)
    return max(worst, 1 if found else 0)


def docs(*, check: bool) -> int:
    """Rewrites what is rendered from the spec (with `check`: fails if it differs), then builds the book."""
    only_look = ["--check"] if check else []
    status = max(run_module(name, *only_look) for name in ("launcher.spec.generate", "tooling.filters"))
    if importlib.util.find_spec("mkdocs") is None:
        say("mkdocs is not installed: the book was not built (pip install '.[dev]')")
        return status
    build = ["build", "--strict", "--quiet"]
    if not check:
        return max(status, run_module("mkdocs", *build))
    with tempfile.TemporaryDirectory() as site:
        return max(status, run_module("mkdocs", *build, "--site-dir", site))


def run_module(name: str, *arguments: str) -> int:
    """Runs `python -m NAME ARGUMENTS` in the checkout and returns its exit status."""
    say(f"$ {shlex.join([name, *arguments])}")
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
