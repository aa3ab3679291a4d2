"""Row limits: how much of the machine all inside may have together, and what keeps it here.

    what      controller   default                  systemd's scope, cgroup files   else, for bubblewrap
    memory    memory       85 % of the machine's    of all, /tmp too                RLIMIT_DATA, of a process
    tasks     pids         4096                     of all, threads too             RLIMIT_NPROC, the same
    cpus      cpu          all                      time                            affinity

A scope costs a start 10 ms and more, so bubblewrap has one only when a limit was asked for. RLIMIT_DATA is no
default: JavaScriptCore, in which Claude Code runs, and address sanitizers reserve more than a machine has.
"""

from __future__ import annotations

from launcher.errors import HostError
from launcher.plan import vm
from launcher.plan.context import Context
from launcher.plan.model import Granted, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TASKS = 4096
SHARE = 85  # of the machine's memory, in hundredths
CONTROLLERS = {"memory": "memory", "tasks": "pids", "cpus": "cpu"}
FLAGS = {"memory": "--max-memory", "tasks": "--max-tasks", "cpus": "--cpus"}
MEANS = {"scope": "a scope of systemd's", "cgroup": "cgroup files", "guest": "the guest's own kernel"}
RLIMITS = {"memory": "RLIMIT_DATA, for each process", "tasks": "RLIMIT_NPROC", "cpus": "affinity"}


def limits(context: Context) -> Granted:
    """The row, with what is weaker here than what was asked for."""
    found = kept(context)
    if not found.by:
        return Granted(row="limits", granted=False, reason="nothing here counts the processes of a sandbox")
    shown = [f"{amount(found, name)} by {MEANS.get(by) or RLIMITS[name]}" for name, by in found.by]
    if not found.memory:
        shown.append("memory: all of it, without --max-memory")
    return Granted(row="limits", source="; ".join(shown), note="; ".join(_weaker(context, found)))


def kept(context: Context) -> Limits:
    """What bounds this sandbox. Raises HostError for a limit that was asked for and that nothing keeps."""
    if context.request.backend == "vm":
        return vm.limits(context)
    if "limits" in context.request.without:
        return Limits()
    wanted, asked = _wanted(context), _asked(context)
    by = tuple((name, means) for name in wanted if (means := _means(context, name, asked)))
    for name in asked:
        if name not in dict(by):
            raise _unkept(context, name)
    return Limits(**{name: wanted[name] for name, _ in by}, by=by)


def amount(limits: Limits, name: str) -> str:
    """One of them, for people."""
    if name == "memory":
        return f"{size(limits.memory)} memory"
    count = f"{limits.tasks}" if name == "tasks" else f"{limits.cpus:g}"
    return f"{count} {name}"


def short(limits: Limits) -> str:
    """All of them, for the banner: "at most 4096 tasks"."""
    return "at most " + ", ".join(amount(limits, name) for name, _ in limits.by)


def size(number: int) -> str:
    """Bytes in the unit that leaves the fewest digits, rounded down to a tenth."""
    for unit, scale in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if number >= scale:
            return f"{number * 10 // scale / 10:g}{unit}"
    return f"{number}"


def _wanted(context: Context) -> dict[str, Any]:
    request = context.request
    machine = context.host.limiters.memory
    memory = request.max_memory or machine * (request.memory_share or SHARE) // 100
    found = {"tasks": request.max_tasks or TASKS, "memory": memory, "cpus": request.cpus}
    return {name: value for name, value in found.items() if value}


def _asked(context: Context) -> tuple[str, ...]:
    request = context.request
    found = {
        "tasks": request.max_tasks,
        "memory": request.max_memory or request.memory_share,
        "cpus": request.cpus,
    }
    return tuple(name for name, value in found.items() if value)


def _means(context: Context, name: str, asked: tuple[str, ...]) -> str:
    """Which means keeps it, or ""."""
    here, controller = context.host.limiters, CONTROLLERS[name]
    if context.request.backend == "container":
        if here.system:
            return "scope" if controller in here.system else ""
        return "cgroup" if controller in here.files else ""
    if asked and controller in here.user:
        return "scope"
    # Of root's processes none are counted (fork(2), EAGAIN).
    if name == "tasks":
        return "rlimit" if here.namespaced and context.host.uid != 0 else ""
    return "rlimit" if name in asked else ""


def _weaker(context: Context, found: Limits) -> list[str]:
    """What was asked for and is kept less well than a cgroup would."""
    by, asked = dict(found.by), _asked(context)
    if context.request.backend == "vm":
        return []
    notes = []
    if "memory" in asked and by["memory"] == "rlimit":
        notes.append(
            "--max-memory is for each process by itself here, and not for /tmp: no systemd counts yours"
        )
    if "cpus" in asked and by["cpus"] == "rlimit":
        whole = -int(-found.cpus // 1)
        notes.append(f"--cpus is {whole} whole here, and programs can take more: no systemd counts yours")
    return notes


def _unkept(context: Context, name: str) -> HostError:
    if context.request.backend == "container":
        why = f"there is no cgroup controller {CONTROLLERS[name]} to be had"
    elif context.host.uid == 0:
        why = "root's processes are counted by nothing"
    else:
        why = "the kernel is older than 5.14"
    return HostError(f"{FLAGS[name]} cannot be kept here: {why}", f"leave {FLAGS[name]} out")
