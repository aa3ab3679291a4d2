"""One child process that inherits nothing but what it is given. By hand: `import subprocess` costs 8 ms."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable, Mapping
else:
    import _signal

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
KEYCTL_JOIN_SESSION_KEYRING = 1  # linux/keyctl.h
SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}

# Soft limits of a fresh login (systemd's and the kernel's defaults); every other soft limit becomes the hard
# one. A hard
# limit that the caller lowered cannot be raised again without privileges: it stays.
SOFT_LIMITS = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 1024, "RLIMIT_STACK": 8 << 20}


def secure_stdio() -> None:
    """Open /dev/null in place of a closed descriptor 0, 1 or 2, so that no other file ever lands there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free one
            assert opened == number
            os.set_inheritable(number, True)


def spawn(
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    stdio: tuple[int, int, int],
    keep: Iterable[int] = (),
    covers: tuple[tuple[str, str], ...] = (),
    dies_with_us: bool = True,
    processors: int = 0,
) -> int:
    """Start `argv[0]` (an absolute path) and give its process id.

    The child has `stdio` as 0 to 2 and of the others only those in `keep`, under the same numbers; a new
    session, an anonymous session keyring, umask 022, default signals, none blocked, a fresh login's soft
    limits, `/` as its directory, and with `dies_with_us` it is killed when we die. A failure to execute it
    ends it with status 127 and a line on stderr. `covers`: mounts on symlinks (cover.py).
    `processors`: how many of ours it may run on, 0 for all.
    """
    call = kernel()
    parent = os.getpid()
    # A signal between fork and exec would otherwise be written into our wakeup pipe by the child.
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    child = os.fork()
    if child:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        return child
    try:
        if covers:  # first: the kernel may forget the death signal when a process gets new credentials
            from launcher.run.cover import cover

            cover(covers)
        if dies_with_us:
            call("prctl", PR_SET_PDEATHSIG, int(_signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(125)
        os.setsid()
        _descriptors(stdio, frozenset(keep))
        cleared()
        if processors:
            _affine(processors)
        readied()
        os.execve(argv[0], argv, environment)
    except BaseException as error:  # noqa: BLE001  (nothing may escape into the parent's code)
        try:
            os.write(2, f"{argv[0]}: {error}\n".encode("utf-8", "surrogateescape"))
        finally:
            os._exit(127)


def parent_of(process: int) -> int:
    """The parent of a process, 1 when it has ended already."""
    try:
        with open(f"/proc/{process}/stat", "rb") as stat:
            return int(stat.read().rpartition(b") ")[2].split()[1])
    except OSError:
        return 1


def _affine(count: int) -> None:
    """Run on so many of our processors; not all sandboxes on the same ones."""
    ours = sorted(os.sched_getaffinity(0))
    first = os.getpid() % len(ours)
    os.sched_setaffinity(0, (*ours[first:], *ours[:first])[:count])


def death_signal(number: int) -> None:
    """Get a signal when our parent ends (PR_SET_PDEATHSIG); forgotten when our ids change."""
    kernel()("prctl", PR_SET_PDEATHSIG, number, 0, 0, 0)


def become_subreaper() -> None:
    """Have orphans among our descendants handed to us: a pid namespace's first process can then be
    waited for.
    """
    kernel()("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kernel() -> Callable[..., int]:
    """Call a function of libc by name. By the C module below ctypes, which costs a third of it (0.4 ms)."""
    import _ctypes

    libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # the program itself

    def call(name: str, *arguments: int | None) -> int:
        return int(_ctypes.call_function(_ctypes.dlsym(libc, name), arguments))

    return call


def cleared() -> None:
    """An anonymous session keyring, a fresh login's soft limits, and the root directory."""
    number = SYS_KEYCTL.get(os.uname().machine)
    if number:
        kernel()("syscall", number, KEYCTL_JOIN_SESSION_KEYRING, None)
    _limits()
    os.umask(0o022)
    os.chdir("/")


def passed_on(stdio: tuple[int, int, int], passed: tuple[int, ...]) -> None:
    """`stdio` as 0 to 2, `passed` as 3 and upwards, and no other descriptor."""
    count = 3 + len(passed)
    moved = []
    for number in (*stdio, *passed):
        while (number := os.dup(number)) < count:  # out of the way first
            pass
        moved.append(number)
    for target, source in enumerate(moved):
        os.dup2(source, target, inheritable=True)
    _close_others(frozenset(range(count)))


def fresh_signals() -> None:
    """In a child that goes on without an execve(2): default signals, none blocked, no wakeup pipe."""
    _signal.set_wakeup_fd(-1)
    _signals()


def readied() -> None:
    """Default signals, none blocked: the last thing before execve(2)."""
    _signals()


def without_others(keep: Iterable[int]) -> None:
    """Close every descriptor above 2 that is not in `keep`."""
    _close_others(frozenset(keep), inherit=False)


def _descriptors(stdio: tuple[int, int, int], keep: frozenset[int]) -> None:
    # First out of the way: stdio may be any permutation of 0 to 2.
    for target, source in enumerate([os.dup(number) for number in stdio]):
        os.dup2(source, target, inheritable=True)
    _close_others(keep)


def _close_others(keep: frozenset[int], *, inherit: bool = True) -> None:
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2:
            if number in keep:
                os.set_inheritable(number, inherit)
            else:
                _close(number)


def _close(number: int) -> None:
    try:
        os.close(number)
    except OSError:
        return  # the one that listed the directory


def _limits() -> None:
    import resource

    for name in dir(resource):
        if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE":
            which = getattr(resource, name)
            hard = resource.getrlimit(which)[1]
            wanted = SOFT_LIMITS.get(name, hard)
            unlimited = hard == resource.RLIM_INFINITY
            resource.setrlimit(which, (wanted if unlimited or wanted == hard else min(wanted, hard), hard))


def _signals() -> None:
    for number in _signal.valid_signals():
        if number not in (_signal.SIGKILL, _signal.SIGSTOP):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
