"""A kernel's image as a file: a bzImage by its setup header, or the vmlinux that is packed in it.

Source: the kernel's Documentation/arch/x86/boot.rst, for the fields and for what the payload is.
"""

from __future__ import annotations

import os
import stat
import struct

from launcher.errors import HostError
from launcher.record import Record
from launcher.untrusted import READ, printable
from launcher.vm.packed import ELF, GZIP, unpacked

HEADER = 0x268  # bytes, up to the end of the fields that are read
# Offsets in the header: where the setup code ends (in sectors), the release's text, the payload.
BOOT_FLAG, MAGIC, VERSION, RELEASE, SECTORS, PAYLOAD = 0x1FE, 0x202, 0x206, 0x20E, 0x1F1, 0x248
SECTOR = 512
RELEASE_LIMIT = 64  # bytes; __NEW_UTS_LEN of linux/utsname.h
BANNER = b"Linux version "  # linux_banner of init/version.c, in every vmlinux
# The ELF note of the PVH entry, Xen's type 18 (XEN_ELFNOTE_PHYS32_ENTRY): QEMU starts no vmlinux without.
PVH = b"\x12\0\0\0Xen\0"


class Image(Record):
    """`offset` and `length`, in bytes: of the compressed vmlinux in a bzImage; 0 for a vmlinux itself."""

    path: str
    release: str
    offset: int = 0
    length: int = 0


def read(path: str) -> Image:
    """What the image says of itself. Raises HostError for what cannot be read or is no kernel that boots."""
    try:
        fd = _opened(path)
        try:
            header = os.pread(fd, HEADER, 0)
            return _vmlinux(fd, path) if header.startswith(ELF) else _bzimage(fd, path, header)
        finally:
            os.close(fd)
    except OSError as error:
        what = f"the kernel {printable(path)} cannot be read: {error.strerror or error}"
        raise HostError(what, "let your user read it, or take another by --kernel PATH") from error


def size(image: Image) -> int:
    """The size that the vmlinux has when it is unpacked: what the payload's last four bytes say."""
    fd = _opened(image.path)
    try:
        return int.from_bytes(os.pread(fd, 4, image.offset + image.length - 4), "little")
    finally:
        os.close(fd)


def extracted(image: Image) -> bytes | None:
    """The vmlinux that is packed in a bzImage. None: nothing here unpacks it, or QEMU could not start it.

    Raises HostError when it is damaged.
    """
    fd = _opened(image.path)
    try:
        payload = os.pread(fd, image.length, image.offset)
    finally:
        os.close(fd)
    # gzip ends in the size by itself; to all others the kernel's build appends it (size_append).
    try:
        content = unpacked(payload if payload.startswith(GZIP) else payload[:-4])
        if content is not None and len(content) != size(image):
            raise ValueError("its size is not what it says")
    except ValueError as error:
        raise HostError(
            f"the kernel {printable(image.path)} is damaged: {error}", "install it again"
        ) from error
    return content if content is not None and content.startswith(ELF) and PVH in content else None


def _opened(path: str) -> int:
    fd = os.open(path, READ)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(22, "it is no file", path)
    return fd


def _bzimage(fd: int, path: str, header: bytes) -> Image:
    if (
        len(header) < HEADER
        or header[BOOT_FLAG : BOOT_FLAG + 2] != b"\x55\xaa"
        or header[MAGIC:][:4] != b"HdrS"
    ):
        raise _no_kernel(path, "it is neither a bzImage nor a vmlinux")
    version, pointer = (int.from_bytes(header[at : at + 2], "little") for at in (VERSION, RELEASE))
    if version < 0x208 or not pointer:
        raise _no_kernel(path, "it is from before Linux 2.6.26")
    text = os.pread(fd, RELEASE_LIMIT + 1, pointer + 0x200)
    offset, length = struct.unpack_from("<II", header, PAYLOAD)
    offset += (header[SECTORS] + 1) * SECTOR
    if length < 8 or offset + length > os.fstat(fd).st_size:
        raise _no_kernel(path, "it ends too early")
    return Image(path=path, release=_release(path, text), offset=offset, length=length)


def _vmlinux(fd: int, path: str) -> Image:
    import mmap

    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as content:
        at = content.find(BANNER)
        if at < 0:
            raise _no_kernel(path, "it is a program")
        if content.find(PVH) < 0:
            raise _no_kernel(path, "QEMU starts no vmlinux without a PVH entry (CONFIG_PVH)")
        start = at + len(BANNER)
        return Image(path=path, release=_release(path, content[start : start + RELEASE_LIMIT + 1]))


def _release(path: str, text: bytes) -> str:
    """The first word of `text`. It becomes part of paths, so no byte of it may mean something there."""
    release = (text.replace(b"\0", b" ").split(b" ") or [b""])[0].decode("ascii", "replace")
    if not (release[:1].isdecimal() and release.isascii() and release.isprintable() and "/" not in release):
        raise _no_kernel(path, f"its release reads {printable(release)!r}")
    return release


def _no_kernel(path: str, why: str) -> HostError:
    return HostError(
        f"{printable(path)} is no kernel for the VM: {why}", "name a bzImage or a vmlinux of x86"
    )
