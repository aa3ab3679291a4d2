"""Display, sound, graphics and buses: which of them this session of the host has."""

from __future__ import annotations

import os

from launcher.host.model import Entry, Offer
from launcher.host.paths import answers, kind_of, listened_to, socket_offer
from launcher.untrusted import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILY_LOCAL, FAMILY_WILD = (
    256,
    65535,
)  # X11/Xauth.h; wild frees a cookie from the hostname, ours differs inside
# Hosts of a display that can be asked whether they are there without holding up a start.
LOOPBACK = {
    "localhost": ("127.0.0.1", "::1"),
    "127.0.0.1": ("127.0.0.1",),
    "::1": ("::1",),
    "[::1]": ("::1",),
}


def x11(environ: Mapping[str, str], home: str) -> Offer:
    """The X server's socket and a cookie for it that holds whatever the hostname is."""
    display = environ.get("DISPLAY", "")
    if not display:
        return Offer(reason="DISPLAY is not set")
    host, _, rest = display.rpartition(":")
    number = rest.partition(".")[0]
    cookie = _cookie(environ.get("XAUTHORITY") or f"{home}/.Xauthority", number)
    auth = (Entry(name="Xauthority", kind="content", content=cookie),) if cookie else ()
    if not (number.isascii() and number.isdigit()):
        return Offer(
            reason=f"DISPLAY={display} has no display number",
            note=f"x11 is off: DISPLAY={display} has no display number",
        )
    if host not in ("", "unix"):
        # A display over TCP, as `ssh -X` makes; there is no socket to bind, the shared network reaches it.
        if host in LOOPBACK and not any(answers(a, 6000 + int(number[:6])) for a in LOOPBACK[host]):
            reason = f"DISPLAY={display} has nobody listening"
            return Offer(reason=reason, note=f"x11 is off: {reason}")
        return Offer(
            entries=(Entry(name="tcp", kind="link", source=display), *auth), shown=f"DISPLAY={display}"
        )
    path = f"/tmp/.X11-unix/X{number}"
    offer = socket_offer(path, shown=f"DISPLAY={display}", name=path, what="x11")
    return offer.replace(entries=offer.entries + auth) if offer.entries else offer


def _cookie(path: str, number: str) -> bytes:
    """The entries of an Xauthority file for display `number`, rewritten to FamilyWild (Xau(3) has the
    format).
    """
    data = read(path, 1 << 20, follow=True) or b""
    out = b""
    at = 0
    while at + 2 <= len(data):
        family = int.from_bytes(data[at : at + 2], "big")
        at += 2
        fields = []
        for _ in range(4):  # address, display number, name of the protocol, key
            size = int.from_bytes(data[at : at + 2], "big")
            fields.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        if family in (FAMILY_LOCAL, FAMILY_WILD) and fields[1] in (number.encode(), b""):
            parts = b"".join(len(f).to_bytes(2, "big") + f for f in (b"", *fields[1:]))
            out += FAMILY_WILD.to_bytes(2, "big") + parts
    return out


def wayland(environ: Mapping[str, str], runtime: str) -> Offer:
    """The compositor's socket: WAYLAND_DISPLAY is a name in the runtime directory or a path
    (wl_display_connect(3)).
    """
    display = environ.get("WAYLAND_DISPLAY", "")
    if not display:
        return Offer(reason="WAYLAND_DISPLAY is not set")
    if not display.startswith("/") and not runtime:
        return Offer(reason="there is no XDG_RUNTIME_DIR", note="wayland is off: there is no XDG_RUNTIME_DIR")
    path = os.path.join(runtime, display)
    return socket_offer(path, shown=f"WAYLAND_DISPLAY={display}", name=os.path.basename(path), what="wayland")


def audio(environ: Mapping[str, str], runtime: str) -> Offer:
    """PipeWire's and PulseAudio's sockets, whichever are there."""
    entries: list[Entry] = []
    note = ""
    server = environ.get("PULSE_SERVER", "")
    pulse = server.removeprefix("unix:") if server.startswith(("unix:", "/")) else f"{runtime}/pulse/native"
    if server and not server.startswith(("unix:", "/")):
        note = f"audio: PULSE_SERVER={server} is not a unix socket and is not forwarded"
    elif server and not (kind_of(pulse) == "socket" and listened_to(pulse)):
        note = f"audio: PULSE_SERVER points at {pulse}, where nobody listens"
    pipewire = os.path.join(runtime, environ.get("PIPEWIRE_REMOTE") or "pipewire-0")
    for path, name in ((pipewire, "pipewire-0"), (pulse, "pulse/native")):
        if path.startswith("/") and kind_of(path) == "socket" and listened_to(path):
            entries.append(Entry(name=name, kind="socket", source=os.path.realpath(path)))
    if not entries:
        return Offer(reason="no PipeWire or PulseAudio socket", note=note)
    return Offer(entries=tuple(entries), shown=" and ".join(e.source for e in entries), note=note)


def gpu() -> Offer:
    """Device nodes for drawing, what Mesa asks /sys about them, and NixOS's driver directory."""
    devices = [
        p
        for p in ("/dev/dri", "/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia0")
        if kind_of(p)
    ]
    if not devices:
        return Offer(reason="there is no /dev/dri")
    # /dev/dri whole: a card that is plugged in later shows up in it. Its directory is bound as devices are,
    # too.
    entries = [Entry(name=p, kind="device", source=p) for p in devices]
    nodes = [f"/dev/dri/{n}" for n in sorted(os.listdir("/dev/dri"))] if "/dev/dri" in devices else []
    for node in nodes:
        if kind_of(node) != "device":
            continue
        number = os.stat(node).st_rdev
        link = f"/sys/dev/char/{os.major(number)}:{os.minor(number)}"
        device = os.path.realpath(f"{link}/device")
        if os.path.isdir(device) and device.startswith("/sys/devices/"):
            entries.append(Entry(name=device, kind="dir", source=device))
            entries.append(Entry(name=link, kind="link", source=os.path.realpath(link)))
    if os.path.isdir("/run/opengl-driver"):
        entries.append(
            Entry(name="/run/opengl-driver", kind="dir", source=os.path.realpath("/run/opengl-driver"))
        )
    return Offer(entries=tuple(dict.fromkeys(entries)), shown=", ".join(devices))


def bus(environ: Mapping[str, str], *, variable: str, default: str, row: str) -> Offer:
    """A D-Bus daemon's address. Only unix sockets: the proxy speaks to nothing else that is worth
    forwarding.
    """
    address = environ.get(variable) or f"unix:path={default}"
    where = f"${variable}" if environ.get(variable) else default
    if not address.startswith(("unix:path=", "unix:abstract=")):
        return Offer(
            reason=f"{variable} is not a unix address",
            note=f"{row} is off: {variable}={address} is not a unix address",
        )
    kind, _, path = address.removeprefix("unix:").partition(",")[0].partition("=")
    abstract = kind == "abstract"
    if not (listened_to(f"\0{path}") if abstract else kind_of(path) == "socket" and listened_to(path)):
        path = f"@{path}" if abstract else path
        said = (
            f"{row} is off: {variable} points at {path}, where nobody listens"
            if environ.get(variable)
            else ""
        )
        return Offer(reason=f"no bus at {path}", note=said)
    return Offer(entries=(Entry(name="bus", kind="socket", source=address),), shown=where)
