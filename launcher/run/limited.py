"""Limits of a container: a scope of systemd's, or cgroups of our own in the hierarchies of version 1 or 2.

A keeper places the container's first process in them while that builds its root, for to be moved takes 15 ms.
"""

from __future__ import annotations

import os
import time

from launcher.plan.model import Limits
from launcher.run import cgroup
from launcher.run.spawn import spawn

CONTROLLERS = ("memory", "pids", "cpu")
UNKEPT = "a limit cannot be kept (--without limits goes without)"
UNBOUNDED = 2**64 - 1  # systemd's "infinity"
PERIOD = 100_000  # microseconds, the kernel's default
PATIENCE_S = 25.0  # as long as busctl waits for an answer
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def place(process: int, limits: Limits, name: str, bus: str) -> None:
    """Have a process, and all that it starts, bounded. Raises OSError when a limit cannot be kept.

    With `bus` it gets a scope in any case: the unit of its machine (run/machined.py).
    """
    bounds = limits.kept("scope")
    if bus:
        try:
            _scope(process, scope_call(bus, f"{name}.scope", process, bounds), name)
        except OSError:
            if bounds != Limits():
                raise
    for controller, files in files_of(limits.kept("cgroup"), first=_first()).items():
        _write(controller, files, process, name)


def scope_call(bus: str, unit: str, process: int, limits: Limits) -> tuple[str, ...]:
    """busctl(1), for systemd's StartTransientUnit (org.freedesktop.systemd1(5))."""
    properties = [
        ("Description", "s", "claude-sandbox"),
        ("Slice", "s", "machine.slice"),
        ("PIDs", "au", "1", str(process)),
        ("Delegate", "b", "true"),  # nspawn makes groups below it
        ("CollectMode", "s", "inactive-or-failed"),
    ]
    if limits.memory:
        properties += [("MemoryMax", "t", str(limits.memory)), ("MemorySwapMax", "t", "0")]
    # Said even without a limit, for the manager's default would be one.
    properties.append(("TasksMax", "t", str(limits.tasks or UNBOUNDED)))
    if limits.cpus:
        properties.append(("CPUQuotaPerSecUSec", "t", str(round(limits.cpus * 1_000_000))))
    words = [word for one in properties for word in one]
    return (
        bus, "--system", "--quiet", "call", *MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))",
        unit, "fail", str(len(properties)), *words, "0",
    )  # fmt: skip


def files_of(limits: Limits, *, first: bool) -> dict[str, tuple[tuple[str, str], ...]]:
    """By controller, the files of its cgroup and what is written to them; `first`: of version 1."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    if limits.memory:
        most = str(limits.memory)
        # In this order: memory with swap must never be the smaller one.
        v1 = (("memory.limit_in_bytes", most), ("memory.memsw.limit_in_bytes", most))
        found["memory"] = v1 if first else (("memory.max", most), ("memory.swap.max", "0"))
    if limits.tasks:
        found["pids"] = (("pids.max", str(limits.tasks)),)
    if limits.cpus:
        quota = max(1000, round(limits.cpus * PERIOD))
        found["cpu"] = (("cpu.cfs_quota_us", str(quota)),) if first else (("cpu.max", f"{quota} {PERIOD}"),)
    return found


OPTIONAL = ("memory.memsw.limit_in_bytes", "memory.swap.max")  # kernels may count no swap


def remove(name: str) -> None:
    """Remove the cgroups of version 1 of that name; those that are not there are no matter."""
    for controller in CONTROLLERS:
        if base := cgroup.hierarchy(controller):
            cgroup.rmdir(f"{base}/{name}", patience_s=PATIENCE_S / 5)


def sweep(prefix: str) -> None:
    """Remove those of processes that are gone."""
    for controller in CONTROLLERS:
        if base := cgroup.hierarchy(controller):
            for name in cgroup.orphans(base, prefix):
                cgroup.rmdir(f"{base}/{name}")


def _first() -> bool:
    return any(cgroup.hierarchy(controller) for controller in CONTROLLERS)


def _write(controller: str, files: tuple[tuple[str, str], ...], process: int, name: str) -> None:
    """In version 1 make a group, and move the process there; in version 2 it was started in it."""
    base = cgroup.hierarchy(controller)
    group = f"{base}/{name}" if base else cgroup.path(name)
    if base:
        os.mkdir(group)
    else:
        _handed_on(os.path.dirname(group), controller)
    for file, value in files:
        try:
            _put(f"{group}/{file}", value)
        except FileNotFoundError:
            if file not in OPTIONAL:
                raise
    if base:
        _put(f"{group}/cgroup.procs", str(process))


def _handed_on(parent: str, controller: str) -> None:
    with open(f"{parent}/cgroup.subtree_control", encoding="ascii") as file:
        if controller in file.read().split():
            return
    _put(f"{parent}/cgroup.subtree_control", f"+{controller}")


def _put(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"{UNKEPT}: {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def scoped(process: int, name: str) -> bool:
    """Whether systemd has moved the process to the scope of that name: in version 1 it does so for one
    controller after another (cgroups(7), /proc/PID/cgroup).
    """
    with open(f"/proc/{process}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return in_scope(file.read(), name)


def in_scope(groups: str, name: str) -> bool:
    """The same of what /proc/PID/cgroup says: lines "NUMBER:CONTROLLERS:PATH", of version 2 one line."""
    lines = [line.split(":", 2) for line in groups.splitlines()]
    first = [path for _, names, path in lines if {"name=systemd", *CONTROLLERS} & set(names.split(","))]
    return all(f"/{name}.scope" in path for path in first or [path for _, _, path in lines])


def _ended(child: int) -> bool:
    """Whether it has; it is left to be waited for. systemd moves nothing that has."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _scope(process: int, call: tuple[str, ...], name: str) -> None:
    """Ask systemd, and wait until it has moved the process: its answer says no more than that it will."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    child = spawn(call, {}, stdio=(nothing, nothing, 2))
    os.close(nothing)
    _, ended = os.waitpid(child, 0)
    end = time.monotonic() + PATIENCE_S
    while ended == 0 and time.monotonic() < end:
        if scoped(process, name) or _ended(process):
            return
        time.sleep(0.001)
    raise OSError(110, f"{UNKEPT}: systemd made no {name}.scope")
