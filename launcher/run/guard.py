"""Whatever is killed, the caller's terminal is put back: by a process beside the launcher, or beside sudo.

sudo(8) with a pty of its own makes the caller's terminal raw, and then it is sudo alone that puts it back.
"""

from __future__ import annotations

import os

from launcher.run.console import raw
from launcher.run.spawn import fresh_signals, spawn, without_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from launcher.run.console import Console


class Guard:
    """A shell that waits, and restores the terminal when we were killed before we could.

    Only when the terminal is still in our raw mode: a shell that has mended it itself is not disturbed.
    """

    SCRIPT = 'read -r _ || { [ "$(stty -g <&2)" = "$1" ] && stty "$2" <&2; }'

    def __init__(self, console: Console) -> None:
        saved = console.saved_modes()
        words = (":".join(f"{value:x}" for value in flat(modes)) for modes in (raw(saved), saved))
        theirs, self._end = os.pipe()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._process = spawn(
            ("/bin/sh", "-c", self.SCRIPT, "terminal", *words),
            {"PATH": os.environ.get("PATH", os.defpath)},
            stdio=(theirs, nothing, console.terminal),
            dies_with_us=False,
        )
        os.close(theirs)
        os.close(nothing)

    def close(self) -> None:
        """Tell it that all is well, and wait for its end."""
        os.write(self._end, b"\n")
        os.close(self._end)
        os.waitpid(self._process, 0)


def flat(modes: list[Any]) -> list[int]:
    """Terminal attributes in the order of `stty -g`: four flags and the control characters."""
    return [*modes[:4], *(c if isinstance(c, int) else ord(c) for c in modes[6])]


def outlive() -> None:
    """Have our controlling terminal restored, should it be raw when we have ended, as what we become next.

    By a process that is nobody's child, and that has a pidfd: sudo closes every descriptor above 2.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return
    import termios

    saved = termios.tcgetattr(terminal)
    us = os.pidfd_open(os.getpid())
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                _restore_after(us, terminal, saved)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(us)
    os.close(terminal)


def _restore_after(process: int, terminal: int, saved: list[Any]) -> None:
    import select
    import termios

    os.setsid()
    fresh_signals()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    without_others((process, terminal))
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll()
    try:
        found, made = termios.tcgetattr(terminal), raw(saved)
        made[1] = found[1]  # with a pipe for stdout, newer ones leave output flags alone
        if found == made:
            termios.tcsetattr(terminal, termios.TCSANOW, saved)
    except termios.error:
        return  # the terminal is gone
