"""What may be relied on in the cache, and what two starts at once, full disks and killed ones leave of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.vm import cache
from tests.launcher.program import NOBODY
from tests.launcher.vm.children import child, together

SIZE = 1 << 18


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/home/u/.cache/claude-sandbox"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/claude-sandbox"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/u/.cache/claude-sandbox"),
    ],
)
def test_the_cache_is_where_xdg_says(environ: dict[str, str], expected: str) -> None:
    assert cache.cache_dir(environ, "/home/u") == expected


def test_directories_and_files_are_the_users_alone(tmp_path: Path) -> None:
    path = cache.made(str(tmp_path / "a/b"))
    cache.write(f"{path}/file", b"content")

    modes = [os.stat(name).st_mode & 0o777 for name in (path, tmp_path / "a", f"{path}/file")]
    assert modes == [0o700, 0o700, 0o600]
    assert Path(path, "file").read_bytes() == b"content"
    assert os.listdir(path) == ["file"]


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_what_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").write_text("planted")
    (tmp_path / "file").chmod(mode)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory").chmod(mode | 0o100)

    with pytest.raises(HostError, match="can be written by others"):
        cache.check(str(tmp_path / "file"))
    with pytest.raises(HostError, match="can be written by others"):
        cache.made(str(tmp_path / "directory"))
    (tmp_path / "file").chmod(0o644)
    cache.check(str(tmp_path / "file"))


def test_a_link_is_no_file_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")

    with pytest.raises(HostError, match="symbolic link"):
        cache.check(str(tmp_path / "link"))


def test_a_cache_on_another_disk_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("disk")

    assert cache.made(str(tmp_path / "link")) == str(tmp_path / "link")


@pytest.mark.as_root
def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("planted")
    os.chown(tmp_path / "file", NOBODY, NOBODY)

    with pytest.raises(HostError, match="belongs to somebody else"):
        cache.check(str(tmp_path / "file"))


def test_a_cache_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(HostError, match="cannot be written") as caught:
        cache.made(str(tmp_path / "file/below"))

    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    script = (
        "import resource, signal; from launcher.errors import HostError; from launcher.vm import cache\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: cache.write(sys.argv[1], bytes(10000))\n"
        "except HostError as error: print(error)\n"
    )

    (said,) = together([child(script, str(tmp_path / "file"))])

    assert said.startswith(b"the cache cannot be written")
    assert (os.listdir(tmp_path), (tmp_path / "file").read_text()) == (["file"], "old")


def test_a_reader_never_sees_half_a_file_while_many_write_it(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    cache.write(path, bytes(SIZE))
    write = (
        "from launcher.vm import cache\n"
        "for _ in range(8): cache.write(sys.argv[1], sys.argv[2].encode() * int(sys.argv[3]))\n"
    )
    read = (
        "seen = [open(sys.argv[1], 'rb').read() for _ in range(200)]\n"
        "print({(len(content), len(set(content))) for content in seen})\n"
    )

    seen = together([child(read, path), *(child(write, path, letter, str(SIZE)) for letter in "abc")])

    assert seen[0].decode().strip() == str({(SIZE, 1)})
    assert os.listdir(tmp_path) == ["file"]


def test_only_the_newest_stay_and_what_was_used_is_new(tmp_path: Path) -> None:
    for age, name in enumerate(("x-1", "x-2", "x-3", "x-4", "y-5")):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))

    cache.used(str(tmp_path / "x-4"))
    cache.keep_newest(str(tmp_path), "x-", 2)

    assert sorted(os.listdir(tmp_path)) == ["x-1", "x-4", "y-5"]


def test_what_a_killed_start_left_goes_in_time(tmp_path: Path) -> None:
    for name in (".tmp-x-1-77-ab", ".tmp-x-1-78-ab", ".tmp-y-1-77-ab"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1000, 1000))
    cache.used(str(tmp_path / ".tmp-x-1-78-ab"))

    cache.keep_newest(str(tmp_path), "x-", 3)

    assert sorted(os.listdir(tmp_path)) == [".tmp-x-1-78-ab", ".tmp-y-1-77-ab"]
