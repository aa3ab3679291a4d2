"""Style, format and types of the whole tree, each a test that fails with the tool's own words alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        pytest.param("ruff", ["check", "--output-format=concise", "."], id="ruff-check"),
        pytest.param("ruff", ["format", "--check", "."], id="ruff-format"),
        pytest.param("mypy", ["--no-error-summary"], id="mypy-strict"),
    ],
)
def test_the_tree_is_clean(module: str, arguments: list[str]) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install '.[dev]'")

    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True
    )

    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}".strip(), pytrace=False)
