"""Row x11."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from conformance.checks.probes import display, screen
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures import packages
from fixtures.listeners import canary
from fixtures.process import output
from fixtures.sockets import unix_listener
from fixtures.xserver import free_display

WRONG = "00" * 16
HEAR = """
import socket
try:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(given["path"])
        print(ascii(peer.recv(100).decode()))
except OSError as error:
    print(ascii(f"errno {error.errno}"))
"""
# Appends junk, or takes what is past the given size away again; prints the path, the content as it was, and
# what came of it.
FILE = """
import os
path, done = os.environ.get("XAUTHORITY", ""), "ok"
with open(path, "rb") as file:
    before = file.read()
try:
    with open(path, "r+b") as file:
        file.truncate(min(given["size"], len(before)))
        file.seek(0, os.SEEK_END)
        file.write(given["junk"].encode())
except OSError as error:
    done = f"errno {error.errno}"
print(ascii([path, before.hex(), done]))
"""
WHOLE = 1 << 30


@covers("x11", "forwarded")
def test_a_window_opened_inside_is_on_the_hosts_screen(inside: Inside, host: World) -> None:
    """A window that a program inside opens is seen by another client of the host's X server."""
    title = canary()
    with on_the_host():
        assert title not in host.services.xserver.titles()

    pid = inside.output(f"xmessage -title {title} -timeout 20 hello >/tmp/{title} 2>&1 & echo $!")
    seen = display.appears(inside, pid, host.services.xserver.titles, title)

    said = inside.output(f"kill {pid} 2>/dev/null; cat /tmp/{title}; rm /tmp/{title}")
    assert seen, f"no window came up: {said}"


@covers("x11", "forwarded")
def test_only_the_cookie_opens_the_display(inside: Inside, host: World) -> None:
    """The cookie inside opens the display; a wrong one and none are refused, inside as on the host."""
    path = str(host.services.xserver.socket)

    control = host.python(display.X11, sockets=[path], cookies=[None, WRONG, ""])
    found = inside.python(display.X11, sockets=[path], cookies=[None, WRONG, ""])

    def opened(side: dict[str, str]) -> None:
        assert side[f"{path} None"] == "accepted"
        assert side[f"{path} {WRONG}"].startswith("refused: ")
        assert side[f"{path} "].startswith("refused: ")

    with on_the_host():
        opened(control)
    opened(found)


