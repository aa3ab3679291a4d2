"""The one process of ours that stays root: it starts a container, waits for its end or ours, and tidies up.

The launcher holds a pipe's other end: end of file says that it is gone, or wants an end, whatever killed it.
The container is process 1 of a PID namespace and dies with the keeper; so nothing outlives any of the three.
"""

from __future__ import annotations

import os

from launcher.run import cgroup, limited, reserve
from launcher.run.container import Builder
from launcher.run.machined import UNSEEN, Registration
from launcher.run.mounts import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    Kernel,
)
from launcher.run.process import NAME, NOTE
from launcher.run.spawn import cleared, passed_on, readied, without_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Mapping

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
    tidied: int,
    name: str,
) -> None:
    """Run the container to its end, in a process forked for it; never returns.

    `argv` with {directory} for the root's name; `passed`: what it finds as 4 and upwards, for 3 is the status
    pipe of ours (see backends/container.py). `terminal`: a path, or "". `tidied`: gets a byte when nothing
    of it is left. `name`: of its cgroup, and of its root.
    """
    status = 125
    try:
        reserve.take()
        # A launcher that was killed reads nothing of what is told here, and there is still much to tidy.
        _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
        os.umask(0o022)
        os.setsid()
        os.dup2(stdio[2], 2)
        without_others((*stdio, *passed, life, tidied))
        cgroup.sweep(NAME)
        limited.sweep(NAME)
        told, tell = os.pipe()
        passed = (tell, *passed)
        container = start(root, argv, environment, name=name, stdio=stdio, passed=passed, terminal=terminal)
        for number in passed:
            os.close(number)
        status = attend(container, told, life, lambda: registered(root, container, name))
    except BaseException as error:  # noqa: BLE001  (nothing may escape into the code of who forked us)
        os.write(2, f"{error}\n".encode("utf-8", "surrogateescape"))
    finally:
        try:
            tidy(name)
            os.write(tidied, b".")
        finally:
            os._exit(status)


def tidy(name: str) -> None:
    """Remove what a container has left: its cgroups."""
    cgroup.end(name)
    limited.remove(name)


def tidy_for(name: str) -> None:
    """Do it for a keeper that was killed, in a process that takes the root that we have in reserve."""
    child = os.fork()
    if child == 0:
        try:
            reserve.take()
            tidy(name)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def start(
    root: Root,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    name: str,
    stdio: tuple[int, int, int],
    passed: tuple[int, ...],
    terminal: str,
) -> int:
    """The container's process, in PID and mount namespaces of its own."""
    kernel = Kernel()
    alive, _ours = os.pipe()  # readable to the end once we are dead
    bounded, placed = os.pipe()  # a byte says that the limits hold
    # A scope of systemd's is one already, and all below /sys/fs/cgroup is systemd's to make.
    group = -1 if root.bus else cgroup.opened(name)
    child = kernel.fork(CLONE_NEWPID | CLONE_NEWNS, group)
    if child:
        os.close(alive)
        os.close(bounded)
        try:
            limited.place(child, root.limits, name, root.bus)
            os.write(placed, b".")
        except BrokenPipeError:
            pass  # it has ended, and said why
        except OSError:
            os.kill(child, _signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        os.close(placed)
        return child
    try:
        without_others((*stdio, *passed, alive, bounded))
        kernel.mount("", "/", flags=MS_REC | MS_PRIVATE)
        kernel.mount("proc", "/proc", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC)
        Builder(root, f"/run/{name}", terminal).build()
        cgroup.hide_others(kernel)
        # Only now: the kernel forgets it when a process gets other credentials.
        kernel.prctl(PR_SET_PDEATHSIG, int(_signal.SIGKILL))
        if gone(alive) or not os.read(bounded, 1):
            os._exit(125)
        cleared()
        passed_on(stdio, passed)
        words = (w.replace(f"--directory={DIRECTORY}", f"--directory=/run/{name}") for w in argv)
        listen = {"LISTEN_FDS": str(len(passed)), "LISTEN_PID": "1"}
        readied()
        execute([w.replace(DIRECTORY, machine(name)) for w in words], {**environment, **listen})
    except BaseException as error:  # noqa: BLE001
        said = error.strerror if isinstance(error, OSError) and error.filename is None else error
        os.write(2, f"{said}\n".encode("utf-8", "surrogateescape"))
    finally:
        os._exit(125)


def execute(argv: list[str], environment: Mapping[str, str]) -> None:
    """execve(2); a failure is told as run/spawn.py tells it."""
    try:
        os.execve(argv[0], argv, environment)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error}\n".encode("utf-8", "surrogateescape"))
        os._exit(127)


def gone(alive: int) -> bool:
    """Whether the other end of a pipe is closed."""
    import select

    poll = select.poll()
    poll.register(alive, select.POLLIN)
    return bool(poll.poll(0))


def machine(name: str) -> str:
    """What nspawn and `machinectl list` call it."""
    return name.replace(NAME, "claude-sandbox-")


def registered(root: Root, container: int, name: str) -> Registration | None:
    """Tell systemd-machined of a container that runs; None where there is none to be told."""
    if not root.machined:
        return None
    if not limited.scoped(container, name):
        note(f"{UNSEEN}: systemd made no scope for it")  # its machine would be all of our caller's session
        return None
    try:
        return Registration(root.bus, machine(name), container)
    except OSError:
        return None  # it has ended


def note(text: str) -> None:
    """What is no failure, and to be said at the end."""
    os.write(2, f"{NOTE}{text}\n".encode("utf-8", "surrogateescape"))


def attend(container: int, told: int, life: int, register: Callable[[], Registration | None]) -> int:
    """Wait for the container's end, or bring it about when `life` ends; give the agent's exit status.

    nspawn's own says less: it takes 133 for a wish to boot again. bwrap writes it to `told`, as JSON, and
    before that, that it runs; then the container is registered, beside the agent's own start. An end from
    outside (`machinectl terminate`) is a SIGTERM to all: bwrap has no time to write.
    """
    import select

    handle = os.pidfd_open(container)
    poll = select.poll()
    for descriptor in (handle, life, told):
        poll.register(descriptor, select.POLLIN)
    text = b""
    asked: Registration | None = None
    while handle not in (ready := dict(poll.poll())):
        if life in ready:
            os.kill(container, _signal.SIGKILL)
            break
        if told in ready:
            text += os.read(told, 4096)
            poll.unregister(told)
            if text and (asked := register()):
                poll.register(asked.heard, select.POLLIN)
        elif asked:
            poll.unregister(asked.heard)
            if why := asked.settle():
                note(why)
    if asked:
        asked.close()
    _, ended = os.waitpid(container, 0)
    code = os.waitstatus_to_exitcode(ended)
    text += drained(told)
    return exit_code(text, 128 - code if code < 0 else 128 + _signal.SIGTERM if text else code)


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
