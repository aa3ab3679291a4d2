"""What the user asked for, as a value; made by flags.parse, read by everyone after it."""

from __future__ import annotations

from launcher.record import Record


class Share(Record):
    """One more host path: `--share PATH[:ro|:rw]`. `link`: as typed, when a symlink led to `path`."""

    path: str
    mode: str = "ro"
    link: str = ""


class Machine(Record):
    """The VM's own flags. 0 and "" where nothing was asked for."""

    memory_mib: int = 0
    cores: int = 0
    display: str = "auto"  # auto, window, none
    accel: str = "auto"  # auto, kvm, tcg
    kernel: str = ""
    qmp_socket: str = ""
    console: str = "virtio"  # virtio, ttyS0


class Request(Record):
    """The command line, parsed. `project` is as typed until project.check() has resolved it."""

    backend: str
    project: str
    args: tuple[str, ...] = ()
    shell: bool = False
    tmux: bool = False
    network: bool = True
    protect: bool = False
    quiet: bool = False
    filtered: bool = False  # --filter-escapes
    without: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()  # --with ROW; `with` is a keyword
    env: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()
    # What to do instead of starting: "", "explain", "check", "restore", "print-launch".
    action: str = ""
    json: bool = False
    user: str = ""  # --user NAME, of the container
    max_memory: int = 0  # bytes; 0: the default
    memory_share: int = 0  # the same in hundredths of the machine's
    max_tasks: int = 0
    cpus: float = 0.0
    machine: Machine = Machine()  # of the VM

    @property
    def variants(self) -> tuple[str, ...]:
        """The spec's variants that this request selects: the words of some cells depend on them."""
        chosen = {"no-network": not self.network, "protect": self.protect}
        return (*(name for name, on in chosen.items() if on), *sorted(self.also))
