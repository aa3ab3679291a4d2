"""`--tmux`: the agent in a tmux session that outlives its terminal (tmux(1)).

Server and client are both inside, in two sandboxes. A tmux client obeys its server (`detach-client -E CMD`
runs CMD where the client is), so a client outside would let the agent out; a server outside whose socket is
inside would, too.

    claude-sandbox --tmux P ──┬─ holder (holder.py), in the background: attends the sandbox with the server
                              │  and the agent
                              └─ a sandbox with the client, a terminal, and the project read-only for the
                                 socket's sake; the next `--tmux P` starts only this

Two virtual machines share no socket. There both are in one sandbox, and the session ends with its terminal.
"""

from __future__ import annotations

import os

from launcher import launch
from launcher.backends import of
from launcher.errors import HostError, UserError
from launcher.holder import Holder
from launcher.missing import Missing
from launcher.plan import places
from launcher.plan.model import Mount
from launcher.request import Request
from launcher.spec.table import ROWS
from launcher.tmux_files import ATTACH, LEADER, NOT_THERE, RUNS, SERVE, TOGETHER, make_directory
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.launch import Say
    from launcher.plan.context import Context
    from launcher.plan.model import Plan

# By /project, which is short: a socket's path is at most 107 bytes (unix(7)), a project's may be longer.
SOCKET = f"{places.PROJECT}/.tmux/socket"
INNER_SOCKET = "/tmp/.tmux"  # in the sandbox
CONF = f"{places.PROJECT}/.tmux/tmux.conf"

# A client whose server is killed leaves the terminal as it was: the main screen, no mouse, no reports, a
# cursor (xterm's control sequences).
RESTORE = b"\033[?1049l\033[?1000;1002;1003;1006;1004;2004l\033[?25h\033[?1l\033>\033[m\033(B"


def run(context: Context, say: Say) -> int:
    """Start the session unless it runs, and attach to it. Returns 0 when it goes on, the agent's status at
    its end. Raises UserError, HostError, SandboxError.
    """
    _check(context)
    make_directory(context)
    if not of(context.request.backend).SHARES_SOCKETS:
        return _together(context, say)
    holder = Holder(context.subject.state)
    name = _name(context.subject.path)
    tell: Say = (lambda *_: None) if context.request.quiet else say
    while True:  # a session may end while we are on our way to it
        started = _start(context, holder, name, say, tell)
        status = _client(context, ATTACH, tty=True)
        if _client(context, RUNS, tty=False) == 0:
            tell(f"claude-sandbox: sandbox:{name} goes on; the same command attaches to it again")
            return status
        ended = holder.ended(say)
        if ended is None:
            os.write(1, RESTORE)
            say(f"claude-sandbox: sandbox:{name} was killed")
            ended = 137
        if started or status != NOT_THERE:
            return ended


def _start(context: Context, holder: Holder, name: str, say: Say, tell: Say) -> bool:
    """See to it that a session runs; whether it is a new one."""
    flags = _flags(context.request)
    with holder:
        if not holder.free():
            kept = holder.flags()
            if flags and flags != kept:
                raise UserError(
                    f"sandbox:{name} runs already, with {printable(kept) or 'no flags'}",
                    "attach with the same flags or with none; other ones need its end first",
                )
            holder.watch()
            tell(f"claude-sandbox: sandbox:{name} runs already, attaching")
            if context.request.args:
                say("claude-sandbox: its agent keeps the arguments that it was started with")
            return False
        plan = launch.plan(context)
        command = ("bash", "-p", "-c", SERVE, "claude-sandbox", *_served(SOCKET, name), *plan.command)
        holder.start(context, plan.replace(command=command), flags, say)
        return True


def _together(context: Context, say: Say) -> int:
    name = _name(context.subject.path)
    plan = launch.plan(context)
    words = (SERVE, ATTACH, *_served(INNER_SOCKET, name))
    note = f"sandbox:{name} ends with this terminal: nothing else reaches into a virtual machine"
    plan = plan.replace(
        command=("bash", "-p", "-c", TOGETHER, "claude-sandbox", *words, *plan.command),
        notes=(*plan.notes, note),
    )
    return launch.execute(context, plan, say)


