"""Which directories may be a PROJECT or a share, and what a project's path is once resolved."""

from __future__ import annotations

import errno
import os
import stat

from launcher.errors import UserError
from launcher.plan import places
from launcher.untrusted import inside, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.request import Request

# A project there would hand the sandbox the host's own sockets and devices (tmux's and X's lie in /tmp), or
# its system.
SYSTEM = (
    "/tmp",
    "/var/tmp",
    "/run",
    "/var/run",
    "/etc",
    "/usr",
    "/var",
    "/boot",
    "/opt",
    "/srv",
    "/mnt",
    "/media",
    "/nix",
    "/home",
)
KERNEL = ("/dev", "/proc", "/sys")
# All that lies below these, too, where it would be writable: programs that the host runs, settings that it
# obeys (cron, systemd, udev), sockets of its services. What an agent leaves there nobody watches. `_peoples`
# has the places in them where people do keep their own work.
BELOW = (
    "/run",
    "/var/run",
    "/etc",
    "/usr",
    "/boot",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
)
# What /usr/local has by hier(7); any other name there is somebody's own.
LOCAL = frozenset(
    {"bin", "etc", "games", "include", "lib", "lib32", "lib64", "libexec", "man", "sbin", "share"}
)


def writable(request: Request) -> tuple[str, ...]:
    """The real paths of what an agent could have written, as far as the command line tells."""
    typed = (request.project, *(s.path for s in request.shares if s.mode == "rw"))
    try:
        return tuple(os.path.realpath(path) for path in typed if path)
    except (OSError, ValueError):
        return ()  # a directory that is gone, a NUL: refused before anything runs


def check(typed: str, *, home: str, runtime: str, state: str) -> str:
    """The real path of PROJECT.

    Raises UserError: missing, a file, unreadable, a dangling symlink, or a directory that a sandbox must not
    be given.
    """
    shown = printable(typed)
    if not typed:
        raise UserError("PROJECT is an empty string", "say which directory to work on")
    if "\0" in typed:
        raise UserError("PROJECT holds a NUL byte", "no path can: check the variable it comes from")
    path = resolved(typed)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise _unreachable(typed, path, error) from error
    if not stat.S_ISDIR(mode):
        kind = "a file" if stat.S_ISREG(mode) else "no directory"
        raise UserError(f"PROJECT {shown} is {kind}", "give the directory that it is in")
    if not os.access(path, os.R_OK | os.X_OK):
        hint = f"see its owner and mode: ls -ld {_quoted(typed)}"
        raise UserError(f"PROJECT {shown} is not readable by you", hint)
    reason = refused(path, home=home, runtime=runtime, state=state)
    if reason:
        where = "elsewhere" if reason.startswith("lies in ") else "below it"
        raise UserError(f"PROJECT {shown} {reason}", f"give a directory {where} that holds the project alone")
    return path


def _unreachable(typed: str, path: str, error: OSError) -> UserError:
    """There is nothing at `path`, or no way to it."""
    shown, link = printable(typed), os.path.islink(typed.rstrip("/"))
    if error.errno == errno.ELOOP:
        return UserError(f"PROJECT {shown} is a symlink that leads to itself", "mend the link")
    if error.errno == errno.ENOENT and link:
        hint = "make that directory, or mend the link"
        return UserError(f"PROJECT {shown} is a dangling symlink to {printable(path)}", hint)
    if error.errno == errno.ENOENT:
        return UserError(f"PROJECT {shown} does not exist", f"make it first: mkdir -p {_quoted(typed)}")
    why = {
        errno.EACCES: "cannot be reached: a directory on the way is closed to you",
        errno.ENOTDIR: "cannot be: what should be a directory on the way is a file",
        errno.ENAMETOOLONG: "is longer than a path can be",
    }.get(error.errno or 0, f"cannot be looked at: {error.strerror}")
    return UserError(f"PROJECT {shown} {why}", "check the path")


def _quoted(typed: str) -> str:
    from shlex import quote  # only on the way to an error

    return printable(("./" if typed.startswith("-") else "") + quote(typed))


def resolved(typed: str) -> str:
    """The real path, of what need not be there. Raises UserError for a relative one in a directory that is
    gone.
    """
    try:
        return os.path.realpath(typed)
    except OSError as error:  # getcwd(2)
        what = f"{printable(typed)} is relative, and the current directory is gone"
        raise UserError(what, "change to a directory that is there") from error


def refused(path: str, *, home: str, runtime: str, state: str, writable: bool = True) -> str:
    """Why `path` (real, a directory) must not go into a sandbox whole, or ""; `writable`: it is to be."""
    if path == "/":
        return "is the whole machine"
    if path == home:
        return "is your home: its keys, logins and history would all be inside"
    if inside(home, path):
        return "is a parent of your home"
    if path in SYSTEM or any(inside(path, k) for k in KERNEL):
        return "belongs to the system"
    for private, what in (
        (runtime, "your runtime directory, with the sockets of your session"),
        (state, "claude-sandbox's own state"),
    ):
        if private and (inside(path, private) or inside(private, path)):
            return f"holds or lies in {what}"
    for name in (".ssh", ".gnupg", ".claude"):
        if inside(path, f"{home}/{name}"):
            return f"lies in ~/{name}"
    if path.startswith((f"{places.PROJECT}/", f"{places.HOME}/.claude/", f"{places.RUN}/")):
        return "lies where a sandbox has something of its own"
    root = next((r for r in BELOW if inside(path, r)), "") if writable else ""
    if root and not (home != "/" and inside(path, home)) and not _peoples(root, path):
        return f"lies in {root}, which belongs to the system"
    return ""


def _peoples(root: str, path: str) -> bool:
    """Whether `path`, which lies in `root` of BELOW, is where people keep work of their own."""
    first, *rest = path[len(root) + 1 :].split("/")
    if root == "/usr":
        # Sources, as containers keep theirs in /usr/src/app; and what was put into /usr/local by hand.
        if first == "local" and rest and rest[0] != "src":
            return rest[0] not in LOCAL
        return (first == "src" and len(rest) > 0) or (first == "local" and len(rest) > 1)
    if root == "/etc":
        return first == "nixos"  # a configuration that is written by hand, and does nothing before a rebuild
    if root in ("/run", "/var/run"):
        # Disks that the desktop mounts are at media/USER/NAME. A session's directory has sockets at its top,
        # and units of the user's manager in systemd.
        media = first == "media" and len(rest) > 1
        return media or (first == "user" and len(rest) > 2 and rest[1] != "systemd")
    return False
