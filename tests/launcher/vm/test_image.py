"""What an image says of itself, and every way in which a file is none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import packages
from launcher.errors import HostError
from launcher.vm import image
from launcher.vm.kernel import Kernel
from tests.launcher.vm.forged import RELEASE, bzimage, vmlinux


def zstd(content: bytes) -> bytes:
    command = [packages.find("zstd"), "-c", "-q"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def gzip_with_its_own_size(content: bytes) -> bytes:
    """What is cut off again: the forged image appends the size, which gzip's build does not."""
    return gzip.compress(content)[:-4]


def read(tmp_path: Path, content: bytes) -> image.Image:
    path = tmp_path / "image"
    path.write_bytes(content)
    return image.read(str(path))


@pytest.mark.parametrize("content", [bzimage(), vmlinux()], ids=["bzImage", "vmlinux"])
def test_the_release_is_read_from_the_image(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content).release == RELEASE


@pytest.mark.parametrize("compress", [lzma.compress, gzip_with_its_own_size, bz2.compress, zstd])
def test_the_vmlinux_is_unpacked_and_its_size_is_known_before(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    found = read(tmp_path, bzimage(compress=compress))

    assert image.extracted(found) == vmlinux()
    assert image.size(found) == len(vmlinux())


def test_what_nothing_here_unpacks_is_no_error(tmp_path: Path) -> None:
    assert image.extracted(read(tmp_path, bzimage(compress=lambda _: b"\x02\x21\x4c\x18lz4"))) is None


def test_a_vmlinux_that_qemu_could_not_start_is_not_unpacked(tmp_path: Path) -> None:
    assert image.extracted(read(tmp_path, bzimage(vmlinux(note=b"")))) is None


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(lzma.compress(vmlinux())[:-8], id="cut"),
        pytest.param(lzma.compress(vmlinux()[:-1]), id="another-size"),
    ],
)
def test_a_damaged_payload_is_said(tmp_path: Path, payload: bytes) -> None:
    found = read(tmp_path, bzimage(vmlinux(), compress=lambda _: payload))

    with pytest.raises(HostError, match="is damaged"):
        image.extracted(found)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "neither a bzImage nor a vmlinux", id="empty"),
        pytest.param(b"#!/bin/sh\n" * 100, "neither a bzImage nor a vmlinux", id="text"),
        pytest.param(bzimage()[:0x240], "neither a bzImage nor a vmlinux", id="header-cut"),
        pytest.param(bzimage()[:1200], "it ends too early", id="payload-cut"),
        pytest.param(bzimage(release="a/../b"), "its release reads", id="release-is-a-path"),
        pytest.param(bzimage(release=".."), "its release reads", id="release-is-above"),
        pytest.param(bzimage(release="6/../../b"), "its release reads", id="release-climbs"),
        pytest.param(bzimage(release="6.1\n"), "its release reads", id="release-has-two-lines"),
        pytest.param(vmlinux(note=b""), "PVH", id="vmlinux-without-entry"),
        pytest.param(b"\x7fELF" + bytes(1000), "it is a program", id="program"),
    ],
)
def test_what_is_no_kernel_is_said_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(HostError, match=f"no kernel for the VM: .*{why}") as caught:
        read(tmp_path, content)

    assert str(tmp_path / "image") in caught.value.what


def test_an_old_kernel_has_no_payload_that_is_known(tmp_path: Path) -> None:
    old = bytearray(bzimage())
    old[0x206:0x208] = b"\x07\x02"

    with pytest.raises(HostError, match=r"before Linux 2\.6\.26"):
        read(tmp_path, bytes(old))


def test_what_cannot_be_read_is_said_and_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    for name, why in (("fifo", "it is no file"), ("gone", "No such file"), ("", "it is no file")):
        with pytest.raises(HostError, match=f"cannot be read: {why}"):
            image.read(str(tmp_path / name))


def test_a_real_kernel_is_read(fetched: Kernel) -> None:
    found = image.read(fetched.image)

    assert fetched.image.endswith(f"vmlinuz-{found.release}")
    assert 20 << 20 < image.size(found) < 300 << 20
