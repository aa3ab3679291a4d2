"""The SSH agent's socket in the guest: many connections over one virtio-serial port, and both ends of that.

In the guest this file runs by itself, by the /usr/bin/python3 there; on the host in a child of the launcher.
What they say to each other is a kind, a connection and a number (u8, u32, u32; big endian):

    OPEN   somebody has connected; from the guest alone
    DATA   `number` bytes, which follow; each end may send WINDOW of them on a connection
    GRANT  `number` of those were taken: as many more may be sent
    CLOSE  the last word on a connection; what was said before is still delivered

So one that nobody reads holds up no other, and none takes more memory than its window. Each end takes the
other for hostile: what makes no sense ends the relay, and with it all connections.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterator
else:
    import _socket

OPEN, DATA, GRANT, CLOSE = 1, 2, 3, 4
HEADER = 9  # bytes
WINDOW = 1 << 16  # bytes; less than a Unix socket takes at once, as long as nobody reads it
CHUNK = 1 << 14  # bytes read at once
MOST = 64  # connections at a time
ROOM = 1 << 17  # bytes that wait for the port, from which on no more are read for it


class Broken(Exception):
    """The other end does not keep to what is agreed."""


class Frames:
    """Whole frames from bytes as they come; holds back less than one."""

    def __init__(self) -> None:
        self._held = bytearray()

    def taken(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """(kind, connection, number, data) each. Raises Broken for a kind or a number that is none."""
        held = self._held
        held += data
        while len(held) >= HEADER:
            kind, connection, number = held[0], *(int.from_bytes(held[at : at + 4], "big") for at in (1, 5))
            if not OPEN <= kind <= CLOSE or number > WINDOW:
                raise Broken
            end = HEADER + (number if kind == DATA else 0)
            if len(held) < end:
                return
            content = bytes(held[HEADER:end])
            del held[:end]
            yield kind, connection, number, content


def frame(kind: int, connection: int, number: int = 0, data: bytes = b"") -> bytes:
    """One of them, as it is sent."""
    return bytes((kind,)) + connection.to_bytes(4, "big") + number.to_bytes(4, "big") + data


class Connection:
    """One connection at one end; `socket` is a descriptor that does not block."""

    def __init__(self, socket: int) -> None:
        self.socket = socket
        self.credit = WINDOW  # bytes that may be sent to the other end
        self.owed = 0  # bytes that came from there and were not granted again
        self.waiting = bytearray()  # of them, what the socket has not taken yet
        self.closing = False  # the other end has closed it


class Relay:
    """One end of `port`, a descriptor that does not block: in the guest with a `listener`, which does not
    block either, on the host with the path of the `agent`'s socket.
    """

    def __init__(self, port: int, *, agent: str = "", listener: _socket.socket | None = None) -> None:
        self._port, self._agent, self._listener = port, agent, listener
        self._frames = Frames()
        self._out = bytearray()
        self._connections: dict[int, Connection] = {}
        self._last = 0

    def run(self) -> None:
        """Relay until the port ends, or the other end is Broken; then close all connections."""
        try:
            while self._turn():
                pass
        except (Broken, OSError):  # OSError: the port's
            pass
        for number in tuple(self._connections):
            self._forget(number)

    def _turn(self) -> bool:
        """Wait for what can be done, and do it; False at the end of the port."""
        poll, numbers = select.poll(), {one.socket: number for number, one in self._connections.items()}
        for descriptor, events in self._wanted():
            if events:  # without any, an end that is not to be seen yet would be reported for ever
                poll.register(descriptor, events)
        for descriptor, events in poll.poll():
            if descriptor in numbers:
                self._on_socket(numbers[descriptor], events)
            elif descriptor != self._port:
                self._accept()
            elif not self._on_port(events):
                return False
        return True

    def _wanted(self) -> Iterator[tuple[int, int]]:
        room = len(self._out) < ROOM
        # Whoever says on and on and reads nothing is not answered without end. Ends that keep to what is
        # agreed do not wait for each other here: beside data there are few words for each connection.
        heard = len(self._out) < 2 * ROOM
        yield self._port, (select.POLLOUT if self._out else 0) | (select.POLLIN if heard else 0)
        if self._listener and room and len(self._connections) < MOST:
            yield self._listener.fileno(), select.POLLIN
        for one in self._connections.values():
            readable = room and one.credit and not one.closing
            yield one.socket, (select.POLLOUT if one.waiting else 0) | (select.POLLIN if readable else 0)

    def _on_port(self, events: int) -> bool:
        try:
            if events & select.POLLOUT:
                del self._out[: os.write(self._port, self._out[:CHUNK])]
            data = os.read(self._port, CHUNK) if events & ~select.POLLOUT else None
        except BlockingIOError:
            return True
        for kind, number, count, content in self._frames.taken(data or b""):
            if kind == OPEN:
                self._open(number)
            elif number in self._connections:  # else: said before we were heard to close it
                self._obey(kind, number, count, content)
        return data != b""

    def _accept(self) -> None:
        try:
            socket, _ = self._listener._accept()  # type: ignore[union-attr]
        except OSError:
            return  # who had come has gone
        os.set_blocking(socket, False)
        self._last = (self._last + 1) % (1 << 32)
        self._connections[self._last] = Connection(socket)
        self._out += frame(OPEN, self._last)

    def _open(self, number: int) -> None:
        if not self._agent or number in self._connections:
            raise Broken
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            if len(self._connections) >= MOST:
                raise OSError
            made.connect(self._agent)
            self._connections[number] = Connection(made.detach())
        except OSError:
            made.close()
            self._out += frame(CLOSE, number)

    def _obey(self, kind: int, number: int, count: int, data: bytes) -> None:
        one = self._connections[number]
        if kind == GRANT:
            one.credit += count
        one.owed += len(data)
        if one.closing or one.credit > WINDOW or one.owed > WINDOW:
            raise Broken
        one.waiting += data
        one.closing = kind == CLOSE
        self._write(number)

    def _on_socket(self, number: int, events: int) -> None:
        if number in self._connections and events & select.POLLOUT:
            self._write(number)
        one = self._connections.get(number)
        if one is None or one.closing or not one.credit or not events & ~select.POLLOUT:
            return
        try:
            data = os.read(one.socket, min(one.credit, CHUNK))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        one.credit -= len(data)
        self._out += frame(DATA, number, len(data), data) if data else frame(CLOSE, number)
        if not data:
            self._forget(number)

    def _write(self, number: int) -> None:
        """Give the socket what it takes, and say so once that is half a window."""
        one = self._connections[number]
        try:
            del one.waiting[: os.write(one.socket, one.waiting)]
        except BlockingIOError:
            return
        except OSError:  # nobody takes it any more; what they have left to be read comes all the same
            one.waiting.clear()
        taken = one.owed - len(one.waiting)
        if one.closing and not one.waiting:
            self._forget(number)
        elif not one.closing and taken >= WINDOW // 2:
            one.owed -= taken
            self._out += frame(GRANT, number, taken)

    def _forget(self, number: int) -> None:
        os.close(self._connections.pop(number).socket)


if __name__ == "__main__":
    started_for = _socket.socket(fileno=3)  # by activation.py
    started_for.setblocking(False)
    os.set_blocking(0, False)
    Relay(0, listener=started_for).run()
