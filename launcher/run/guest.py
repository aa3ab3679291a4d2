"""A sandbox that is a virtual machine: its sockets, its initramfs, QEMU, and what is said to its init."""

from __future__ import annotations

import os
import time

from launcher.errors import HostError, SandboxError
from launcher.run.clock import Clock
from launcher.run.console import Console
from launcher.run.guest_stage import GuestLine, GuestStage
from launcher.run.helper import Helper
from launcher.run.nat import Network
from launcher.run.notice import Notice
from launcher.run.process import Process
from launcher.run.runtime import Remover, RuntimeDirectory, base
from launcher.run.session import Session
from launcher.run.spawn import spawn
from launcher.run.streams import Inward, Outward, Tail
from launcher.untrusted import printable
from launcher.vm import initramfs, qemu
from launcher.vm.init import PORTS, Streams
from launcher.vm.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable

    from launcher.backends.base import Guest, Launch, Share
    from launcher.run.signals import Signals
else:
    import _socket

BOOT_S = 120.0  # until the sandbox in it is built; under TCG on a busy machine a start can take a minute
IDLE_S = 2.0  # without a byte, after which the output of what has ended is taken to be complete
QUIT_S = 2.0
QUOTED = 30  # lines of the guest's log in an error
GONE = 125  # the status of a machine that ended without a word
NULL_DEVICE = os.makedev(1, 3)


