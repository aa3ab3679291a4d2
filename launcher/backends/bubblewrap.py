"""bubblewrap: the daily backend, as the user, no root. What it lacks here, and a Plan as a bwrap command
line.
"""

from __future__ import annotations

from launcher.backends.base import Launch
from launcher.filters import FILTERS
from launcher.run.inner import command as inner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.host.model import Host
    from launcher.plan.model import Limits, Mount, Plan

SHARES_SOCKETS = True


def weaker(host: Host) -> tuple[str, ...]:
    """Protections of the table that this bubblewrap cannot give; each is said at start."""
    if host.bwrap and "disable-userns" not in host.bwrap.options:
        return ("bubblewrap is older than 0.8: nested user namespaces are shut by the syscall filter alone",)
    return ()


def render(plan: Plan, host: Host, *, tty: bool) -> Launch:
    """The bwrap command line (bwrap(1)). Pure; options in the order in which bwrap carries them out.

    Secrets are in the environment that bwrap is started with, never in argv: pid 1 inside keeps that
    environment, so it is the built one from the start.
    """
    assert host.bwrap is not None, "missing.report() comes first"
    data = [("seccomp", bytes.fromhex(FILTERS[host.machine, plan.userns]))]
    argv = [host.bwrap.path, *_namespaces(plan, host.bwrap.options)]
    writable = tuple(f"{m.target}/" for m in plan.mounts if m.kind == "tmpfs" or m.mode == "rw")
    for mount in plan.mounts:
        argv += _mount(mount, data, shielded=not mount.target.startswith(writable))
    argv += [
        "--remount-ro", "/",
        "--chdir", plan.cwd,
        "--seccomp", "{seccomp}",
        "--die-with-parent",
        "--new-session",  # the inner stage leads it: no `setsid` needs to be executed
        "--",
        *inner(plan.command, tty=tty, limits=_ulimits(plan.limits.kept("rlimit"))),
    ]  # fmt: skip
    return Launch(
        argv=tuple(argv),
        environment=plan.environment,
        data=tuple(data),
        proxies=plan.proxies,
        args_option="--args",
        # --die-with-parent sets it as late as can be. Killed between its clone and its first word to the
        # child, bwrap leaves one behind that waits for ever.
        dies_with_us=False,
        covers=plan.covers,
        prefix=_scope(plan.limits.kept("scope"), host),
        processors=-int(-plan.limits.kept("rlimit").cpus // 1),
    )


def _ulimits(limits: Limits) -> tuple[str, ...]:
    """Set inside, by the stage: there RLIMIT_NPROC counts no process of the host's (user_namespaces(7)), and
    bwrap's own start is not hit. Not RLIMIT_AS: JavaScript engines reserve a hundred gigabytes.
    """
    tasks = (f"u{limits.tasks}",) if limits.tasks else ()
    return (*tasks, *((f"d{limits.memory >> 10}",) if limits.memory else ()))


def _scope(limits: Limits, host: Host) -> tuple[str, ...]:
    """systemd-run(1), which executes the rest of the line in a transient scope of the user's."""
    properties = scope_properties(limits)
    if not properties:
        return ()
    return (
        host.programs["systemd-run"], "--user", "--scope", "--quiet", "--collect",
        "--description=claude-sandbox",
        # What it brings is its OOMPolicy: who takes too much memory ends alone, and not the scope with them.
        "-p", "Delegate=yes",
        *(word for name, value in properties for word in ("-p", f"{name}={value}")),
        "--",
    )  # fmt: skip


def scope_properties(limits: Limits) -> tuple[tuple[str, str], ...]:
    """systemd.resource-control(5)."""
    found = []
    if limits.memory:
        found += [("MemoryMax", str(limits.memory)), ("MemorySwapMax", "0")]
    if limits.tasks:
        found.append(("TasksMax", str(limits.tasks)))
    if limits.cpus:
        found.append(("CPUQuota", f"{limits.cpus * 100:g}%"))
    return tuple(found)


def _namespaces(plan: Plan, options: frozenset[str]) -> list[str]:
    return [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        *(() if plan.network else ("--unshare-net",)),
        *(("--disable-userns",) if "disable-userns" in options and not plan.userns else ()),
        "--uid", str(plan.identity.uid), "--gid", str(plan.identity.gid),
        "--hostname", "sandbox",
        "--cap-drop", "ALL",  # started by root, bwrap would leave every capability
    ]  # fmt: skip


def _mount(mount: Mount, data: list[tuple[str, bytes]], *, shielded: bool) -> list[str]:
    """One Mount as bwrap's options; staged content goes to `data` and is named by its placeholder.

    `shielded`: it lies on the root, which becomes read-only: a plain file will do there, and a mount costs
    more.
    """
    perms = ["--perms", f"{mount.perms:04o}"] if mount.perms else []
    match mount.kind:
        case "bind":
            option = {"ro": "--ro-bind", "rw": "--bind", "dev": "--dev-bind"}[mount.mode]
            return [option, mount.source, mount.target]
        case "data":
            name = f"data{len(data)}"
            data.append((name, mount.content))
            return [*perms, "--file" if shielded else "--ro-bind-data", f"{{{name}}}", mount.target]
        case "symlink":
            return ["--symlink", mount.source, mount.target]
        case "tmpfs":
            return [*perms, "--tmpfs", mount.target]
        case "dir":
            return [*perms, "--dir", mount.target]
        case "dev":
            return ["--dev", mount.target]
        case "proc":
            return ["--proc", mount.target]
        case "devpts" | "socket":
            return []  # --dev brings one; a socket is bound here
        case "overlay" | "snapshot":
            raise AssertionError(mount)  # a VM's alone
