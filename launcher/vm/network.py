"""The guest's network: passt on the host, which makes connections of the user's of what the guest sends, and
a wall between the two.

passt connects to whatever address a frame names, and 127.0.0.1 is then the host's. The guest's kernel sends
no such frame, but whoever had taken it over could. So what may pass is looked at outside of the guest.
"""

from __future__ import annotations

import os

from launcher.plan.vm import RESOLVERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Passes = Callable[[bytes, int, int], bool]

ADDRESS, GATEWAY = "10.0.2.15", "10.0.2.2"
# passt would advertise the host's own, and take for its loopback's what that says. The guest makes one of the
# same prefix.
ADDRESS6 = "fd2b:5e1d:90f4::15"
ARP, IPV4, IPV6 = b"\x08\x06", b"\x08\x00", b"\x86\xdd"  # EtherTypes
UDP = 17
LENGTH = 4  # bytes before each frame, big endian (QEMU's -netdev stream)
HEADS = 14 + 40  # bytes of Ethernet's and IPv6's headers
MOST = 1 << 17  # bytes of a frame
CHUNK = 1 << 18
_GATEWAY = bytes(int(part) for part in GATEWAY.split("."))
_LINK_LOCAL = b"\xfe\x80"  # what passt's own IPv6 address begins with


def argv(program: str, number: int, interface: str) -> tuple[str, ...]:
    """passt's command line, in the foreground, for one guest at the other end of the socket `number`.

    `interface`: of which it takes the network's addresses, or "" for the one with the default route.
    """
    return (
        program, "--foreground", "--quiet", "--fd", str(number),
        "--address", ADDRESS, "--address", ADDRESS6, "--netmask", "24", "--gateway", GATEWAY, "--no-map-gw",
        *(word for address in RESOLVERS for word in ("--dns-forward", address)),
        "--tcp-ports", "none", "--udp-ports", "none",
        *(("--interface", interface) if interface else ()),
    )  # fmt: skip


def outward(data: bytes, at: int, length: int) -> bool:
    """Whether the frame data[at : at + length] may go from the guest to passt: it asks for a neighbour, or is
    for an address that is no loopback's.
    """
    kind = data[at + 12 : at + 14]
    if kind == IPV4:  # 127.0.0.0/8; and 0.0.0.0/8, which to Linux is this host, too
        return length >= 34 and data[at + 30] not in (0, 127)
    if kind == IPV6:  # ::1, ::, and ::ffff:0:0/96, which is IPv4 (RFC 4291, section 2.5)
        return length >= HEADS and data[at + 38 : at + 48] != bytes(10)
    return kind == ARP and length >= 42


def inward(data: bytes, at: int, length: int) -> bool:
    """Whether one may go from passt to the guest: all but UDP from its gateway, by which passt means what was
    sent on the host's loopback.
    """
    kind = data[at + 12 : at + 14]
    if kind == IPV4:
        return length >= 34 and (data[at + 23] != UDP or data[at + 26 : at + 30] != _GATEWAY)
    if kind == IPV6:
        return length >= HEADS and (data[at + 20] != UDP or data[at + 22 : at + 24] != _LINK_LOCAL)
    return kind == ARP and length >= 42


class Sieve:
    """The frames of a stream that pass, whole and with their lengths; holds back less than one."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._held = b""

    def taken(self, data: bytes) -> list[bytes]:
        """Those in what comes next. Raises ValueError for a length that no frame has: where the next one
        begins cannot be told then.
        """
        data = self._held + data
        at, frames = 0, []
        while len(data) >= at + LENGTH:
            length = int.from_bytes(data[at : at + LENGTH], "big")
            if length > MOST:
                raise ValueError(length)
            end = at + LENGTH + length
            if len(data) < end:
                break
            if self._passes(data, at + LENGTH, length):
                frames.append(data[at:end])
            at = end
        self._held = data[at:]
        return frames


class _Way:
    """One direction between two sockets."""

    def __init__(self, source: int, target: int, passes: Passes) -> None:
        self.source, self.target = source, target
        self.waiting: list[bytes] = []  # the next one last
        self._sieve = Sieve(passes)

    def move(self) -> bool:
        """What can be moved; False once there is no more."""
        try:
            if not self.waiting:
                data = os.read(self.source, CHUNK)
                self.waiting = self._sieve.taken(data)[::-1]
                if not data:
                    return False
            # One by one: passt (of 2023) loses its place when a frame's beginning comes without the rest.
            while self.waiting:
                written = os.write(self.target, self.waiting[-1])
                self.waiting[-1] = self.waiting[-1][written:]
                if not self.waiting[-1]:
                    self.waiting.pop()
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False
        return True


def wall(guest: int, passt: int) -> None:
    """Stand between the two, sockets that do not block, until one of them ends."""
    import select

    ways = (_Way(guest, passt, outward), _Way(passt, guest, inward))
    while True:
        poll = select.poll()
        wanted = {guest: 0, passt: 0}
        for way in ways:
            if way.waiting:
                wanted[way.target] |= select.POLLOUT
            else:
                wanted[way.source] |= select.POLLIN
        for number, events in wanted.items():
            poll.register(number, events)
        for number, events in poll.poll():
            if events & (select.POLLHUP | select.POLLERR):
                return
            for way in ways:
                if number == (way.target if way.waiting else way.source) and not way.move():
                    return
