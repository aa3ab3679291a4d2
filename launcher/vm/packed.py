"""Unpacks what kernels and modules are compressed by: xz, gzip, bzip2; zstd where Python or a program can."""

from __future__ import annotations

import os

XZ, GZIP, BZIP2, ZSTD = b"\xfd7zXZ\0", b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd"
ELF = b"\x7fELF"
# Not the user's PATH, on which an agent may have put one.
SYSTEM = {"PATH": "/usr/bin:/bin:/run/current-system/sw/bin"}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Decompressor(Protocol):
        """What lzma, bz2, zlib and zstd have in common."""

        @property
        def eof(self) -> bool: ...

        def decompress(self, data: bytes, /) -> bytes: ...


def unpacked(data: bytes) -> bytes | None:
    """The content of compressed `data`; what is an ELF file is that already. None: nothing here unpacks it.

    What follows the compressed stream is left out, but for zstd. Raises ValueError when it is damaged.
    """
    if data.startswith(ELF):
        return data
    if data.startswith(ZSTD):
        return _by_zstd(data)
    if (decompressor := _decompressor(data)) is None:
        return None
    return _whole(decompressor, data)


def _decompressor(data: bytes) -> Decompressor | None:
    # Late: each costs 2 ms, and none is needed once the kernel is in the cache and its modules are plain.
    if data.startswith(XZ):
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ)
    if data.startswith(GZIP):
        import zlib

        return zlib.decompressobj(16 + zlib.MAX_WBITS)  # 16: with gzip's header
    if data.startswith(BZIP2):
        import bz2

        return bz2.BZ2Decompressor()
    return None


def _whole(decompressor: Decompressor, data: bytes) -> bytes:
    try:
        content = decompressor.decompress(data)
    except Exception as error:  # LZMAError, zlib.error, OSError, ZstdError: each has its own
        raise ValueError(str(error)) from error
    if not decompressor.eof:
        raise ValueError("it ends too early")
    return content


def _by_zstd(data: bytes) -> bytes | None:
    """By Python 3.14's own module, or the zstd program; None without both."""
    from importlib import import_module

    try:
        decompressor: Decompressor = import_module("compression.zstd").ZstdDecompressor()
    except ImportError:
        from launcher.host.agent import which

        program = which("zstd", SYSTEM)
        return _by_program((program, "-d", "-c", "-q"), data) if program else None
    return _whole(decompressor, data)


def _by_program(argv: tuple[str, ...], data: bytes) -> bytes:
    from launcher.run.spawn import spawn

    # Files in memory and not pipes: nobody has to read while another writes.
    with (
        os.fdopen(os.memfd_create("packed"), "wb+") as packed,
        os.fdopen(os.memfd_create("unpacked"), "rb") as content,
    ):
        packed.write(data)
        packed.seek(0)
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            child = spawn(argv, SYSTEM, stdio=(packed.fileno(), content.fileno(), null))
            _, status = os.waitpid(child, 0)
        finally:
            os.close(null)
        if status:
            raise ValueError(f"{argv[0]} ended with {os.waitstatus_to_exitcode(status)}")
        content.seek(0)
        return content.read()
