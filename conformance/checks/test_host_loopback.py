"""Row host-loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from conformance.checks.probes import network
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


@covers("host-loopback", "shared", means=True)
def test_loopback_is_the_hosts_network_namespace(inside: Inside, host: World) -> None:
    """The loopback inside is that of the host's network namespace."""
    outside = host.python(network.INTERFACES)["namespace"]

    assert inside.python(network.INTERFACES)["namespace"] == outside


@covers("host-loopback", "absent", means=True)
def test_loopback_is_another_network_namespaces(inside: Inside, host: World) -> None:
    """The loopback inside is not that of the host's network namespace."""
    outside = host.python(network.INTERFACES)["namespace"]

    assert inside.python(network.INTERFACES)["namespace"] != outside
