"""What can bound a sandbox here: systemd, the files of cgroups, the kernel's own counts."""

from __future__ import annotations

import os

from launcher.host.model import Limiters

CGROUPS = "/sys/fs/cgroup"
CONTROLLERS = frozenset(("memory", "pids", "cpu"))
MANAGER = "/run/user/{uid}/systemd/private"  # its socket
SYSTEMD = "/run/systemd/system"  # sd_booted(3)
BUS = "/run/dbus/system_bus_socket"
# By what the bus starts systemd-machined, and what takes its place when it is masked (systemctl(1)).
MACHINED = tuple(
    f"{data}/dbus-1/system-services/org.freedesktop.machine1.service"
    for data in ("/usr/share", "/run/current-system/sw/share")
)
MASKS = tuple(f"{top}/systemd/system/systemd-machined.service" for top in ("/etc", "/run"))


def limiters(uid: int, programs: dict[str, str], release: str) -> Limiters:
    """`programs`: those of systemd that are there; `release`: the kernel's."""
    asked = "busctl" in programs and os.path.exists(BUS)
    return Limiters(
        user=_user(uid) if "systemd-run" in programs else frozenset(),
        system=CONTROLLERS if asked else frozenset(),
        files=_files(),
        namespaced=_version(release) >= (5, 14),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        machined=asked and _machined(),
    )


def _machined() -> bool:
    masked = any(os.path.realpath(path) == os.devnull for path in MASKS)
    return not masked and any(os.path.exists(path) for path in MACHINED)


def _user(uid: int) -> frozenset[str]:
    """What the user's manager was given to rule over, if it runs (systemd.resource-control(5), Delegate=)."""
    if not os.path.exists(MANAGER.format(uid=uid)):
        return frozenset()
    return _listed(f"{CGROUPS}/user.slice/user-{uid}.slice/user@{uid}.service")


def _files() -> frozenset[str]:
    """Version 1, a hierarchy for each controller; else version 2 (cgroups(7)), as far as they are handed on
    below our own.
    """
    first = frozenset(name for name in CONTROLLERS if _writable(f"{CGROUPS}/{name}"))
    if first or not os.path.exists(f"{CGROUPS}/cgroup.controllers") or not _writable(CGROUPS):
        return first
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        own = next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "/")
    # Of the root's group root can hand on whatever there is.
    return _listed(CGROUPS) if own == "/" else _listed(f"{CGROUPS}{own}", "cgroup.subtree_control")


def _writable(group: str) -> bool:
    """Whether it is a mounted hierarchy, and not read-only, as it is in containers."""
    try:
        return os.path.exists(f"{group}/cgroup.procs") and not os.statvfs(group).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _listed(group: str, name: str = "cgroup.controllers") -> frozenset[str]:
    try:
        with open(f"{group}/{name}", encoding="ascii") as file:
            return CONTROLLERS.intersection(file.read().split())
    except OSError:
        return frozenset()


def _version(release: str) -> tuple[int, ...]:
    numbers = release.split("-")[0].split("+")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdecimal())
