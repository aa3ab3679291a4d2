"""What is made ready before a backend starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tooling import prepare

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes none: run it as an ordinary user")
def test_bytecode_is_there_for_root_who_writes_none(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/keeper.py").write_text("X = 1\n")

    prepare.compiled(tmp_path)

    (made,) = (tmp_path / "run/__pycache__").iterdir()
    assert made.match("keeper.*.pyc")


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission stops root")
def test_a_checkout_that_cannot_be_written_is_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keeper.py").write_text("X = 1\n")
    tmp_path.chmod(0o555)

    prepare.compiled(tmp_path)

    tmp_path.chmod(0o755)
    assert [path.name for path in tmp_path.iterdir()] == ["keeper.py"]
    assert capfd.readouterr() == ("", "")
