"""What only root can do for a container: its mounts, its namespaces, its cgroup, and its end.

    launcher     the user's own rights, and root's in reserve (run/reserve.py) for a keeper's sake
    └─ keeper    root; waits for the end of either side, then removes the cgroup
       └─ systemd-nspawn   process 1 of a PID namespace: whoever kills it, all below it go along

What belongs to the user is opened with the user's rights, following no symlink (its path was resolved when
it was planned, so one that is there now was put there since), and mounted by that descriptor. Mount points
are found through no symlink but our own, and made in file systems of our own alone: root follows no path that
a user or a former agent could have changed.
"""

from __future__ import annotations

import os

from launcher.run import reserve
from launcher.run.mounts import (
    AT_FDCWD,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    Kernel,
)
from launcher.run.owners import mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.backends.base import Root
    from launcher.plan.model import Mount

O_PATH = 0o10000000


class Builder:
    """Builds a Root at `place`, in the mount namespace that it is called in; all that is beside it goes."""

    def __init__(self, root: Root, place: str, terminal: str) -> None:
        self.kernel = Kernel()
        self._root = root
        self._place = place
        self._terminal = terminal
        self._ours: set[int] = set()  # devices of the file systems that we have made
        self._links: dict[str, str] = {}  # symlinks that we have made, and where they lead

    def build(self) -> None:
        """All mounts of the Root, in order. Raises OSError, with the path that it is about."""
        self._cover()
        sources = self._opened()
        self._owners = mapping(self.kernel)
        # What nspawn leaves beside its directory would stay there.
        self._tmpfs(os.path.dirname(self._place), "mode=0755")
        os.mkdir(self._place)
        self._tmpfs(self._place, "mode=0755")
        self._top = os.open(self._place, O_PATH | os.O_CLOEXEC)
        self._own(os.dup(self._top))
        inner = self._point(self._root.inner, directory=True)
        self._tmpfs(f"/proc/self/fd/{inner}", "mode=0755")
        os.close(inner)
        self._inner = self._resolve(self._root.inner)
        self._own(os.dup(self._inner))
        for mount in self._root.mounts:
            self._make(mount, sources)
        for descriptor in (*(opened for opened, _ in sources.values()), self._inner, self._top, self._owners):
            if descriptor >= 0:
                os.close(descriptor)

    def _cover(self) -> None:
        for source, link in self._root.covers:
            with as_user(self._root):
                file = self._open(source)
                at = self.kernel.openat2(AT_FDCWD, link, O_PATH | os.O_NOFOLLOW, RESOLVE_NO_SYMLINKS)
            tree = self.kernel.clone(file, source)
            self.kernel.attach(tree, at, link)
            for descriptor in (tree, at, file):
                os.close(descriptor)

    def _opened(self) -> dict[str, tuple[int, bool]]:
        """For each source a descriptor, and whether it is a directory, as the user sees it."""
        found: dict[str, tuple[int, bool]] = {}
        with as_user(self._root):
            for mount in self._root.mounts:
                if mount.kind == "bind" and mount.source not in found:
                    opened = self._open(mount.source)
                    found[mount.source] = opened, is_directory(opened)
        return found

    def _open(self, source: str) -> int:
        path = source.replace("{terminal}", self._terminal)
        resolve = RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
        try:
            return self.kernel.openat2(AT_FDCWD, path, O_PATH, resolve)
        except OSError as error:
            # As bubblewrap says it: launcher/diagnosis.py knows what became of it.
            raise OSError(error.errno, f"Can't find source path {source}: {error.strerror}") from error

    def _make(self, mount: Mount, sources: dict[str, tuple[int, bool]]) -> None:
        if mount.kind == "symlink":
            parent, name = self._parent(mount.target)
            os.symlink(mount.source, name, dir_fd=parent)
            os.close(parent)
            self._links[mount.target] = self._led(mount.target, mount.source)
        elif mount.kind in ("dir", "proc"):
            at = self._point(mount.target, directory=True)
            if mount.perms and os.fstat(at).st_dev in self._ours:
                os.chmod(f"/proc/self/fd/{at}", mount.perms)
            os.close(at)
        elif mount.kind == "tmpfs":
            at = self._point(mount.target, directory=True)
            owner = f"uid={self._root.uid},gid={self._root.gid}"
            self._tmpfs(f"/proc/self/fd/{at}", f"mode={mount.perms or 0o755:04o},{owner}")
            os.close(at)
            self._own(self._resolve(mount.target))
        elif mount.kind == "devpts":
            at = self._point(mount.target, directory=True)
            flags, options = MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"
            self.kernel.mount("devpts", f"/proc/self/fd/{at}", flags=flags, options=options)
            os.close(at)
        elif mount.kind == "data":
            self._file(mount)
        else:
            self._bind(mount, *sources[mount.source])

    def _bind(self, mount: Mount, source: int, directory: bool) -> None:
        attributes = MOUNT_ATTR_NOSUID
        attributes |= MOUNT_ATTR_RDONLY if mount.mode == "ro" else 0
        attributes |= MOUNT_ATTR_NODEV if mount.mode != "dev" else 0
        tree = self.kernel.clone(source, mount.source, attributes=attributes)
        if directory and mount.mode == "rw" and self._owners >= 0:
            self._without_root(tree, mount.source)
        at = self._point(mount.target, directory=directory)
        self.kernel.attach(tree, at, mount.target)
        os.close(tree)
        os.close(at)

    def _without_root(self, tree: int, source: str) -> None:
        """Have nobody make a file of root's in it, where its file system can do that."""
        try:
            self.kernel.map_owners(tree, source, self._owners)
        except OSError:
            return  # EINVAL: overlayfs, FUSE, NFS and others; EPERM: it has a mapping already

    def _file(self, mount: Mount) -> None:
        """A file with content of ours, the user's; read-only where all around it is."""
        parent, name = self._parent(mount.target)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, mount.perms or 0o600, dir_fd=parent)
        view = memoryview(mount.content)
        while view:
            view = view[os.write(file, view) :]
        os.fchmod(file, mount.perms or 0o600)
        os.fchown(file, self._root.uid, self._root.gid)
        os.close(file)
        if mount.mode == "ro":
            at = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            tree = self.kernel.clone(at, name, attributes=MOUNT_ATTR_RDONLY)
            self.kernel.attach(tree, at, name)
            os.close(tree)
            os.close(at)
        os.close(parent)

    def _tmpfs(self, target: str, options: str) -> None:
        self.kernel.mount("tmpfs", target, flags=MS_NOSUID | MS_NODEV, options=options)

    def _own(self, descriptor: int) -> None:
        self._ours.add(os.fstat(descriptor).st_dev)
        os.close(descriptor)

    def _point(self, target: str, *, directory: bool) -> int:
        """A descriptor of the mount point at `target`; made when it is not there and its parent is ours."""
        target = self._followed(target)
        try:
            return self._resolve(target)
        except FileNotFoundError:
            pass
        parent, name = self._parent(target)
        try:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent)
            else:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=parent))
            made = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            owner = os.fstat(parent)
            if owner.st_uid or owner.st_gid:
                os.chown(f"/proc/self/fd/{made}", owner.st_uid, owner.st_gid)
            return made
        finally:
            os.close(parent)

    def _parent(self, target: str) -> tuple[int, str]:
        """The directory that `target` is to be made in, known to be ours, and the name in it."""
        directory, _, name = target.rpartition("/")
        parent = self._point(directory, directory=True) if directory else os.dup(self._top)
        if os.fstat(parent).st_dev not in self._ours:
            os.close(parent)
            shown = target.removeprefix(self._root.inner)
            raise OSError(2, f"Can't find source path {shown}: No such file or directory")
        return parent, name

    def _resolve(self, target: str) -> int:
        """What is at `target`, through no symlink but our own.

        One that the user or a former agent put there since would have us cover what root runs inside.
        """
        target = self._followed(target)
        inner = self._root.inner
        start, path = self._top, target
        if target.startswith(inner + "/"):
            start, path = self._inner, target[len(inner) :]
        resolve = RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_IN_ROOT
        try:
            return self.kernel.openat2(start, path, O_PATH, resolve)
        except PermissionError:  # FUSE closes a user's file system to root
            with as_user(self._root):
                return self.kernel.openat2(start, path, O_PATH, resolve)

    def _followed(self, target: str) -> str:
        """`target` with where they lead in the place of our own symlinks."""
        for _ in self._links:  # one may lead through another
            link = target
            while link and link not in self._links:
                link = link.rpartition("/")[0]
            if not link:
                break
            target = self._links[link] + target[len(link) :]
        return target

    def _led(self, target: str, source: str) -> str:
        """Where a symlink at `target` leads, seen from the top."""
        if source.startswith("/"):
            within = target.startswith(self._root.inner + "/")
            return os.path.normpath((self._root.inner if within else "") + source)
        return os.path.normpath(os.path.join(os.path.dirname(target), source))


class as_user:
    """The user's rights to files, for root; by hand, contextlib costs more than all it does."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def __enter__(self) -> None:
        reserve.keep(self._root.uid, self._root.gid, self._root.groups)

    def __exit__(self, *_: object) -> None:
        reserve.take()


def is_directory(descriptor: int) -> bool:
    """Whether an O_PATH descriptor stands for a directory."""
    return os.fstat(descriptor).st_mode & 0o170000 == 0o040000
