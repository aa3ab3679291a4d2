"""Row wayland."""

from __future__ import annotations

from conformance.checks.probes import display
from conformance.checks.probes.means import mounted
from conformance.checks.probes.places import CONNECT, connected
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.listeners import canary


@covers("wayland", "forwarded")
def test_a_window_opened_inside_is_on_the_hosts_compositor(inside: Inside, host: World) -> None:
    """A window drawn inside is shown by the host's compositor, whose log has its title."""
    title = canary()
    with on_the_host():
        assert title not in host.services.compositor.titles()

    answer = inside.python(display.WAYLAND, socket="", title=title)

    assert answer == "shown"
    assert title in host.services.compositor.titles()


@covers("wayland", "forwarded", variant="default")
def test_an_ordinary_client_works(inside: Inside, host: World) -> None:
    """Weston's own example, with the library that all clients use, opens its window, too."""
    titles = host.services.compositor.titles
    before = titles().count("simple-shm")

    pid = inside.output("weston-simple-shm >/tmp/simple-shm 2>&1 & echo $!")
    seen = display.appears(inside, pid, titles, "simple-shm", times=before + 1)

    said = inside.output(f"kill {pid} 2>/dev/null; cat /tmp/simple-shm; rm /tmp/simple-shm")
    assert seen, f"no window came up: {said}"


@covers("wayland", "forwarded", variant="default")
def test_the_rest_of_the_runtime_directory_stays_outside(inside: Inside, host: World) -> None:
    """What else the host has in the socket's directory, old or new, is not inside."""
    hosts, name, beside = host.services.compositor.runtime, canary(), canary()
    host.write(hosts / name, "")
    host.write(host.runtime / beside, "")
    walk = "[n for top in given['at'] for _, _, names in os.walk(top) for n in names]"
    look = f"import os; print(ascii({walk}))"

    control = host.python(look, at=[str(hosts), str(host.runtime)])
    found = inside.python(look, at=["/run", "/tmp", "/var"])

    with on_the_host():
        assert {name, beside} <= set(control), "the same probe has to see them on the host"
    assert not {name, beside} & set(found)
    assert found, "there is at least the socket"


@covers("wayland", "forwarded", means=True)
def test_the_compositors_socket_is_a_mount(inside: Inside, cell: Cell) -> None:
    """The socket is a mount of its own."""
    socket = inside.output("echo $XDG_RUNTIME_DIR/$WAYLAND_DISPLAY")

    assert mounted(inside, socket, cell.means) == []


@covers("wayland", "own")
def test_the_hosts_compositor_is_not_within_reach(inside: Inside, host: World) -> None:
    """The screen is the machine's own: no variable names a compositor, and no usual path leads to one."""
    assert _out_of_reach(inside, host)


@covers("wayland", "absent", variant=("off", "bare"))
def test_no_compositor_is_within_reach(inside: Inside, host: World, sandbox: Sandbox) -> None:
    """No variable names a compositor, no usual path leads to its socket, and no screen was made."""
    assert _out_of_reach(inside, host)
    assert sandbox.displays() == []


def _out_of_reach(inside: Inside, host: World) -> bool:
    """Whether the host's compositor answers on the host alone, and is not named inside."""
    socket = str(host.services.compositor.socket)
    runtime = inside.output("echo $XDG_RUNTIME_DIR")
    directories = (host.runtime, runtime, f"/run/user/{host.user.uid}")
    places = [socket, *(f"{directory}/wayland-0" for directory in directories)]

    control = host.python(display.WAYLAND, socket=socket, title=canary())
    found = inside.python(CONNECT, places=places)
    names = inside.output("echo ${WAYLAND_DISPLAY-unset} ${WAYLAND_SOCKET-unset}")

    with on_the_host():
        assert control == "shown", "the same probe has to reach it on the host"
    assert connected(found) == []
    return names == "unset unset"
