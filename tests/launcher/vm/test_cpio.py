"""The archive as another program reads it, and what is refused because the kernel would take it amiss."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import packages
from fixtures.users import scratch
from launcher.vm.cpio import Archive

parts = st.binary(min_size=1, max_size=20).filter(
    lambda part: not {0, ord("/")} & set(part) and part not in (b".", b"..", b"next")
)


def unpacked(archive: bytes, into: Path) -> Path:
    """The directory in which busybox has made what is in the archive."""
    into.mkdir()
    command = [packages.find("busybox"), "cpio", "-i"]
    subprocess.run(command, input=archive, cwd=into, check=True, capture_output=True)
    return into


def listed(archive: bytes) -> list[str]:
    """The names in it, as busybox prints them."""
    command = [packages.find("busybox"), "cpio", "-t"]
    done = subprocess.run(command, input=archive, check=True, capture_output=True)
    return [os.fsdecode(line) for line in done.stdout.splitlines()]


def test_every_kind_of_entry_is_made(tmp_path: Path) -> None:
    archive = Archive()
    archive.directory("/etc", 0o750)
    archive.file("/etc/motd", b"odd\n\0\xff", 0o640)
    archive.file("/etc/empty", b"", 0o600)
    archive.symlink("/bin/sh", "/usr/bin/bash")
    archive.node("/run/fifo", "p", 0o620)

    made = unpacked(archive.close(), tmp_path / "made")

    assert (made / "etc/motd").read_bytes() == b"odd\n\0\xff"
    assert os.readlink(made / "bin/sh") == "/usr/bin/bash"
    modes = {name: (made / name).lstat().st_mode for name in ("etc", "etc/motd", "etc/empty", "run/fifo")}
    assert modes == {
        "etc": stat.S_IFDIR | 0o750,
        "etc/motd": stat.S_IFREG | 0o640,
        "etc/empty": stat.S_IFREG | 0o600,
        "run/fifo": stat.S_IFIFO | 0o620,
    }


def test_what_is_written_entry_by_entry_is_the_same_archive() -> None:
    written: list[bytes] = []
    kept, streamed = Archive(), Archive(written.append)
    for archive in (kept, streamed):
        archive.file("/etc/motd", b"odd", 0o640)
        archive.symlink("/bin/sh", "/usr/bin/bash")

    assert streamed.close() == b""
    assert b"".join(written) == kept.close()


@pytest.mark.as_root
def test_owners_and_device_nodes_are_made_as_they_were_given(tmp_path: Path) -> None:
    archive = Archive()
    archive.directory("home", 0o700, uid=1001, gid=1002)
    archive.file("home/x", b"x", 0o4755, uid=1003, gid=70000)
    archive.node("dev/ttyS0", "c", 0o620, 4, 64)
    archive.node("dev/vda", "b", 0o660, 254, 300)

    made = unpacked(archive.close(), tmp_path / "made")

    owners = {name: (made / name).lstat() for name in ("home", "home/x")}
    assert [(s.st_uid, s.st_gid) for s in owners.values()] == [(1001, 1002), (1003, 70000)]
    assert stat.S_IMODE((made / "home/x").stat().st_mode) == 0o4755
    serial, disk = (made / "dev/ttyS0").stat(), (made / "dev/vda").stat()
    assert (stat.S_ISCHR(serial.st_mode), serial.st_rdev) == (True, os.makedev(4, 64))
    assert (stat.S_ISBLK(disk.st_mode), disk.st_rdev) == (True, os.makedev(254, 300))


def test_parents_are_made_once_and_before_what_lies_in_them(tmp_path: Path) -> None:
    archive = Archive()
    archive.file("a/b/c", b"", 0o644)
    archive.file("a/b/d", b"", 0o644)
    archive.directory("a/e", 0o700)
    whole = archive.close()

    assert listed(whole) == ["a", "a/b", "a/b/c", "a/b/d", "a/e"]
    assert stat.S_IMODE((unpacked(whole, tmp_path / "made") / "a/b").stat().st_mode) == 0o755


@settings(max_examples=20, deadline=None)
@given(st.lists(parts, min_size=1, max_size=4), st.binary(max_size=50))
def test_any_name_that_linux_allows_comes_through(names: list[bytes], content: bytes) -> None:
    path = os.fsdecode(b"/".join(names))
    archive = Archive()
    archive.file(path, content, 0o644)
    archive.file("next/" + path, content, 0o644)

    with scratch() as place:
        made = unpacked(archive.close(), place / "made")
        assert [(made / name).read_bytes() for name in (path, "next/" + path)] == [content] * 2


def test_equal_entries_are_equal_bytes_with_inodes_of_their_own() -> None:
    def made() -> bytes:
        archive = Archive()
        archive.file("a/x", b"1", 0o644)
        archive.symlink("a/y", "x")
        return archive.close()

    whole = made()
    inodes = [whole[at + 6 : at + 14] for at in range(0, len(whole), 4) if whole[at : at + 6] == b"070701"]
    assert whole == made()
    assert len(set(inodes)) == len(inodes) == 4


@pytest.mark.parametrize("path", ["", "/", "a/../b", "./a", "a//b", "a\0b", "TRAILER!!!", "x/" * 2048 + "x"])
def test_a_path_that_the_kernel_would_not_make_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"no path|too long"):
        Archive().file(path, b"", 0o644)


def test_nothing_is_written_over_or_below_another_entry() -> None:
    archive = Archive()
    archive.symlink("lib", "usr/lib")

    with pytest.raises(ValueError, match="already"):
        archive.directory("lib", 0o755)
    with pytest.raises(ValueError, match="no directory"):
        archive.file("lib/x", b"", 0o644)


def test_numbers_that_have_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bits"):
        Archive().file("a", b"", 0o644, uid=1 << 32)
    with pytest.raises(ValueError, match="permissions"):
        Archive().file("a", b"", 0o100644)
