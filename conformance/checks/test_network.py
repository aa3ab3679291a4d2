"""Row network."""

from __future__ import annotations

import os
from collections.abc import Callable

from conformance.checks.probes import network
from conformance.harness import as_seen
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.lan import lan
from fixtures.listeners import canary

LISTEN = r"""
import os, socket
server = socket.create_server(("127.0.0.1", 0))
server.settimeout(20)
with open("/project/.port-new", "w") as file:
    file.write(str(server.getsockname()[1]))
os.rename("/project/.port-new", "/project/.port")
connection, _ = server.accept()
print(ascii(connection.recv(100).decode()))
"""
# None of them is a server's answer, and none a timeout: the kernel itself says that there is no way.
NO_WAY = {"ENETUNREACH", "EHOSTUNREACH", "ECONNREFUSED", "EADDRNOTAVAIL", "EPERM", "EACCES", "EAFNOSUPPORT"}


@covers("network", "shared")
def test_a_server_on_the_hosts_network_answers(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """A neighbour, and the host at its own addresses on its network, answer by TCP and UDP, IPv4 and IPv6."""
    world = new_world()
    with lan(world.services.scratch("lan"), as_user=world.user) as there:
        names = [["name", there.name, 0]]
        everywhere = (*there.addresses, *there.own)
        tries = [[kind, to, there.port] for kind in ("tcp", "udp") for to in everywhere]
        control = network.on_lan(there, world, network.REACH, tries=tries + names)

        sandbox = fresh(world=world, within=there.prefix)
        found = sandbox.inside.python(network.REACH, tries=tries)
        before = there.heard()
        sandbox.inside.python(network.REACH, tries=tries)
        heard = there.heard()[len(before) :]

    with on_the_host():
        assert network.answers(control) == [f"answer {there.canary}"] * 8 + [f"answer {there.answer}"]
    assert network.answers(found) == [f"answer {there.canary}"] * 8
    kinds = ("tcp4", "tcp6", "udp4", "udp6")
    assert sorted(line.split()[0] for line in heard) == sorted([*kinds, *(f"own-{kind}" for kind in kinds)])


@covers("network", "shared")
def test_the_host_reaches_a_server_inside(inside: Inside, host: World) -> None:
    """A server that listens inside answers on the host's own 127.0.0.1, so that it can be looked at."""
    port = host.path / ".port"
    port.unlink(missing_ok=True)
    visitor = r"""
import os, socket, time
end = time.monotonic() + 20
while not os.path.exists(given["port"]) and time.monotonic() < end:
    time.sleep(0.01)
with open(given["port"]) as file:
    client = socket.create_connection(("127.0.0.1", int(file.read())), timeout=10)
client.send(b"from the host")
"""
    import threading

    failed: list[BaseException] = []

    def visit() -> None:
        try:
            host.python(visitor + "print(ascii(None))", port=str(port))
        except Exception as error:  # noqa: BLE001  (said below)
            failed.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    heard = inside.python(LISTEN)
    thread.join()
    port.unlink()

    assert failed == []
    assert heard == "from the host"


@covers("network", "shared", means=True)
def test_the_network_namespace_is_the_hosts(inside: Inside, host: World) -> None:
    """The network namespace inside is the host's: the same interfaces, the same routes."""
    outside = host.python(network.INTERFACES)

    found = inside.python(network.INTERFACES)

    assert found == outside


@covers("network", "own")
def test_servers_beyond_the_nat_answer(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """A neighbour, and the host at its own address on its network, answer by TCP and UDP."""
    world = new_world()
    with lan(world.services.scratch("lan"), as_user=world.user) as there:
        reachable = [address for address in (*there.addresses, *there.own) if ":" not in address]
        tries = [[kind, to, there.port] for kind in ("tcp", "udp") for to in reachable]
        names = [["name", there.name, 0]]
        control = network.on_lan(there, world, network.REACH, tries=tries + names)

        found = fresh(world=world, within=there.prefix).inside.python(network.REACH, tries=tries)

    with on_the_host():
        assert network.answers(control) == [f"answer {there.canary}"] * 4 + [f"answer {there.answer}"]
    assert network.answers(found) == [f"answer {there.canary}"] * 4


@covers("network", "own")
def test_nobody_comes_in_by_the_nat(inside: Inside, host: World) -> None:
    """A server that listens inside, on all of its addresses, is reached by none of the host's."""
    serve = """
import os, socket
server = socket.create_server(("", 0))
child = os.fork()
if child == 0:
    os.setsid()
    for number in range(3):
        os.close(number)
    server.settimeout(60)
    while True:
        server.accept()[0].sendall(given["word"].encode())
print(ascii([server.getsockname()[1], child]))
"""
    word = canary()
    here = ["127.0.0.1", *host.output(("hostname", "-I")).split()]

    port, child = inside.python(serve, word=word)
    control = inside.python(network.REACH, tries=[["tcp", "127.0.0.1", port]])
    found = host.python(network.REACH, tries=[["tcp", way, port] for way in here], wait_s=1)
    inside.output(f"kill {child}")

    with on_the_host():
        assert network.answers(control) == [f"answer {word}"], "inside it answers"
    assert [came for came in network.answers(found) if word in came] == []


@covers("network", "own", means=True)
def test_the_only_network_device_is_the_nats(sandbox: Machine, host: World) -> None:
    """The machine has one network device, with a stream to the NAT behind it: no QEMU user networking."""
    words = os.fsdecode(as_seen.read(sandbox.qemu, "cmdline")).split("\0")
    kinds = [words[at + 1].partition(",")[0] for at, word in enumerate(words) if word == "-netdev"]
    found = sandbox.inside.python(network.INTERFACES)

    assert kinds == ["stream"]
    assert [number for number in classes(sandbox) if number >> 8 == NETWORK] == [NETWORK << 8]
    assert len(sandbox.qmp("query-rx-filter")) == 1
    assert len(found["names"]) == 2
    assert found["names"] != host.python(network.INTERFACES)["names"]


@covers("network", "absent", means=True, by="no network device")
def test_the_machine_has_no_network_device(sandbox: Machine) -> None:
    """Among the machine's devices there is none of a network's, and nothing that would take its packets."""
    assert classes(sandbox), "what the machine does have is seen"
    assert [number for number in classes(sandbox) if number >> 8 == NETWORK] == []
    assert sandbox.qmp("query-rx-filter") == []
    assert sandbox.qmp("human-monitor-command", **{"command-line": "info network"}).strip() == ""


NETWORK = 0x02  # base class of PCI (linux/pci_ids.h)


def classes(sandbox: Machine) -> list[int]:
    """The class codes of all that is on the machine's buses."""
    return [device["class_info"]["class"] for bus in sandbox.qmp("query-pci") for device in bus["devices"]]


@covers("network", "absent")
def test_without_network_nothing_is_reached(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """TCP, UDP, ICMP and raw sockets to neighbours, beyond, and to the host's own addresses fail at once.

    So does a name that the host's name server knows, which is not asked. There is no interface but lo, and no
    route that leaves it.
    """
    world = new_world()
    with lan(world.services.scratch("lan"), as_user=world.user) as there:
        everywhere = (*there.addresses, *there.own)
        known = [[kind, to, there.port] for kind in ("tcp", "udp") for to in everywhere]
        pings = [["icmp", to, 0] for to in everywhere]
        beyond = ("203.0.113.1", "2001:db8::1")
        tries = [
            *known,
            *pings,
            *(["raw", to, 0] for to in (*everywhere, *beyond)),
            *([kind, to, there.port] for kind in ("tcp", "udp", "icmp") for to in beyond),
        ]
        names = [["name", there.name, 0], ["name", "nowhere.fixture.test", 0]]
        ways = network.on_lan(there, world, network.INTERFACES)
        control = network.on_lan(there, world, network.REACH, tries=[*known, *names, *pings * there.pings])
        before = there.heard()

        inside = fresh(world=world, within=there.prefix).inside
        left = inside.python(network.INTERFACES)
        found = inside.python(network.REACH, tries=[*names, *tries])
        heard = there.heard()[len(before) :]

    answers = [f"answer {there.canary}"] * len(known) + [f"answer {there.answer}", "EAI_NONAME"]
    with on_the_host():
        assert ways["names"] == ways["proc"] == ["host0", "lo"]
        assert ["host0", True] in ways["routes"]
        assert network.answers(control) == answers + ["answer fixture!"] * len(pings) * there.pings, (
            "the same probe has to reach them outside"
        )
    assert left["names"] == left["proc"] == ["lo"]
    assert [route for route in left["routes"] if route not in (["lo", False], [None, False])] == []
    assert set(network.answers(found[: len(names)])) <= {"EAI_AGAIN", "EAI_NONAME"}
    assert [one for one in zip(tries, found[len(names) :], strict=True) if one[1][0] not in NO_WAY] == []
    assert network.slow(found) == []
    assert heard == []


@covers("network", "absent")
def test_without_network_none_can_be_added(inside: Inside, host: World) -> None:
    """Netlink adds no link, no address and no route, and lo cannot be taken down."""
    unshare = ("unshare", "--user", "--map-root-user", "--net", *network.PYTHON)
    control = network.outside(host, unshare, network.ADD)

    found = inside.python(network.ADD)

    with on_the_host():
        assert control == dict.fromkeys(control, "0"), "the same probe has to work for who may"
    assert found == dict.fromkeys(found, "EPERM")


@covers("network", "absent")
def test_without_network_loopback_inside_still_works(inside: Inside) -> None:
    """What listens on 127.0.0.1 and ::1 inside is reached inside: test suites with servers run."""
    program = r"""
import socket
found = []
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.create_server((address, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2], timeout=5)
        connection, _ = server.accept()
        connection.send(b"here")
        found.append(client.recv(10).decode())
print(ascii(found))
"""
    assert inside.python(program) == ["here", "here"]


@covers("network", "absent", means=True, by="network namespace")
def test_the_network_namespace_is_another(inside: Inside, host: World) -> None:
    """The network namespace inside is not the host's."""
    outside = host.python(network.INTERFACES)["namespace"]

    assert inside.python(network.INTERFACES)["namespace"] != outside
