"""Ethernet frames as a guest's kernel would not send them, and passt behind the wall, to send them to.

Run in a network of the tests' own: prints as JSON which of its servers heard what was sent to which address.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from contextlib import suppress
from ipaddress import ip_address

from launcher.run.nat import Network
from launcher.vm.network import ADDRESS, ADDRESS6

GUEST, HOST = bytes.fromhex("525400123456"), bytes.fromhex("02fc00000001")
SETTLE_S = 2.0


def checksum(data: bytes) -> int:
    """Of IP, TCP and UDP (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF or 0xFFFF


def packet(to: str, protocol: int, port: int, payload: bytes, *, source_port: int, source: str = "") -> bytes:
    """A frame with a TCP SYN or a UDP datagram."""
    destination = ip_address(to)
    sender = ip_address(source or (ADDRESS if destination.version == 4 else ADDRESS6))
    if protocol == socket.IPPROTO_TCP:
        head, at = struct.pack("!HHIIBBHHH", source_port, port, 1000, 0, 5 << 4, 2, 65535, 0, 0), 16
    else:
        head, at = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0), 6
        head += payload
    ends = sender.packed + destination.packed
    total = struct.pack("!II", len(head), protocol)
    head = head[:at] + struct.pack("!H", checksum(ends + total + head)) + head[at + 2 :]
    if destination.version == 6:
        return ethernet(0x86DD, struct.pack("!IHBB", 6 << 28, len(head), protocol, 64) + ends + head)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(head), 1, 0, 64, protocol, 0) + ends
    return ethernet(0x0800, ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + head)


def ethernet(kind: int, payload: bytes) -> bytes:
    """A frame with its length before it."""
    frame = HOST + GUEST + struct.pack("!H", kind) + payload
    return struct.pack("!I", len(frame)) + frame


def main(addresses: list[str], servers: list[str]) -> None:
    """Send to each address, at the ports of servers that listen on each of `servers`."""
    listening = {}
    for address in servers:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind in ("tcp", "udp"):
            server = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            server.bind((address, 0))
            server.settimeout(0)
            if kind == "tcp":
                server.listen(1000)
            listening[server] = (address, kind)
    network = Network("/usr/bin/passt", "")
    guest = socket.socket(fileno=network.guest)
    port = 40000
    for to in addresses:
        for server, (_, kind) in listening.items():
            port += 1
            protocol = socket.IPPROTO_TCP if kind == "tcp" else socket.IPPROTO_UDP
            guest.sendall(packet(to, protocol, server.getsockname()[1], to.encode(), source_port=port))
    heard: set[tuple[str, str]] = set()
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end:
        for server, (address, kind) in listening.items():
            with suppress(BlockingIOError):
                if kind == "tcp":
                    server.accept()[0].close()
                else:
                    server.recv(100)
                heard.add((address, kind))
        time.sleep(0.01)
    guest.close()
    network.close()
    os.write(1, json.dumps(sorted(heard)).encode())
