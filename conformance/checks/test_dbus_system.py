"""Row dbus-system."""

from __future__ import annotations

from typing import Any

from conformance.checks.probes import bus
from conformance.checks.probes.bus import BUS, call, of_bus
from conformance.checks.probes.places import CONNECT, connected
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World

VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"
USUAL = ("/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket")
NOT_WALKED = ("/proc", "/sys", "/usr", "/nix")


@covers("dbus-system", "filtered")
def test_the_hosts_bus_answers(inside: Inside, host: World) -> None:
    """The system bus answers inside, by its usual paths, too; by its identifier it is the host's."""
    system = host.services.system_bus
    ask = f"--print-reply=literal --dest={BUS} / {BUS}.GetId"

    outside = host.output(("dbus-send", f"--bus={system.address}", *ask.split()))
    told = inside.output(f"timeout 20 dbus-send --system {ask}")
    usual = [inside.output(f"timeout 20 dbus-send --bus=unix:path={path} {ask}") for path in USUAL]

    with on_the_host():
        assert len(outside) == 32
    assert [told, *usual] == [outside] * 3


@covers("dbus-system", "filtered")
def test_no_service_on_it_answers(inside: Inside, host: World) -> None:
    """A service that any user may call from the host hears nothing from inside, by its name or its number."""
    system, witness = host.services.system_bus, host.services.system_bus.witness
    calls = [
        call("by name", witness.name, "/", witness.name, "Ping"),
        call("by number", _number(host), "/", witness.name, "Ping"),
        call("what it is", witness.name, "/", "org.freedesktop.DBus.Introspectable", "Introspect"),
    ]

    before = len(witness.calls)
    found = inside.python(bus.CALLS, address="", variable=VARIABLE, calls=[*calls, of_bus("GetId")])
    reached = witness.calls[before:]
    before += len(reached)
    control = host.python(bus.CALLS, address=system.address, variable="", calls=calls)
    controlled = witness.calls[before:]

    with on_the_host():
        assert sorted(controlled) == ["Introspect", "Ping", "Ping"], control
        assert control["by name"] == control["by number"] == ["return", [witness.canary]]
    assert reached == []
    assert bus.kinds(found) == {**dict.fromkeys(control, "error"), "GetId": "return"}


@covers("dbus-system", "filtered")
def test_the_bus_tells_of_nobody(inside: Inside, host: World) -> None:
    """Inside, the bus lists itself and the asking program; it knows no other, and takes no name."""
    system, name = host.services.system_bus, host.services.system_bus.witness.name
    number = _number(host)
    refused = [
        of_bus("GetNameOwner", "s", name),
        of_bus("GetConnectionUnixProcessID", "s", number),
        of_bus("GetConnectionUnixUser", "s", number),
        of_bus("GetConnectionCredentials", "s", number),
        of_bus("RequestName", "su", name, 4),
    ]
    calls = [of_bus("ListNames"), of_bus("NameHasOwner", "s", name), *refused]

    control = host.python(bus.CALLS, address=system.address, variable="", calls=calls)
    found = inside.python(bus.CALLS, address="", variable=VARIABLE, calls=calls)

    with on_the_host():
        assert bus.kinds(control) == dict.fromkeys(control, "return")
        assert {name, number} <= set(control["ListNames"][1][0])
        assert control["NameHasOwner"] == ["return", [True]]
    listed = set(found["ListNames"][1][0]) - {BUS}
    assert len(listed) == 1
    assert not listed & {name, number}
    assert found["NameHasOwner"] == ["return", [False]]
    assert {each[0]: found[each[0]][0] for each in refused} == {each[0]: "error" for each in refused}


@covers("dbus-system", "filtered")
def test_the_bus_starts_and_overhears_nothing(inside: Inside, host: World) -> None:
    """No service is started by a call or by its name, and nobody overhears others, as on the host."""
    system = host.services.system_bus
    system.deactivate()
    started = system.activatable.name
    calls = [
        call("by a call", started, "/", started, "Ping"),
        of_bus("StartServiceByName", "su", started, 0),
        of_bus("UpdateActivationEnvironment", "a{ss}", {"FIXTURE": "1"}),
        of_bus("ReloadConfig"),
        of_bus("AddMatch", "s", "eavesdrop=true"),
        call("monitor", BUS, "/org/freedesktop/DBus", f"{BUS}.Monitoring", "BecomeMonitor", "asu", [], 0),
    ]

    found = inside.python(bus.CALLS, address="", variable=VARIABLE, calls=calls)
    activated = system.mark.exists() or system.activatable.calls
    control = host.python(bus.CALLS, address=system.address, variable="", calls=calls)
    marked = system.mark.exists()
    system.deactivate()

    with on_the_host():
        assert bus.kinds(control) == dict.fromkeys(control, "return")
        assert marked, "the same call has to start it from the host"
    assert not activated
    assert bus.kinds(found) == dict.fromkeys(found, "error")


@covers("dbus-system", "filtered", needs=("dbus-session",))
def test_no_socket_within_reach_is_the_raw_system_bus(inside: Inside, host: World) -> None:
    """The path of the host's bus leads nowhere; behind each socket that is there, no service answers."""
    session, system = host.services.session_bus, host.services.system_bus

    control = host.python(bus.SOCKETS, **_search(host), places=[str(system.socket)])
    found = bus.sockets(inside, **{**_search(host), "below": ["/"]}, places=[str(system.socket)])

    with on_the_host():
        assert control[str(system.socket)] == f"bus {system.witness.canary}"
    assert found[str(system.socket)].startswith("errno ")
    assert found[USUAL[0]] == "bus", "there is at least the filtered one"
    assert not [what for what in found.values() if system.witness.canary in what], session.address


@covers("dbus-system", "filtered", means=True)
def test_the_system_bus_is_a_proxys(inside: Inside, cell: Cell) -> None:
    """The socket is a mount of its own, and the proxy's that the table names."""
    assert bus.socket_of_a(inside, cell, USUAL[0]) == ""


@covers("dbus-system", "absent")
def test_there_is_no_system_bus(inside: Inside, host: World) -> None:
    """Neither a variable nor a usual path leads to a system bus."""
    socket = str(host.services.system_bus.socket)

    control = host.python(CONNECT, places=[socket])
    found = inside.python(CONNECT, places=[socket, *USUAL])

    with on_the_host():
        assert connected(control) == [socket]
    assert connected(found) == []
    assert inside.output(f"echo ${{{VARIABLE}-unset}}") == "unset"


@covers("dbus-system", "absent", slow=True)
def test_no_socket_within_reach_is_a_system_bus(inside: Inside, host: World) -> None:
    """No socket that is there, wherever it is, is a bus."""
    system = host.services.system_bus

    control = host.python(bus.SOCKETS, **_search(host), places=[str(system.socket)])
    found = bus.sockets(inside, **{**_search(host), "below": ["/"]}, places=[str(system.socket)])

    with on_the_host():
        assert control[str(system.socket)] == f"bus {system.witness.canary}"
    assert {place: what for place, what in found.items() if what.startswith("bus")} == {}


def _search(host: World) -> dict[str, Any]:
    names = (host.services.system_bus.witness.name,)
    return {"below": [], "skip": NOT_WALKED, "names": names}


def _number(host: World) -> str:
    """The unique name of the service's connection, which the host's own user may ask for."""
    system = host.services.system_bus
    calls = [of_bus("GetNameOwner", "s", system.witness.name)]
    found = host.python(bus.CALLS, address=system.address, variable="", calls=calls)
    return str(found["GetNameOwner"][1][0])
