"""Row dbus-session."""

from __future__ import annotations

import json
from typing import Any

from conformance.checks.probes import bus
from conformance.checks.probes.bus import BUS, call, of_bus
from conformance.checks.probes.places import CONNECT, connected
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.dbus import DESKTOP, SessionBus
from fixtures.listeners import canary
from fixtures.process import log_says, output, running, wait_until

SECRETS = "org.freedesktop.secrets"
VARIABLE = "DBUS_SESSION_BUS_ADDRESS"
NOT_WALKED = ("/proc", "/sys", "/usr", "/nix")


@covers("dbus-session", "filtered")
def test_a_secret_stored_inside_is_read_outside(inside: Inside, host: World) -> None:
    """A secret that a program inside stores is in the host's keyring."""
    name, secret = canary(), canary()

    stored = inside.sh(f"timeout 20 secret-tool store --label=fixture name {name}", stdin=secret.encode())

    assert stored.rc == 0, stored.stderr
    assert host.services.session_bus.lookup(name=name) == secret


@covers("dbus-session", "filtered")
def test_a_secret_stored_outside_is_read_inside(inside: Inside, host: World) -> None:
    """A secret in the host's keyring is read inside; all of them are, as the table warns."""
    name, secret = canary(), canary()
    host.services.session_bus.store(secret, name=name)

    read = inside.sh(f"timeout 20 secret-tool lookup name {name}")

    assert read.stdout == secret, read.stderr


@covers("dbus-session", "filtered", variant="default")
def test_a_secret_cleared_inside_is_gone_outside(inside: Inside, host: World) -> None:
    """What is removed inside is no longer in the host's keyring; another secret is."""
    name, other = canary(), canary()
    for each in (name, other):
        host.services.session_bus.store("secret", name=each)

    cleared = inside.sh(f"timeout 20 secret-tool clear name {name}")

    assert cleared.rc == 0, cleared.stderr
    assert host.services.session_bus.lookup(name=name) == ""
    assert host.services.session_bus.lookup(name=other) == "secret"


@covers("dbus-session", "filtered")
def test_no_other_service_is_called(inside: Inside, host: World) -> None:
    """No call reaches systemd, notifications, the portal or another service, by its name or its number."""
    session = host.services.session_bus
    session.deactivate()
    calls = _services(session, _number(host, session, session.witness.name))

    before = len(session.witness.calls)
    found = inside.python(bus.CALLS, address="", variable=VARIABLE, calls=calls)
    reached, activated = session.witness.calls[before:], session.mark.exists() or session.activatable.calls
    before += len(reached)
    control = host.python(bus.CALLS, address=session.address, variable="", calls=calls)
    controlled = session.witness.calls[before:]
    marked = session.mark.exists()
    session.deactivate()

    with on_the_host():
        assert marked, "the same call has to start it from the host"
        assert sorted(controlled) == ["Notify", "OpenURI", "Ping", "Ping", "StartTransientUnit"], control
        assert control["StartServiceByName"][0] == "return"
        assert control["by name"] == control["by number"] == ["return", [session.witness.canary]]
    assert reached == []
    assert not activated
    assert bus.kinds(found) == dict.fromkeys(found, "error")


@covers("dbus-session", "filtered", variant=("default", "no-network"))
def test_the_bus_itself_does_no_more_than_it_must(inside: Inside, host: World) -> None:
    """The bus takes no name for it, shows it no process, and does not let it listen to others."""
    session = host.services.session_bus
    witness = session.witness.name
    calls = [
        of_bus("RequestName", "su", f"org.fixture.{canary()}", 4),
        of_bus("GetConnectionUnixProcessID", "s", witness),
        of_bus("GetConnectionCredentials", "s", witness),
        of_bus("GetNameOwner", "s", witness),
        of_bus("UpdateActivationEnvironment", "a{ss}", {"FIXTURE": "1"}),
        of_bus("ReloadConfig"),
        of_bus("AddMatch", "s", "eavesdrop=true"),
        call("monitor", BUS, "/org/freedesktop/DBus", f"{BUS}.Monitoring", "BecomeMonitor", "asu", [], 0),
    ]

    control = host.python(bus.CALLS, address=session.address, variable="", calls=calls)
    found = inside.python(bus.CALLS, address="", variable=VARIABLE, calls=[*calls, of_bus("GetId")])

    with on_the_host():
        assert bus.kinds(control) == dict.fromkeys(control, "return")
    assert bus.kinds(found) == {**dict.fromkeys(control, "error"), "GetId": "return"}


