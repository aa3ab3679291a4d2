"""Row dns."""

from __future__ import annotations

from collections.abc import Callable

from conformance.checks.probes import network
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.lan import lan

# Every name that the host's hosts file has, and what each resolves to.
NAMES = r"""
import socket
names = set()
with open("/etc/hosts") as lines:
    for line in lines:
        names.update(line.partition("#")[0].split()[1:])
print(ascii(sorted(names)))
"""
RESOLVE = r"""
import socket
found = {}
for name in given["names"]:
    try:
        found[name] = sorted({answer[4][0] for answer in socket.getaddrinfo(name, None)})
    except OSError as error:
        found[name] = type(error).__name__
print(ascii(found))
"""
FILES = ("resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf")
CONTENT = r"""
import hashlib, os
found = {}
for name in given["names"]:
    try:
        with open(f"/etc/{name}", "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        found[name] = error.errno
print(ascii(found))
"""


def own_names(host: World) -> list[str]:
    """Names that this host's hosts file alone knows."""
    names: list[str] = host.python(NAMES)
    # localhost is resolved by some C libraries without any file.
    found = [name for name in names if "localhost" not in name and not name.startswith("ip6-")]
    if not found:
        raise HarnessError("/etc/hosts has no name but localhost", "add one: 127.0.0.1 some-name")
    return found


@covers("dns", "same")
def test_names_of_the_hosts_file_resolve(inside: Inside, host: World) -> None:
    """Every name of the host's hosts file resolves inside to what it does outside, without a network too."""
    names = own_names(host)
    outside = host.python(RESOLVE, names=names)

    found = inside.python(RESOLVE, names=names)
    by_getent = inside.run("getent hosts %s", names[-1])

    with on_the_host():
        assert all(isinstance(addresses, list) for addresses in outside.values())
    assert found == outside
    assert by_getent.rc == 0
    assert names[-1] in by_getent.stdout


@covers("dns", "same", variant=("default", "tmux", "bare"))
def test_the_hosts_name_server_is_asked(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """A name that only the host's name server knows resolves inside; one that it does not know does not."""
    world = new_world()
    with lan(world.services.scratch("lan"), as_user=world.user) as there:
        tries = [["name", there.name, 0], ["name", "nowhere.fixture.test", 0]]
        control = network.on_lan(there, world, network.REACH, tries=tries)
        before = len(there.heard())

        found = fresh(world=world, within=there.prefix).inside.python(network.REACH, tries=tries)
        heard = there.heard()[before:]

    with on_the_host():
        assert network.answers(control) == [f"answer {there.answer}", "EAI_NONAME"]
    assert network.answers(found) == network.answers(control)
    assert {line.split()[0] for line in heard} == {"dns"}


@covers("dns", "same")
def test_what_resolvers_read_is_the_hosts(inside: Inside, host: World, cell: Cell) -> None:
    """resolv.conf, hosts, host.conf, nsswitch.conf and gai.conf have the host's content; resolv.conf names a
    relay instead where the table has one.
    """
    names = [name for name in FILES if name != "resolv.conf" or "passt asks" not in cell.means]

    assert inside.python(CONTENT, names=names) == host.python(CONTENT, names=names)


@covers("dns", "same", means=True)
def test_hosts_cannot_be_written(inside: Inside, host: World) -> None:
    """No way of writing to hosts or resolv.conf works."""
    for name in ("hosts", "resolv.conf"):
        before = host.run(("sha256sum", f"/etc/{name}")).stdout

        done = inside.sh(f"echo 203.0.113.9 attack >>/etc/{name}")

        assert done.rc != 0
        assert host.run(("sha256sum", f"/etc/{name}")).stdout == before


@covers("dns", "absent", variant="off")
def test_without_it_names_do_not_resolve(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """With --without dns neither the hosts file nor the host's name server is asked."""
    world = new_world()
    names = own_names(world)
    with lan(world.services.scratch("lan"), as_user=world.user) as there:
        tries = [["name", name, 0] for name in (*names, there.name)]
        control = network.on_lan(there, world, network.REACH, tries=tries)
        before = there.heard()

        inside = fresh(world=world, within=there.prefix).inside
        found = inside.python(network.REACH, tries=tries)
        heard = there.heard()[len(before) :]

    with on_the_host():
        assert [came for came in network.answers(control) if not came.startswith("answer")] == []
    assert [came for came in network.answers(found) if came.startswith("answer")] == []
    assert heard == []
    assert [name for name in ("hosts", "resolv.conf") if inside.file(f"/etc/{name}").exists] == []
