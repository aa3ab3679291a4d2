"""Look at the machine once, and give a Host."""

from __future__ import annotations

import os

from launcher.errors import UserError
from launcher.host import agent as agents
from launcher.host import credentials, desktop
from launcher.host.limiters import SYSTEMD, limiters
from launcher.host.model import Bwrap, Entry, Host, Offer
from launcher.host.paths import kind_of
from launcher.project import refused
from launcher.spec.table import ETC
from launcher.untrusted import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAMS = ("xdg-dbus-proxy", "tmux", "bash", "setsid", "git")
# What root starts is root's own, wherever the user's PATH leads; NixOS keeps it in the last one.
ROOTS = ("systemd-nspawn", "setpriv")
LIMITERS = ("systemd-run", "busctl")
SYSTEM = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin:/run/current-system/sw/bin"}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Options that came with later versions of bubblewrap: --perms with 0.5, --disable-userns with 0.8.
BWRAP_OPTIONS = ("perms", "disable-userns", "seccomp", "args", "unshare-cgroup")


def probe(environ: Mapping[str, str], *, writable: tuple[str, ...] = ()) -> Host:
    """Everything about this machine that a Plan may depend on. Runs nothing that lies in `writable`.

    Raises UserError when HOME is not the user's own.
    """
    uid, gid = os.getuid(), os.getgid()
    home, notes = _home(environ, uid)
    runtime, more = _runtime(environ, uid)
    programs = {name: path for name in PROGRAMS if (path := agents.which(name, environ))}
    programs |= {name: path for name in ROOTS if (path := agents.which(name, SYSTEM))}
    if os.path.isdir(SYSTEMD):
        programs |= {name: path for name in LIMITERS if (path := agents.which(name, SYSTEM))}
    machine = os.uname()
    return Host(
        uid=uid,
        gid=gid,
        home=home,
        machine=machine.machine,
        environ=dict(environ),
        offers=_offers(environ, home, runtime, uid),
        programs=programs,
        bwrap=_bwrap(environ, writable),
        agent=agents.find("claude", environ, home),
        groups=tuple(os.getgroups()),
        can_cover=not _restricted(),
        runtime=runtime,
        state=_state(environ, home),
        limiters=limiters(uid, programs, machine.release),
        processors=len(os.sched_getaffinity(0)),
        notes=(*notes, *more),
    )


def _offers(environ: Mapping[str, str], home: str, runtime: str, uid: int) -> dict[str, Offer]:
    return {
        "userland": _userland(),
        "processes": Offer(
            entries=tuple(
                Entry(name=name, kind="file", source=name)
                for name in ("/proc/keys", "/proc/key-users")
                if os.path.exists(name)
            )
        ),
        "etc": _etc(),
        "tls": _tls(environ, home),
        **credentials.offers(environ, home, uid),
        "x11": desktop.x11(environ, home),
        "wayland": desktop.wayland(environ, runtime),
        "audio": desktop.audio(environ, runtime),
        "gpu": desktop.gpu(),
        "dbus-session": desktop.bus(
            environ,
            variable="DBUS_SESSION_BUS_ADDRESS",
            default=f"{runtime or '/run/user/' + str(uid)}/bus",
            row="dbus-session",
        ),
        "dbus-system": desktop.bus(
            environ,
            variable="DBUS_SYSTEM_BUS_ADDRESS",
            default="/run/dbus/system_bus_socket",
            row="dbus-system",
        ),
        "nix-store": _directory("/nix/store"),
        "nix-commands": _directory("/nix/var/nix/daemon-socket" if kind_of("/nix/store") else "/nix/store"),
        "kvm": _kvm(),
        "resolver": _resolver(),
        "chromium": _chromium(environ),
    }


def _home(environ: Mapping[str, str], uid: int) -> tuple[str, list[str]]:
    """The user's home, by HOME or else by the passwd entry; it must be a directory of the user's."""
    import pwd

    home, notes = environ.get("HOME", ""), []
    if not home:
        try:
            home = pwd.getpwuid(uid).pw_dir
        except KeyError:
            raise UserError(
                f"HOME is not set and uid {uid} has no passwd entry", "set HOME to your home directory"
            ) from None
        notes = [f"HOME is not set: {home} is taken, from the passwd entry"]
    if not home.startswith("/") or not os.path.isdir(home):
        raise UserError(f"HOME={home} is not a directory", "set HOME to your home directory")
    owner = os.stat(home).st_uid
    if owner != uid:
        raise UserError(
            f"HOME={home} belongs to uid {owner}, you are uid {uid}", "set HOME to your own home directory"
        )
    return os.path.realpath(home), notes


def _runtime(environ: Mapping[str, str], uid: int) -> tuple[str, list[str]]:
    """XDG_RUNTIME_DIR when it is ours (the XDG base directory specification wants owner and 0700),
    else "".
    """
    path = environ.get("XDG_RUNTIME_DIR", "")
    try:
        if path and os.path.isabs(path) and os.stat(path).st_uid == uid:
            return path, []
    except OSError:
        pass
    if path:
        return "", [f"XDG_RUNTIME_DIR={path} is not a directory of yours: nothing is taken from it"]
    default = f"/run/user/{uid}"
    return (default if kind_of(default) == "dir" and os.stat(default).st_uid == uid else ""), []


def _restricted() -> bool:
    """Ubuntu's AppArmor lets bwrap make user namespaces by its profile, and no other program."""
    try:
        with open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "rb") as file:
            return file.read(1) == b"1"
    except OSError:
        return False


def _state(environ: Mapping[str, str], home: str) -> str:
    base = environ.get("XDG_STATE_HOME", "")
    return f"{base if base.startswith('/') else home + '/.local/state'}/claude-sandbox"


