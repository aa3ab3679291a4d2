"""Bind mounts over symlinks, which bwrap cannot make: it resolves a destination before it mounts there.

A dotfile manager keeps ~/.claude/settings.json as a link. Inside a writable ~/.claude a link can be
replaced, unless it is a mount point; and a mount may lie on a link when it is moved there by descriptor
(open_tree(2), move_mount(2), Linux 5.2). So it is done before bwrap starts, in a user and mount namespace of
its own, from which bwrap binds as from any other host. A virtual machine's init, which is root, runs this
file as a program: FILE LINK, again and again.
"""

from __future__ import annotations

import ctypes
import os
import sys

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SYS_OPEN_TREE, SYS_MOVE_MOUNT = 428, 429  # the same on every architecture
AT_FDCWD, OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = -100, 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40


def cover(pairs: tuple[tuple[str, str], ...]) -> None:
    """For each (file, link): mount the file on the link itself. Leaves the process in new namespaces.

    Raises OSError: the kernel is too old, or user namespaces are restricted.
    """
    libc = _libc()
    uid, gid = os.getuid(), os.getgid()
    _done(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(file, line.encode())
        os.close(file)
    _done(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount")
    mount(pairs)


def mount(pairs: tuple[tuple[str, str], ...]) -> None:
    """The mounts alone, by who may make them. Raises OSError."""
    libc = _libc()
    for source, link in pairs:
        flags = ctypes.c_uint(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
        tree = _done(libc.syscall(SYS_OPEN_TREE, AT_FDCWD, os.fsencode(source), flags), source)
        at = os.open(link, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        how = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        _done(libc.syscall(SYS_MOVE_MOUNT, tree, b"", at, b"", ctypes.c_uint(how)), link)
        os.close(tree)
        os.close(at)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result


if __name__ == "__main__":
    mount(tuple(zip(sys.argv[1::2], sys.argv[2::2], strict=True)))
