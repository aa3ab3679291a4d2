"""Homes to start the launcher in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.users import scratch
from tests.launcher.program import NOBODY, PROGRAM, ROOT, Machine, machine


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """A home of who runs the tests."""
    made = machine(tmp_path)
    yield made
    assert not made.processes()


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Machine]:
    """A home of an ordinary user, which who runs the tests need not be: for what no permission stops root
    from.
    """
    if os.geteuid() != 0:
        made = machine(tmp_path)
        yield made
        assert not made.processes()
        return
    for path in (ROOT / "launcher", Path(PROGRAM[0])):
        if any(not os.stat(p).st_mode & 0o005 for p in (path, *path.parents)):
            pytest.skip(f"an ordinary user cannot reach {path}")
    with scratch() as place:
        made = machine(place, NOBODY)
        yield made
        assert not made.processes()
