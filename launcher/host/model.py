"""The Host: what the machine offers, as a plain value that planning reads and tests write by hand."""

from __future__ import annotations

from launcher.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    EntryKind = Literal["file", "dir", "socket", "device", "content", "link"]


class Entry(Record):
    """One thing that a row may grant.

    `source` is its real path on the host (symlinks resolved), or for a link what it says; `name` is where it
    goes, relative to
    the row's place inside (absolute when it keeps its path). "content" is staged from `content`.
    """

    name: str
    kind: EntryKind
    source: str = ""
    content: bytes = b""


class Offer(Record):
    """What the host has for one row. Nothing (`entries` empty) comes with the reason.

    `shown`: how `--explain` names the source. `note`: said at start when the user asked for the resource and
    it is not there.
    """

    entries: tuple[Entry, ...] = ()
    shown: str = ""
    reason: str = ""
    note: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every source."""
        return tuple(e.source for e in self.entries)


class Agent(Record):
    """The agent's program: the name typed, where it really is, and the trees that it needs to run."""

    name: str
    path: str
    trees: tuple[str, ...] = ()
    bin_dirs: tuple[str, ...] = ()


class Bwrap(Record):
    """bubblewrap: where it is and which of the options that versions differ in it knows.

    `broken`: why it cannot even be asked. `planted`: it was not asked, as it lies where an agent can write.
    """

    path: str
    options: frozenset[str]
    broken: str = ""
    planted: bool = False


class Limiters(Record):
    """What can keep limits here, by the names of cgroups(7)' controllers: memory, pids, cpu.

    `user` and `system`: a transient scope of that systemd's; `files`: root's writing in /sys/fs/cgroup.
    `namespaced`: RLIMIT_NPROC counts the processes of each user namespace by itself (Linux 5.14). `memory`:
    the machine's, in bytes. `machined`: systemd-machined is there, to be told of containers.
    """

    user: frozenset[str] = frozenset()
    system: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    namespaced: bool = True
    memory: int = 0
    machined: bool = False


class Hypervisor(Record):
    """What there is to run a VM with: programs, a kernel, and who executes the guest's code.

    `why`: why it is not KVM. `modules`: the kernel's directory of modules. `lacks`: what the guest would run
    and is not there; `no_kernel`: why there is none, and what to do. `xorg`: the guest can have a screen,
    with `manager`; `windows`: QEMU can show it. `online`, `interface`: see routes.py. `python`: the guest can
    run what relays the SSH agent.
    """

    qemu: str = ""
    busybox: str = ""
    passt: str = ""
    kernel: str = ""
    release: str = ""
    modules: str = ""
    accel: str = "tcg"
    why: str = ""
    lacks: tuple[str, ...] = ()
    no_kernel: tuple[str, str] | None = None
    xorg: bool = False
    manager: str = ""
    windows: bool = False
    online: bool = True
    interface: str = ""
    python: bool = True


class Host(Record):
    """This machine and its user, as far as a Plan depends on them."""

    uid: int
    gid: int
    home: str
    machine: str  # os.uname().machine
    environ: dict[str, str]
    offers: dict[str, Offer]
    programs: dict[str, str]  # name -> path on the host's PATH; those that are there
    bwrap: Bwrap | None = None
    agent: Agent | None = None
    groups: tuple[int, ...] = ()  # supplementary, of the user
    can_cover: bool = True  # whether a process of ours may mount in a user namespace (run/cover.py)
    runtime: str = ""  # XDG_RUNTIME_DIR, known to be the user's own; "" when there is none
    state: str = ""  # the launcher's own state directory
    limiters: Limiters = Limiters()
    processors: int = 1  # that we may run on
    hypervisor: Hypervisor = Hypervisor()  # looked for by the VM alone
    notes: tuple[str, ...] = ()

    def offer(self, row: str) -> Offer:
        """What there is for `row`."""
        return self.offers.get(row, Offer(reason="this host has none"))
