"""Who owns what in a directory that is written to inside: what is root there is nobody on the disk.

An idmapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP) takes the mapping from a user namespace, here

    on the disk    inside
    0              65534, which is nobody: so does bubblewrap's user namespace show files of root's
    65534          4294967294
    all others     the same

and nothing on the disk is 0 inside: the kernel refuses a file of whose making root would be the owner
(EOVERFLOW), and its setuid bit would be worth something outside.
"""

from __future__ import annotations

import os

from launcher.run.mounts import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from launcher.run.mounts import Kernel
else:
    import _signal

NOBODY, LAST = 65534, 4294967294
# user_namespaces(7): an ID on the disk, what it is inside, how many from there on.
UIDS = f"0 {NOBODY} 1\n1 1 {NOBODY - 1}\n{NOBODY} {LAST} 1\n{NOBODY + 1} {NOBODY + 1} {LAST - NOBODY - 1}\n"
GIDS = f"0 0 {LAST + 1}\n"


def mapping(kernel: Kernel) -> int:
    """A descriptor of such a user namespace; -1 where none can be made (user.max_user_namespaces)."""
    try:
        child = kernel.fork(CLONE_NEWUSER)
    except OSError:
        return -1
    if child == 0:
        while True:
            _signal.pause()
    try:
        for name, text in (("uid_map", UIDS), ("gid_map", GIDS)):
            with open(f"/proc/{child}/{name}", "wb", buffering=0) as file:
                file.write(text.encode())
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    finally:
        os.kill(child, _signal.SIGKILL)
        os.waitpid(child, 0)
