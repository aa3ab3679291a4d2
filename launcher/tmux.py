"""`--tmux`: the agent in a tmux session that outlives its terminal (tmux(1); seeds, "tmux mode").

Server and client are both inside, in two sandboxes. A tmux client obeys its server (`detach-client -E CMD`
runs CMD where
the client is), so a client outside would let the agent out; a server outside whose socket is inside would,
too.

    claude-sandbox --tmux P ──┬─ holder, in the background: attends the sandbox with the server and the agent
                              └─ a second sandbox of the same Plan, with the client; the next `--tmux P`
                              starts only this

Whether a server runs is asked of a lock in the project's state directory, never of P/.tmux, which the agent
can write.
"""

from __future__ import annotations

import fcntl
import os

from launcher import launch
from launcher.errors import HostError, LauncherError, SandboxError, UserError
from launcher.missing import Missing
from launcher.plan import places
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.launch import Say
    from launcher.plan.context import Context

# By /project, which is short: a socket's path is at most 107 bytes (unix(7)), a project's may be longer.
SOCKET = f"{places.PROJECT}/.tmux/socket"
CONF = f"{places.PROJECT}/.tmux/tmux.conf"
SESSION = "sandbox"

DEFAULT_CONF = """\
# tmux inside claude-sandbox. Made once; yours to edit.
set -g default-terminal "tmux-256color"
set -g history-limit 50000
set -g mouse on
set -g escape-time 10
set -g focus-events on
# The window keeps the project's name: the session reads sandbox:NAME.
set -g automatic-rename off
set -g allow-rename off
# Orange: not a tmux of the host.
set -g status-style "bg=colour208,fg=colour16"
set -g status-left "[sandbox:#W] "
set -g status-left-length 40
"""

# Server and session; "up" tells the holder's parent; ends with the server.
SERVE = (
    'set -e; tmux -S "$1" -f "$2" new-session -d -s "$3" -n "$4" -c "$5" -- "${@:6}"; '
    'echo up; exec >/dev/null; set +e; tmux -S "$1" wait-for claude-sandbox-ends; exit 0'
)


def run(context: Context, say: Say) -> int:
    """Start the session unless it runs, and attach to it. Raises UserError, HostError."""
    if not (os.isatty(0) and os.isatty(1)):
        raise UserError("--tmux needs a terminal", "leave --tmux out in scripts and pipes")
    if "tmux" not in context.host.programs:
        tmux = Missing(what="tmux", program="tmux", why="it is not on PATH", required=True)
        raise HostError("--tmux: tmux is not installed", tmux.fix)
    name = _window(context.subject.path)
    _make_directory(context)
    lock = _lock_file(context)
    try:
        if _locked(lock):
            _hold(context, name)
        elif context.request.args:
            say(f"claude-sandbox: sandbox:{printable(name)} runs already: its agent keeps its arguments")
    finally:
        os.close(lock)  # a flock goes with its last descriptor: from here on the holder alone has one
    status = _attach(context, say)
    _afterwards(context, name, say)
    return status


def _lock_file(context: Context) -> int:
    return os.open(f"{context.subject.state}/tmux.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _window(project: str) -> str:
    """The project's name as a window's: tmux keeps dots, colons and blanks there (in a session's name it
    would not).
    """
    return "".join(c if c.isprintable() else "?" for c in os.path.basename(project))


def _locked(lock: int) -> bool:
    """Take the lock. False when a holder has it: its session runs."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _report(context: Context) -> str:
    return f"{context.subject.state}/tmux-report"


def _hold(context: Context, name: str) -> None:
    """Fork the holder, which keeps the (inherited) lock as long as its sandbox runs, and wait until the
    session is up.
    """
    # Decided here, where an error can still be seen at once.
    plan = launch.plan(context)
    command = ("/bin/bash", "-c", SERVE, "tmux", SOCKET, CONF, SESSION, name, plan.cwd, *plan.command)
    report = os.open(
        _report(context), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 125
        try:
            os.setsid()
            os.close(read)
            null = os.open("/dev/null", os.O_RDWR)
            for number, target in ((null, 0), (write, 1), (report, 2)):
                os.dup2(number, target)
            os.close(write)
            quiet = context.replace(request=context.request.replace(quiet=True))
            status = launch.execute(quiet, plan.replace(command=command), _to_stderr)
        except LauncherError as error:
            _to_stderr(f"claude-sandbox: {error.what}", f"  {error.hint}")
        finally:
            os._exit(status)
    os.close(write)
    os.close(report)
    with open(read, "rb") as pipe:
        up = pipe.readline()
    if up != b"up\n":
        os.waitpid(pid, 0)
        with open(_report(context), errors="replace") as file:
            said = [line.strip() for line in file.read(4096).splitlines() if line.strip()]
        raise SandboxError(
            said[0] if said else "the tmux session did not start",
            said[-1] if said else f"see {_report(context)}",
        )


def _attach(context: Context, say: Say) -> int:
    """Attach with a client in a sandbox of its own."""
    plan = launch.plan(context)
    term = context.host.environ.get("TERM", "")
    environment = dict(plan.environment)
    if not _has_terminfo(term):
        environment["TERM"] = "xterm-256color"  # tmux refuses a terminal that it has no description of
    command = ("tmux", "-S", SOCKET, "attach-session", "-t", f"={SESSION}")
    return launch.execute(context, plan.replace(command=command, environment=tuple(environment.items())), say)


def _has_terminfo(term: str) -> bool:
    places_of = ("/usr/share/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/etc/terminfo")
    return bool(term) and "/" not in term and any(os.path.exists(f"{p}/{term[0]}/{term}") for p in places_of)


def _to_stderr(*lines: str) -> None:
    """The holder's own voice: into its report."""
    for line in lines:
        os.write(2, f"{printable(line)}\n".encode())


def _afterwards(context: Context, name: str, say: Say) -> None:
    """After the client: say that the session goes on, or what its holder has reported at its end."""
    lock = _lock_file(context)
    try:
        if not _ended(lock):
            say(f"claude-sandbox: sandbox:{printable(name)} goes on; the same command attaches to it again")
            return
        with open(_report(context), errors="replace") as file:
            say(*file.read(65536).splitlines())
    except OSError:
        pass
    finally:
        os.close(lock)


def _ended(lock: int) -> bool:
    """Whether the holder lets go of the lock within a moment: it unwinds after the client has seen the
    session end.
    """
    import time

    for _ in range(20):
        if _locked(lock):
            return True
        time.sleep(0.05)
    return False


def _make_directory(context: Context) -> None:
    """P/.tmux and its tmux.conf, made once; never through a link, which a former agent may have
    left there.
    """
    project = os.open(context.subject.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ".tmux" not in os.listdir(project):
            os.mkdir(".tmux", 0o700, dir_fd=project)
        try:
            directory = os.open(".tmux", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=project)
        except OSError:
            raise UserError(
                f"{context.subject.path}/.tmux is not a directory", "remove it: --tmux keeps its state there"
            ) from None
        _make_conf(directory)
    except OSError as error:
        raise HostError(
            f"{context.subject.path}/.tmux cannot be made: {error.strerror}",
            "free space there, or mend its mode",
        ) from error
    finally:
        os.close(project)
    if context.subject.git:
        from launcher.exclude import exclude

        exclude(context.subject.git, ".tmux/")


def _make_conf(directory: int) -> None:
    try:
        conf = os.open(
            "tmux.conf", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=directory
        )
        os.write(conf, DEFAULT_CONF.encode())
        os.close(conf)
    except FileExistsError:
        pass
    finally:
        os.close(directory)
