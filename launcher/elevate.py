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

from launcher import project
from launcher.errors import HostError, UserError
from launcher.host.environment import given
from launcher.run.spawn import death_signal, parent_of
from launcher.untrusted import inside, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.request import Request

CALLERS = ("SUDO_UID", "SUDO_USER", "DOAS_USER", "PKEXEC_UID")
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
            _not_the_agents(request, argv)
            _become_root(argv)
        return
    from launcher.run import reserve

    parent, by_sudo = os.getppid(), "SUDO_UID" in os.environ
    user = _user(request)
    sudo = caller()
    gone = _gone(parent)  # looked at last, and by root: what it was found to be, it then still was
    variables = environment(sudo) if sudo and not request.user else dict(os.environ)
    for name in ("SUDO_COMMAND", "SUDO_USER", "SUDO_UID", "SUDO_GID", "DOAS_USER"):
        variables.pop(name, None)
    if not sudo or variables.get("HOME", "/root") == "/root":
        variables |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    os.environ.clear()
    os.environ.update(variables)
    reserve.keep(user.pw_uid, user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid))
    _end_with(sudo, parent, by_sudo=by_sudo, gone=gone)
    if not os.access(os.__file__, os.R_OK):
        raise HostError(
            f"this program's Python lies where {user.pw_name} cannot read it: {printable(sys.prefix)}",
            "install claude-sandbox by one that all can read: /usr/bin/python3 -m venv …",
        )
    _not_the_agents(request, argv)


def _become_root(argv: list[str]) -> None:
    found = next((path for way in WAYS for d in DIRECTORIES if os.access(path := f"{d}/{way}", os.X_OK)), "")
    if not found:
        raise HostError(
            "a container takes root, and there is no sudo here (nor doas, nor run0)",
            "install sudo, or use claude-sandbox, which takes none",
        )
    program = _program(argv)
    # By itself where it can: a rule of sudoers names it, and not Python.
    itself = [program] if _startable(program) else [sys.executable, "-I", program]
    sys.stdout.flush()
    from launcher.run.guard import outlive

    outlive()
    os.execve(found, [found, "--", *itself, *argv[1:]], dict(given(os.environ)))


def _program(argv: list[str]) -> str:
    return os.path.abspath(argv[0])


def _startable(program: str) -> bool:
    """Whether the kernel can start it, by a first line that leads somewhere; one with a blank does not."""
    try:
        with open(program, "rb") as file:
            words = file.readline(4096)[2:].split()
    except OSError:
        return False
    return (
        os.access(program, os.X_OK) and bool(words) and os.access(words[0], os.X_OK) and words[0][:1] == b"/"
    )


def _user(request: Request) -> pwd.struct_passwd:
    """Who called. Raises UserError when that cannot be told, or is root."""
    user = _caller()
    if request.user and user and user.pw_name != request.user:
        raise UserError(
            f"--user {printable(request.user)} is for root, and sudo says that you are {user.pw_name}",
            "start it as that user",
        )
    if request.user and not user:
        user = _known(request.user)
    if user is None:
        raise UserError(
            "root has no sandbox of its own: whose is it to be?",
            "start it as that user, or say --user NAME",
        )
    if user.pw_uid == 0:
        raise UserError("an agent must not be root", "say whose sandbox it is: --user NAME")
    return user


def _caller() -> pwd.struct_passwd | None:
    """Who sudo, doas, run0 or pkexec say has called; they have to agree: doas with keepenv, and sudo with
    env_keep, let through what the caller says in the name of another.
    """
    found: dict[int, tuple[str, pwd.struct_passwd]] = {}
    for variable in CALLERS:
        value = os.environ.get(variable, "")
        if value and value not in ("0", "root"):
            user = _known(value, by_number=variable.endswith("_UID"))
            found.setdefault(user.pw_uid, (variable, user))
    if len(found) > 1:
        (one, first), (other, second), *_ = found.values()
        raise UserError(
            f"{one} says that {first.pw_name} has called, {other} that {second.pw_name} has",
            f"have only one of them set: env -u {other}",
        )
    return next((user for _, user in found.values()), None)


def _known(value: str, *, by_number: bool = False) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(value)) if by_number else pwd.getpwnam(value)
    except (KeyError, ValueError, OverflowError):
        raise UserError(
            f"there is no user {printable(value)} on this machine", "name one who is there: --user NAME"
        ) from None


def caller() -> int:
    """The nearest process above us that is sudo: not by its name, but by the file that it runs; 0 without."""
    programs = {_file(f"{d}/sudo") for d in DIRECTORIES} - {None}
    process = os.getppid()
    for _ in range(LIMIT):
        if process < 1 or not programs:
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


def _end_with(sudo: int, parent: int, *, by_sudo: bool, gone: bool) -> None:
    """Die with a sudo that is our parent, when it is killed; of every other signal it tells us by itself.

    Raises HostError when our parent had ended before we looked, whether that was a sudo or not: then there
    is nobody who would end us.
    """
    if sudo and sudo == parent:
        death_signal(SIGKILL)
    elif not by_sudo:
        return
    elif gone:
        raise HostError(
            "the sudo that has started this is gone, and nothing would end it",
            "start claude-sandbox-container by itself, in the foreground: it calls sudo, and stays with it",
        )
    if os.getppid() != parent:
        os._exit(128 + SIGKILL)


def _gone(parent: int) -> bool:
    """Whether a parent of ours has ended: who takes orphans has its place, or it has given up its memory.

    Orphans go to process 1, or to systemd for a user's session. A process without memory has no file that
    it runs, and keeps its children for a while longer: less than a millisecond, or as long as it waits for a
    processor (the kernel's do_exit). Anything may stand above it then, another sudo, too. 0 is a parent in
    another PID namespace.
    """
    try:
        return parent == 1 or os.path.basename(os.readlink(f"/proc/{parent}/exe")) == "systemd"
    except FileNotFoundError:
        return parent != 0
    except OSError:
        return False


def _not_the_agents(request: Request, argv: list[str]) -> None:
    """Root must not run what an agent could have written. Raises UserError."""
    package = os.path.dirname(os.path.abspath(__file__))
    ours = (_program(argv), sys.executable, sys.prefix, sys.base_prefix, package)
    writable = project.writable(request)
    for path in ours:
        if any(inside(name, root) for name in (path, os.path.realpath(path)) for root in writable):
            raise UserError(
                f"this program runs from {printable(path)}, where an agent can write",
                "install it outside of PROJECT: root runs it",
            )
