"""xdg-dbus-proxy: one process for all filtered buses of a run."""

from __future__ import annotations

import os

from launcher.errors import HostError, SandboxError
from launcher.run.inner import CONTROL
from launcher.run.runtime import RuntimeDirectory, base
from launcher.run.signals import FATAL, Interrupted
from launcher.run.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from launcher.backends.base import Launch
    from launcher.plan.model import BusProxy
    from launcher.run.signals import Signals
else:
    import _signal

PLACE = "{proxies}"  # stands for the private directory at the start of a socket's path


class Proxies:
    """The proxy of a run: its private directory, its process. It ends when its end of a pipe does, so with
    us.

    One that dies later is not fatal: the buses are gone inside, the agent goes on.
    """

    def __init__(self, buses: tuple[BusProxy, ...]) -> None:
        self.directory = RuntimeDirectory(base(os.environ.get("XDG_RUNTIME_DIR", "")))
        self._buses = buses
        self._process = 0
        self._ready = self._log = -1

    def start(self, signals: Signals) -> None:
        """Start it and wait until its sockets are there. SandboxError with its own words when it fails."""
        program = found("xdg-dbus-proxy")
        self._ready, theirs = os.pipe()
        self._log, log = os.pipe()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        argv = [program, f"--fd={theirs}"]
        for bus in self._buses:
            socket = bus.socket.replace(PLACE, self.directory.path, 1)
            argv += [bus.address, socket, "--filter", *(rule for rule in bus.rules if rule != "--filter")]
        self._process = spawn(tuple(argv), {}, stdio=(nothing, nothing, log), keep=(theirs,))
        for number in (theirs, log, nothing):
            os.close(number)
        self._wait(signals)
        if not os.read(self._ready, 1):
            raise self._failure(tuple(argv))

    def placed(self, launch: Launch) -> Launch:
        """With the directory in place of `{proxies}` at the beginning of the backend's words, and of what a
        root binds.
        """
        end = launch.argv.index(CONTROL)
        words = (self._path(word) for word in launch.argv[:end])
        root = launch.root
        if root:
            root = root.replace(mounts=tuple(m.replace(source=self._path(m.source)) for m in root.mounts))
        return launch.replace(argv=(*words, *launch.argv[end:]), root=root)

    def _path(self, word: str) -> str:
        return self.directory.path + word[len(PLACE) :] if word.startswith(f"{PLACE}/") else word

    def settle(self) -> None:
        """Once the sandbox is built its mounts keep the sockets: no name is left to remove, whoever is
        killed.
        """
        self.directory.close()

    def close(self) -> None:
        """End it, wait for it, and remove its directory."""
        try:
            if self._process:
                os.close(self._ready)
                os.close(self._log)
                os.kill(self._process, _signal.SIGTERM)
                os.waitpid(self._process, 0)
        finally:
            self.directory.close()

    def _wait(self, signals: Signals) -> None:
        import select

        while True:
            poll = select.poll()
            poll.register(self._ready, select.POLLIN)
            poll.register(signals.descriptor, select.POLLIN)
            for descriptor, _ in poll.poll():
                if descriptor == self._ready:
                    return
                for number in signals.take():
                    if number in FATAL:
                        raise Interrupted(number)

    def _failure(self, argv: tuple[str, ...]) -> SandboxError:
        from shlex import join

        log = os.read(self._log, 8192).decode("utf-8", "replace").strip()
        _, status = os.waitpid(self._process, 0)
        self._process = 0
        os.close(self._ready)
        os.close(self._log)
        code = os.waitstatus_to_exitcode(status)
        return SandboxError(
            f"xdg-dbus-proxy did not start: {log.splitlines()[-1] if log else f'status {code}'}",
            f"start without it by --without dbus-session --without dbus-system, or look: {join(argv)}",
            argv=argv,
            ended=128 - code if code < 0 else code,
            log=log,
        )


def found(program: str) -> str:
    """The absolute path of a program on PATH."""
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = f"{directory}/{program}"
        if directory.startswith("/") and os.access(path, os.X_OK):
            return path
    raise HostError(f"{program} is not on PATH", f"install it, by: sudo apt-get install {program}")
