"""Start a Launch, attend it, unwind it: one loop over signals, the stage, the log and the terminal."""

from __future__ import annotations

import os
import time

from launcher.errors import SandboxError
from launcher.run.console import Console
from launcher.run.inner import CONTROL, ENVIRONMENT, ORDERS, STDERR, TERMINAL
from launcher.run.process import NOTE, start
from launcher.run.signals import FATAL, FORWARDED, Interrupted, Signals
from launcher.run.spawn import become_subreaper, secure_stdio
from launcher.run.unwind import Unwind

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Protocol

    from launcher.backends.base import Launch
    from launcher.run.guard import Guard

    class Pollable(Protocol):
        """What is attended beside the signals and the stage."""

        def interests(self, poll: Callable[[int, int], None]) -> None:
            """Register with `poll` (descriptor, events) what can be done next."""

        def relay(self, descriptor: int, events: int) -> None:
            """Do it, if the descriptor is its own."""
else:
    import _signal

LOG = 8192  # bytes of the sandbox program's own stderr that are kept
DRAIN = 0.2  # seconds without a byte after which output of a finished sandbox is taken to be complete
UNWIND = 2.0  # seconds for a killed sandbox to be gone


def run(
    launch: Launch,
    *,
    on_ready: Callable[[], None],
    on_built: Callable[[], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    quiet: bool = False,
    filtered: bool = False,
) -> int:
    """Start the sandbox, call `on_ready` while it is being built, `on_built` once it is and before the agent
    runs; give the agent's exit status. `on_note` is called with each line that is to be said at the end.
    `quiet`: do not say what a start that takes seconds is about. `filtered`: see escapes.py.

    Whatever happens, no process, directory or changed terminal is left. SandboxError: the backend's program
    or a helper ended before the sandbox was built.
    """
    secure_stdio()
    unwind = Unwind()
    built = [on_built] if on_built else []
    try:
        signals = Signals()
        unwind.push(signals.close)
        if launch.proxies:
            from launcher.run.proxies import Proxies

            proxies = Proxies(launch.proxies)
            unwind.push(proxies.close)
            proxies.start(signals)
            built.append(proxies.settle)
            launch = proxies.placed(launch)
        session = _session(launch, signals, quiet=quiet, filtered=filtered)
        unwind.push(session.close)
        status = session.attend(on_ready, built)
        if on_note:
            for note in session.notes():
                on_note(note)
        return status
    except Interrupted as interrupted:
        return 128 + interrupted.number
    finally:
        unwind.close()


def _session(launch: Launch, signals: Signals, *, quiet: bool, filtered: bool) -> Session:
    shown = None
    if filtered:
        from launcher.run.escapes import Filter

        shown = Filter().passed
    if launch.guest:
        from launcher.run.guest import GuestSession

        return GuestSession(launch, signals, quiet=quiet, shown=shown)
    return Session(launch, signals, shown=shown)


class Session:
    """One sandbox, from its start to its end."""

    def __init__(
        self, launch: Launch, signals: Signals, *, shown: Callable[[bytes], bytes] | None = None
    ) -> None:
        self.signals = signals
        self._shown = shown
        self.status: int | None = None
        self._argv = launch.argv
        self._log = b""
        self._held: list[int] = []
        self._going = False
        self._init = 0
        self._guard: Guard | None = None
        self._more: list[Pollable] = []
        become_subreaper()
        self._start(launch)

    def _start(self, launch: Launch) -> None:
        from launcher.run.stage import Stage

        self.console = Console(wanted=TERMINAL in launch.argv, shown=self._shown)
        self.stage = Stage()
        self._log_end, log = os.pipe()
        os.set_blocking(self._log_end, False)
        stdin, stdout, stderr = self.console.stdio
        stderr = os.dup(stderr)
        backend = frozenset(launch.argv[: launch.argv.index(CONTROL)])
        numbers = {
            n: staged(n, content) for n, content in launch.data if launch.root or f"{{{n}}}" in backend
        }
        ends = {CONTROL: self.stage.inside, STDERR: stderr, TERMINAL: self.console.slave}
        keep = [*numbers.values(), *(number for number in ends.values() if number >= 0)]
        ends[ENVIRONMENT] = numbers.get("environment", -1)
        ends[ORDERS] = -1
        # A keeper passes them on under other numbers, after one of its own.
        shown = {n: n if launch.root is None else 4 + at for at, n in enumerate(keep)}
        argv = substituted(
            launch.argv,
            {f"{{{name}}}": shown[number] for name, number in numbers.items()},
            {name: shown.get(number, -1) for name, number in ends.items()},
        )
        if launch.args_option:
            at = argv.index("--")
            options = staged("args", b"".join(os.fsencode(word) + b"\0" for word in argv[1:at]))
            numbers["args"] = options
            keep.append(options)
            argv = (argv[0], launch.args_option, str(options), *argv[at:])
        argv = (*launch.prefix, *argv)
        self.process = start(launch, argv, stdio=(stdin, stdout, log), passed=tuple(keep))
        for number in (*numbers.values(), log, stderr):
            os.close(number)
        self.stage.part()
        self.console.part()

    def attend(self, on_ready: Callable[[], None], on_built: list[Callable[[], None]]) -> int:
        """See it through to the end and give its exit status."""
        if self.console:
            self.console.prepare()
            if self.console.attended:
                from launcher.run.guard import Guard

                self._guard = Guard(self.console)
        on_ready()  # now: it takes as long as the sandbox takes to be built, which has a core of its own
        while not self._init:
            self._turn()
            if self.status is not None and not self._init:
                raise self._failure(self.status)
        for step in on_built:
            step()
        self._on_signals()
        self._go()
        while self.status is None:
            self._turn()
        while self.console.pending() and self._turn(DRAIN):
            pass
        return self.status

    def notes(self) -> tuple[str, ...]:
        """What a keeper had to say that was no failure."""
        self._read_all()
        lines = self._log.decode("utf-8", "replace").splitlines()
        return tuple(line.removeprefix(NOTE) for line in lines if line.startswith(NOTE))

    def close(self) -> None:
        """End what still runs, and wait until it is gone: the processes of the sandbox first, then
        all of ours.
        """
        self.stage.close()
        if self.status is None and not self._ended_unbuilt():
            self.process.kill()
            os.waitpid(self.process.pid, 0)
        if self._init:
            self._bury()
        else:
            deadline = time.monotonic() + UNWIND
            while self._log_end >= 0 and time.monotonic() < deadline:
                self._read_log()
                time.sleep(0.001)
        self.process.close()
        self.console.close()
        if self._guard:
            self._guard.close()
        if self._log_end >= 0:
            os.close(self._log_end)

    def _ended_unbuilt(self) -> bool:
        """Whether a sandbox that was still being built has ended by itself: its stage reads end of file.

        Killed between its clone and its first word to the child, bwrap would leave one that waits for ever.
        """
        deadline = time.monotonic() + UNWIND
        while not self._init and time.monotonic() < deadline:
            if self._log_end >= 0:
                self._read_log()
            if os.waitpid(self.process.pid, os.WNOHANG)[0]:
                return True
            time.sleep(0.001)
        return False

    def _bury(self) -> None:
        """Wait for the first process of the sandbox, which the monitor does not do: the kernel ends
        it last of all.
        """
        try:
            if os.waitpid(self._init, os.WNOHANG)[0] == 0:
                os.kill(self._init, _signal.SIGKILL)
                os.waitpid(self._init, 0)
        except OSError:
            pass  # not handed to us: it had ended before

    def _go(self) -> None:
        """Let the stage become the agent; with the terminal at once when it is ours and both ways."""
        self._going = True
        if self.console.attended and self.console.foreground():
            self.console.attend()
            self.stage.order("go")
        else:
            self.stage.order("go background" if self.console else "go")

    def _turn(self, timeout: float | None = None) -> bool:
        """Wait for one thing to happen, and do what it asks for; False when nothing did in
        `timeout` seconds.
        """
        import select

        poll = select.poll()
        poll.register(self.signals.descriptor, select.POLLIN)
        if self.stage.descriptor >= 0:
            poll.register(self.stage.descriptor, select.POLLIN)
        if self._log_end >= 0:
            poll.register(self._log_end, select.POLLIN)
        if self.console:
            self.console.interests(poll.register)
        for one in self._more:
            one.interests(poll.register)
        ready = poll.poll(None if timeout is None else timeout * 1000)
        for descriptor, events in ready:
            if descriptor == self.signals.descriptor:
                self._on_signals()
            elif descriptor == self.stage.descriptor:
                self._on_stage()
            elif descriptor == self._log_end:
                self._read_log()
            else:
                for one in (self.console, *self._more):
                    one.relay(descriptor, events)
        return bool(ready)

    def _read_log(self) -> None:
        try:
            data = os.read(self._log_end, LOG)
        except BlockingIOError:
            return
        self._log = (self._log + data)[-LOG:]
        if not data:
            os.close(self._log_end)
            self._log_end = -1

    def _on_signals(self) -> None:
        for number in self.signals.take():
            if number == _signal.SIGCHLD:
                self._reap()
            elif number == _signal.SIGWINCH:
                if self.console:
                    self.console.resize()
            elif number == _signal.SIGCONT:
                if self.console.raw and self.console.foreground():
                    self.console.attend()  # the shell has set the terminal as it likes it
            elif number == _signal.SIGTSTP:
                self._suspend()
            elif number in FORWARDED:
                self._forward(number)

    def _reap(self) -> None:
        if self.status is None:
            process, status = os.waitpid(self.process.pid, os.WNOHANG)
            if process:
                code = os.waitstatus_to_exitcode(status)
                self.status = 128 - code if code < 0 else code
                self._on_stage()

    def _forward(self, number: int) -> None:
        if self.stage.agent:
            # From the keyboard these go to a whole process group; raw, the keyboard sends bytes.
            keyboard = number in (_signal.SIGINT, _signal.SIGQUIT) and not self.console.raw
            self.stage.signal(number, group=keyboard)
        elif self._going:
            self._held.append(number)
        elif number in FATAL:
            raise Interrupted(number)

    def _suspend(self) -> None:
        """Stopped from outside. With a terminal the stage tells when the agent has stopped;
        without, we do it for it.
        """
        if self.console and self.stage.agent:
            self.stage.signal(_signal.SIGTSTP, group=not self.console.raw)
            return
        # Not SIGTSTP: the kernel ignores it in a session without a shell.
        self.stage.signal(_signal.SIGSTOP, group=True)
        self.signals.stop(_signal.SIGTSTP)
        self.stage.signal(_signal.SIGCONT, group=True)

    def _on_stage(self) -> None:
        if self.stage.descriptor < 0:
            return
        for writer, line in self.stage.receive():
            word, _, rest = line.partition(" ")
            self._said(writer, word, rest)

    def _said(self, writer: int, word: str, rest: str) -> None:
        """One line of the stage's."""
        if word == "ready" and not self._init:
            self._init = self.stage.first(writer)
        elif word == "agent" and self._going and not self.stage.agent and rest.isdecimal():
            self.stage.found(writer, int(rest))
            held, self._held = self._held, []
            for number in held:
                self._forward(number)
        elif word == "stopped" and rest.isdecimal() and self.console:
            self._stopped(int(rest) - 128)

    def _stopped(self, number: int) -> None:
        """The agent was stopped by a signal: it wants the terminal, or the user wants the shell back."""
        self.console.catch_up()  # what it had written before is to be seen before we stop, too
        attended = self.console.reading
        if number in (_signal.SIGTTIN, _signal.SIGTTOU) and not attended:
            while not self.console.foreground():
                if not self.signals.stop(number):  # nobody will ever bring us to the foreground
                    self.stage.signal(_signal.SIGHUP)
                    self.stage.order("bg")
                    return
            attended = True
        else:
            self.console.release()
            self.signals.stop(_signal.SIGTSTP)
        if self.console.foreground() and (attended or self.console.attended):
            self.console.attend()
            self.stage.order("fg")
        else:
            self.stage.order("bg")

    def _failure(self, status: int) -> SandboxError:
        self._read_all()
        from shlex import join

        log = self._log.decode("utf-8", "replace").strip()
        program = os.path.basename(self._argv[0])
        said = log.splitlines()[-1] if log else "it said nothing"
        return SandboxError(
            f"{program} ended with status {status} before the sandbox was built: {said}",
            f"to see it again: {join(replay(self._argv))} 9</dev/null",
            argv=self._argv,
            ended=status,
            log=log,
        )

    def _read_all(self) -> None:
        before = None
        while self._log_end >= 0 and before != self._log:
            before = self._log
            self._read_log()


def staged(name: str, content: bytes) -> int:
    """A descriptor from which `content` can be read once; nothing is written to a file system."""
    number = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(number, view) :]
    os.lseek(number, 0, os.SEEK_SET)
    return number


def substituted(argv: tuple[str, ...], data: dict[str, int], ends: dict[str, int]) -> tuple[str, ...]:
    """`argv` with descriptors for placeholders. After those of the stage come the agent's words,
    never touched.
    """
    start = argv.index(CONTROL)
    stop = start + len(ends)
    backend = [str(data[word]) if word in data else word for word in argv[:start]]
    stage = ["-" if ends.get(word) == -1 else str(ends.get(word, word)) for word in argv[start:stop]]
    return (*backend, *stage, *argv[stop:])


def replay(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The backend's part of `argv` with `true` for an agent and descriptor 9 in place of what was staged."""
    backend = argv[: argv.index(CONTROL)]
    if "--" in backend:
        backend = backend[: backend.index("--") + 1]
    return (*("9" if word[:1] == "{" and word[-1:] == "}" else word for word in backend), "true")
