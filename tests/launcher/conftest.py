"""Homes to start the launcher in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.process import wait_until
from fixtures.users import scratch
from tests.launcher.program import NOBODY, PROGRAM, ROOT, Machine, machine


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """A home of who runs the tests."""
    with attended(tmp_path) as made:
        yield made


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Machine]:
    """A home of an ordinary user, which who runs the tests need not be: for what no permission stops root
    from.
    """
    if os.geteuid() != 0:
        with attended(tmp_path) as made:
            yield made
        return
    for path in (ROOT / "launcher", Path(PROGRAM[0])):
        if any(not os.stat(p).st_mode & 0o005 for p in (path, *path.parents)):
            pytest.skip(f"an ordinary user cannot reach {path}")
    with scratch() as place, attended(place, NOBODY) as made:
        yield made


@contextmanager
def attended(place: Path, uid: int | None = None) -> Iterator[Machine]:
    """A Machine of which nothing runs at the end, and nothing is closed to who removes it."""
    made = machine(place, uid)
    try:
        yield made
        # The kernel may still be ending what has been killed.
        wait_until(lambda: "; ".join(made.processes()) or None, "end of all processes", timeout_s=10)
    finally:
        made.reopen()
