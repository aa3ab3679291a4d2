"""A child that goes on as a copy of the launcher, for work that its loop neither holds up nor waits for."""

from __future__ import annotations

import os

from launcher.run.spawn import cleared, death_signal, fresh_signals, without_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
else:
    import _signal


class Helper:
    """A process that does `work` and ends with it, or with us. Of our descriptors it has `keep` alone."""

    def __init__(self, work: Callable[[], object], keep: tuple[int, ...]) -> None:
        parent = os.getpid()
        # A signal in the child would be written into our wakeup pipe.
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        self._pid = os.fork()
        if self._pid:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
            return
        try:
            death_signal(_signal.SIGKILL)
            if os.getppid() == parent:
                os.setsid()
                _alone(keep)
                work()
        finally:
            os._exit(0)

    def close(self) -> None:
        """End it, and wait for its end."""
        os.kill(self._pid, _signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _alone(keep: tuple[int, ...]) -> None:
    import gc

    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    without_others(keep)
    cleared()
    fresh_signals()
    gc.enable()  # unlike a start, this may go on for days
