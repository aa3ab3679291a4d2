"""A process in the background that attends a project's sandbox and outlives the terminal it was started from.

Whether one lives is asked of a lock in the project's state, never of anything that the agent can write.

    tmux/start    held (flock) by a launcher while it looks whether a holder lives, and starts one
    tmux/lock     held by the holder as long as it lives: until its sandbox is gone and compared
    tmux/flags    what it was started with
    tmux/report   made anew by each start, empty until the end: the status, and what was to be said then;
                  removed once somebody has read it
"""

from __future__ import annotations

import fcntl
import os

from launcher import launch
from launcher.errors import HostError, LauncherError, SandboxError, UserError
from launcher.state import make_dir, unwritable, write_atomic
from launcher.untrusted import printable, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.launch import Say
    from launcher.plan.context import Context
    from launcher.plan.model import Plan

LIMIT = 1 << 16  # bytes of a report that are read
PATIENCE = 300  # hundredths of a second; somebody who waits is told so after a fifth of them
LAST_LINES = 12  # of what an agent that failed had on its screen


class Holder:
    """The holder of one project, if there is one. `with` it no other launcher starts or outwaits one."""

    def __init__(self, state: str) -> None:
        """`state`: the project's directory. Raises HostError when it cannot be written."""
        self._directory = f"{state}/tmux"
        self._start = self._report = -1
        self._free = -1
        try:
            make_dir(self._directory)
        except OSError as error:
            raise unwritable(self._directory, error) from error

    def __enter__(self) -> Holder:
        self._start = self._open("start")
        fcntl.flock(self._start, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._start)
        if self._free >= 0:
            os.close(self._free)
            self._free = -1

    def free(self) -> bool:
        """Whether no holder lives; from then on the lock is ours until the `with` ends."""
        lock = self._open("lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._free = lock
        return True

    def flags(self) -> str:
        """What the living one was started with."""
        return os.fsdecode(read(f"{self._directory}/flags") or b"")

    def watch(self) -> None:
        """Open the report of the living one now: at its end the name may be another's."""
        if self._report >= 0:
            os.close(self._report)
        self._report = self._open("report")

    def start(self, context: Context, plan: Plan, flags: str, say: Say) -> None:
        """Fork the holder, and wait until its sandbox has written the line `up`. What it has to say until
        then is said here. Raises what it raised, SandboxError when the sandbox ended before.
        """
        self._show_unread(say)
        write_atomic(f"{self._directory}/flags", os.fsencode(flags))
        self.watch()
        said, words = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("said", "words"))
        up, ready = os.pipe()
        stay, ours = os.pipe()
        if os.fork() == 0:
            for number in (self._start, up, ours):
                os.close(number)
            _Held(said=said, words=words, report=self._report).hold(context, plan, self._free, stay, ready)
        for number in (ready, stay):
            os.close(number)
        try:
            with open(up, "rb") as pipe:
                line = pipe.readline(16)
            self._answer(_text(said), _text(words), up=line == b"up\n", say=say)
            try:
                os.write(ours, b"stay\n")
            except BrokenPipeError:
                pass  # ended already
        except LauncherError:
            os.unlink(f"{self._directory}/report")  # said here
            raise
        finally:
            for number in (said, words, ours):
                os.close(number)

    def ended(self, say: Say) -> int | None:
        """Wait until the watched one is gone, say what it has left to say, and give its status; None when it
        was killed. Raises SandboxError when it stays.
        """
        with self:
            self._await(say)
            status, *lines = _text(self._report).splitlines() or [""]
            say(*lines)
            if os.path.sameopenfile(self._report, now := self._open("report")):
                os.unlink(f"{self._directory}/report")
            os.close(now)
        return int(status) if status.isdecimal() else None

    def _await(self, say: Say) -> None:
        import time

        lock = self._open("lock")
        try:
            for turn in range(PATIENCE):
                try:
                    return fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(0.01)
                if turn == PATIENCE // 5:
                    say("claude-sandbox: the session is being put away")
            process = _text(lock).strip()
            raise SandboxError(
                f"the session does not answer, and process {process} still holds it",
                f"wait for that to compare what has changed; or look at it, and: kill {process}",
            )
        finally:
            os.close(lock)

    def _show_unread(self, say: Say) -> None:
        """What a session that ended with nobody attached had to say; afterwards there is no report."""
        report = self._open("report")
        try:
            status, *lines = _text(report).splitlines() or ["0"]
            if status != "0" or lines:
                say(f"claude-sandbox: the session before this one ended with status {status}", *lines)
            os.unlink(f"{self._directory}/report")
        finally:
            os.close(report)

    def _answer(self, said: str, words: str, *, up: bool, say: Say) -> None:
        lines = [line.partition(" ")[::2] for line in said.splitlines()]
        for kind, text in lines:
            if kind in ERRORS:
                what, _, hint = text.partition("\t")
                raise ERRORS[kind](what, hint)
        if not up:
            last = [line for line in words.splitlines() if line.strip()]
            raise SandboxError(
                f"the tmux session did not start: {printable(last[-1]) if last else 'it said nothing'}",
                "look at .tmux/tmux.conf, or move .tmux away: it is made anew",
            )
        say(*(text for kind, text in lines if kind == "say"))

    def _open(self, name: str) -> int:
        path = f"{self._directory}/{name}"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unwritable(path, error) from error


ERRORS = {kind.__name__: kind for kind in (UserError, HostError, SandboxError)}


class _Held:
    """The holder's own side, in the forked process."""

    def __init__(self, *, said: int, words: int, report: int) -> None:
        self._said, self._words, self._report = said, words, report
        self._last: list[str] = []

    def hold(self, context: Context, plan: Plan, lock: int, stdin: int, stdout: int) -> None:
        """Attend the sandbox to its end, report, and exit."""
        status = 125
        try:
            os.setsid()
            os.truncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
            os.chdir("/")  # whatever directory we came from may be unmounted
            for number, target in ((stdin, 0), (stdout, 1), (self._words, 2)):
                os.dup2(number, target)
                os.close(number)
            status = launch.execute(context, plan, self._say, at_end=self._at_end)
            screen = [line for line in _text(2).splitlines() if line.strip()][-LAST_LINES:]
            self._finish(status, (screen if status else []) + self._last)
        except LauncherError as error:
            self._note(type(error).__name__, f"{error.what}\t{error.hint}")
            self._finish(status, [*self._last, f"claude-sandbox: {error.what}", f"  {error.hint}"])
        except BaseException:  # noqa: BLE001  (a bug keeps its traceback; the parent shows its last line)
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._note("say", line)

    def _note(self, kind: str, text: str) -> None:
        os.write(self._said, f"{kind} {_line(text)}\n".encode())

    def _at_end(self, *lines: str) -> None:
        self._last += lines

    def _finish(self, status: int, said: list[str]) -> None:
        lines = [str(status), *(_line(line) for line in said)]
        os.write(self._report, "".join(f"{line}\n" for line in lines).encode())


def _line(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)


def _text(number: int) -> str:
    """The end of what an open file holds, up to the limit; its offset, which others share, stays."""
    start = max(0, os.fstat(number).st_size - LIMIT)
    return os.pread(number, LIMIT, start).decode("utf-8", "replace")
