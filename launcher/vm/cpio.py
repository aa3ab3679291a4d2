"""An archive in the newc format of cpio, which the kernel unpacks as its initramfs.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c. No more
than that reads is written: no hard links (one link each, of a directory, too), no checksums, all times 0, so
that equal entries are equal bytes.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
DIRECTORY, FILE, SYMLINK = 0o040000, 0o100000, 0o120000
KINDS = {"c": 0o020000, "b": 0o060000, "p": 0o010000}  # as mknod(1) spells them
NAME_LIMIT = 4095  # bytes; a longer name the kernel passes over without a word (PATH_MAX with its NUL)
MAX_FIELD = 0xFFFFFFFF


class Archive:
    """Entries are added in the order in which the kernel is to make them, then `close` gives the bytes. With
    `write` they go there one by one, and are not kept.

    Paths are `str` by os.fsdecode, absolute or relative to the root of the archive. Directories above an
    entry that were not added are made as root's, 0755. What can only be a mistake raises ValueError: a path
    that is no plain one or is there already, a number or a content that has no room in its field. A directory
    alone may be added once more, which gives it another mode and owner.
    """

    def __init__(self, write: Callable[[bytes], object] | None = None) -> None:
        self._chunks: list[bytes] = []
        self._write = write or self._chunks.append
        self._entries = 0
        self._kinds: dict[str, int] = {}

    def directory(self, path: str, mode: int, uid: int = 0, gid: int = 0) -> None:
        """A directory; `mode` is its permissions."""
        self._add(path, DIRECTORY, mode, owner=(uid, gid))

    def file(self, path: str, content: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
        """A regular file."""
        self._add(path, FILE, mode, content, owner=(uid, gid))

    def symlink(self, path: str, target: str, uid: int = 0, gid: int = 0) -> None:
        """A symbolic link, its target kept as it is."""
        self._add(path, SYMLINK, 0o777, _encoded(target), owner=(uid, gid))

    def node(self, path: str, kind: str, mode: int, major: int = 0, minor: int = 0) -> None:
        """A device node or a fifo; `kind` is "c", "b" or "p"."""
        self._add(path, KINDS[kind], mode, device=(major, minor))

    def close(self) -> bytes:
        """The whole archive, but for what `write` was given.

        The kernel unpacks several in a row, each beginning at a multiple of 4 bytes.
        """
        self._entry(TRAILER, 0)
        archive = b"".join(self._chunks)
        self._chunks.clear()
        self._kinds.clear()
        return archive

    def _add(
        self,
        path: str,
        kind: int,
        mode: int,
        content: bytes = b"",
        *,
        owner: tuple[int, int] = (0, 0),
        device: tuple[int, int] = (0, 0),
    ) -> None:
        name = _plain(path)
        if name in self._kinds and not kind == self._kinds[name] == DIRECTORY:
            raise ValueError(f"{path!r} is in the archive already")
        if mode & ~0o7777:
            raise ValueError(f"{path!r}: {mode:#o} is more than permissions")
        self._parents(name)
        self._kinds[name] = kind
        self._entry(name, kind | mode, content, owner, device)

    def _parents(self, name: str) -> None:
        at = name.find("/")
        while at > 0:
            parent = name[:at]
            if parent not in self._kinds:
                self._kinds[parent] = DIRECTORY
                self._entry(parent, DIRECTORY | 0o755)
            elif self._kinds[parent] != DIRECTORY:
                raise ValueError(f"{parent!r}, above {name!r}, is no directory")
            at = name.find("/", at + 1)

    def _entry(
        self,
        name: str,
        mode: int,
        content: bytes = b"",
        owner: tuple[int, int] = (0, 0),
        device: tuple[int, int] = (0, 0),
    ) -> None:
        encoded = _encoded(name) + b"\0"
        self._entries += 1
        # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        fields = (self._entries, mode, *owner, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        if any(not 0 <= field <= MAX_FIELD for field in fields):
            raise ValueError(f"{name!r} has a number that is no 32 bits: {fields}")
        header = MAGIC + b"".join(b"%08X" % field for field in fields)
        self._write(_padded(header + encoded))
        self._write(content)
        self._write(bytes(-len(content) % 4))


def _plain(path: str) -> str:
    name = path.strip("/")
    encoded = os.fsencode(name)
    if any(part in ("", ".", "..") for part in name.split("/")) or b"\0" in encoded or name == TRAILER:
        raise ValueError(f"{path!r} is no path for an archive")
    if len(encoded) > NAME_LIMIT:
        raise ValueError(f"{path[:40]!r}… is too long for the kernel: {len(encoded)} bytes")
    return name


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
