"""What can be made again, kept between runs: under XDG_CACHE_HOME, which no sandbox gets.

Files and directories that are not the user's alone to write are refused all the same: what lies here becomes
the guest's kernel, or says that KVM can be relied on.
"""

from __future__ import annotations

import os
import stat
import time

from launcher.errors import HostError
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPORARY = ".tmp-"  # a name that begins so is never used
ABANDONED_S = 3600  # after which a temporary file is that of a process that was killed


def cache_dir(environ: Mapping[str, str], home: str) -> str:
    """$XDG_CACHE_HOME/claude-sandbox; a relative value is ignored, as the XDG specification asks."""
    base = environ.get("XDG_CACHE_HOME", "")
    return f"{base if base.startswith('/') else home + '/.cache'}/claude-sandbox"


def check(path: str, found: os.stat_result | None = None) -> None:
    """Raises HostError when `path` (`found`, if that was looked at) is not ours, or others may write it;
    OSError when it is not there. A link is no file of ours: who may write its target does not show.
    """
    found = found or os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        why = "is a symbolic link"
    elif found.st_uid != os.geteuid():
        why = "belongs to somebody else"
    elif found.st_mode & 0o022:
        why = "can be written by others"
    else:
        return
    raise HostError(f"{printable(path)}, of the cache, {why}", "remove it: it is made again")


def made(directory: str) -> str:
    """`directory`, 0700 if it had to be made. Raises HostError when it cannot be, or is not ours alone."""
    try:
        _make(directory)
        # Through a link: a user may keep a cache on another disk, and who makes links beside it is the user.
        check(directory, os.stat(directory))
    except OSError as error:
        raise _unwritable(directory, error) from error
    return directory


def write(path: str, content: bytes) -> None:
    """`path` (in a directory that `made` gave), 0600, with `content`: whole or not at all, even when the
    machine stops. Raises HostError.
    """
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/{TEMPORARY}{name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)  # or the name could be on the disk before the content is
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException as error:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def keep_newest(directory: str, prefix: str, count: int) -> None:
    """Of the files that begin with `prefix` only the `count` that were used last stay (see `used`)."""
    ages = []
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                age = entry.stat(follow_symlinks=False).st_mtime
            except FileNotFoundError:  # another start has removed it
                continue
            if entry.name.startswith(TEMPORARY + prefix):
                if age < time.time() - ABANDONED_S:
                    _removed(entry.path)
            elif entry.name.startswith(prefix):
                ages.append((age, entry.path))
    for _, path in sorted(ages, reverse=True)[count:]:
        _removed(path)


def used(path: str) -> None:
    """Note that a file was used now, for `keep_newest`."""
    os.utime(path)


def _make(directory: str) -> None:
    """By hand: os.makedirs leaves what lies between to the umask."""
    above = directory.rpartition("/")[0]
    if above and not os.path.lexists(above):
        _make(above)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:  # always, or another start was first
        return


def _removed(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return  # another start was first


def _unwritable(path: str, error: OSError) -> HostError:
    what = f"the cache cannot be written: {printable(path)}: {error.strerror or error}"
    return HostError(what, "make room there, or set XDG_CACHE_HOME to a directory of yours that has some")
