"""Small questions to the file system that several probes ask. Nothing here raises for what is not there."""

from __future__ import annotations

import os
import stat

from launcher.host.model import Entry, Offer

MAX_ENTRIES = 500  # of one forwarded directory; each is a mount of its own


def kind_of(path: str) -> str:
    """ "file", "dir", "socket", "device", "other", or "" when nothing is there; symlinks followed."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    for test, kind in ((stat.S_ISREG, "file"), (stat.S_ISDIR, "dir"), (stat.S_ISSOCK, "socket")):
        if test(mode):
            return kind
    return "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "other"


def readable(path: str) -> bool:
    """Whether we may read it (a directory: list and enter it)."""
    return os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0))


def tree(directory: str, name: str) -> list[Entry]:
    """Every file below `directory` as Entries named from `name`; symlinks as the content they lead to.

    A directory of dotfiles is not bound whole: links into a dotfile manager's store would dangle inside, and
    a socket
    in it (ssh's ControlMaster) would still connect through a read-only bind mount. Sockets and fifos are
    left out.
    """
    found: list[Entry] = []
    seen: set[str] = set()

    def walk(path: str, inside: str) -> None:
        real = os.path.realpath(path)
        if real in seen or len(found) >= MAX_ENTRIES or not readable(path):
            return  # a loop of links, too much of it, or not ours to read
        kind = kind_of(path)
        if kind == "file":
            found.append(Entry(name=inside, kind="file", source=real))
        elif kind == "dir":
            seen.add(real)
            found.append(Entry(name=inside, kind="dir", source=real))
            for child in sorted(os.listdir(path)):
                walk(f"{path}/{child}", f"{inside}/{child}")

    walk(directory, name)
    return found


def dotfile(path: str, *, kind: str, name: str, shown: str) -> tuple[list[Entry], str]:
    """Entries for one dotfile or directory of them, or no entries and why."""
    if not os.path.lexists(path):
        return [], f"there is no {shown}"
    actual = kind_of(path)
    if not actual:
        return [], f"{shown} is a dangling symlink"
    if actual != kind:
        return [], f"{shown} is not a {'directory' if kind == 'dir' else 'file'}"
    if not readable(path):
        return [], f"{shown} is not readable"
    return tree(path, name), ""


def socket_offer(path: str, *, shown: str, name: str, what: str) -> Offer:
    """An Offer of one socket; when nothing listens at the path that a variable names, that is said
    at start.
    """
    kind = kind_of(path)
    ours = kind == "socket" and os.access(path, os.R_OK | os.W_OK)
    if ours and listened_to(path):
        return Offer(entries=(Entry(name=name, kind="socket", source=os.path.realpath(path)),), shown=shown)
    dead = "has nobody listening" if ours else "is not ours to use"
    why = {"": "does not exist", "socket": dead}.get(kind, "is not a socket")
    reason = f"{shown} points at {path}, which {why}"
    return Offer(reason=reason, note=f"{what} is off: {reason}")


def listened_to(path: str) -> bool:
    """Whether somebody listens at a socket: one that a dead program left refuses at once (unix(7))."""
    import _socket

    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        return False
    except OSError:
        return True  # more waiting than it takes just now; or a path longer than a socket's address
    finally:
        probe.close()
    return True


def answers(address: str, port: int) -> bool:
    """Whether somebody listens at a port of an address of this machine's own: another could be slow to say
    so.
    """
    import _socket

    if port > 65535:
        return False
    try:
        probe = _socket.socket(_socket.AF_INET6 if ":" in address else _socket.AF_INET, _socket.SOCK_STREAM)
    except OSError:
        return False  # no such protocol here
    try:
        probe.settimeout(0.2)
        probe.connect((address, port))
    except TimeoutError:
        return True  # more waiting than it takes just now
    except OSError:
        return False
    finally:
        probe.close()
    return True
