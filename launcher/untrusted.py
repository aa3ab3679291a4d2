"""Careful steps in a tree that an agent may have written: bounded, through no planted link, into no fifo."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POINTER_LIMIT = 64 << 10  # bytes; files that hold one path
CONFIG_LIMIT = 1 << 20
MAX_SCANNED = 20_000  # directory entries that one wildcard may look at
MAX_DEPTH = 12
# Inside a git directory nothing below these is a module; a wildcard need not list its thousands of objects.
GIT_INNARDS = frozenset({"objects", "refs", "logs", "hooks", "lfs", "info", "branches", "rr-cache"})

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def printable(name: str) -> str:
    """`name` on one line of a terminal: control characters, undecodable bytes, direction marks as escapes."""
    if name.isascii() and name.isprintable():
        return name
    shown = []
    for c in name:
        if c.isprintable():
            shown.append(c)
        elif 0xDC80 <= ord(c) <= 0xDCFF:  # an undecodable byte, as os.fsdecode keeps it
            shown.append(f"\\x{ord(c) - 0xDC00:02x}")
        else:
            shown.append(f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}")
    return "".join(shown)


def clip(name: str, length: int) -> str:
    """At most the first `length` bytes of `name`."""
    return os.fsdecode(os.fsencode(name)[:length])


def inside(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it, by name alone."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def read(
    path: str, limit: int = POINTER_LIMIT, *, follow: bool = False, dir_fd: int | None = None
) -> bytes | None:
    """The content of a regular file of at most `limit` bytes; None for all else, be it missing or unreadable.

    `follow`: go through a symlink at its end. Looked at before it is opened: opening a device is an act
    already.
    """
    try:
        if not stat.S_ISREG(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow).st_mode):
            return None
        fd = os.open(path, READ | (0 if follow else os.O_NOFOLLOW), dir_fd=dir_fd)
    except (OSError, ValueError):  # ValueError: a NUL in a name read from a file
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            return None
        content = bytearray()
        while chunk := os.read(fd, limit + 1 - len(content)):
            content += chunk
            if len(content) > limit:
                return None
        return bytes(content)
    except OSError:
        return None
    finally:
        os.close(fd)


def mode_of(path: str, *, follow: bool = False) -> int:
    """st_mode, or 0 when nothing is there."""
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except (OSError, ValueError):
        return 0


def open_parent(root: str, relative: str) -> tuple[int, str]:
    """A descriptor of the directory that holds `relative` under `root`, and the last name; follows no
    symlink.

    `root` is the caller's own word. Raises OSError: ENOTDIR or ELOOP where a component is a symlink, ENOENT.
    """
    *parents, name = relative.split("/")
    if not name or any(p in ("", ".", "..") for p in (*parents, name)):
        raise OSError(22, "not a plain relative path", relative)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parents:
        try:
            below = os.open(part, DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd, name


def expand(base: str, pattern: str, budget: list[int] | None = None) -> Iterator[str]:
    """Paths under `base` that `pattern` names: `*` is anything within one name, `**` any number of
    directories.

    A path without wildcards is yielded whether it is there or not, so that its appearing can be seen. No
    symlink is followed where a wildcard stands; the walk is bounded, and what lies beyond is left out: then
    the one number in `budget`, of entries that may be looked at, has come down to 0.
    """
    yield from _expand(base, pattern.split("/"), [MAX_SCANNED] if budget is None else budget, MAX_DEPTH)


def _expand(base: str, parts: list[str], budget: list[int], depth: int) -> Iterator[str]:
    plain = 0
    while plain < len(parts) and "*" not in parts[plain]:
        plain += 1
    here = "/".join([base, *parts[:plain]])
    if plain == len(parts):
        yield here
        return
    wild, rest = parts[plain], parts[plain + 1 :]
    names = _directories(here, budget) if rest or wild == "**" else _names(here, budget)
    if wild == "**":
        if rest and all("*" not in r for r in rest):
            found = "/".join([here, *rest])
            if mode_of(found):
                yield found
        elif rest:
            yield from _expand(here, rest, budget, depth)
        # Not where the wildcard begins: a HEAD planted there would hide modules that are called like innards.
        inner = depth < MAX_DEPTH and os.path.lexists(f"{here}/HEAD")
        skip = GIT_INNARDS if inner else frozenset()
        for name in names if depth else ():
            if name not in skip:
                yield from _expand(f"{here}/{name}", ["**", *rest], budget, depth - 1)
        return
    for name in names:
        if _matches(name, wild):
            yield from _expand(f"{here}/{name}", rest, budget, depth) if rest else (f"{here}/{name}",)


def _matches(name: str, wild: str) -> bool:
    first, *middle, last = wild.split("*")
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at = len(first)
    for part in middle:
        at = name.find(part, at, len(name) - len(last))
        if at < 0:
            return False
        at += len(part)
    return True


def _names(
    directory: str, budget: list[int], keep: Callable[[os.DirEntry[str]], bool] | None = None
) -> list[str]:
    names = []
    try:
        if not stat.S_ISDIR(mode_of(directory)):
            return []
        with os.scandir(directory) as entries:
            for entry in entries:
                if budget[0] <= 0:
                    break
                budget[0] -= 1
                if keep is None or keep(entry):
                    names.append(entry.name)
    except OSError:
        return []
    return sorted(names)


def _directories(directory: str, budget: list[int]) -> list[str]:
    return _names(directory, budget, lambda e: e.is_dir(follow_symlinks=False))
