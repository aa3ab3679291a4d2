"""The caller's terminal and the sandbox's: a pty of the launcher's own, bytes and window sizes relayed.

Handing the caller's terminal itself to the sandbox has faults either way: with a new session there is no job
control, no resize, and Ctrl-C kills the monitor; without one TIOCSTI types into the caller's terminal.

    stdin  stdout      what the launcher does
    tty    tty         raw mode outside, every byte relayed; the pty inside behaves as the terminal did
    tty    file, pipe  the terminal stays as it is (a pager beside us wants it); the agent starts in the
    background of the
                       pty, and only when it reads from it (SIGTTIN) lines are relayed, ^D as end of file
    other  tty         output only; the pty leaves newlines alone, the terminal outside makes its own of them
Descriptors that are no terminals are passed on as they are.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Line(Protocol):
        """Where those inside have their terminal: `slave` is -1 where that is not a descriptor of ours."""

        master: int
        slave: int

        def modes(self, attributes: list[Any]) -> None:
            """Give it a terminal's attributes, as termios.tcgetattr has them."""

        def size(self, winsize: bytes) -> None:
            """Give it a window's size, as TIOCGWINSZ has it."""

        def taken(self, data: bytes) -> tuple[bytes, bool]:
            """What of bytes from inside is output, and whether they were the last."""


CHUNK = 1 << 16
LIMIT = 1 << 18  # bytes waiting in one direction before its source is no longer read


class Pty:
    """A pseudo-terminal: `slave` is for those inside, `master` for us."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()

    def modes(self, attributes: list[Any]) -> None:
        """Give it a terminal's attributes, as termios.tcgetattr has them."""
        import termios

        termios.tcsetattr(self.master, termios.TCSANOW, attributes)

    def size(self, winsize: bytes) -> None:
        """Give it a window's size, as TIOCGWINSZ has it."""
        import fcntl
        import termios

        fcntl.ioctl(self.master, termios.TIOCSWINSZ, winsize)

    def taken(self, data: bytes) -> tuple[bytes, bool]:
        """What of bytes from inside is output, and whether they were the last: never, of a pty's."""
        return data, False


