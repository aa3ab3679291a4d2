"""The wiring: Request and Host to a Plan, and a Plan to a sandbox that has run and was unwound."""

from __future__ import annotations

import os

from launcher import git, project, state
from launcher.errors import HostError, SandboxError, UserError
from launcher.plan.context import Context, Subject
from launcher.plan.limits import short
from launcher.plan.resolve import resolve
from launcher.spec.table import GIT_TRIGGERS
from launcher.untrusted import inside, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.host.model import Host
    from launcher.plan.model import Plan
    from launcher.request import Request, Share
    from launcher.triggers import Watching

    Say = Callable[..., bool | None]  # False: nobody can have seen it


def context(request: Request, host: Host) -> Context:
    """The Request with its paths resolved and checked, and what there is at them; makes nothing.

    Raises UserError.
    """
    path = project.check(request.project, home=host.home, runtime=host.runtime, state=host.state)
    shares = tuple(_shared(s) for s in request.shares)
    _not_from_inside(host, (path, *(s.path for s in shares if s.mode == "rw")))
    layout = git.layout(
        path,
        home=host.home,
        config_home=host.environ.get("XDG_CONFIG_HOME", ""),
        patterns=tuple(pattern for pattern, _tool in GIT_TRIGGERS),
        shared=tuple(s.path for s in shares if s.mode == "rw"),
    )
    triggers: tuple[str, ...] = ()
    if request.protect:
        from launcher.triggers import protected

        triggers = protected(path, layout)
    subject = Subject(path=path, git=layout, state=state.project_path(host.state, path), triggers=triggers)
    return Context(request=request.replace(shares=shares), host=host, subject=subject)


def plan(context: Context) -> Plan:
    """What this context gets."""
    return resolve(context)


def execute(context: Context, plan: Plan, say: Say, *, at_end: Say | None = None) -> int:
    """Prepare the host, start the sandbox, attend it, and say what changed among the host-triggers (to
    `at_end`, where that is somebody else).

    Returns the agent's exit status. Raises HostError for what this machine lacks, SandboxError when the
    start failed.
    """
    from launcher import missing, prepare
    from launcher.backends import of
    from launcher.run.session import run

    backend = of(plan.backend)

    host = context.host
    tty = any(os.isatty(number) for number in (0, 1, 2))
    lacking = missing.report(host, plan.backend, shell=context.request.shell, network=plan.network)
    if lacking and lacking[0].required:
        raise HostError(f"{lacking[0].what} is missing: {lacking[0].why}", lacking[0].fix)
    prepare.prepare(context, plan)
    said = [] if context.request.quiet else [banner(plan, host.home)]
    said += [f"claude-sandbox: {note}" for note in (*backend.weaker(host), *plan.notes)]
    earlier: list[str] = []
    watching: list[Watching] = []
    noted: list[str] = []
    try:
        rendered = backend.render(plan, host, tty=tty)
        status = run(
            rendered,
            on_ready=lambda: earlier.extend(begin(context, plan, watching)),
            # Not before: a start that fails says two lines, the error.
            on_built=lambda: told(context, say(*said, *earlier)),
            on_note=noted.append,
            quiet=context.request.quiet,
            filtered=context.request.filtered,
        )
        (at_end or say)(*(f"claude-sandbox: {note}" for note in noted))
        return status
    except SandboxError as error:
        say(*earlier)
        for watched in watching:
            watched.cancel()
        from launcher import diagnosis
        from launcher.host.confinement import confinement

        raise diagnosis.explain(error, confinement(host.environ), plan.project) or error from error
    finally:
        for watched in watching:
            lines = watched.finish()
            if (at_end or say)(*lines) is False:
                state.keep_unsaid(context.subject.state, lines)


def begin(context: Context, plan: Plan, watching: list[Watching]) -> list[str]:
    """Start to watch: while the sandbox is being built, so that the snapshot costs the start nothing.

    Returns what is to be said.
    """
    from launcher.triggers import Watching

    rows = {granted.row for granted in plan.rows if granted.granted}
    claude = context.offer("claude-config").paths[0] if "claude-config" in rows else ""
    watched = Watching(context.subject, claude, protect=context.request.protect)
    watching.append(watched)
    return [*state.unsaid(context.subject.state), *watched.begin()]


def told(context: Context, heard: bool | None) -> None:
    """What an earlier run could not say has been said."""
    if heard is not False:
        state.forget_unsaid(context.subject.state)


def banner(plan: Plan, home: str) -> str:
    """One line: what is on."""
    network = ("NAT" if plan.machine else "shared") if plan.network else "off"
    kind = plan.backend
    if plan.machine and plan.machine.accel == "tcg":
        kind = f"{kind} without KVM, several times slower"
        kind += ", on one processor (--cores N: more, and a slower start)" if plan.machine.cores == 1 else ""
    where = "~" + plan.project[len(home) :] if plan.project.startswith(home + "/") else plan.project
    bounds = f" · {short(plan.limits)}" if plan.limits.by else ""
    return f"claude-sandbox: {kind} · network {network}{bounds} · {printable(where)}"


def _not_from_inside(host: Host, writable: tuple[str, ...]) -> None:
    """What runs on the host must not be what an agent could have written. Raises UserError."""
    programs = (host.bwrap.path if host.bwrap else "", host.programs.get("xdg-dbus-proxy", ""))
    for program in programs:
        names = (program, os.path.realpath(program)) if program else ()
        if any(inside(name, root) for name in names for root in writable):
            raise UserError(
                f"{printable(program)}, which is to build the sandbox, lies where an agent can write",
                "take directories of PROJECT off your PATH: what is planted there would run outside",
            )


def _shared(share: Share) -> Share:
    path = project.resolved(share.path)
    if not share.path or not os.path.exists(path):
        shown = printable(share.path) or "''"
        raise UserError(f"--share {shown} does not exist", "check the path; the mode comes after it: PATH:rw")
    return share.replace(path=path, link=share.path if path != os.path.abspath(share.path) else "")
