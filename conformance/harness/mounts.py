"""Mounts that only this test run sees: what a host has at a fixed path, without changing the machine.

In a mount namespace of our own (mount_namespaces(7)), which all that we start inherits and that ends with us,
killed or not. Root makes one. For an ordinary user the test run's workers are started in one, with sudo, and
told by a variable which it is.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from conformance.harness.errors import HarnessError
from fixtures.errors import FixtureError
from fixtures.process import output
from fixtures.users import User

NAMESPACE = "CONFORMANCE_MOUNT_NAMESPACE"
CLONE_NEWNS = 0x00020000
REMEDY = "run pytest with -n 1, as someone whose sudo asks no password"
DEV = Path("/dev")
_SELF = "/proc/thread-self/ns/mnt"


class Mounts:
    """`why_not`: why this run has no namespace of its own, "" when it has one. Make it in the main thread."""

    def __init__(self) -> None:
        self.why_not = _enter()
        # Each target, with what was made for it: itself, and the directories above it.
        self._made: list[tuple[Path, list[Path]]] = []
        self._hidden: list[Path] = []

    def bind(self, source: Path, target: Path) -> None:
        """Put `source`, a file or a directory, over `target`, which is made when it is not there."""
        if self.why_not:
            raise HarnessError(self.why_not, REMEDY)
        if self.bound(target):
            return
        made = [path for path in (target, *target.parents) if not path.exists()]
        if made:
            make = ("mkdir", "-p") if source.is_dir() else ("touch",)
            output((*_sudo(), *make, str(target)))
        output((*_sudo(), "mount", "--bind", str(source), str(target)))
        self._made.append((target, made))

    def bound(self, target: Path) -> bool:
        """Whether something is over it by `bind`."""
        return any(target == other for other, _ in self._made)

    def unbind(self, target: Path) -> None:
        """Take the topmost one of these away again, with its mount point if that was made."""
        at = max(number for number, (other, _) in enumerate(self._made) if other == target)
        _, made = self._made.pop(at)
        output((*_sudo(), "umount", "--lazy", str(target)))
        for path in made:
            with suppress(OSError, FixtureError):  # others may have come to use it
                output((*_sudo(), "rmdir" if path.is_dir() else "rm", str(path)))

    def hide(self, target: Path) -> None:
        """Empty the directory, for a host that has none, until `show`. One that we run from stays."""
        runs_from_it = Path(sys.executable).resolve().is_relative_to(target)
        if target not in self._hidden and not self.why_not and target.exists() and not runs_from_it:
            output((*_sudo(), "mount", "-t", "tmpfs", "-o", "ro", "none", str(target)))
            self._hidden.append(target)

    def own_devices(self, directory: Path) -> None:
        """Put a /dev of our own, a copy without graphics cards, in the place of the machine's until `show`.

        Nodes that are made in it are seen by nobody else.
        """
        if self.why_not:
            raise HarnessError(self.why_not, REMEDY)
        if DEV in self._hidden:
            return
        # Not on the file system of `directory`, which may be mounted nodev.
        output((*_sudo(), "mount", "-t", "tmpfs", "-o", "mode=755", "none", str(directory)))
        self._hidden.append(directory)
        output((*_sudo(), "cp", "--archive", "--one-file-system", f"{DEV}/.", str(directory)))
        output((*_sudo(), "rm", "-rf", *(str(directory / path.name) for path in graphics())))
        for name in ("pts", "shm"):
            output((*_sudo(), "mount", "--bind", str(DEV / name), str(directory / name)))
            self._hidden.append(directory / name)
        output((*_sudo(), "mount", "--rbind", str(directory), str(DEV)))
        self._hidden.append(DEV)

    def show(self) -> None:
        """What was hidden is there again."""
        while self._hidden:
            output((*_sudo(), "umount", "--lazy", str(self._hidden.pop())))

    def close(self) -> None:
        """Take all of it away again, with the mount points that were made."""
        self.show()
        while self._made:
            self.unbind(self._made[-1][0])


def graphics() -> list[Path]:
    """What a machine with graphics cards has of them in /dev."""
    return [path for pattern in ("dri", "nvidia*") for path in sorted(DEV.glob(pattern))]


def python_in_namespace(user: User) -> str:
    """A command line for Python in a mount namespace of its own, as the user; "" where sudo asks first.

    For whoever starts processes by such a line, as execnet does.
    """
    if os.geteuid() == 0 or not _may_sudo():
        return ""
    who = (f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups")
    told = f'export {NAMESPACE}=$(readlink {_SELF}); exec "$@"'
    # sudo sets these two anew, whatever is kept of the rest.
    same = [f"{name}={os.environ[name]}" for name in ("PATH", "HOME") if name in os.environ]
    unshare = ("unshare", "--mount", "--propagation", "private", "--", "setpriv", *who, "--")
    return shlex.join(("sudo", "-n", "-E", *unshare, "env", *same, "sh", "-c", told, "sh", sys.executable))


def _may_sudo() -> bool:
    return subprocess.run(("sudo", "-n", "true"), capture_output=True, check=False).returncode == 0


def _enter() -> str:
    if os.geteuid() != 0:
        if os.environ.get(NAMESPACE) == os.readlink(_SELF):
            return ""
        return "an ordinary user puts nothing at a fixed path of the host"
    if os.environ.get(NAMESPACE) == os.readlink(_SELF):
        return ""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        return f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}"
    output(("mount", "--make-rprivate", "/"))
    os.environ[NAMESPACE] = os.readlink(_SELF)
    return ""


def _sudo() -> tuple[str, ...]:
    return () if os.geteuid() == 0 else ("sudo", "-n")
