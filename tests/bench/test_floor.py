"""The floor of the benchmark: raw bwrap reaches the end of what our own argv says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench import floor
from tests.launcher.conftest import attended
from tests.launcher.program import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_raw_bwrap_runs_the_agent_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All of the stage is in it: what is measured would otherwise be a start that fails half way."""
    with attended(tmp_path) as here:
        arguments = ["--shell", str(here.project), "-c", "echo from inside > made"]
        launch = floor.rendered([sys.executable], arguments, here.environ, cwd=str(ROOT))

        floor.bwrap_ms(launch)  # raises for any status but 0

        assert capfd.readouterr() == ("", "")
        assert (here.project / "made").read_text() == "from inside\n"
