"""A private directory for the sockets of one run, and the sweeping of those that a killed launcher left.

BASE/claude-sandbox-PID-RANDOM   0700; locked (flock) by its living launcher
BASE: XDG_RUNTIME_DIR; without one, or with a long one, /tmp, and UID-PID-RANDOM there
"""

from __future__ import annotations

import os

from launcher.errors import HostError
from launcher.run.spawn import spawn

LONGEST = 60  # bytes of a directory's path: a socket's name follows


class RuntimeDirectory:
    """A new directory at `path`, until `close`. Raises HostError when none can be made."""

    def __init__(self, base: str) -> None:
        """`base`: XDG_RUNTIME_DIR, known to be ours, or "" when there is none."""
        import fcntl

        prefixes = [f"{base}/claude-sandbox-"] if base else []
        prefixes.append(f"/tmp/claude-sandbox-{os.getuid()}-")
        why = "no name is short enough"
        for prefix in prefixes:
            path = f"{prefix}{os.getpid()}-{os.urandom(4).hex()}"
            # A socket's path has at most 107 bytes (unix(7)); xdg-dbus-proxy is silent about more.
            if len(os.fsencode(path)) > LONGEST:
                continue
            try:
                sweep(prefix)
                os.mkdir(path, 0o700)
                self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                self.path = path
                return
            except OSError as error:
                why = error.strerror or str(error)
        raise HostError(f"no private directory in /tmp: {why}", "make room there, or set XDG_RUNTIME_DIR")

    def close(self) -> None:
        """Remove it with all in it; once more does nothing."""
        if self._lock >= 0:
            remove(self.path)
            os.close(self._lock)
            self._lock = -1


class Remover:
    """A process that removes a directory when we end without having closed it, by SIGKILL too."""

    def __init__(self, path: str) -> None:
        read, self._pipe = os.pipe()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        argv = ("/bin/sh", "-c", 'read -r _ || rm -rf -- "$1"', "claude-sandbox", path)
        try:
            self._process = spawn(
                argv, {"PATH": os.defpath}, stdio=(read, nothing, nothing), dies_with_us=False
            )
        finally:
            os.close(read)
            os.close(nothing)

    def close(self) -> None:
        """Leave it as it is."""
        try:
            os.write(self._pipe, b"\n")
        except OSError:
            pass  # somebody has killed it
        os.close(self._pipe)
        os.waitpid(self._process, 0)


def base(path: str) -> str:
    """`path` when it is a directory of ours and nobody else's (what the XDG specification wants), else ""."""
    try:
        stat = os.lstat(path)
    except OSError:
        return ""
    ours = stat.st_mode & 0o170000 == 0o040000 and stat.st_uid == os.getuid() and not stat.st_mode & 0o077
    return path if ours and path.startswith("/") else ""


def sweep(prefix: str) -> None:
    """Remove what launchers left that were killed: directories of ours whose maker is gone, and that nobody
    holds locked.
    """
    import fcntl

    parent, _, start = prefix.rpartition("/")
    for name in os.listdir(parent):
        maker = name[len(start) :].partition("-")[0]
        # Before it is locked its maker lives; afterwards it may do so where we do not see its number.
        if not name.startswith(start) or not maker.isdecimal() or os.path.exists(f"/proc/{maker}"):
            continue
        try:
            number = os.open(f"{parent}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # another's
        try:
            if os.fstat(number).st_uid == os.getuid():
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(f"{parent}/{name}")
        except OSError:
            continue  # alive
        finally:
            os.close(number)


def remove(path: str) -> None:
    """Remove a directory of sockets, files and directories of such; one that is gone already is fine."""
    try:
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                remove(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(path)
    except FileNotFoundError:
        return
