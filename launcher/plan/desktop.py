"""Rows of the group "desktop": display, sound, graphics, buses, the browser."""

from __future__ import annotations

import os

from launcher.plan import places
from launcher.plan.context import Context
from launcher.plan.credentials import placed
from launcher.plan.model import BusProxy, Granted, Mount
from launcher.spec.table import CHROMIUM_POLICY

# --talk would open the connection's other objects, too: org.gnome.keyring.Daemon.GetEnvironment answers
# there.
SECRETS = (
    "--call=org.freedesktop.secrets=*@/org/freedesktop/secrets/*",
    "--call=org.freedesktop.secrets=*@/org/freedesktop/secrets",
    "--broadcast=org.freedesktop.secrets=*@/org/freedesktop/secrets/*",
)
# Where the launcher's proxy makes its sockets; the run replaces {proxies} by its private directory.
PROXIES = "{proxies}"


def x11(context: Context) -> Granted:
    """The one socket of the display (never its directory: other displays are there), and a cookie of its
    own.
    """
    offer = context.offer("x11")
    if not offer.entries:
        return Granted(row="x11", granted=False, reason=offer.reason, note=offer.note)
    over_tcp = any(e.name == "tcp" for e in offer.entries)
    if over_tcp and not context.request.network:
        return Granted(
            row="x11", granted=False, reason=f"{offer.shown} is reached over the network, which is off"
        )
    mounts: list[Mount] = []
    environment = [("DISPLAY", context.host.environ["DISPLAY"])]
    for entry in offer.entries:
        if entry.kind == "socket":
            mounts.append(Mount(kind="bind", source=entry.source, target=entry.name, mode="rw"))
        elif entry.kind == "content":
            cookie = f"{context.runtime}/Xauthority"
            mounts.append(Mount(kind="data", target=cookie, content=entry.content, perms=0o600))
            environment.append(("XAUTHORITY", cookie))
    return Granted(
        row="x11",
        source=offer.shown,
        target="the same display",
        mounts=tuple(mounts),
        environment=tuple(environment),
    )


def wayland(context: Context) -> Granted:
    """The compositor's socket in the runtime directory."""
    offer = context.offer("wayland")
    if not offer.entries:
        return Granted(row="wayland", granted=False, reason=offer.reason, note=offer.note)
    name = offer.entries[0].name
    target = f"{context.runtime}/{name}"
    mount = Mount(kind="bind", source=offer.entries[0].source, target=target, mode="rw")
    return Granted(
        row="wayland",
        source=offer.shown,
        target=target,
        mounts=(mount,),
        environment=(("WAYLAND_DISPLAY", name),),
    )


def audio(context: Context) -> Granted:
    """PipeWire's and PulseAudio's sockets; the same uid needs no cookie."""
    offer = context.offer("audio")
    if not offer.entries:
        return Granted(row="audio", granted=False, reason=offer.reason, note=offer.note)
    mounts = tuple(
        Mount(kind="bind", source=e.source, target=f"{context.runtime}/{e.name}", mode="rw")
        for e in offer.entries
    )
    pulse = [m.target for m in mounts if m.target.endswith("/pulse/native")]
    environment = (("PULSE_SERVER", f"unix:{pulse[0]}"),) if pulse else ()
    target = " and ".join(m.target for m in mounts)
    return Granted(
        row="audio",
        source=offer.shown,
        target=target,
        mounts=mounts,
        environment=environment,
        note=offer.note,
    )


def gpu(context: Context) -> Granted:
    """Device nodes as devices (a plain bind mount is nodev), and what libdrm reads of them in /sys."""
    offer = context.offer("gpu")
    if not offer.entries:
        return Granted(row="gpu", granted=False, reason=offer.reason)
    mounts = []
    for entry in offer.entries:
        if entry.kind == "link":
            mounts.append(Mount(kind="symlink", source=entry.source, target=entry.name))
        else:
            device = entry.kind == "device"
            mounts.append(
                Mount(kind="bind", source=entry.source, target=entry.name, mode="dev" if device else "ro")
            )
    return Granted(row="gpu", source=offer.shown, target="the same paths", mounts=tuple(mounts))


def dbus_session(context: Context) -> Granted:
    """The session bus behind a proxy: the Secret Service, and nothing else."""
    return _bus(context, "dbus-session", f"{context.runtime}/bus", "DBUS_SESSION_BUS_ADDRESS", SECRETS)


def dbus_system(context: Context) -> Granted:
    """The system bus behind a proxy: the bus itself answers, no service does."""
    return _bus(context, "dbus-system", "/run/dbus/system_bus_socket", "DBUS_SYSTEM_BUS_ADDRESS", ())


def _bus(context: Context, row: str, target: str, variable: str, rules: tuple[str, ...]) -> Granted:
    offer = context.offer(row)
    if not offer.entries:
        return Granted(row=row, granted=False, reason=offer.reason, note=offer.note)
    if "xdg-dbus-proxy" not in context.host.programs:
        note = f"{row} is off: xdg-dbus-proxy is not installed, and an unfiltered bus is an open door"
        return Granted(row=row, granted=False, reason="xdg-dbus-proxy is not installed", note=note)
    socket = f"{PROXIES}/{row}"
    return Granted(
        row=row,
        source=offer.shown,
        target=target,
        mounts=(Mount(kind="bind", source=socket, target=target, mode="rw"),),
        environment=((variable, f"unix:path={target}"),),
        proxies=(BusProxy(address=offer.entries[0].source, socket=socket, rules=rules),),
    )


def chromium(context: Context) -> Granted:
    """A browser whose own sandbox is on where there are user namespaces for it."""
    # Without them it cannot start; this sandbox stands in for it.
    return browser(context, () if "userns" in context.request.also else ("--no-sandbox", "--test-type"))


def browser(
    context: Context, flags: tuple[str, ...], first: tuple[str, ...] = (), by: tuple[str, ...] = ()
) -> Granted:
    """A wrapper before the host's browser on PATH, and the managed policy of the spec.

    `first`: lines of the wrapper, for sh, before those that start the browser; `by`: words of a program that
    starts it.
    """
    offer = context.offer("chromium")
    if not offer.entries:
        return Granted(row="chromium", granted=False, reason=offer.reason)
    entry = offer.entries[0]
    lines = (
        "#!/bin/sh",
        *first,
        "# Never on the session bus: a running browser of the host would be asked to open the page.",
        " ".join(("exec env -u DBUS_SESSION_BUS_ADDRESS", *by, f'"{entry.source}"', *flags, '"$@"')),
    )
    script = "".join(f"{line}\n" for line in lines)
    names = dict.fromkeys((entry.name, "chromium"))
    mounts = [
        Mount(kind="data", target=f"{places.BIN}/{n}", content=script.encode(), perms=0o755) for n in names
    ]
    for directory in ("/etc/chromium/policies/managed", "/etc/opt/chrome/policies/managed"):
        policy = CHROMIUM_POLICY.encode()
        mounts.append(
            Mount(kind="data", target=f"{directory}/claude-sandbox.json", content=policy, perms=0o644)
        )
    if not entry.source.startswith("/usr/"):
        tree = os.path.dirname(entry.source)
        mounts.append(placed(entry.replace(name=tree.lstrip("/"), source=tree), ""))
    return Granted(row="chromium", source=entry.source, target=f"{places.BIN}/chromium", mounts=tuple(mounts))
