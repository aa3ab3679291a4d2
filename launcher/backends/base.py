"""What a backend makes of a Plan: a value that `launcher.run` starts without knowing which backend it is."""

from __future__ import annotations

from launcher.host.model import Hypervisor
from launcher.plan.model import BusProxy, Identity, Limits, Machine, Mount
from launcher.record import Record


class Root(Record):
    """A root directory that is built by root before the program starts, in a mount namespace of its own.

    `mounts` in their order, with targets in that directory; sources are opened with the ids of the user, who
    owns what is made of nothing. `inner`: where in it the sandbox's own root lies: symlinks there mean what
    they mean inside.
    """

    mounts: tuple[Mount, ...]
    inner: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    covers: tuple[tuple[str, str], ...] = ()  # (file, link): mounted on the link first, as run/cover.py says
    limits: Limits = Limits()
    bus: str = ""  # systemd's busctl(1), for a scope; "" where systemd makes none
    machined: bool = False  # whether systemd-machined is told of it (run/machined.py)


class Share(Record):
    """A directory of the host's that the guest mounts by its 9p tag, or (`files`) one that is made for it.

    `tag`: at most 31 characters. `files`: (name in the directory, path on the host), copied into a private
    directory, which is the share then: QEMU shares no single file. `at`: where it is mounted.
    `steady`: nothing changes in it during a run, so that the guest may cache what it likes. `snapshot`: not
    the directory but a private one, with a copy of the database in it (run/database.py).
    """

    tag: str
    at: str
    source: str = ""
    steady: bool = False
    writable: bool = False
    files: tuple[tuple[str, str], ...] = ()
    snapshot: bool = False


class Guest(Record):
    """What a virtual machine is made of, but for what the host's kernel and QEMU add (launcher/vm/).

    `tree`: directories, files, symlinks and copies of host files in its initramfs, below /system. `options`:
    of the bwrap that builds the sandbox in it. `command`: what it starts there, with the placeholders of the
    stage. `agent`: the SSH agent's socket on the host, relayed. `covers`: (file, link) in the guest, see
    run/cover.py. `overlays`: (a directory, where it is mounted once more with what the user writes).
    """

    machine: Machine
    shares: tuple[Share, ...]
    tree: tuple[Mount, ...]
    options: tuple[str, ...]
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    network: bool
    identity: Identity
    hypervisor: Hypervisor
    groups: tuple[int, ...] = ()
    agent: str = ""
    covers: tuple[tuple[str, str], ...] = ()
    overlays: tuple[tuple[str, str], ...] = ()
    name: str = ""  # the project's


class Launch(Record):
    """How to start one sandbox. Rendering it touches nothing.

    `argv` may hold placeholders `{NAME}`, each a whole argument: the number of the inherited descriptor from
    which the program reads `data[NAME]`; {control}, {stderr} and {terminal} are those of the inner stage (see
    run/inner.py). `args_option`: the program's option that takes the options before `--` from a descriptor,
    NUL-separated: then `ps` shows a line, not a page.
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, bytes], ...] = ()
    proxies: tuple[BusProxy, ...] = ()
    args_option: str = ""
    dies_with_us: bool = True  # by a death signal set before its start; False: it sets one itself
    covers: tuple[tuple[str, str], ...] = ()  # see run/cover.py
    root: Root | None = None  # see run/container.py
    guest: Guest | None = None  # see run/guest.py
    prefix: tuple[str, ...] = ()  # a program that executes `argv` in its own place
    processors: int = 0  # how many it may run on; 0: all
