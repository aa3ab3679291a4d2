"""A D-Bus client that runs the same inside and on the host, and what is asked of a bus that is not ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance.harness.cells import Cell
from conformance.harness.errors import HarnessError
from conformance.harness.inside import Inside

# given: address ("" for what `variable` names), calls as `call` makes them, each on a connection of its own.
# Prints, by the call's name, ["return", body], ["error", its name], or what went wrong.
CALLS = r"""
import json, os, site
site.main()  # where jeepney is
from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
from jeepney.io.blocking import open_dbus_connection


def asked(name, to, path, interface, member, signature, body):
    with open_dbus_connection(given["address"] or os.environ[given["variable"]]) as connection:
        # Variants are pairs, which JSON has not.
        body = [tuple(part) if isinstance(part, list) and part[:1] == ["s"] else part for part in body]
        message = new_method_call(DBusAddress(path, to, interface), member, signature or None, tuple(body))
        try:
            reply = connection.send_and_get_reply(message, timeout=10)
        except TimeoutError:
            return ["timeout", ""]
        if reply.header.message_type is MessageType.error:
            return ["error", reply.header.fields[HeaderFields.error_name]]
        return ["return", reply.body]


found = {}
for call in given["calls"]:
    try:
        found[call[0]] = asked(*call)
    except (EOFError, ConnectionResetError, BrokenPipeError) as error:
        found[call[0]] = ["hung up", str(error)]
    except (OSError, KeyError) as error:
        found[call[0]] = ["no bus", str(error)]
print(ascii(json.loads(json.dumps(found, default=str))))
"""

# Every socket file that can be seen, and the paths given, asked for D-Bus's greeting (D-Bus Specification,
# "Authentication Protocol"). Who gives it is asked for a Ping by the `names`. Who says nothing is no bus of
# the host's if it is a process of this namespace, or a compositor: asked in its own words (wl_display.sync),
# it answers. All others have 15 s. Prints {place: answer}; "silent" says that nothing is known.
SOCKETS = r"""
import os, select, site, socket, stat, struct, time
site.main()  # where jeepney is
from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.io.blocking import open_dbus_connection

places = list(given["places"])
for top in given["below"]:
    for directory, names, files in os.walk(top):
        names[:] = [n for n in names if f"{directory}/{n}".replace("//", "/") not in given["skip"]]
        for name in files:
            try:
                if stat.S_ISSOCK(os.lstat(f"{directory}/{name}").st_mode):
                    places.append(f"{directory}/{name}".replace("//", "/"))
            except OSError:
                pass
for pid in filter(str.isdigit, os.listdir("/proc") if given["below"] else []):
    places.extend(f"/proc/{pid}/root{place}" for place in given["places"])

found, waiting = {}, {}
for place in dict.fromkeys(places):
    peer = socket.socket(socket.AF_UNIX)
    peer.setblocking(False)
    try:
        peer.connect(place)
        peer.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        waiting[peer.fileno()] = (place, peer)
    except OSError as error:
        found[place] = f"errno {error.errno}"
poll = select.poll()
for number in waiting:
    poll.register(number, select.POLLIN)


def hear(seconds):
    end = time.monotonic() + seconds
    while waiting and (ready := poll.poll(max(0, end - time.monotonic()) * 1000)):
        for number, _ in ready:
            poll.unregister(number)
            place, peer = waiting.pop(number)
            try:
                said = peer.recv(100)
            except OSError:
                said = b""
            found[place] = "bus" if said.startswith(b"OK ") else "no bus"
            peer.close()


def known(place, peer):
    # unix(7): the listener's process as it is called here, 0 when it is in no namespace of ours.
    if struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] != 0:
        return "own"
    with socket.socket(socket.AF_UNIX) as another:
        another.settimeout(5)
        try:
            another.connect(place)
            another.sendall(struct.pack("=IHHI", 1, 0, 12, 2))
            said = another.recv(8)
        except OSError:
            return ""
    # The event "done" of the object that was made by it.
    return "no bus" if said[:6] == struct.pack("=IH", 2, 0) else ""


