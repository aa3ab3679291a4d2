"""A cgroup of the sandbox's own: nspawn makes others in the one that it is started in, and leaves them."""

from __future__ import annotations

import os

from launcher.run.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.run.mounts import Kernel

EBUSY = 16
MOUNTED = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")  # cgroups(7); the second one where version 1 is, too


def unified() -> str:
    """Where version 2 is mounted, or ""."""
    return next((path for path in MOUNTED if os.path.exists(f"{path}/cgroup.procs")), "")


def path(name: str) -> str:
    """Where the cgroup of that name is, below our own; "" where there is no version 2."""
    base = unified()
    return f"{base}{_own()}/{name}" if base else ""


def opened(name: str) -> int:
    """Make it, for a child to start in; its descriptor, or -1: nspawn then uses the one that we are in."""
    made = path(name)
    if not made:
        return -1
    try:
        os.mkdir(made)
        return os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def end(name: str) -> None:
    """End what still runs in it, and remove it."""
    try:
        emptied(path(name))
    except OSError:
        return  # it is not there
    remove(name)


def remove(name: str) -> None:
    """Remove it with what nspawn has made in it, unless something runs in it."""
    made = path(name)
    try:
        for entry in os.scandir(made) if made else ():
            if entry.is_dir(follow_symlinks=False):
                rmdir(entry.path)
    except OSError:
        return  # it is not there
    rmdir(made)


def emptied(made: str, timeout_s: float = 5.0) -> None:
    """End what still runs in it, and wait for that: who was killed leaves a container that is about to go.

    By cgroup.kill (Linux 5.14) and cgroup.events, which poll(2) wakes for; see the kernel's cgroup-v2.rst.
    Raises OSError if the cgroup is not there.
    """
    import select
    import time

    late = time.monotonic() + timeout_s
    with open(f"{made}/cgroup.events", "rb", buffering=0) as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while b"populated 1" in os.pread(events.fileno(), 4096, 0):
            left = late - time.monotonic()
            if left <= 0:
                return
            kill(made)
            poll.poll(left * 1000)


def kill(made: str) -> None:
    """Send SIGKILL to all that is in a cgroup and below it, where the kernel can do that."""
    try:
        with open(f"{made}/cgroup.kill", "wb", buffering=0) as file:
            file.write(b"1")
    except OSError:
        return


def sweep(prefix: str) -> None:
    """Remove those of processes that are gone.

    It ends nothing: in another PID namespace they may live, and in the same /sys/fs/cgroup.
    """
    base = os.path.dirname(path(prefix))
    for name in orphans(base, prefix) if base else ():
        remove(name)


def orphans(base: str, prefix: str) -> list[str]:
    """Names in `base` of cgroups whose maker, whose number follows the prefix, is gone."""
    found = []
    for name in os.listdir(base):
        maker = name[len(prefix) :].partition("-")[0]
        if name.startswith(prefix) and maker.isdecimal() and not os.path.exists(f"/proc/{maker}"):
            found.append(name)
    return found


def hierarchy(controller: str) -> str:
    """Where our own cgroup in the hierarchy of version 1 is that has this controller, or ""."""
    base = f"{MOUNTED[0]}/{controller}"
    if not os.path.exists(f"{base}/cgroup.procs"):
        return ""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, names, own = line.rstrip("\n").split(":", 2)
            if controller in names.split(","):
                # In a container what is mounted there may be our own group already.
                path = f"{base}{own.rstrip('/')}"
                return path if os.path.exists(path) else base
    return ""


def hide_others(kernel: Kernel) -> None:
    """Where versions 1 and 2 are mixed, version 2 alone: nspawn would mount each of the others inside."""
    if unified() == MOUNTED[1]:
        kernel.mount("cgroup2", MOUNTED[0], flags=MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _own() -> str:
    """The cgroup that we are in, "" for the root."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        own = next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "/")
    return "" if own == "/" else own


def rmdir(path: str, patience_s: float = 0.0) -> None:
    """Remove a cgroup, if it is there and nothing runs in it, or will in a moment: there is nothing to wait
    for in version 1, which knows no cgroup.events.
    """
    import time

    late = time.monotonic() + patience_s
    while True:
        try:
            os.rmdir(path)
            return
        except OSError as error:
            if error.errno != EBUSY or time.monotonic() > late:
                return
        time.sleep(0.005)
