"""A private directory for the sockets of one run, and the sweeping of those that a killed launcher left.

BASE/claude-sandbox/PID-RANDOM      0700; locked (flock) by its living launcher
BASE: XDG_RUNTIME_DIR; without one, or with a long one, /tmp/claude-sandbox-UID
"""

from __future__ import annotations

import os

from launcher.errors import HostError

LONGEST = 60  # bytes of a parent: what follows is /PID-RANDOM/dbus-session


class RuntimeDirectory:
    """A new directory at `path`, until `close`. Raises HostError when none can be made."""

    def __init__(self, base: str) -> None:
        """`base`: XDG_RUNTIME_DIR, known to be ours, or "" when there is none."""
        shared = f"/tmp/claude-sandbox-{os.getuid()}"
        # A name in /tmp is whoever's came first; the last of these nobody can have taken before us.
        parents = [f"{base}/claude-sandbox"] if base else []
        parents += [shared, f"{shared}-{os.urandom(4).hex()}"]
        failure: OSError | None = None
        for parent in parents:
            try:
                # A socket's path has at most 107 bytes (unix(7)); xdg-dbus-proxy is silent about more.
                if len(os.fsencode(parent)) <= LONGEST:
                    self._make(parent)
                    return
            except OSError as error:
                failure = error
        why = failure.strerror if failure else "no name is short enough"
        raise HostError(f"no private directory in /tmp: {why}", f"make room there, or remove {shared}")

    def _make(self, parent: str) -> None:
        import fcntl

        holder = private(parent)
        try:
            # Makers and sweepers one at a time: nobody sees a directory that is not locked yet.
            fcntl.flock(holder, fcntl.LOCK_EX)
            sweep(parent)
            self.path = f"{parent}/{os.getpid()}-{os.urandom(4).hex()}"
            os.mkdir(self.path, 0o700)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(holder)

    def close(self) -> None:
        """Remove it with all in it."""
        remove(self.path)
        os.close(self._lock)


def base(path: str) -> str:
    """`path` when it is a directory of ours and nobody else's (what the XDG specification wants), else ""."""
    try:
        stat = os.lstat(path)
    except OSError:
        return ""
    ours = stat.st_mode & 0o170000 == 0o040000 and stat.st_uid == os.getuid() and not stat.st_mode & 0o077
    return path if ours and path.startswith("/") else ""


def private(path: str) -> int:
    """A descriptor of the directory `path`, made if it is missing; OSError unless it is ours alone
    and no link.
    """
    if not os.path.lexists(path):
        os.mkdir(path, 0o700)
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stat = os.fstat(number)
    if stat.st_uid != os.getuid() or stat.st_mode & 0o077:
        os.close(number)
        raise PermissionError(1, "it is another's, or open to others")
    return number


def sweep(parent: str) -> None:
    """Remove what launchers left that were killed: directories that nobody holds locked."""
    import fcntl

    for name in os.listdir(parent):
        path = f"{parent}/{name}"
        try:
            number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # not a directory of ours
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
        except OSError:
            continue  # alive
        finally:
            os.close(number)


def remove(path: str) -> None:
    """Remove a directory of sockets and files; one that is gone already is fine."""
    try:
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        return
