"""Streams that are no terminal, to and from a guest: a socket for each, whose other end QEMU has.

The caller's descriptors are shared with others (a shell, a pipeline), so they are not made non-blocking: what
is written is what poll(2) has promised.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1 << 16
LIMIT = 1 << 18
PROMISED = 4096  # PIPE_BUF: what a pipe takes once poll(2) says that it can be written (pipe(7))


class Tail:
    """Finds the token that ends a stream; holds back no more than could be its beginning."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._held = b""

    def taken(self, data: bytes) -> tuple[bytes, bool]:
        """What of the bytes is the stream's, and whether it has ended."""
        data = self._held + data
        self._held = b""
        at = data.find(self._token)
        if at >= 0:
            return data[:at], True
        for length in range(min(len(self._token) - 1, len(data)), 0, -1):
            if self._token.startswith(data[-length:]):
                self._held = data[-length:]
                return data[:-length], False
        return data, False


class Inward:
    """From a descriptor of ours to the guest, until its end of file."""

    def __init__(self, source: int, socket: int) -> None:
        self._source, self._socket = source, socket
        self._waiting = bytearray()
        self._open = True

    def interests(self, poll: Callable[[int, int], None]) -> None:
        """Register what can be done next."""
        import select

        if self._open and len(self._waiting) < LIMIT:
            poll(self._source, select.POLLIN)
        if self._waiting:
            poll(self._socket, select.POLLOUT)

    def relay(self, descriptor: int, _events: int) -> None:
        """Move what can be moved."""
        if descriptor == self._source and self._open:
            try:
                data = os.read(self._source, CHUNK)
            except OSError:
                data = b""
            self._open = bool(data)
            self._waiting += data
        elif descriptor != self._socket:
            return
        try:
            del self._waiting[: os.write(self._socket, self._waiting)]
        except BlockingIOError:
            return
        except OSError:
            self._waiting.clear()
            self._open = False
        if not self._open and not self._waiting:
            _shut(self._socket)

    def pending(self) -> bool:
        """Whether output waits to be written: there is none."""
        return False

    def done(self) -> bool:
        """Whether all output has come and was written: there is none."""
        return True

    def close(self) -> None:
        """Close our end."""
        os.close(self._socket)


class Outward:
    """From the guest to a descriptor of ours. `broken`: called once nobody reads it any more."""

    def __init__(self, socket: int, target: int, tail: Tail, broken: Callable[[], None]) -> None:
        self._socket, self._target, self._tail, self._broken = socket, target, tail, broken
        self._waiting = bytearray()
        self._dead = False
        self.ended = False

    def interests(self, poll: Callable[[int, int], None]) -> None:
        """Register what can be done next."""
        import select

        if not self.ended and len(self._waiting) < LIMIT:
            poll(self._socket, select.POLLIN)
        if self._waiting:
            poll(self._target, select.POLLOUT)
        elif not self._dead:
            poll(self._target, 0)  # POLLERR: its reader has gone

    def relay(self, descriptor: int, events: int) -> None:
        """Move what can be moved."""
        import select

        if descriptor == self._socket and not self.ended:
            try:
                data = os.read(self._socket, CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            output, last = self._tail.taken(data)
            self.ended = last or not data
            if not self._dead:
                self._waiting += output
        elif descriptor == self._target and events & select.POLLERR:
            self._give_up()
        elif descriptor == self._target and self._waiting:
            try:
                del self._waiting[: os.write(self._target, self._waiting[:PROMISED])]
            except BlockingIOError:
                return
            except OSError:
                self._give_up()

    def pending(self) -> bool:
        """Whether bytes wait to be written."""
        return bool(self._waiting)

    def done(self) -> bool:
        """Whether all of it has come and was written."""
        return self.ended and not self._waiting

    def close(self) -> None:
        """Close our end."""
        os.close(self._socket)

    def _give_up(self) -> None:
        self._waiting.clear()
        if not self._dead:
            self._dead = True
            self._broken()


def _shut(socket: int) -> None:
    import _socket

    one = _socket.socket(fileno=os.dup(socket))
    try:
        one.shutdown(_socket.SHUT_WR)
    except OSError:
        pass  # the machine has ended
    finally:
        one.close()