def _userland() -> Offer:
    """/usr, and the top-level names that lead into it: links where the host has links, directories where
    not.
    """
    entries = [Entry(name="/usr", kind="dir", source="/usr")]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(name):
            entries.append(Entry(name=name, kind="link", source=os.readlink(name)))
        elif os.path.isdir(name):
            entries.append(Entry(name=name, kind="dir", source=name))
    return Offer(entries=tuple(entries), shown="/usr")


def _etc() -> Offer:
    """The spec's list, as far as it is here. A link into /usr stays one (ICU reads the time zone from the
    link).
    """
    there = {entry.name: entry.is_symlink() for entry in os.scandir("/etc")}
    entries = []
    for name in (n for names in ETC.values() for n in names):
        top, _, below = name.partition("/")
        if top not in there:
            continue
        path = f"/etc/{name}"
        target = os.readlink(path) if (os.path.islink(path) if below else there[top]) else ""
        resolved = os.path.normpath(os.path.join("/etc", os.path.dirname(name), target)) if target else ""
        if resolved.startswith("/usr/") and os.path.exists(resolved):
            entries.append(Entry(name=path, kind="link", source=target))
        elif (kind := kind_of(path)) in ("file", "dir") and os.access(path, os.R_OK):
            real = os.path.realpath(path) if below or target else path
            entries.append(Entry(name=path, kind="dir" if kind == "dir" else "file", source=real))
    return Offer(entries=tuple(entries), shown=f"{len(entries)} entries of /etc")


def _tls(environ: Mapping[str, str], home: str) -> Offer:
    """Certificates that a variable names outside of /usr and /etc, as a company's own authority often is."""
    entries, notes = [], []
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
        for path in environ.get(name, "").split(":"):
            kind = kind_of(path) if path.startswith("/") else ""
            if kind in ("file", "dir") and not path.startswith(("/usr/", "/etc/", "/nix/store/")):
                real = os.path.realpath(path)
                why = refused(real, home=home, runtime="", state="", writable=False) if kind == "dir" else ""
                if why:
                    notes.append(f"tls: {name}={path} is not shown, it {why}")
                else:
                    entries.append(Entry(name=path, kind="file", source=real))
    return Offer(entries=tuple(dict.fromkeys(entries)), note="; ".join(notes))


def _kvm() -> Offer:
    if kind_of("/dev/kvm") != "device":
        return Offer(reason="there is no /dev/kvm")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Offer(reason="/dev/kvm is not yours to open: join its group, often kvm")
    return Offer(entries=(Entry(name="/dev/kvm", kind="device", source="/dev/kvm"),), shown="/dev/kvm")


def _resolver() -> Offer:
    """What resolv.conf(5) says, for who has to say it another way."""
    try:
        with open("/etc/resolv.conf", "rb") as file:
            content = file.read(1 << 16)
    except OSError:
        return Offer(reason="there is no /etc/resolv.conf")
    return Offer(entries=(Entry(name="/etc/resolv.conf", kind="content", content=content),))


def _directory(path: str) -> Offer:
    if kind_of(path) != "dir":
        return Offer(reason=f"there is no {path}")
    return Offer(entries=(Entry(name=path, kind="dir", source=path),), shown=path)


def _bwrap(environ: Mapping[str, str], writable: tuple[str, ...]) -> Bwrap | None:
    """bubblewrap on PATH. What it can do is read off its binary: asking `bwrap --help` costs 2 ms at each
    start.
    """
    path = agents.which("bwrap", environ)
    if not path:
        there = [f"{d}/bwrap" for d in environ.get("PATH", os.defpath).split(":") if d[:1] == "/"]
        there = [p for p in there if kind_of(p) == "file"]
        closed = "it is not executable"
        return Bwrap(path=there[0], options=frozenset(), broken=closed) if there else None
    if any(inside(name, root) for name in (path, os.path.realpath(path)) for root in writable):
        return Bwrap(path=path, options=frozenset(), planted=True)
    try:
        with open(path, "rb") as file:
            binary = file.read(1 << 20)
    except OSError:
        binary = b""
    if binary[:4] != b"\x7fELF" or b"bwrap" not in binary:  # a wrapper script, as Nix makes them
        import subprocess

        try:
            asked = subprocess.run(
                [path, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            why = error.strerror or "" if isinstance(error, OSError) else "--help does not end"
            return Bwrap(path=path, options=frozenset(), broken=why)
        binary = asked.stdout + asked.stderr
        if asked.returncode or b"--" not in binary:  # every bubblewrap lists its options
            lines = os.fsdecode(asked.stderr).strip().splitlines()
            why = lines[-1] if lines else f"--help ends with status {asked.returncode} and lists no options"
            return Bwrap(path=path, options=frozenset(), broken=why)
    return Bwrap(path=path, options=frozenset(o for o in BWRAP_OPTIONS if o.encode() in binary))


def _chromium(environ: Mapping[str, str]) -> Offer:
    """The browser's own binary: Debian's /usr/bin/chromium is a script that reads /etc/chromium.d and dies
    without.
    """
    for name in CHROMIUM:
        path = agents.which(name, environ)
        if not path:
            continue
        real = os.path.realpath(path)
        for binary in (
            "/usr/lib/chromium/chromium",
            "/usr/lib64/chromium-browser/chromium-browser",
            "/opt/google/chrome/chrome",
        ):
            if os.path.basename(binary) in real or name in binary:
                real = binary if os.path.isfile(binary) else real
                break
        return Offer(entries=(Entry(name=name, kind="file", source=real),), shown=real)
    return Offer(reason="no chromium on PATH")