hear(0.5)
for number, (place, peer) in list(waiting.items()):
    if what := known(place, peer):
        poll.unregister(number)
        del waiting[number]
        found[place] = what
hear(15)
found.update({place: "silent" for place, _ in waiting.values()})
for place in [place for place, what in found.items() if what == "bus"]:
    for name in given["names"]:
        with open_dbus_connection(f"unix:path={place}") as connection:
            message = new_method_call(DBusAddress("/", name, name), "Ping")
            reply = connection.send_and_get_reply(message, timeout=10)
            if reply.header.message_type is MessageType.method_return:
                found[place] = f"bus {reply.body[0]}"
print(ascii(found))
"""

# Told to hear everything, prints "ready", then a line for each signal: its sender, interface, member, first
# argument. Ends with the signal whose member is `last`, or by itself after a while.
LISTEN = r"""
import os, sys
from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
from jeepney.io.blocking import open_dbus_connection

address, last = sys.argv[1:]
bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
with open_dbus_connection(address or os.environ["DBUS_SESSION_BUS_ADDRESS"]) as connection:
    for rule in ("type='signal'", "interface='org.fixture.Witness'"):
        connection.send_and_get_reply(new_method_call(bus, "AddMatch", "s", (rule,)), timeout=10)
    print("ready", flush=True)
    member = ""
    while member != last:
        message = connection.receive(timeout=15)
        if message.header.message_type is MessageType.signal:
            fields = message.header.fields
            member = fields[HeaderFields.member]
            words = (fields[HeaderFields.sender], fields[HeaderFields.interface], member, *message.body[:1])
            print(*words, flush=True)
"""

BUS = "org.freedesktop.DBus"


def call(
    name: str, to: str, path: str, interface: str, member: str, signature: str = "", *body: object
) -> list[object]:
    """One call for CALLS, by the name under which it is answered."""
    return [name, to, path, interface, member, signature, list(body)]


def of_bus(member: str, signature: str = "", *body: object) -> list[object]:
    """A call to the bus itself, named by its member."""
    return call(member, BUS, "/org/freedesktop/DBus", BUS, member, signature, *body)


def sockets(inside: Inside, **how: Any) -> dict[str, str]:  # noqa: ANN401  (JSON)
    """What SOCKETS finds inside. Raises HarnessError for one that has said nothing: it may be a slow bus."""
    found: dict[str, str] = inside.python(SOCKETS, timeout_s=60, **how)
    silent = [place for place, what in found.items() if what == "silent"]
    if silent:
        raise HarnessError(f"who listens at {', '.join(silent)} did not say whether it is a bus")
    return found


def kinds(answers: Mapping[str, list[Any]]) -> dict[str, str]:
    """What kind of answer each call got."""
    return {name: answer[0] for name, answer in answers.items()}


def socket_of_a(inside: Inside, cell: Cell, path: str) -> str:
    """ "" when the socket at `path` inside is one of a host's process that is named as the cell's means.

    Else what is wrong with it.
    """
    # proc(5): the fourth and fifth of mountinfo are the root in its file system, and where it is mounted.
    lines = [line.split(" ") for line in inside.output("cat /proc/self/mountinfo").splitlines()]
    root = next((fields[3] for fields in lines if fields[4] == path), "").removesuffix("//deleted")
    if root.count("/") < 2:
        return f"{path} is no mount of one file: {root!r}"
    argvs = processes(cell.means)
    # The other addresses among its words, which begin so, are those of the host's buses.
    made = [word for argv in argvs for word in argv if not word.startswith("unix:")]
    mine = any(word.endswith(root) for word in made)
    return "" if mine else f"no {cell.means} has {root}; there are {argvs}"


def processes(program: str) -> list[list[str]]:
    """The words of all the host's processes of this program."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text(errors="surrogateescape").split("\0")
        except OSError:
            continue
        if words[0].rpartition("/")[2] == program:
            found.append(words)
    return found