class GuestSession(Session):
    """Session, but for how it starts, whom signals go through, and when it has ended."""

    stage: GuestStage

    def __init__(
        self,
        launch: Launch,
        signals: Signals,
        *,
        quiet: bool = False,
        shown: Callable[[bytes], bytes] | None = None,
    ) -> None:
        assert launch.guest is not None
        self._guest = launch.guest
        self._relays: list[Inward | Outward] = []
        self._code: int | None = None  # what the agent has ended with
        self._over = False  # QEMU itself has
        self._clock = Clock()
        self._begun = time.monotonic()
        self._notice = Notice() if os.isatty(2) and not quiet else None
        self._directory: RuntimeDirectory | None = None
        self._remover: Remover | None = None
        self._snapshots: list[tuple[str, str]] = []
        self._network: Network | None = None
        self._agent: Helper | None = None
        try:
            super().__init__(launch, signals, shown=shown)
        except BaseException:
            self._part()
            raise

    def _start(self, _launch: Launch) -> None:
        guest, host = self._guest, self._guest.hypervisor
        token = os.urandom(16).hex()
        streams = streams_of()
        self.stage = GuestStage()
        theirs = {"ctl": self.stage.inside}
        ours: dict[str, int] = {}
        for name in ("qmp", *(("console",) if "tty" in streams.names else ()), *streams.ports):
            ours[name], theirs[name] = self._pair()
        self.console = Console(
            make=lambda: GuestLine(ours["console"], self.stage.tell, Tail(token.encode())), shown=self._shown
        )
        self._relays += (self._relay(name, streams, ours[name], token) for name in streams.ports)
        self._more += self._relays
        self._qmp = ours["qmp"]
        if guest.network:
            self._network = Network(host.passt, host.interface)
            theirs["network"] = self._network.guest
        if guest.agent:
            end, theirs["agent"] = self._pair()
            self._agent = Helper(lambda: Relay(end, agent=guest.agent).run(), (end,))
            os.close(end)
        self._log_end, log = os.pipe()
        os.set_blocking(self._log_end, False)
        initrd = os.memfd_create("initrd", os.MFD_CLOEXEC)
        with open(initrd, "wb", closefd=False) as file:
            initramfs.build(guest, host, streams, token=token, write=file.write)
        parts = qemu.Parts(
            kernel=host.kernel,
            initrd=initrd,
            ports=tuple((name, number) for name, number in theirs.items() if name in PORTS),
            console=theirs.get("console", -1),
            network=theirs.get("network", -1),
            qmp=theirs["qmp"],
            shares=tuple((share, self._shared(share)) for share in guest.shares),
            name=guest.name,
        )
        argv = qemu.argv(host.qemu, guest.machine, parts)
        self._argv = argv
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        keep = (initrd, *theirs.values())
        self.process = Process(spawn(argv, _environment(guest), stdio=(nothing, nothing, log), keep=keep))
        for number in (nothing, log, *keep):
            if number != self.stage.inside:
                os.close(number)
        self.stage.part()

    def _pair(self) -> tuple[int, int]:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        ours.setblocking(False)
        return ours.detach(), theirs.detach()

    def _relay(self, name: str, streams: Streams, socket: int, token: str) -> Inward | Outward:
        number = streams.names.index(name)
        if name == "in":
            return Inward(number, socket)
        return Outward(socket, number, Tail(token.encode()), lambda: self.stage.tell(f"broken {name}"))

    def _shared(self, share: Share) -> str:
        """The directory of a share; a private one is made now, 0700, and goes with the run."""
        if not (share.files or share.snapshot):
            return share.source
        if self._directory is None:
            self._directory = RuntimeDirectory(base(os.environ.get("XDG_RUNTIME_DIR", "")))
            self._remover = Remover(self._directory.path)
        path = f"{self._directory.path}/{share.tag}"
        os.mkdir(path, 0o700)
        for name, source in share.files:
            _copy(source, f"{path}/{name}")
        if share.snapshot:
            self._snapshots.append((share.source, path))
        return path

    def attend(self, on_ready: Callable[[], None], on_built: list[Callable[[], None]]) -> int:
        """Session's. Databases are copied while the machine boots, before anything in it can read them."""

        def ready() -> None:
            on_ready()
            if self._snapshots:
                from launcher.run import database

                for source, path in self._snapshots:
                    database.snapshot(source, path)

        return super().attend(ready, on_built)

    def _turn(self, timeout: float | None = None) -> bool:
        if not self._init:
            timeout = self._booting()
        elif self._code is not None and timeout is None:
            timeout = IDLE_S
        happened = super()._turn(timeout)
        if self._init and self._clock.jumped():
            self.stage.tell(f"clock {round(time.time())}")
        if self._code is not None and (self._drained() or not (happened or self._waiting())):
            self.status = self._code
        return happened

    def _booting(self) -> float:
        """Seconds to wait for the next thing to happen. Raises SandboxError when nothing will."""
        left = self._begun + BOOT_S - time.monotonic()
        if left <= 0:
            raise self._failure(GONE, f"is not up after {BOOT_S:g} s")
        if self._notice:
            self._notice.show()
            due = self._notice.left()
            left = left if due is None else min(left, due)
        return left

    def _drained(self) -> bool:
        return not self.console.pending() and all(relay.done() for relay in self._relays)

    def _waiting(self) -> bool:
        """Whether a slow reader of ours is to be waited for."""
        return any(relay.pending() for relay in self._relays)

    def _said(self, writer: int, word: str, rest: str) -> None:
        if word == "end" and rest.isdecimal():
            self._code = int(rest)
            if not self._init:
                raise self._failure(self._code, f"gave up with status {rest}")
            return
        if word == "ready" and self._notice:
            self._notice.close()
        super()._said(writer, word, rest)

    def _reap(self) -> None:
        super()._reap()
        if self._network and not self._init and self.status is None:
            self._network.check()
        if self.status is not None and self._code is None:
            self._over = True
            self.status = GONE if self._init else self.status

    def _failure(self, status: int, why: str = "") -> SandboxError:
        lines = self._lines()
        said = lines[-1] if lines else "it said nothing"
        return SandboxError(
            f"the machine {why or f'ended with status {status}'}, before the sandbox was built: {said}",
            f"what it said is above; to see it again: {_replay(self._argv)}",
            argv=self._argv,
            ended=status,
            log="\n".join(lines),
            quoted=tuple(lines[-QUOTED:]),
        )

    def _lines(self) -> list[str]:
        """What the kernel, the init and QEMU have said; but for the kernel's obedience to the init."""
        self._read_all()
        lines = self._log.decode("utf-8", "replace").strip().splitlines()
        return [line for line in lines if "] reboot: " not in line]

    def notes(self) -> tuple[str, ...]:
        """That the machine has ended under the agent, with its last words."""
        if not self._over:
            return ()
        return (*self._lines()[-QUOTED:], "the machine ended by itself, and the agent with it")

    def close(self) -> None:
        """Have the guest end, then QEMU, by asking and by force; then close all of ours."""
        if self._notice:
            self._notice.close()
        if not self._over and self._init and self._code is None:
            self._power_down()
        if not self._over and not self._quit():
            self.process.kill()
            os.waitpid(self.process.pid, 0)
        os.close(self._qmp)
        self.stage.close()
        self.console.close()
        if self._guard:
            self._guard.close()
        for relay in self._relays:
            relay.close()
        if self._log_end >= 0:
            os.close(self._log_end)
        self._part()

    def _part(self) -> None:
        """End what serves the guest from outside, and remove its directory."""
        for one in (self._network, self._agent, self._directory, self._remover):
            if one:
                one.close()

    def _power_down(self) -> None:
        """The init ends what runs inside, and writes what is not written yet; for so long and no longer."""
        self.stage.tell("stop")
        deadline = time.monotonic() + QUIT_S
        while self._code is None and not self._over and time.monotonic() < deadline:
            super()._turn(0.1)

    def _quit(self) -> bool:
        """By QMP, so that it writes what it still has to write; False when it does not within a moment."""
        try:
            os.write(self._qmp, b'{"execute":"qmp_capabilities"}{"execute":"quit"}')
        except OSError:
            return False
        deadline = time.monotonic() + QUIT_S
        while time.monotonic() < deadline:
            if os.waitpid(self.process.pid, os.WNOHANG)[0]:
                return True
            time.sleep(0.001)
        return False


