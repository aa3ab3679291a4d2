"""The Plan: what one sandbox gets, as pure data that every backend renders and `--explain=json` prints."""

from __future__ import annotations

from launcher.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal[
        "bind", "data", "tmpfs", "dir", "symlink", "dev", "proc", "devpts", "socket", "overlay", "snapshot"
    ]
    Mode = Literal["ro", "rw", "dev"]


class Mount(Record):
    """One thing placed at `target` inside. Later mounts cover earlier ones, so their order matters.

    kind      source is                             mode
    bind      a path on the host                    ro, rw; dev: device nodes work, too
    data      `content`, staged, owned by the user  ro, perms
    symlink   what the link says                    -
    tmpfs, dir, dev (a minimal /dev), proc          perms
    devpts  an instance of its own
    socket    a socket of the host's, relayed         -
    overlay   a directory that a mount before it      rw
              grants; what is written stays inside
    snapshot  that of a database of Nix's, as it is   rw
              at the start; the same
    """

    kind: Kind
    target: str
    source: str = ""
    mode: Mode = "ro"
    content: bytes = b""
    perms: int = 0


class BusProxy(Record):
    """One bus that xdg-dbus-proxy filters: upstream address, the socket it is to make, its rules."""

    address: str
    socket: str
    rules: tuple[str, ...] = ()


class Granted(Record):
    """What a row of the spec gives here: mounts and variables, or (`granted` False) the reason why
    nothing.
    """

    row: str
    granted: bool = True
    source: str = ""
    target: str = ""
    reason: str = ""
    mounts: tuple[Mount, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    proxies: tuple[BusProxy, ...] = ()
    covers: tuple[tuple[str, str], ...] = ()
    note: str = (
        ""  # a protection that cannot be had here, or a resource that points at nothing: said at start
    )


class Limits(Record):
    """How much all inside may have together; 0 where nothing bounds it.

    `by`: which means keeps each, by its name: "scope" (a transient one of systemd's), "cgroup" (its files),
    "rlimit" (for cpus the affinity).
    """

    memory: int = 0  # bytes
    tasks: int = 0  # processes and threads
    cpus: float = 0.0
    by: tuple[tuple[str, str], ...] = ()

    def kept(self, means: str) -> Limits:
        """Those that this means keeps."""
        names = [name for name, by in self.by if by == means]
        return Limits(**{name: getattr(self, name) for name in names})


class Machine(Record):
    """A virtual machine, as QEMU is to make it; its memory and processors are in Limits, too."""

    memory_mib: int
    cores: int
    accel: str  # "kvm" or "tcg"
    console: str  # "virtio" or "ttyS0": the agent's line
    screen: str = ""  # the guest's own: "window", "hidden" (QMP's screendump shows it), "" for none
    manager: str = ""  # the window manager on it
    qmp_socket: str = ""


class Identity(Record):
    """Who the agent is inside: the caller's own numbers (equal inside and outside) under a name of ours."""

    uid: int
    gid: int
    user: str = "sandbox"
    home: str = "/home/sandbox"


class Plan(Record):
    """Everything about one sandbox, decided. Printable as JSON; holds no secret but in `environment`."""

    backend: str
    variants: tuple[str, ...]
    project: str
    name: str
    identity: Identity
    rows: tuple[Granted, ...]
    mounts: tuple[Mount, ...]
    environment: tuple[tuple[str, str], ...]
    command: tuple[str, ...]
    cwd: str
    network: bool
    userns: bool = False
    proxies: tuple[BusProxy, ...] = ()
    covers: tuple[tuple[str, str], ...] = ()  # (file, link): mounted on the link before all else
    limits: Limits = Limits()
    machine: Machine | None = None
    notes: tuple[str, ...] = ()