def _served(socket: str, name: str) -> tuple[str, ...]:
    """SERVE's own arguments, but for the agent's argv."""
    return (socket, CONF, LEADER, _drawn(name), _window(name))


def _check(context: Context) -> None:
    if not (os.isatty(0) and os.isatty(1)):
        raise UserError("--tmux needs a terminal", "leave --tmux out in scripts and pipes")
    if context.host.environ.get("TERM") == "dumb":
        raise UserError("--tmux needs a terminal that can draw: TERM is dumb", "leave --tmux out here")
    if "tmux" not in context.host.programs:
        tmux = Missing(what="tmux", program="tmux", why="it is not on PATH", required=True)
        raise HostError("--tmux: tmux is not installed", tmux.fix)


# -- names


def _name(project: str) -> str:
    """The project's name, with `?` for what no terminal shows. A window's name may hold dots, colons and
    blanks; in a session's tmux replaces them.
    """
    return "".join(c if c.isprintable() else "?" for c in os.path.basename(project))


def _word(text: str) -> str:
    """A word for tmux's command line, where a `;` at the end would end the command."""
    return text[:-1] + "\\;" if text.endswith(";") else text


def _window(name: str) -> str:
    """For `new-session -n`, which expands formats: `##` is `#`, but before `[` all stays (format.c)."""
    import re

    return _word(re.sub(r"#+(?![#\[])", lambda run: run[0] * 2, name))


def _drawn(name: str) -> str:
    """For a status line, which draws `##` as `#` and takes `#[` for a style."""
    return _word(f"sandbox:{name.replace('#', '##')}")


def _flags(request: Request) -> str:
    """What decides about the sandbox, as it would be typed."""
    switches = {"--shell": request.shell, "--no-network": not request.network, "--protect": request.protect}
    words = [name for name, on in switches.items() if on]
    words += [f"--with {row}" for row in sorted(request.also)]
    words += [f"--without {row}" for row in sorted(request.without)]
    words += [f"--env {name}" for name in sorted(request.env)]
    words += [f"--share {share.path}:{share.mode}" for share in request.shares]
    bounds = {"--max-memory": request.max_memory, "--max-tasks": request.max_tasks, "--cpus": request.cpus}
    words += [f"{name} {value:.15g}" for name, value in bounds.items() if value]
    words += [f"--max-memory {request.memory_share}%"] if request.memory_share else []
    return " ".join(words)


# -- the client


def _client(context: Context, script: str, *, tty: bool) -> int:
    """Run a script of tmux clients in a sandbox for them; its status."""
    from launcher.run.session import run

    plan = _client_plan(context).replace(command=("bash", "-p", "-c", script, "tmux", SOCKET))
    launched = of(plan.backend).render(plan, context.host, tty=tty)
    return run(launched, on_ready=lambda: None, filtered=context.request.filtered)


def _client_plan(context: Context) -> Plan:
    """A sandbox that gives the agent, whose word the client obeys, nothing that it does not have.

    Read-only: what is planted from here would be seen by nobody once the holder has compared and gone.
    """
    kept = ("locale", "timezone", "nix-store")
    without = frozenset(row for row, (_, _, optional, *_) in ROWS.items() if optional and row not in kept)
    request = Request(  # noqa: S604  (a sandbox's shell)
        backend=context.request.backend,
        project=context.request.project,
        shell=True,
        network=False,
        without=without,
    )
    bare = context.replace(
        request=request,
        host=context.host.replace(agent=None),
        subject=context.subject.replace(git=None, triggers=()),
    )
    plan = launch.plan(bare)
    path = context.subject.path
    project = Mount(kind="bind", source=path, target=places.PROJECT, mode="ro")
    mounts = (*(m for m in plan.mounts if m.source != path), project)
    return plan.replace(mounts=mounts, cwd=places.PROJECT)