@covers("dbus-session", "filtered")
def test_nobody_else_is_on_its_list(inside: Inside, host: World) -> None:
    """The names that can be seen are the bus, the Secret Service and the asking program."""
    session = host.services.session_bus
    witness = session.witness
    calls = [
        of_bus("ListNames"),
        of_bus("ListActivatableNames"),
        *(call(n, BUS, "/", BUS, "NameHasOwner", "s", n) for n in (witness.name, SECRETS, *DESKTOP)),
    ]
    others = {witness.name, *DESKTOP, _number(host, session, witness.name)}
    keyring = _number(host, session, SECRETS)

    control = host.python(bus.CALLS, address=session.address, variable="", calls=calls)
    found = inside.python(bus.CALLS, address="", variable=VARIABLE, calls=calls)

    with on_the_host():
        assert others <= set(control["ListNames"][1][0])
        assert control["ListActivatableNames"][1][0] == [BUS, session.activatable.name]
        assert control[witness.name] == ["return", [True]]
    assert found[SECRETS] == ["return", [True]]
    own = {name for name in found["ListNames"][1][0] if name.startswith(":") and name != keyring}
    assert len(own) == 1
    assert set(found["ListNames"][1][0]) - own <= {BUS, SECRETS, keyring}
    assert set(found["ListActivatableNames"][1][0]) <= {BUS, SECRETS}
    assert [found[name] for name in (witness.name, *DESKTOP)] == [["return", [False]]] * 4


@covers("dbus-session", "filtered", variant=("default", "no-network"))
def test_the_keyrings_other_objects_are_shut(inside: Inside, host: World) -> None:
    """What else is behind the Secret Service's name, as the keyring's environment, does not answer."""
    session = host.services.session_bus
    daemon = ("/org/gnome/keyring/daemon", "org.gnome.keyring.Daemon", "GetEnvironment")
    look = ("org.freedesktop.DBus.Introspectable", "Introspect")
    calls = [
        call("by the service", SECRETS, *daemon),
        call("by the daemon", "org.gnome.keyring", *daemon),
        call("by number", _number(host, session, SECRETS), *daemon),
        call("root", SECRETS, "/", *look),
    ]
    service = ("/org/freedesktop/secrets", "org.freedesktop.DBus.Properties", "Get", "ss")
    answers = call("service", SECRETS, *service, "org.freedesktop.Secret.Service", "Collections")

    control = host.python(bus.CALLS, address=session.address, variable="", calls=[*calls, answers])
    found = inside.python(bus.CALLS, address="", variable=VARIABLE, calls=[*calls, answers])

    with on_the_host():
        assert bus.kinds(control) == dict.fromkeys(control, "return")
    assert bus.kinds(found) == {**dict.fromkeys(control, "error"), "service": "return"}


@covers("dbus-session", "filtered", variant="default")
def test_signals_of_others_do_not_arrive(inside: Inside, host: World) -> None:
    """A signal that all hear on the host's bus is not heard inside; the Secret Service's are."""
    session, shout, last = host.services.session_bus, canary(), "ItemCreated"
    host.write(host.path / "listen.py", bus.LISTEN)
    heard = host.path / "heard"
    outside = ("/usr/bin/python3", "-I", str(host.path / "listen.py"), session.address, last)
    log = host.services.scratch("listen") / "log"

    inside.output("/usr/bin/python3 -I /project/listen.py '' ItemCreated >/project/heard 2>&1 & :")
    with running(outside, log=log, ready=log_says("ready"), user=host.user) as listener:
        wait_until(lambda: None if heard.exists() and "ready" in heard.read_text() else "not yet", "ready")
        send = ("dbus-send", f"--bus={session.address}", "--type=signal", "/", "org.fixture.Witness.Shout")
        output((*send, f"string:{shout}"), user=host.user)
        session.store("secret", name=canary())
        wait_until(lambda: None if last in listener.output() else listener.output(), last)
        control = listener.output()
    wait_until(lambda: None if last in heard.read_text() else heard.read_text(), last)
    found = heard.read_text()

    with on_the_host():
        assert shout in control, "the same program has to hear it on the host"
    assert f" {last} " in found
    assert shout not in found
    witness = _number(host, session, session.witness.name)
    assert not [line for line in found.splitlines() if witness in line or session.witness.name in line]


