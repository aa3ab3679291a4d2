"""The initramfs of one start: busybox, modules, the init, and the sandbox's root but for its mounts."""

from __future__ import annotations

import os

from launcher.errors import HostError
from launcher.untrusted import printable
from launcher.vm import init, modules, relay, screen
from launcher.vm.activation import listening
from launcher.vm.cpio import Archive
from launcher.vm.files import BUSYBOX, COVER, OWN, RELAY, SOCKET, SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.backends.base import Guest
    from launcher.host.model import Hypervisor
    from launcher.plan.model import Identity, Mount

# What the guest's init loads, where the kernel has it not built in; what they need comes along.
BASE = ("virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_console")
NETWORK = ("virtio_net",)
LINUX64 = b"\0linux64\0"  # among the names of a busybox's applets, which not every one has
MOST = 64 << 20  # bytes of one directory of /etc


def build(
    guest: Guest,
    host: Hypervisor,
    streams: init.Streams,
    *,
    token: str,
    write: Callable[[bytes], object] | None = None,
) -> bytes:
    """The archive, whose bytes are given as Archive gives them.

    Raises HostError for a kernel without what is needed, or a file that cannot be read.
    """
    archive = Archive(write)
    for name in ("dev", "proc"):
        archive.directory(f"{SYSTEM}/{name}", 0o755)
    archive.directory(SYSTEM + OWN, 0o700)
    archive.node("/dev/console", "c", 0o600, 5, 1)
    seen: set[str] = set()
    wanted = (*BASE, *(NETWORK if guest.network else ()))
    loaded = _modules(archive, host.modules, wanted, seen, f"/lib/modules/{modules.release_of(host.modules)}")
    terminal = "/dev/hvc0" if guest.machine.console == "virtio" else "/dev/ttyS0"
    log = "/dev/ttyS0" if guest.machine.console == "virtio" else "/dev/ttyS1"
    own = {
        "late": init.late(guest, streams, terminal=terminal, token=token),
        "options": "".join(f"{word}\0" for word in guest.options),
        "environment": "".join(f"{name}={value}\0" for name, value in guest.environment),
    }
    busybox = _read(host.busybox)
    early = init.early(
        guest, _listed(archive, loaded), log, fixed=guest.machine.accel == "tcg" and LINUX64 in busybox
    )
    archive.file("/init", early.encode("utf-8", "surrogateescape"), 0o755)
    for name, text in own.items():
        archive.file(f"{SYSTEM}{OWN}/{name}", text.encode("utf-8", "surrogateescape"), 0o600)
    archive.file(SYSTEM + BUSYBOX, busybox, 0o755)
    for name in init.APPLETS:
        archive.symlink(f"{SYSTEM}{OWN}/bin/{name}", "busybox")
    if guest.agent:
        archive.directory(SYSTEM + RELAY, 0o755)
        archive.file(f"{SYSTEM}{RELAY}/relay.py", _read(relay.__file__), 0o644)
        archive.file(f"{SYSTEM}{OWN}/listening", listening(SOCKET.encode()), 0o700)
    if guest.covers:
        from launcher.run import cover  # imports what no other start needs

        archive.file(SYSTEM + COVER, _read(cover.__file__), 0o600)
    for share in guest.shares:
        archive.directory(SYSTEM + share.at, 0o755)
    if guest.machine.screen:
        drivers = _modules(archive, host.modules, screen.MODULES, seen, f"{SYSTEM}/modules")
        _screen(archive, guest, [path.removeprefix(SYSTEM) for path in drivers])
    made: set[str] = set()
    for mount in guest.tree:
        _parents(archive, SYSTEM + mount.target, guest.identity, made)
        _place(archive, mount, guest)
        made.add(SYSTEM + mount.target)
    return archive.close()


def _screen(archive: Archive, guest: Guest, drivers: list[str]) -> None:
    """What starts the screen, and where its socket and its log are."""
    owner = guest.identity
    script = screen.script(drivers, owner=owner, manager=guest.machine.manager)
    archive.file(f"{SYSTEM}{OWN}/screen", script.encode(), 0o600)
    archive.file(f"{SYSTEM}{OWN}/displaying", listening(screen.SOCKET.encode()), 0o700)
    archive.file(SYSTEM + screen.CONFIGURED, screen.CONFIGURATION.encode(), 0o644)
    archive.directory(SYSTEM + screen.PLACE, 0o755, owner.uid, owner.gid)


def _modules(archive: Archive, directory: str, wanted: tuple[str, ...], seen: set[str], at: str) -> list[str]:
    """Paths below `at` in the archive, in the order in which they are loaded, of what is not `seen` yet."""
    loaded = []
    for path in modules.closure(directory, wanted):
        if path not in seen:
            loaded.append(f"{at}/m{len(seen)}.ko")
            archive.file(loaded[-1], modules.load(path), 0o600)
            seen.add(path)
    return loaded


def _listed(archive: Archive, paths: list[str]) -> str:
    """The name of the last of these modules, which needs all the others (modules.dep(5)); "" for none.

    So that one process loads them all: under TCG each more takes 5 ms.
    """
    if not paths:
        return ""
    directory = os.path.dirname(paths[0])
    *others, last = map(os.path.basename, paths)
    needs = f"{last}: {' '.join(reversed(others))}\n"
    archive.file(f"{directory}/modules.dep", needs.encode(), 0o600)
    return last.removesuffix(".ko")


def _parents(archive: Archive, path: str, owner: Identity, made: set[str]) -> None:
    """Directories above it that are not there yet: the user's, in whose name bwrap makes more of them."""
    at = path.find("/", 1)
    while at > 0:
        parent = path[:at]
        if parent not in made and parent != SYSTEM:
            archive.directory(parent, 0o755, owner.uid, owner.gid)
            made.add(parent)
        at = path.find("/", at + 1)


def _place(archive: Archive, mount: Mount, guest: Guest) -> None:
    at = SYSTEM + mount.target
    uid, gid = guest.identity.uid, guest.identity.gid
    if mount.kind == "dir":
        archive.directory(at, mount.perms or 0o755, uid, gid)
    elif mount.kind == "data":
        archive.file(at, mount.content, mount.perms or 0o644, uid, gid)
    elif mount.kind == "symlink":
        archive.symlink(at, mount.source, uid, gid)
    else:
        _copy(archive, mount.source, at, [MOST])


def _copy(archive: Archive, source: str, at: str, left: list[int]) -> None:
    """A file or a whole directory, as root's; what cannot be read or is neither is left out."""
    try:
        stat = os.lstat(source)
        kind = stat.st_mode & 0o170000
        if kind == 0o120000:
            archive.symlink(at, os.readlink(source))
        elif kind == 0o100000:
            left[0] -= stat.st_size
            if left[0] < 0:
                raise HostError(
                    f"{printable(source)} is part of more than {MOST >> 20} MiB, too much to copy",
                    "leave out the row that it belongs to: --explain says which",
                )
            archive.file(at, _read(source), stat.st_mode & 0o777)
        elif kind == 0o040000:
            archive.directory(at, stat.st_mode & 0o777)
            for name in sorted(os.listdir(source)):
                _copy(archive, f"{source}/{name}", f"{at}/{name}", left)
    except PermissionError:
        return


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
