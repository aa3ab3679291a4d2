"""Row host-loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from conformance.checks.probes import network
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.listeners import Listener
from fixtures.sockets import abstract_listener
from fixtures.tcp import tcp_server, udp_server


@contextmanager
def listeners() -> Iterator[list[tuple[str, Listener]]]:
    """Servers on the host's loopback, by the kind of try that reaches each."""
    with ExitStack() as stack:
        yield [
            ("tcp", stack.enter_context(tcp_server("127.0.0.1"))),
            ("tcp", stack.enter_context(tcp_server("::1"))),
            ("tcp", stack.enter_context(tcp_server("127.9.9.9"))),
            ("udp", stack.enter_context(udp_server("127.0.0.1"))),
            ("udp", stack.enter_context(udp_server("::1"))),
            ("abstract", stack.enter_context(abstract_listener())),
        ]


def tries(there: list[tuple[str, Listener]]) -> list[list[object]]:
    return [[kind, server.address.removeprefix("@"), server.port] for kind, server in there]


@covers("host-loopback", "shared")
def test_servers_on_the_hosts_loopback_answer(inside: Inside, host: World) -> None:
    """Servers on the host's 127.0.0.1 and ::1 answer inside, by TCP and UDP, and so do abstract sockets."""
    with listeners() as there:
        control = host.python(network.REACH, tries=tries(there))
        before = [len(server.connections) for _, server in there]

        found = inside.python(network.REACH, tries=tries(there))
        came = [len(server.connections) for _, server in there]

    expected = [f"answer {server.canary}" for _, server in there]
    with on_the_host():
        assert network.answers(control) == expected
    assert network.answers(found) == expected
    assert came == [number + 1 for number in before]


@covers("host-loopback", "absent")
def test_no_server_on_the_hosts_loopback_is_reached(inside: Inside, host: World) -> None:
    """No server on the host's loopback, nor an abstract socket, hears from inside; each try fails at once."""
    with listeners() as there:
        control = host.python(network.REACH, tries=tries(there))
        before = [len(server.connections) for _, server in there]

        found = inside.python(network.REACH, tries=tries(there))
        came = [len(server.connections) for _, server in there]

    with on_the_host():
        assert network.answers(control) == [f"answer {server.canary}" for _, server in there]
    assert network.answers(found) == ["ECONNREFUSED"] * len(there)
    assert network.slow(found) == []
    assert came == before


# The way out of the machine, and the relay's own name server.
NEXT = """
import os
found = []
with open("/proc/net/route") as lines:
    for fields in map(str.split, list(lines)[1:]):
        # Little-endian, in hex (proc_net(5)).
        found.append(".".join(str(int(fields[2][at : at + 2], 16)) for at in (6, 4, 2, 0)))
if os.path.exists("/etc/resolv.conf"):
    with open("/etc/resolv.conf") as lines:
        found += [line.split()[1] for line in lines if line.startswith("nameserver")]
print(ascii(sorted({address for address in found if address != "0.0.0.0"})))
"""


@covers("host-loopback", "absent", by="passt")
def test_the_way_out_does_not_lead_to_the_hosts_loopback(inside: Inside, host: World, cell: Cell) -> None:
    """At the NAT's own addresses, gateway and name server, no server on the host's loopback answers."""
    with listeners() as there:
        control = host.python(network.REACH, tries=tries(there))
        before = [len(server.connections) for _, server in there]

        ways = inside.python(NEXT)
        to = [[kind, way, server.port] for way in ways for kind, server in (there[0], there[3])]
        found = inside.python(network.REACH, tries=to, wait_s=1)
        came = [len(server.connections) for _, server in there]

    with on_the_host():
        assert network.answers(control) == [f"answer {server.canary}" for _, server in there]
    assert len(ways) == (1 if cell.variant == "off" else 2), "there is no name server without row dns"
    assert [came for came in network.answers(found) if came.startswith("answer")] == []
    assert came == before


@covers("host-loopback", "shared", means=True)
def test_loopback_is_the_hosts_network_namespace(inside: Inside, host: World) -> None:
    """The loopback inside is that of the host's network namespace."""
    outside = host.python(network.INTERFACES)["namespace"]

    assert inside.python(network.INTERFACES)["namespace"] == outside


@covers("host-loopback", "absent", means=True, by="network namespace")
def test_loopback_is_another_network_namespaces(inside: Inside, host: World) -> None:
    """The loopback inside is not that of the host's network namespace."""
    outside = host.python(network.INTERFACES)["namespace"]

    assert inside.python(network.INTERFACES)["namespace"] != outside