@covers("dbus-session", "filtered", needs=("dbus-system",))
def test_no_socket_within_reach_is_an_unfiltered_bus(inside: Inside, host: World) -> None:
    """The paths of the host's buses lead nowhere; behind each socket that is there, no service answers."""
    session, system = host.services.session_bus, host.services.system_bus
    raw = [str(session.socket), str(system.socket)]

    control = host.python(bus.SOCKETS, **_search(host), places=raw)
    found = bus.sockets(inside, **{**_search(host), "below": ["/"]}, places=raw)

    with on_the_host():
        assert control[raw[0]] == f"bus {session.witness.canary}"
        assert control[raw[1]] == f"bus {system.witness.canary}"
    assert [found[place][:5] for place in raw] == ["errno", "errno"]
    assert "bus" in found.values(), "there is at least the filtered one"
    assert {place: what for place, what in found.items() if what.startswith("bus ")} == {}


@covers("dbus-session", "filtered", means=True)
def test_a_proxy_of_its_own_is_behind_it(inside: Inside, cell: Cell) -> None:
    """The socket is a mount of its own, and the proxy's that the table names."""
    address = inside.output(f"echo ${VARIABLE}")

    assert bus.socket_of_a(inside, cell, address.removeprefix("unix:path=")) == ""


@covers("dbus-session", "absent")
def test_there_is_no_session_bus(inside: Inside, host: World) -> None:
    """No variable names a bus, no path of one leads to it, and no secret can be had."""
    session, name, secret = host.services.session_bus, canary(), canary()
    session.store(secret, name=name)
    places = [str(session.socket), f"{host.runtime}/bus", f"/run/user/{host.user.uid}/bus"]

    control = host.python(CONNECT, places=[str(session.socket)])
    found = inside.python(CONNECT, places=places)
    named = inside.output(f"echo ${{{VARIABLE}-unset}}")
    read = inside.sh(f"timeout 20 secret-tool lookup name {name}")

    with on_the_host():
        assert connected(control) == [str(session.socket)]
    assert connected(found) == []
    assert named == "unset"
    assert session.lookup(name=name) == secret
    assert (read.rc, read.stdout) == (1, ""), json.dumps(read.stderr)


@covers("dbus-session", "absent", slow=True)
def test_no_socket_within_reach_is_a_session_bus(inside: Inside, host: World) -> None:
    """No socket that is there, wherever it is, is a bus."""
    session = host.services.session_bus

    control = host.python(bus.SOCKETS, **_search(host), places=[str(session.socket)])
    found = bus.sockets(inside, **{**_search(host), "below": ["/"]}, places=[str(session.socket)])

    with on_the_host():
        assert control[str(session.socket)] == f"bus {session.witness.canary}"
    assert {place: what for place, what in found.items() if what.startswith("bus")} == {}


def _search(host: World) -> dict[str, Any]:
    witnesses = (host.services.session_bus.witness.name, host.services.system_bus.witness.name)
    return {"below": [], "skip": NOT_WALKED, "names": witnesses}


def _number(host: World, session: SessionBus, name: str) -> str:
    """The unique name of a connection, which the host's own user may ask for."""
    calls = [of_bus("GetNameOwner", "s", name)]
    found = host.python(bus.CALLS, address=session.address, variable="", calls=calls)
    return str(found["GetNameOwner"][1][0])


def _services(session: SessionBus, number: str) -> list[list[object]]:
    """Calls to what is on a desktop's bus, of which each would do something in the user's name."""
    witness, activatable = session.witness.name, session.activatable.name
    systemd, notifications, portal = DESKTOP
    unit = ("/org/freedesktop/systemd1", f"{systemd}.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))")
    notice = ("/org/freedesktop/Notifications", notifications, "Notify", "susssasa{sv}i")
    address = ("/org/freedesktop/portal/desktop", "org.freedesktop.portal.OpenURI", "OpenURI", "ssa{sv}")
    return [
        call("by name", witness, "/", witness, "Ping"),
        call("by number", number, "/", witness, "Ping"),
        call("activatable", activatable, "/", activatable, "Ping"),
        of_bus("StartServiceByName", "su", activatable, 0),
        call("systemd", systemd, *unit, "fixture.service", "fail", [], []),
        call("notification", notifications, *notice, "fixture", 0, "", "title", "text", [], {}, 1),
        call("portal", portal, *address, "", "https://fixture.test/", {}),
    ]