def _environment(guest: Guest) -> dict[str, str]:
    """QEMU's own: nothing but where it can show its window."""
    environment = {"PATH": os.defpath}
    if guest.machine.screen == "window":
        names = ("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "HOME")
        environment |= {name: os.environ[name] for name in names if name in os.environ}
        # GTK would start a bus where it finds none, and QEMU's filter ends it for that.
        environment |= {"DBUS_SESSION_BUS_ADDRESS": "disabled:", "NO_AT_BRIDGE": "1"}
    return environment


def _replay(argv: tuple[str, ...]) -> str:
    """The command line for a person: the kernel's words on the terminal, and nothing of what was passed."""
    from shlex import join

    kernel = argv.index("-kernel")
    return join((*argv[:kernel], *argv[kernel : kernel + 2], "-append", "console=ttyS0", "-serial", "stdio"))


def streams_of(numbers: tuple[int, int, int] = (0, 1, 2)) -> Streams:
    """What our own descriptors are, as the guest is to have them."""
    stdin, stdout, stderr = (_kind(number) for number in numbers)
    names = (stdin or "in", stdout or "out", stderr or "err")
    if names[2] == "err" and not stdout and _same(numbers[1], numbers[2]):
        names = (*names[:2], "out")
    return Streams(stdin=names[0], stdout=names[1], stderr=names[2])


def _kind(number: int) -> str:
    if os.isatty(number):
        return "tty"
    return "null" if os.fstat(number).st_rdev == NULL_DEVICE else ""


def _same(first: int, second: int) -> bool:
    """Whether they lead to the same file; then what is written to them has one order."""
    return os.path.sameopenfile(first, second)


def _copy(source: str, target: str) -> None:
    """A file for the guest, with its permissions. Raises HostError when that cannot be."""
    import shutil

    try:
        shutil.copy(source, target)
    except OSError as error:
        raise HostError(
            f"{printable(source)} cannot be copied for the guest: {error.strerror}",
            "see that it can be read and that there is space in XDG_RUNTIME_DIR or /tmp",
        ) from error
