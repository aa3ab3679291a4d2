"""Root's rights in reserve: the permitted capabilities of a process that has the user's ids, all of them.

A saved set-user-ID of 0 would do, but for FUSE: a user's file system is closed to who has any id but theirs
(fuse(4), allow_other). None of it is in effect until it is taken; execve(2) drops it, and ptrace(2) by the
user is refused (capabilities(7), "Effect of user ID changes").
"""

from __future__ import annotations

import os

from launcher.run.spawn import kernel

PR_SET_KEEPCAPS = 8
VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two of (effective, permitted, inheritable)


def keep(uid: int, gid: int, groups: tuple[int, ...] | list[int]) -> None:
    """From root to the user, root's rights in reserve."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    if kernel()("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0):
        raise OSError("prctl: PR_SET_KEEPCAPS")
    os.setresuid(uid, uid, uid)


def take() -> None:
    """All ids root's, no groups, all rights in effect."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0], sets[3] = sets[1], sets[4]
    libc.capset(header, sets)
    os.setresuid(0, 0, 0)  # raises PermissionError when there was nothing in reserve
    os.setgroups([])
    os.setresgid(0, 0, 0)
