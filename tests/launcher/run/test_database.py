from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.run.database import snapshot

# Four paths in each transaction, and a byte for each.
BUILDER = """
import sqlite3, sys
made = sqlite3.connect(sys.argv[1], isolation_level=None)
made.execute("pragma wal_autocheckpoint = 4")
for at in range(100000):
    made.execute("begin")
    for part in range(4):
        made.execute("insert into ValidPaths(path) values (?)", (f"{at}-{part}-{'x' * 3000}",))
    made.execute("commit")
    print(end=".", flush=True)
"""
TABLE = "create table ValidPaths (id integer primary key, path text unique not null)"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A directory as Nix has it, with one valid path; the test may take away the right to write there."""
    directory = tmp_path / "db"
    directory.mkdir()
    (directory / "schema").write_text("10")
    with opened(directory) as made:
        made.execute(TABLE)
        add(made, "first")
    made.close()
    yield directory
    directory.chmod(0o755)


def opened(directory: Path) -> sqlite3.Connection:
    made = sqlite3.connect(directory / "db.sqlite", isolation_level=None)
    made.execute("pragma journal_mode = wal")
    return made


def add(made: sqlite3.Connection, *names: str) -> None:
    made.executemany("insert into ValidPaths(path) values (?)", [(name,) for name in names])


def copied(source: Path, tmp_path: Path) -> list[str]:
    """The paths in a copy, which is sound and can be written."""
    target = tmp_path / "copy"
    target.mkdir()
    snapshot(str(source), str(target))
    assert sorted(os.listdir(target)) == ["db.sqlite", "schema"]
    assert (target / "schema").read_text() == "10"
    made = opened(target)
    assert made.execute("pragma integrity_check").fetchall() == [("ok",)]
    found = [path for (path,) in made.execute("select path from ValidPaths order by id")]
    add(made, "written to the copy")
    made.close()
    return found


@pytest.mark.parametrize("mode", [0o755, 0o555])
def test_what_nobody_has_open_is_copied_and_nothing_is_left_beside_it(
    source: Path, tmp_path: Path, mode: int
) -> None:
    source.chmod(mode)
    before = {path: path.stat().st_mtime_ns for path in (source, *source.iterdir())}

    assert copied(source, tmp_path) == ["first"]
    assert {path: path.stat().st_mtime_ns for path in (source, *source.iterdir())} == before


@pytest.mark.parametrize("mode", [0o755, 0o555])
def test_what_stands_in_the_log_alone_is_in_the_copy(source: Path, tmp_path: Path, mode: int) -> None:
    daemon = opened(source)
    daemon.execute("pragma wal_autocheckpoint = 0")
    add(daemon, "second")
    source.chmod(mode)
    assert b"second" not in (source / "db.sqlite").read_bytes()

    assert copied(source, tmp_path) == ["first", "second"]
    daemon.close()


def test_a_transaction_is_in_it_whole_or_not_at_all(source: Path, tmp_path: Path) -> None:
    counts = []
    argv = [sys.executable, "-c", BUILDER, str(source / "db.sqlite")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as builder:
        assert builder.stdout is not None
        for number in range(5):
            assert builder.stdout.read(64), "somebody writes all the time"
            place = tmp_path / str(number)
            place.mkdir()
            counts.append(len(copied(source, place)) - 1)
        builder.kill()

    assert [count % 4 for count in counts] == [0] * 5
    assert 0 < counts[0] < counts[-1]


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + bytes(80)])
def test_one_that_is_none_is_an_error_with_a_way_on(source: Path, tmp_path: Path, content: bytes) -> None:
    (source / "db.sqlite").write_bytes(content)

    with pytest.raises(HostError) as raised:
        copied(source, tmp_path)
    assert "--without nix-commands" in raised.value.hint


def test_a_path_with_signs_that_mean_something_in_a_uri(source: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a?b#c%41"
    shutil.copytree(source, odd)

    assert copied(odd, tmp_path) == ["first"]
