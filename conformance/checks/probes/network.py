"""What can be reached, by name, TCP, UDP, raw and unix sockets; what netlink shows, and lets one add."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from conformance.harness import inside
from conformance.harness.world import World
from fixtures import sshd
from fixtures.lan import Lan, lan
from fixtures.process import attempt

AT_ONCE_S = 2.0  # by far shorter than any timeout of the kernel's or the resolver's

# given: tries, as [kind, address, port]; wait_s, 10 without. Prints for each "answer …", "sent", an errno's
# name, or "timeout".
REACH = r"""
import errno, socket, struct, time

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF

def echo(family):
    # The kernel itself computes the checksum of ICMPv6.
    body = struct.pack("!BBHHH", 128 if family == socket.AF_INET6 else 8, 0, 0, 77, 1) + b"fixture!"
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]

def reach(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if kind == "name":
        return "answer " + " ".join(sorted({found[4][0] for found in socket.getaddrinfo(address, None)}))
    if kind == "abstract":
        client, to = socket.socket(socket.AF_UNIX), "\0" + address
    elif kind == "tcp":
        client, to = socket.socket(family), (address, port)
    elif kind == "udp":
        client, to = socket.socket(family, socket.SOCK_DGRAM), (address, port)
    else:
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        type_ = {"icmp": socket.SOCK_DGRAM, "raw": socket.SOCK_RAW}[kind]
        client, to = socket.socket(family, type_, protocol), (address, 0)
    with client:
        client.settimeout(given.get("wait_s", 10))
        client.connect(to)
        if kind in ("tcp", "udp") and client.getsockname() == client.getpeername():
            return reach(kind, address, port)  # nothing listens there, and the kernel gave us that very port
        if kind in ("icmp", "raw"):
            client.send(echo(family))
            return "answer " + client.recv(4096)[-8:].decode()
        if kind == "udp":
            client.send(b"hello")
        elif kind in ("tcp", "abstract"):
            client.shutdown(socket.SHUT_WR)  # it will say nothing: our listeners wait for that
        return "answer " + client.recv(4096).decode().strip()

"a name".encode("idna")  # an emulated processor takes a second to import what a name takes
found = []
for kind, address, port in given["tries"]:
    began = time.monotonic()
    try:
        came = reach(kind, address, port)
    except TimeoutError:
        came = "timeout"
    except socket.gaierror as error:
        names = {getattr(socket, n): n for n in dir(socket) if n.startswith("EAI_")}
        came = names.get(error.errno, str(error.errno))
    except OSError as error:
        came = errno.errorcode.get(error.errno, str(error.errno))
    found.append([came, time.monotonic() - began])
print(ascii(found))
"""

# Interfaces by three ways, and all routes of all tables by netlink (rtnetlink(7)).
INTERFACES = r"""
import os, socket, struct

RTM_GETROUTE, RTM_NEWROUTE, NLM_F_REQUEST, NLM_F_DUMP, NLMSG_DONE = 26, 24, 1, 0x300, 3
RTA_OIF, RTA_GATEWAY = 4, 5
names = dict(socket.if_nameindex())
routes = []
for family in (socket.AF_INET, socket.AF_INET6):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.send(struct.pack("=IHHIIB11x", 28, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0, family))
        done = False
        while not done:
            data = link.recv(1 << 17)
            while len(data) >= 16:
                size, kind = struct.unpack("=IH", data[:6])
                if kind == NLMSG_DONE:
                    done = True
                    break
                assert kind == RTM_NEWROUTE, kind
                at, out, gateway = 28, None, False
                while at + 4 <= size:
                    length, attribute = struct.unpack("=HH", data[at : at + 4])
                    if attribute == RTA_OIF:
                        out = struct.unpack("=I", data[at + 4 : at + 8])[0]
                    gateway |= attribute == RTA_GATEWAY
                    at += (length + 3) & ~3
                routes.append([names.get(out), gateway])
                data = data[(size + 3) & ~3 :]
with open("/proc/net/dev") as lines:
    listed = [line.partition(":")[0].strip() for line in lines if ":" in line]
print(ascii({"names": sorted(names.values()), "proc": sorted(listed), "routes": routes,
                  "namespace": os.readlink("/proc/self/ns/net")}))
"""

# Adding a link, an address, a route: what netlink says to each (0 for yes), and whether lo can be taken down.
ADD = r"""
import errno, fcntl, socket, struct

RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE, CREATE = 16, 20, 24, 1 | 4 | 0x400
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

def attribute(kind, value):
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)

def ask(kind, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(10)
        link.send(struct.pack("=IHHII", 16 + len(body), kind, CREATE, 1, 0) + body)
        number = -struct.unpack("=i", link.recv(65536)[16:20])[0]
        return errno.errorcode.get(number, str(number))

def set_up(up):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16s16x", b"lo"))
        name, flags = struct.unpack("16sh14x", request)
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        try:
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", name, flags))
        except OSError as error:
            return errno.errorcode[error.errno]
    return "0"

lo = struct.pack("=I", socket.if_nametoindex("lo"))
link = bytes(16) + attribute(3, b"attack0\0") + attribute(18, attribute(1, b"veth"))
address = struct.pack("=BBBB", 2, 32, 0, 0) + lo + attribute(2, bytes([198, 51, 100, 99]))
route = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 253, 1, 0) + attribute(1, bytes([203, 0, 113, 0]))
found = {"up": set_up(True), "address": ask(RTM_NEWADDR, address), "link": ask(RTM_NEWLINK, link),
         "route": ask(RTM_NEWROUTE, route + attribute(4, lo)), "down": set_up(False)}
print(ascii(found))
"""
PYTHON = inside.PYTHON.split()


@contextmanager
def sshd_on_lan(world: World, key: str) -> Iterator[tuple[Lan, sshd.Sshd]]:
    """A network of the tests' own, with an sshd at the host's address there for the holder of `key`."""
    scratch = world.services.scratch
    with (
        lan(scratch("lan"), as_user=world.user) as there,
        sshd.sshd(
            scratch("sshd"),
            authorized_key=key,
            as_user=world.user,
            host=there.own[0],
            prefix=there.prefix,
        ) as server,
    ):
        yield there, server


def on_lan(lan: Lan, host: World, source: str, **given: Any) -> Any:  # noqa: ANN401  (JSON)
    """A probe on the host that is on the lan, outside of the sandbox."""
    return outside(host, (*lan.prefix, *PYTHON), source, **given)


def outside(host: World, argv: Sequence[str], source: str, **given: Any) -> Any:  # noqa: ANN401  (JSON)
    """A probe by a Python that is started with `argv`, as the host's user."""
    done: subprocess.CompletedProcess[str] = attempt(
        argv, env=host.environ, user=host.user, stdin=inside.probe(source, given), timeout_s=60
    )
    return inside.answer(done.returncode, done.stdout, done.stderr, "on the host")


def answers(found: list[list[Any]]) -> list[str]:
    """What came of each try, without the times."""
    return [came for came, _seconds in found]


def slow(found: list[list[Any]]) -> list[list[Any]]:
    """The tries that did not end at once."""
    return [one for one in found if one[1] > AT_ONCE_S]
