"""Signals as bytes in a pipe that poll(2) can wait for. `import signal` costs 3 ms; the C module
below it nothing.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal

FATAL = (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT)
FORWARDED = (*FATAL, _signal.SIGUSR1, _signal.SIGUSR2)
WATCHED = (*FORWARDED, _signal.SIGTSTP, _signal.SIGCONT, _signal.SIGWINCH, _signal.SIGCHLD)


class Signals:
    """From the constructor to `close` no watched signal has its default effect; `take` gives those that came.

    What the caller ignores stays ignored (nohup, `&` in a shell without job control), but for SIGCHLD:
    without it there is no exit status.
    """

    def __init__(self) -> None:
        self.descriptor, self._write = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._write, False)
        self._wakeup = _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before: dict[int, Any] = {}
        for number in WATCHED:
            if number == _signal.SIGCHLD or _signal.getsignal(number) != _signal.SIG_IGN:
                self._before[number] = _signal.signal(number, _noted)

    def take(self) -> bytes:
        """The numbers of the signals that came since, oldest first."""
        try:
            return os.read(self.descriptor, 4096)
        except BlockingIOError:
            return b""

    def stop(self, number: int) -> bool:
        """Stop our whole process group with `number`, as the terminal would; returns once we are continued.

        False: we were not stopped. The kernel ignores these signals where no shell is there to continue us
        (an orphaned process group).
        """
        before = _signal.signal(number, _signal.SIG_DFL)
        os.write(self._write, self.take().replace(bytes([_signal.SIGCONT]), b""))
        try:
            os.kill(0, number)
        finally:
            _signal.signal(number, before)
        came = self.take()
        os.write(self._write, came.replace(bytes([_signal.SIGCONT]), b""))
        return _signal.SIGCONT in came

    def close(self) -> None:
        """Back to the handlers that were."""
        for number, handler in self._before.items():
            _signal.signal(number, handler if handler is not None else _signal.SIG_DFL)
        _signal.set_wakeup_fd(self._wakeup)
        os.close(self.descriptor)
        os.close(self._write)


def _noted(_number: int, _frame: object) -> None:
    """The wakeup pipe has it already."""


class Interrupted(Exception):
    """A signal that ends everything came before there was an agent to send it to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
