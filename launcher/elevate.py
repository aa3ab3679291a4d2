"""The container's launcher needs root for a moment: how it gets there, and whose sandbox it then makes.

Started by the user it becomes itself through sudo (doas, run0). Started by root it finds the user who called,
takes that user's ids, and keeps root's in reserve to start containers (run/process.py): everything that is
the user's is looked at, opened and written with the user's rights.

sudo drops most variables. They are read off the environment that sudo itself was started with, which root
alone can read (proc_pid_environ(5)): in no argv and no file, the same by `sudo claude-sandbox-container` and
by `claude-sandbox-container`. They are the user's word, and rule over nothing but what the user may do.
"""

from __future__ import annotations

import os
import pwd
import sys

from launcher.errors import HostError, UserError
from launcher.host.probe import given
from launcher.run.spawn import death_signal, parent_of
from launcher.untrusted import inside, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.request import Request

WAYS = ("sudo", "doas", "run0")
DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin", "/run/current-system/sw/bin")
SIGKILL = 9
LIMIT = 64  # ancestors that are looked at


def enter(request: Request, argv: list[str]) -> None:
    """From here on this process has the user's ids and variables, and root's in reserve to start something.

    Does not return when that takes sudo. Raises UserError for root without a user, HostError without a way.
    """
    if os.geteuid() != 0:
        if request.user and request.user != _name(os.geteuid()):
            raise UserError(f"--user {printable(request.user)} is for root", "leave it out: you are the user")
        if not request.action:
            _become_root(argv)
        return
    from launcher.run import reserve

    user = _user(request)
    sudo = caller()
    variables = environment(sudo) if sudo and not request.user else dict(os.environ)
    for name in ("SUDO_COMMAND", "SUDO_USER", "SUDO_UID", "SUDO_GID", "DOAS_USER"):
        variables.pop(name, None)
    if not sudo or variables.get("HOME", "/root") == "/root":
        variables |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    os.environ.clear()
    os.environ.update(variables)
    reserve.keep(user.pw_uid, user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid))
    _end_with(sudo)
    if not os.access(os.__file__, os.R_OK):
        raise HostError(
            f"this program's Python lies where {user.pw_name} cannot read it: {printable(sys.prefix)}",
            "install claude-sandbox by one that all can read: /usr/bin/python3 -m venv …",
        )
    _not_the_agents(request)


def _become_root(argv: list[str]) -> None:
    found = next((path for way in WAYS for d in DIRECTORIES if os.access(path := f"{d}/{way}", os.X_OK)), "")
    if not found:
        raise HostError(
            "a container takes root, and there is no sudo here (nor doas, nor run0)",
            "install sudo, or use claude-sandbox, which takes none",
        )
    program = os.path.abspath(argv[0]) if "/" in argv[0] else argv[0]
    sys.stdout.flush()
    os.execve(found, [found, "--", sys.executable, "-I", program, *argv[1:]], dict(given(os.environ)))


def _user(request: Request) -> pwd.struct_passwd:
    """Who called. Raises UserError when that cannot be told, or is root."""
    environ = os.environ
    called = environ.get("SUDO_UID", "") or environ.get("PKEXEC_UID", "")
    name = environ.get("DOAS_USER", "") or environ.get("SUDO_USER", "")
    found = request.user
    try:
        if called and (not called.isdecimal() or int(called) != 0):
            found = pwd.getpwuid(int(called)).pw_name
        elif name and name != "root":
            found = pwd.getpwnam(name).pw_name
        if request.user and found != request.user:
            raise UserError(
                f"--user {printable(request.user)} is for root, and sudo says that you are {found}",
                "start it as that user",
            )
        user = pwd.getpwnam(found) if found else None
    except (KeyError, ValueError, OverflowError):
        shown = printable(found or name or called)
        raise UserError(
            f"there is no user {shown} on this machine", "name one who is there: --user NAME"
        ) from None
    if user is None:
        raise UserError(
            "root has no sandbox of its own: whose is it to be?",
            "start it as that user, or say --user NAME",
        )
    if user.pw_uid == 0:
        raise UserError("an agent must not be root", "say whose sandbox it is: --user NAME")
    return user


def caller() -> int:
    """The nearest process above us that is sudo: not by its name, but by the file that it runs; 0 without."""
    programs = {_file(f"{d}/sudo") for d in DIRECTORIES} - {None}
    process = os.getppid()
    for _ in range(LIMIT):
        if process <= 1 or not programs:
            break
        if _file(f"/proc/{process}/exe") in programs:
            return process
        process = parent_of(process)
    return 0


def environment(process: int) -> dict[str, str]:
    """What the outermost of the sudos that stand in line was started with: it may have a monitor below."""
    programs = {_file(f"/proc/{process}/exe")}
    while (above := parent_of(process)) > 1 and _file(f"/proc/{above}/exe") in programs:
        process = above
    try:
        with open(f"/proc/{process}/environ", "rb") as file:
            pairs = [os.fsdecode(pair).partition("=") for pair in file.read().split(b"\0")]
    except OSError:
        return dict(os.environ)
    return {name: value for name, equals, value in pairs if equals and name}


def _file(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _end_with(sudo: int) -> None:
    """Die with a sudo above us that is killed; of every other signal it tells us by itself."""
    if sudo and os.getppid() == sudo:
        death_signal(SIGKILL)
        if os.getppid() != sudo:
            os._exit(128 + SIGKILL)


def _not_the_agents(request: Request) -> None:
    """Root must not run what an agent could have written. Raises UserError."""
    from launcher import launch

    ours = (os.path.dirname(os.path.abspath(__file__)), os.path.realpath(sys.executable), sys.prefix)
    for path in ours:
        if any(inside(os.path.realpath(path), root) for root in launch.writable(request)):
            raise UserError(
                f"this program runs from {printable(path)}, where an agent can write",
                "install it outside of PROJECT: root runs it",
            )
