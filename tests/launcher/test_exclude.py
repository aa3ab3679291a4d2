"""A line in info/exclude, whatever a former agent made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.exclude import exclude
from launcher.git import GitLayout


@pytest.fixture
def info(tmp_path: Path) -> Path:
    (tmp_path / "git/info").mkdir(parents=True)
    return tmp_path / "git/info"


def added(info: Path) -> bool:
    return exclude(GitLayout(project="/p", common_dir=str(info.parent)), ".tmux/")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, ".tmux/\n", id="none"),
        pytest.param("", ".tmux/\n", id="empty"),
        pytest.param("*.o\n", "*.o\n.tmux/\n", id="others"),
        pytest.param("*.o", "*.o\n.tmux/\n", id="no-newline"),
        pytest.param(".tmux/\n*.o\n", ".tmux/\n*.o\n", id="there"),
        pytest.param("*.o\n.tmux/", "*.o\n.tmux/", id="there-at-the-end"),
        pytest.param("not.tmux/\n", "not.tmux/\n.tmux/\n", id="alike"),
    ],
)
def test_the_line_is_there_once(info: Path, before: str | None, after: str) -> None:
    if before is not None:
        (info / "exclude").write_text(before)

    assert added(info)
    assert added(info)

    assert (info / "exclude").read_text() == after


def test_info_is_made_when_git_did_not(info: Path) -> None:
    info.rmdir()

    assert added(info)

    assert (info / "exclude").read_text() == ".tmux/\n"


def test_no_link_is_followed(info: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (info / "exclude").symlink_to(tmp_path / "mine")
    assert not added(info)

    (info / "exclude").unlink()
    (info / "exclude").symlink_to(tmp_path / "new")
    assert not added(info)

    info.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/exclude").unlink()
    info.symlink_to(tmp_path / "elsewhere")
    assert not added(info)

    assert (tmp_path / "mine").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["elsewhere", "git", "info", "mine"]


def test_a_fifo_neither_hangs_nor_takes_it(info: Path) -> None:
    os.mkfifo(info / "exclude")

    assert not added(info)


def test_what_is_no_file_of_a_persons_is_left_alone(info: Path) -> None:
    with (info / "exclude").open("wb") as file:
        file.truncate(2 << 20)

    assert not added(info)

    assert (info / "exclude").stat().st_size == 2 << 20


def test_a_layout_without_a_repository_has_none() -> None:
    assert not exclude(GitLayout(project="/p"), ".tmux/")
