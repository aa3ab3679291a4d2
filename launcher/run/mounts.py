"""Mounts by descriptor: no path of a user's is looked up twice, and none with root's rights.

open_tree(2) clones what a descriptor stands for, mount_setattr(2) (Linux 5.12) makes the clone read-only,
nosuid, nodev before anybody can reach it, move_mount(2) places it on another descriptor.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_IDMAP = 0x100000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
# The same on every architecture: openat2(2) and the new mount calls came after the tables were unified.
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_CLONE3, SYS_OPENAT2, SYS_MOUNT_SETATTR = 428, 429, 435, 437, 442
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_INTO_CGROUP = 0x20000, 0x10000000, 0x20000000, 1 << 33
SIGCHLD = 17
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 0x2, 0x4, 0x10


class Kernel:
    """The calls that Python has no name for. Each raises OSError with what it was about."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._how, self._attr = ctypes.c_uint64 * 3, ctypes.c_uint64 * 4  # struct open_how, mount_attr

    def openat2(self, directory: int, path: str, flags: int, resolve: int) -> int:
        """Open `path`, seen from the descriptor `directory`, as openat2(2)'s RESOLVE_ flags allow."""
        how = self._how(flags | os.O_CLOEXEC, 0, resolve)
        return self._call(
            self._libc.syscall, path, SYS_OPENAT2, directory, os.fsencode(path), how, ctypes.sizeof(how)
        )

    def clone(self, source: int, what: str, *, attributes: int = 0, clear: int = 0) -> int:
        """A mount of what a descriptor stands for, with all that is mounted below; attached nowhere yet."""
        flags = ctypes.c_uint(OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE)
        tree = self._call(self._libc.syscall, what, SYS_OPEN_TREE, source, b"", flags)
        self.set_attributes(tree, what, attributes=attributes, clear=clear, recursive=True)
        return tree

    def set_attributes(
        self, mount: int, what: str, *, attributes: int, clear: int = 0, recursive: bool
    ) -> None:
        """Set and clear MOUNT_ATTR_ flags of a mount, and cut it off from events elsewhere."""
        self._setattr(mount, what, (attributes, clear, MS_PRIVATE, 0), recursive=recursive)

    def map_owners(self, tree: int, what: str, namespace: int) -> None:
        """Have owners in a cloned mount, and below it, mapped as in a user namespace, by its descriptor."""
        self._setattr(tree, what, (MOUNT_ATTR_IDMAP, 0, 0, namespace), recursive=True)

    def _setattr(self, mount: int, what: str, fields: tuple[int, int, int, int], *, recursive: bool) -> None:
        attr = self._attr(*fields)
        flags = ctypes.c_uint(AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0))
        self._call(self._libc.syscall, what, SYS_MOUNT_SETATTR, mount, b"", flags, attr, ctypes.sizeof(attr))

    def attach(self, tree: int, at: int, what: str) -> None:
        """Place a cloned mount on what the descriptor `at` stands for."""
        flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
        self._call(self._libc.syscall, what, SYS_MOVE_MOUNT, tree, b"", at, b"", flags)

    def mount(self, kind: str, target: str, *, flags: int = 0, options: str = "") -> None:
        """mount(2) of a new file system; `kind` "" changes the flags of what is there."""
        data = options.encode() if options else None
        source = kind.encode() or None
        self._call(self._libc.mount, target, source, os.fsencode(target), source, ctypes.c_ulong(flags), data)

    def fork(self, flags: int, cgroup: int = -1) -> int:
        """A fork(2) into new namespaces, and into the cgroup of a descriptor: clone3(2).

        To move it into a cgroup by the file there would take 15 ms: the kernel waits for all that run to pass
        by. Python's own fork does more, for threads: there must be none.
        """
        flags |= CLONE_INTO_CGROUP if cgroup >= 0 else 0
        # flags, pidfd, child_tid, parent_tid, exit_signal, stack, its size, tls, set_tid, its size, cgroup
        arguments = (ctypes.c_uint64 * 11)(flags, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0))
        size = ctypes.sizeof(arguments)
        return self._call(self._libc.syscall, "clone3", SYS_CLONE3, arguments, ctypes.c_size_t(size))

    def prctl(self, option: int, value: int) -> None:
        """prctl(2) with one argument."""
        self._call(self._libc.prctl, "prctl", option, ctypes.c_ulong(value), 0, 0, 0)

    def _call(self, function: Callable[..., int], what: str, *arguments: object) -> int:
        result = function(*arguments)
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), what)
        return result
