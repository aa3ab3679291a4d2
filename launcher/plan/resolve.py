"""(Request, Host, project) → Plan: every row of the spec decided, by one pure function."""

from __future__ import annotations

from launcher.plan import agent, claude, credentials, desktop, identity, limits, listed, places, system, vm
from launcher.plan.context import Context
from launcher.plan.model import Granted, Identity, Mount, Plan
from launcher.project import refused
from launcher.spec.table import ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Planner = Callable[[Context], Granted]

# In the order in which mounts are made: what later rows are placed in comes first, the project last.
PLANNERS: dict[str, Planner] = {
    "processes": system.processes,
    "devices": system.devices,
    "tmp": system.tmp,
    "etc": system.etc,
    "timezone": listed.only("timezone"),
    "fonts": listed.only("fonts"),
    "dns": listed.only("dns"),
    "uid": identity.uid,
    "home": system.home,
    "tls": system.tls,
    "environment": system.environment,
    "locale": system.locale,
    "terminal": listed.only("terminal"),
    "nix-store": system.nix_store,
    "nix-commands": system.nix_commands,
    "network": system.network,
    "host-loopback": system.host_loopback,
    "kvm": system.kvm,
    "limits": limits.limits,
    "claude-config": claude.claude_config,
    "claude-settings": claude.claude_settings,
    "claude-json": claude.claude_json,
    "git-config": credentials.dotfiles("git-config"),
    "ssh-keys": credentials.dotfiles("ssh-keys"),
    "ssh-agent": credentials.ssh_agent,
    "gh-config": credentials.dotfiles("gh-config"),
    "gh-token": listed.only("gh-token"),
    "api-key": listed.only("api-key"),
    "x11": desktop.x11,
    "wayland": desktop.wayland,
    "audio": desktop.audio,
    "gpu": desktop.gpu,
    "dbus-session": desktop.dbus_session,
    "dbus-system": desktop.dbus_system,
    "chromium": desktop.chromium,
    "project": identity.project,
    "git-hooks": identity.git_hooks,
    "host-triggers": identity.host_triggers,
}


def resolve(context: Context) -> Plan:
    """The Plan. Looks at nothing but its argument.

    Raises UserError for a share that must not be given.
    """
    request, host = context.request, context.host
    planners = {**PLANNERS, **vm.PLANNERS} if request.backend == "vm" else PLANNERS
    rows = {row: _row(row, planner, context) for row, planner in planners.items()}
    shares = agent.shares(context, refused)
    extra = [agent.agent_mounts(context), shares]
    parts = [*rows.values()]
    mounts: list[Mount] = list(system.userland(context))
    for part in (*parts, *extra):
        mounts += part.mounts
    environment: dict[str, str] = {}
    for part in parts:
        environment.update(part.environment)
    in_table_order = tuple(rows.get(row) or Granted(row=row) for row in ROWS)
    return Plan(
        backend=request.backend,
        variants=request.variants,
        project=context.subject.path,
        name=context.subject.path.rsplit("/", 1)[-1],
        identity=Identity(uid=host.uid, gid=host.gid, home=places.HOME),
        rows=in_table_order,
        mounts=tuple(mounts),
        environment=tuple(environment.items()),
        command=agent.command(context),
        cwd=context.subject.path,
        network=rows["network"].granted,
        userns="userns" in request.also,
        proxies=tuple(p for part in parts for p in part.proxies),
        covers=tuple(c for part in parts for c in part.covers),
        limits=limits.kept(context),
        machine=vm.machine(context) if request.backend == "vm" else None,
        notes=(*host.notes, *(p.note for p in (*parts, *extra) if p.note)),
    )


def _row(row: str, planner: Planner, context: Context) -> Granted:
    default = ROWS[row][3]
    if row in context.request.without:
        return Granted(row=row, granted=False, reason="left out by --without")
    if not default and row not in context.request.also:
        flag = "--gh-token" if row == "gh-token" else f"--with {row}"
        return Granted(row=row, granted=False, reason=f"off by default: {flag}")
    return listed.added(context, planner(context))
