"""What is compressed comes back whole, is said to be damaged, or that nothing here unpacks it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable

import pytest

from fixtures import packages
from launcher.vm import packed
from launcher.vm.packed import ELF, unpacked

CONTENT = ELF + bytes(range(256)) * 4000


def zstd(content: bytes) -> bytes:
    command = [packages.find("zstd"), "-c", "-q"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def xz(content: bytes) -> bytes:
    # As the kernel's own scripts/xz_wrap.sh does.
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2}]
    return lzma.compress(content, check=lzma.CHECK_CRC32, filters=filters)


COMPRESSORS = pytest.mark.parametrize("compress", [xz, gzip.compress, bz2.compress, zstd])


@COMPRESSORS
def test_what_is_compressed_comes_back_whole(compress: Callable[[bytes], bytes]) -> None:
    assert unpacked(compress(CONTENT)) == CONTENT


@COMPRESSORS
def test_what_ends_too_early_is_damaged(compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(compress(CONTENT)[:-9])


@COMPRESSORS
def test_what_is_not_what_it_begins_as_is_damaged(compress: Callable[[bytes], bytes]) -> None:
    whole = compress(CONTENT)

    with pytest.raises(ValueError, match=r"."):
        unpacked(whole[:8] + b"\xff" * 64 + whole[72:])


@pytest.mark.parametrize("compress", [xz, gzip.compress, bz2.compress])
def test_what_follows_is_left_out(compress: Callable[[bytes], bytes]) -> None:
    assert unpacked(compress(CONTENT) + b"\1\2\3\4") == CONTENT


def test_an_elf_file_is_left_as_it_is() -> None:
    assert unpacked(CONTENT) == CONTENT


def test_a_format_that_nothing_here_unpacks_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpacked(b"\x02\x21\x4c\x18lz4") is None
    monkeypatch.setattr(packed, "SYSTEM", {"PATH": "/nonexistent"})
    assert packed._by_zstd(zstd(CONTENT)) in (None, CONTENT)  # Python 3.14 needs no program
