"""Rows of the groups "system" and "isolation", and the userland that all of them stand on."""

from __future__ import annotations

from launcher.plan import places
from launcher.plan.context import Context
from launcher.plan.listed import only, variables
from launcher.plan.model import Granted, Mount

# No host's: systemd's own would name this machine, and programs refuse to start without one.
MACHINE_ID = b"5a4db0c5c1a0de5a4db0c5c1a0de5a4d\n"


def userland(context: Context) -> tuple[Mount, ...]:
    """The host's /usr read-only, and the top-level names that lead into it."""
    mounts = []
    for entry in context.offer("userland").entries:
        kind = "symlink" if entry.kind == "link" else "bind"
        mounts.append(
            Mount(
                kind="symlink" if kind == "symlink" else "bind",
                source=entry.source,
                target=entry.name,
                mode="ro",
            )
        )
    return tuple(mounts)


def etc(_context: Context) -> Granted:
    """The spec's list; the names of the machine are the sandbox's own."""
    own = (("hostname", b"sandbox\n"), ("machine-id", MACHINE_ID))
    mounts = (
        *(Mount(kind="data", target=f"/etc/{name}", content=content, perms=0o644) for name, content in own),
        Mount(kind="symlink", source="/proc/self/mounts", target="/etc/mtab"),
    )
    return Granted(
        row="etc", source="the spec's list", target="the same; nothing else of /etc", mounts=mounts
    )


def environment(context: Context) -> Granted:
    """Variables of the sandbox's own, the spec's general ones, and those of --env."""
    host = context.host
    bins = (places.BIN, *(host.agent.bin_dirs if host.agent else ()), *places.PATH)
    own = {
        "HOME": places.HOME,
        "PATH": ":".join(bins),
        "SHELL": "/bin/bash",
        "XDG_RUNTIME_DIR": context.runtime,
        "CLAUDE_SANDBOX": "1",
        "DISABLE_AUTOUPDATER": "1",
        # A native installation is looked for in this home, and missed at every start.
        "DISABLE_INSTALLATION_CHECKS": "1",
        # Claude Code refuses to skip its prompts as root, unless told that it is in a sandbox.
        **({"IS_SANDBOX": "1"} if host.uid == 0 else {}),
    }
    asked = [name for name in context.request.env if name in host.environ]
    absent = [name for name in context.request.env if name not in host.environ]
    listed = variables(context, "environment")
    merged = {**own, **dict(listed), **{name: host.environ[name] for name in asked}}
    note = f"--env: {', '.join(absent)} is not set here" if absent else ""
    names = ", ".join([*(n for n, _ in listed), *asked])
    return Granted(
        row="environment", source=names, target="the same", environment=tuple(merged.items()), note=note
    )


def locale(context: Context) -> Granted:
    """LANG and its kin; UTF-8 where the host sets none, as a terminal of today expects."""
    found = variables(context, "locale")
    if not any(name in ("LANG", "LC_ALL") for name, _ in found):
        found = (("LANG", "C.UTF-8"), *found)
    return Granted(
        row="locale", source=", ".join(f"{n}={v}" for n, v in found), target="the same", environment=found
    )


def home(_context: Context) -> Granted:
    """An empty home; what is granted of the user's is placed in it by other rows."""
    # bwrap makes parents with the mode of what lies in them.
    mounts = (
        Mount(kind="dir", target="/home", perms=0o755),
        Mount(kind="tmpfs", target=places.HOME, perms=0o700),
    )
    return Granted(row="home", source="nothing of the host's homes", target=places.HOME, mounts=mounts)


def tmp(context: Context) -> Granted:
    """Private /tmp, /var/tmp and runtime directory; /dev/shm is part of the private /dev.

    The rest of the root is made of nothing but mount points and is read-only at the end: what is written
    beside the project fails at once, rather than to go away at exit.
    """
    mounts = (
        Mount(kind="tmpfs", target="/tmp", perms=0o1777),
        Mount(kind="tmpfs", target="/var/tmp", perms=0o1777),
        # Most D-Bus libraries know the system bus by /var/run alone.
        Mount(kind="symlink", source="../run", target="/var/run"),
        Mount(kind="dir", target="/run", perms=0o755),
        Mount(kind="tmpfs", target=context.runtime, perms=0o700),
    )
    return Granted(
        row="tmp", source="nothing of the host's", target="/tmp, /var/tmp, /dev/shm", mounts=mounts
    )


def processes(context: Context) -> Granted:
    """A /proc of the sandbox's own PID namespace; without the list of keys, which have no namespace.

    With nested user namespaces the list is left: the kernel would refuse them a /proc of their own while a
    part of this one is covered (and theirs would show it).
    """
    entries = context.offer("processes").entries if "userns" not in context.request.also else ()
    keys = (Mount(kind="bind", source="/dev/null", target=e.name, mode="dev") for e in entries)
    return Granted(row="processes", mounts=(Mount(kind="proc", target="/proc"), *keys))


def devices(_context: Context) -> Granted:
    """A minimal /dev: null, zero, full, random, urandom, tty, pts, shm."""
    return Granted(
        row="devices",
        target="null, zero, full, random, tty, pts, shm",
        mounts=(Mount(kind="dev", target="/dev"),),
    )


def kvm(context: Context) -> Granted:
    """/dev/kvm, as a device."""
    offer = context.offer("kvm")
    if not offer.entries:
        return Granted(row="kvm", granted=False, reason=offer.reason, note=f"kvm is off: {offer.reason}")
    mount = Mount(kind="bind", source="/dev/kvm", target="/dev/kvm", mode="dev")
    return Granted(row="kvm", source="/dev/kvm", target="/dev/kvm", mounts=(mount,))


def tls(context: Context) -> Granted:
    """The host's certificates, and those that variables name elsewhere, at their own paths."""
    mounts = tuple(
        Mount(kind="bind", source=e.source, target=e.name, mode="ro") for e in context.offer("tls").entries
    )
    listed = only("tls")(context).replace(note=context.offer("tls").note)
    return listed.replace(mounts=mounts) if listed.granted else listed


def nix_store(context: Context) -> Granted:
    """/nix/store read-only, and NixOS's links into it."""
    offer = context.offer("nix-store")
    if not offer.entries:
        return Granted(row="nix-store", granted=False, reason=offer.reason)
    mounts = tuple(Mount(kind="bind", source=e.source, target=e.name, mode="ro") for e in offer.entries)
    return Granted(row="nix-store", source="/nix/store", target="/nix/store", mounts=mounts)


def nix_commands(context: Context) -> Granted:
    """The daemon's socket; builds run in the daemon, outside (with its network, even under --no-network)."""
    offer = context.offer("nix-commands")
    if not offer.entries:
        return Granted(row="nix-commands", granted=False, reason=offer.reason)
    mount = Mount(kind="bind", source=offer.entries[0].source, target=offer.entries[0].name, mode="ro")
    return Granted(
        row="nix-commands",
        source=offer.shown,
        target=offer.shown,
        mounts=(mount,),
        environment=(("NIX_REMOTE", "daemon"),),
    )


def network(context: Context) -> Granted:
    """The host's network namespace, or an empty one."""
    if not context.request.network:
        return Granted(
            row="network", granted=False, reason="--no-network: an interface lo of its own, no route"
        )
    return Granted(row="network", source="the host's interfaces, and its 127.0.0.1", target="the same")


def host_loopback(context: Context) -> Granted:
    """The host's loopback comes with its network."""
    if not context.request.network:
        return Granted(row="host-loopback", granted=False, reason="--no-network")
    return Granted(row="host-loopback", source="127.0.0.1 and abstract sockets", target="the same")