@covers("x11", "forwarded", variant="default")
def test_the_cookie_file_inside_is_its_own(inside: Inside, host: World) -> None:
    """What is written to the file with the cookie does not reach the host's, and it lies somewhere else."""
    hosts = host.services.xserver.authority
    before, junk = hosts.read_bytes(), canary()

    path, content, done = inside.python(FILE, junk=junk, size=WHOLE)
    after = hosts.read_bytes()
    _, spoiled, _ = inside.python(FILE, junk="", size=len(content) // 2)

    assert path != str(hosts)
    assert host.services.xserver.cookie in content
    assert done != "ok" or spoiled == content + junk.encode().hex(), "the write is not what it says it is"
    assert after == before


@covers("x11", "forwarded", variant="default")
def test_other_displays_stay_outside(new_world: Callable[..., World], fresh: Callable[..., Sandbox]) -> None:
    """Neither the socket of another display of the same user nor its cookie comes along."""
    world = new_world()
    display_number, secret = free_display(), "ab" * 16
    authority = world.home / ".Xauthority"
    world.write(authority, world.services.xserver.authority.read_bytes(), mode=0o600)
    entry = f"add :{display_number} . {secret}\n".encode()
    output(("xauth", "-q", "-f", str(authority)), user=world.user, stdin=entry)
    world.environ["XAUTHORITY"] = str(authority)
    other = Path(f"/tmp/.X11-unix/X{display_number}")

    with unix_listener(other, as_user=world.user) as listener:
        sandbox = fresh(world=world)
        control = world.python(HEAR, path=str(other))
        found = sandbox.inside.python(HEAR, path=str(other))
        listed = sandbox.inside.output("ls /tmp/.X11-unix").split()
        _, cookies, _ = sandbox.inside.python(FILE, junk="", size=WHOLE)

    with on_the_host():
        assert control.strip() == listener.canary, "the same probe has to reach it on the host"
    assert found.startswith("errno ")
    assert listed == [world.services.xserver.socket.name]
    assert secret in authority.read_bytes().hex()
    assert world.services.xserver.cookie in cookies
    assert secret not in cookies


@covers("x11", "forwarded", means=True)
def test_the_socket_is_mounted_and_its_directory_is_not(inside: Inside, host: World, cell: Cell) -> None:
    """The display's socket is a mount of its own, and the directory of all displays is none."""
    socket = host.services.xserver.socket

    assert mounted(inside, str(socket), cell.means) == []
    assert "no mount" in mounted(inside, str(socket.parent), cell.means)[0]


@covers("wayland", "own", slow=True)
@covers("x11", "own", slow=True)
def test_a_window_opened_inside_is_on_the_machines_own_screen(sandbox: Machine) -> None:
    """A window that a program inside opens is drawn on the display of the machine, as QEMU shows it."""
    name, shade = canary(), screen.colour()
    assert sandbox.displays() != []
    before = sandbox.picture().share(shade)

    window = f"-title {name} -bg '#{screen.hexadecimal(shade)}' -geometry 600x400 -timeout 90 hello"
    pid = sandbox.inside.output(f"xmessage {window} >/tmp/{name} 2>&1 & echo $!")
    seen = screen.filled(sandbox, pid, shade, least=0.1, patience_s=60)

    said = sandbox.inside.output(f"kill {pid} 2>/dev/null; cat /tmp/{name}; rm /tmp/{name}")
    assert before == 0
    assert seen, f"no window came up: {said}"


@covers("x11", "own", variant="default")
def test_keys_and_the_pointer_reach_a_program_inside(sandbox: Machine) -> None:
    """What is typed and clicked in the machine's window comes to the program that is there."""
    inside, name = sandbox.inside, canary()
    events = f"/tmp/{name}"
    start = f"xev -name {name} -geometry 400x300+200+100 -event keyboard -event button"
    pid = inside.output(f"{start} >{events} 2>&1 & echo $!")
    place = inside.sh(f"until xwininfo -name {name} 2>/dev/null; do sleep 0.2; done", timeout_s=15).stdout
    left, top = (int(n) + 50 for n in re.findall(r"Absolute upper-left [XY]:\s+(\d+)", place))

    def arrives(what: str, act: Callable[[], None]) -> bool:
        end = time.monotonic() + display.PATIENCE_S * sandbox.pace
        while not re.search(what, inside.output(f"cat {events}")):
            if time.monotonic() > end:
                return False
            act()
            time.sleep(0.5)
        return True

    # The window may be there before it is shown; and a click gives it the keyboard.
    clicked = arrives("ButtonPress", lambda: screen.click(sandbox, left, top))
    typed = arrives(r"\(keysym 0x71, q\)", lambda: screen.key(sandbox, "q"))

    said = inside.output(f"kill {pid}; cat {events}; rm {events}")
    assert clicked, said
    assert typed, said
    x, y = map(int, re.findall(r"ButtonPress[^)]*\)[^)]*root:\((\d+),(\d+)\)", said)[0])
    assert abs(x - left) <= 1
    assert abs(y - top) <= 1


@covers("x11", "own")
def test_the_hosts_display_is_not_within_reach(inside: Inside, host: World) -> None:
    """The display inside is none of the host's: with the cookie in hand its socket is not there."""
    assert _out_of_reach(inside, host)
    assert inside.output("echo $DISPLAY ${XAUTHORITY-unset}") == ":0 unset"
    assert inside.output("ls /tmp/.X11-unix") == "X0"


@covers("x11", "own", variant="default", means=True)
def test_who_draws_is_xorg_in_the_machine(sandbox: Machine, cell: Cell) -> None:
    """The server is X.Org's, and its screen is as large as what QEMU shows."""
    said = sandbox.inside.output("xdpyinfo")
    shot = sandbox.picture()

    assert cell.means.startswith("Xorg")
    assert "vendor string:    The X.Org Foundation" in said
    assert f"dimensions:    {shot.width}x{shot.height} pixels" in said


@covers("x11", "own", variant="default", means=True)
def test_a_window_of_the_hosts_shows_it_and_says_whose_it_is(host: World) -> None:
    """On a host with a display, QEMU shows the machine in a window whose title has the project's name."""
    packages.find_file("/usr/lib/*/qemu/ui-gtk.so")
    services = host.services
    shown = services.compositor.titles() if "WAYLAND_DISPLAY" in host.environ else services.xserver.titles()

    assert f"QEMU (claude-sandbox: {host.path.name})" in shown


@covers("x11", "absent", variant=("off", "bare"))
def test_no_display_is_within_reach(inside: Inside, host: World, sandbox: Sandbox) -> None:
    """No variable names a display, with the cookie in hand the socket is not there, and none was made."""
    assert _out_of_reach(inside, host)
    assert inside.output("echo ${DISPLAY-unset} ${XAUTHORITY-unset}") == "unset unset"
    assert sandbox.displays() == []


def _out_of_reach(inside: Inside, host: World) -> bool:
    """Whether the host's display, with its cookie, answers on the host alone."""
    server = host.services.xserver
    with_cookie = f"{server.socket} {server.cookie}"
    control = host.python(display.X11, sockets=[str(server.socket)], cookies=[server.cookie])
    found = inside.python(display.X11, sockets=[str(server.socket)], cookies=[server.cookie])
    with on_the_host():
        assert control[with_cookie] == "accepted", "the same probe has to reach it on the host"
    return bool(found[with_cookie].startswith("errno "))
