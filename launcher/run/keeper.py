"""The one process of ours that stays root: it starts a container, waits for its end or ours, and tidies up.

The launcher holds a pipe's other end: end of file says that it is gone, or wants an end, whatever killed it.
The container is process 1 of a PID namespace and dies with the keeper; so nothing outlives any of the three.
"""

from __future__ import annotations

import os

from launcher.run import cgroup, limited, reserve
from launcher.run.container import Builder
from launcher.run.mounts import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    MS_MOVE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    Kernel,
)
from launcher.run.process import PLACE
from launcher.run.runtime import remove, sweep
from launcher.run.spawn import cleared, passed_on, readied, without_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping

    from launcher.backends.base import Root
else:
    import _signal

PR_SET_PDEATHSIG = 1
DIRECTORY = "{directory}"


def keep(
    root: Root,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    stdio: tuple[int, int, int],
    passed: tuple[int, ...],
    terminal: str,
    life: int,
    place: str,
) -> None:
    """Run the container to its end, in a process forked for it; never returns.

    `argv` with {directory} for the root's name; `passed`: what it finds as 4 and upwards, for 3 is the status
    pipe of ours (see backends/container.py). `terminal`: a path, or "". `place`:
    the directory that is made for it.
    """
    status = 125
    try:
        reserve.take()
        os.umask(0o022)
        os.setsid()
        os.dup2(stdio[2], 2)
        without_others((*stdio, *passed, life))
        sweep(PLACE)
        cgroup.sweep(os.path.basename(PLACE))
        limited.sweep(os.path.basename(PLACE))
        os.mkdir(place, 0o700)
        lock = locked(place)
        told, tell = os.pipe()
        passed = (tell, *passed)
        container = start(root, argv, environment, place=place, stdio=stdio, passed=passed, terminal=terminal)
        for number in passed:
            os.close(number)
        status = attend(container, told, life)
        os.close(lock)
    except BaseException as error:  # noqa: BLE001  (nothing may escape into the code of who forked us)
        os.write(2, f"{error}\n".encode("utf-8", "surrogateescape"))
    finally:
        tidy(place)
        os._exit(status)


def tidy(place: str) -> None:
    """Remove what a container has left: its directory and its cgroup."""
    cgroup.end(os.path.basename(place))
    limited.remove(os.path.basename(place))
    remove(place)


def tidy_for(place: str) -> None:
    """Do it for a keeper that was killed, in a process that takes the root that we have in reserve."""
    child = os.fork()
    if child == 0:
        try:
            reserve.take()
            tidy(place)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def locked(place: str) -> int:
    """A descriptor that says that `place` is in use."""
    import fcntl

    number = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    fcntl.flock(number, fcntl.LOCK_EX)
    return number


def start(
    root: Root,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    place: str,
    stdio: tuple[int, int, int],
    passed: tuple[int, ...],
    terminal: str,
) -> int:
    """The container's process, in PID and mount namespaces of its own."""
    kernel = Kernel()
    alive, ours = os.pipe()  # readable to the end once we are dead
    bounded, placed = os.pipe()  # a byte says that the limits hold
    group = cgroup.opened(os.path.basename(place))
    child = kernel.fork(CLONE_NEWPID | CLONE_NEWNS, group)
    if child:
        os.close(alive)
        os.close(bounded)
        try:
            limited.place(child, root.limits, os.path.basename(place), root.bus)
            os.write(placed, b".")
        except OSError:
            os.kill(child, _signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        os.close(placed)
        return child
    try:
        os.close(ours)
        os.close(placed)
        kernel.mount("", "/", flags=MS_REC | MS_PRIVATE)
        kernel.mount("proc", "/proc", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC)
        Builder(root, place, terminal).build()
        # What nspawn leaves in /run would stay there, as would the lock that it has beside the directory.
        kernel.mount("tmpfs", "/run", flags=MS_NOSUID | MS_NODEV, options="mode=0755")
        name = os.path.basename(place)
        os.mkdir(f"/run/{name}", 0o700)
        kernel.mount(place, f"/run/{name}", flags=MS_MOVE)
        cgroup.hide_others(kernel)
        # Only now: the kernel forgets it when a process gets other credentials.
        kernel.prctl(PR_SET_PDEATHSIG, int(_signal.SIGKILL))
        if gone(alive) or not os.read(bounded, 1):
            os._exit(125)
        cleared()
        passed_on(stdio, passed)
        words = (w.replace(f"--directory={DIRECTORY}", f"--directory=/run/{name}") for w in argv)
        machine = name.replace("claude-nspawn.", "claude-sandbox-")
        listen = {"LISTEN_FDS": str(len(passed)), "LISTEN_PID": "1"}
        readied()
        os.execve(argv[0], [w.replace(DIRECTORY, machine) for w in words], {**environment, **listen})
    except BaseException as error:  # noqa: BLE001
        said = error.strerror if isinstance(error, OSError) and error.filename is None else error
        os.write(2, f"{said}\n".encode("utf-8", "surrogateescape"))
    finally:
        os._exit(125)


def gone(alive: int) -> bool:
    """Whether the other end of a pipe is closed."""
    import select

    poll = select.poll()
    poll.register(alive, select.POLLIN)
    return bool(poll.poll(0))


def attend(container: int, told: int, life: int) -> int:
    """Wait for the container's end, or bring it about when `life` ends; give the agent's exit status.

    nspawn's own says less: it takes 133 for a wish to boot again. bwrap writes it to `told`, as JSON.
    """
    import select

    handle = os.pidfd_open(container)
    poll = select.poll()
    for descriptor in (handle, life):
        poll.register(descriptor, select.POLLIN)
    if handle not in dict(poll.poll()):
        os.kill(container, _signal.SIGKILL)
    _, ended = os.waitpid(container, 0)
    code = os.waitstatus_to_exitcode(ended)
    return exit_code(drained(told), 128 - code if code < 0 else code)


def drained(descriptor: int) -> bytes:
    """All that was written to a pipe; every writer has ended."""
    text = b""
    while chunk := os.read(descriptor, 4096):
        text += chunk
    return text


def exit_code(text: bytes, otherwise: int) -> int:
    """The number behind "exit-code" in what bwrap's --json-status-fd gave, or `otherwise`."""
    _, found, rest = text.rpartition(b'"exit-code":')
    digits = rest.strip(b" }\n\r\t")
    return int(digits) if found and digits.isdigit() else otherwise