class Console:
    """A line (a pty, if nothing else) between the caller's terminal and the sandbox.

    `stdio`: what the sandbox gets as 0 to 2. `slave`: the pty's inner side, until `parted`; -1 when no
    descriptor is a terminal (then nothing but `stdio` means anything). `shown`: what of the output goes
    to the terminal; all without it.
    """

    def __init__(
        self,
        *,
        wanted: bool = True,
        make: Callable[[], Line] = Pty,
        shown: Callable[[bytes], bytes] | None = None,
    ) -> None:
        terminals = [wanted and os.isatty(number) for number in range(3)]
        self.stdio = (0, 1, 2)
        self.terminal = -1
        self.master = self.slave = self._outer = -1
        self.attended = terminals[0] and terminals[1]
        self.raw = False
        self.reading = False
        self.ended = True
        self._plain = True
        self._reopened = False
        self._shown = shown
        self._to_outer = bytearray()
        self._to_inner = bytearray()
        if any(terminals):
            self.terminal = terminals.index(True)
            self._typed = terminals[0]
            self._line = make()
            self.master, self.slave = self._line.master, self._line.slave
            self.ended = False
            stdin, stdout, stderr = (self.slave if tty else n for n, tty in enumerate(terminals))
            self.stdio = (stdin, stdout, stderr)

    def __bool__(self) -> bool:
        return self.master >= 0

    def prepare(self) -> None:
        """Make the pty look like the terminal, and open our own way to it. While the sandbox is
        being built.
        """
        import termios

        os.set_blocking(self.master, False)
        self._saved: list[Any] = termios.tcgetattr(self.terminal)
        self._cooked_inside()
        self.resize()
        # A file description of our own: O_NONBLOCK on the inherited one would hit every process that shares
        # it.
        try:
            flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
            self._outer = os.open(f"/proc/self/fd/{self.terminal}", flags)
            self._reopened = True
        except OSError:  # another user's terminal, after su
            self._outer = self.terminal

    def part(self) -> None:
        """Close the inner side here: from now on end of file says that everyone inside has closed it, too."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def saved_modes(self) -> list[Any]:
        """The terminal's attributes as they were when we came."""
        return self._saved

    def foreground(self) -> bool:
        """The terminal is ours to read and to set; also when it is nobody's controlling terminal."""
        try:
            return os.tcgetpgrp(self.terminal) == os.getpgrp()
        except OSError:
            return True

    def attend(self) -> None:
        """Take the keyboard: the terminal is in the foreground and the agent wants it."""
        self.reading = self._typed
        if self.attended:
            self._set(raw(self._saved))
            self.raw = True
            if self._plain:
                self._plain = False
                self._inside(self._saved)
        self.resize()

    def release(self) -> None:
        """Give the terminal back as it was."""
        self.reading = False
        if self.raw:
            self.raw = False
            self._set(self._saved)

    def resize(self) -> None:
        """Copy the window's size; the kernel tells those inside when it differs."""
        import fcntl
        import termios

        try:
            self._line.size(fcntl.ioctl(self.terminal, termios.TIOCGWINSZ, bytes(8)))
        except OSError:
            pass  # a terminal without a size, or one that is gone

    def close(self) -> None:
        """Restore the terminal and close the pty."""
        if not self:
            return
        self.release()
        self.part()
        os.close(self.master)
        self.master = -1
        if self._reopened:
            os.close(self._outer)

    def interests(self, poll: Callable[[int, int], None]) -> None:
        """Register with `poll` (descriptor, events) what can be done next."""
        import select

        master = 0
        if not self.ended:
            if len(self._to_outer) < LIMIT:
                master |= select.POLLIN
            if self._to_inner:
                master |= select.POLLOUT
            if master:
                poll(self.master, master)
        outer = select.POLLOUT if self._to_outer else 0
        if self.reading and len(self._to_inner) < LIMIT:
            outer |= select.POLLIN
        if outer:
            poll(self._outer, outer)

    def relay(self, descriptor: int, events: int) -> None:
        """Move what can be moved after poll(2) gave `events` for `descriptor`."""
        import select

        if descriptor == self.master:
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._from_inner()
            if events & select.POLLOUT:
                self._flush_inner()
        elif descriptor == self._outer:
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and self.reading:
                self._from_outer()
            if events & (select.POLLOUT | select.POLLHUP | select.POLLERR):
                self._flush_outer()

    def catch_up(self) -> None:
        """Relay what those inside have written by now."""
        import select

        for _ in range(LIMIT // 4096):  # not for ever: another of them may go on writing
            if self.ended or not select.select([self.master], [], [], 0)[0]:
                return
            self._from_inner()
            self._flush_outer()

    def pending(self) -> bool:
        """Some output has not reached the terminal yet."""
        return bool(self) and (not self.ended or bool(self._to_outer))

    def _from_inner(self) -> None:
        try:
            data = os.read(self.master, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody inside has it open any more
            data = b""
        output, last = self._line.taken(data)
        if last or not data:
            self.ended = True
        self._to_outer += self._shown(output) if self._shown else output
        if self._reopened:
            self._flush_outer()

    def _flush_outer(self) -> None:
        if not self._to_outer:
            return
        # Without a description of our own a write may block: keep it to what poll promised (the kernel's
        # WAKEUP_CHARS, drivers/tty/n_tty.c).
        data = self._to_outer if self._reopened else self._to_outer[:256]
        try:
            del self._to_outer[: os.write(self._outer, data)]
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone; whoever closed it has sent SIGHUP
            self._to_outer.clear()

    def _from_outer(self) -> None:
        try:
            data = os.read(self._outer, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.reading = False
            return
        if self.raw:
            if not data:
                self.reading = False
        elif not data.endswith(b"\n"):
            data += self._end_of_file
        self._to_inner += data
        self._flush_inner()

    def _flush_inner(self) -> None:
        if not self._to_inner:
            return
        try:
            del self._to_inner[: os.write(self.master, self._to_inner)]
        except BlockingIOError:
            return
        except OSError:
            self._to_inner.clear()

    def _cooked_inside(self) -> None:
        """While the terminal outside does the echo, the line editing and the newlines, the pty must
        not do them again.
        """
        import termios as t

        iflag, oflag, cflag, lflag, ispeed, ospeed, cc = self._saved
        self._end_of_file: bytes = cc[t.VEOF]
        lflag &= ~(t.ECHO | t.ECHONL | t.ISIG | t.IEXTEN)
        self._inside([iflag & ~(t.ICRNL | t.IXON), oflag & ~t.OPOST, cflag, lflag, ispeed, ospeed, cc])

    def _inside(self, attributes: list[Any]) -> None:
        self._line.modes(attributes)

    def _set(self, attributes: list[Any]) -> None:
        import termios

        # Not TCSADRAIN: a terminal stopped by Ctrl-S would hold us for ever.
        try:
            termios.tcsetattr(self.terminal, termios.TCSANOW, attributes)
        except termios.error:
            return  # the terminal is gone


def raw(saved: list[Any]) -> list[Any]:
    """What cfmakeraw(3) makes of a terminal's attributes."""
    import termios as t

    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = saved
    iflag &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
    lflag &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
    cflag = cflag & ~(t.CSIZE | t.PARENB) | t.CS8
    cc = list(cc)
    cc[t.VMIN], cc[t.VTIME] = 1, 0
    return [iflag, oflag & ~t.OPOST, cflag, lflag, ispeed, ospeed, cc]
