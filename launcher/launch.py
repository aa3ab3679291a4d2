"""The wiring: Request and Host to a Plan, and a Plan to a sandbox that has run and was unwound."""

from __future__ import annotations

import os

from launcher import git, project, state
from launcher.errors import HostError, UserError
from launcher.flags import printable
from launcher.plan.context import Context, Subject
from launcher.plan.resolve import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.host.model import Host
    from launcher.plan.model import Plan
    from launcher.request import Request

    Say = Callable[..., None]


def context(request: Request, host: Host) -> Context:
    """The Request with its paths resolved and checked, and what there is at them. Raises UserError."""
    runtime = host.environ.get("XDG_RUNTIME_DIR", "")
    path = project.check(request.project, home=host.home, runtime=runtime, state=host.state)
    shares = tuple(s.replace(path=_shared(s.path)) for s in request.shares)
    subject = Subject(path=path, git=git.layout(path, home=host.home), state=state.project_dir(host.state, path))
    return Context(request=request.replace(shares=shares), host=host, subject=subject)


def plan(context: Context) -> Plan:
    """What this context gets."""
    return resolve(context)


def execute(context: Context, plan: Plan, say: Say) -> int:
    """Prepare the host, start the sandbox, attend it, and say what changed among the host-triggers.

    Returns the agent's exit status. Raises HostError for what this machine lacks, SandboxError when the start failed.
    """
    from launcher import prepare, watch
    from launcher.backends import bubblewrap
    from launcher.run.session import run

    host = context.host
    lacking = [m for m in bubblewrap.missing(host) if m.required]
    if lacking:
        raise HostError(f"{lacking[0].what} is missing: {lacking[0].why}", lacking[0].fix)
    prepare.prepare(context, plan)
    if not context.request.quiet:
        say(banner(plan, host.home))
    say(*(f"claude-sandbox: {note}" for note in (*bubblewrap.weaker(host), *plan.notes)))
    watching = watch.Watch(context.subject)
    status = run(bubblewrap.render(plan, host, tty=any(os.isatty(fd) for fd in (0, 1, 2))), on_ready=watching.begin)
    say(*(f"claude-sandbox: {line}" for line in watching.finish()))
    return status


def banner(plan: Plan, home: str) -> str:
    """One line: what is on."""
    network = "shared" if plan.network else "off"
    where = "~" + plan.project[len(home) :] if plan.project.startswith(home + "/") else plan.project
    return f"claude-sandbox: {plan.backend} · network {network} · {printable(where)}"


def _shared(path: str) -> str:
    if not os.path.exists(path):
        raise UserError(f"--share {printable(path)} does not exist", "check the path; the mode comes after it: PATH:rw")
    return os.path.realpath(path)
