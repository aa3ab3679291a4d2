"""Row processes: the host's processes, its System V and POSIX IPC, and its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conformance.checks.probes.held import held
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.listeners import canary
from fixtures.process import wait_until

# A victim for each attack: one that is stopped or killed could not be attacked a second time.
ATTACKS = (
    "signal", "ptrace", "prlimit", "setpriority",
    "process_vm_readv", "process_vm_writev", "pidfd_getfd",
    "mem", "environ", "cmdline", "fd", "root", "cwd",
)  # fmt: skip

VICTIMS = """
import tempfile
secret = given["canary"]
pids = {}
for attack in given["attacks"]:
    pid = os.fork()
    if pid == 0:
        libc.prctl(1, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        # Its own environment and arguments, for those that read them.
        argv = ["python3", "-I", "-c", given["victim"], secret, attack]
        os.execve("/usr/bin/python3", argv, {"SECRET": secret})
    pids[attack] = pid
import time
held = {}
for attack, pid in pids.items():
    path = f"{given['directory']}/{attack}"
    while not os.path.exists(path):
        time.sleep(0.001)
    held[attack] = [pid, *map(int, open(path).read().split())]
print(ascii(held), flush=True)
"""
VICTIM = """
import ctypes, os, signal, sys, tempfile
secret, attack = sys.argv[1:]
memory = ctypes.create_string_buffer(secret.encode())
file = tempfile.TemporaryFile()
file.write(secret.encode())
file.flush()
directory = DIRECTORY
os.chdir(directory)
with open(f".{attack}", "w") as ready:
    ready.write(f"{ctypes.addressof(memory)} {file.fileno()}")
os.rename(f".{attack}", attack)
while True:
    signal.pause()
"""
# What each attack brought back, or the errno that it met; what it did to the victim is the host's to see.
ATTACK = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def call(name, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
def memory(name, pid, address, data):
    buffer = ctypes.create_string_buffer(data, len(data))
    here, there = Vector(ctypes.addressof(buffer), len(data)), Vector(address, len(data))
    one, flags = ctypes.c_ulong(1), ctypes.c_ulong(0)
    call(name, pid, ctypes.byref(here), one, ctypes.byref(there), one, flags)
    return buffer.raw.decode(errors="replace")
def read(path, at=0):
    with open(path, "rb") as file:
        file.seek(at)
        return file.read(200 if at else -1).decode(errors="replace")
def attack(name, pid, address, fd):
    size = len(given["canary"])
    if name == "signal":
        return os.kill(pid, signal.SIGUSR1)
    if name == "ptrace":
        # PTRACE_SEIZE (it does not stop the victim) with PTRACE_O_EXITKILL: the victim dies with this probe.
        libc.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
        return call("ptrace", 0x4206, pid, 0, 0x100000)
    if name == "prlimit":
        import resource
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (77, 77))
        return None
    if name == "setpriority":
        return os.setpriority(os.PRIO_PROCESS, pid, 7)
    if name == "process_vm_readv":
        return memory(name, pid, address, b"." * size)
    if name == "process_vm_writev":
        return memory(name, pid, address, b"x" * size) and None
    if name == "pidfd_getfd":
        pidfd = os.pidfd_open(pid)
        stolen = call("syscall", ctypes.c_long(438), pidfd, fd, 0)
        return os.pread(stolen, 200, 0).decode()
    if name == "mem":
        return read(f"/proc/{pid}/mem", address)
    if name == "fd":
        return read(f"/proc/{pid}/fd/{fd}")
    if name == "root":
        return read(f"/proc/{pid}/root/{given['secret']}")
    if name == "cwd":
        return read(f"/proc/{pid}/cwd/{os.path.basename(given['secret'])}")
    return read(f"/proc/{pid}/{name}")
found = {}
for name, (pid, address, fd) in given["victims"].items():
    try:
        # One of our own may have the same number. It is nobody's victim.
        mine = given["canary"] not in read(f"/proc/{pid}/cmdline")
    except OSError:
        mine = False
    try:
        found[name] = "another of this number" if mine else attack(name, pid, address, fd)
    except OSError as error:
        found[name] = f"errno {error.errno}"
print(ascii(found))
"""


@covers("processes", "own")
def test_no_host_process_can_be_touched(inside: Inside, host: World) -> None:
    """No signal, ptrace, process_vm, pidfd, limit or /proc file reaches a process of the host's user."""
    word = canary()
    directory = host.services.scratch("victims")
    host.write(directory / "secret", word)
    given: dict[str, Any] = {"canary": word, "directory": str(directory), "attacks": ATTACKS}
    victim = VICTIM.replace("DIRECTORY", repr(str(directory)))

    with held(host, VICTIMS, victim=victim, **given) as (_, victims):
        how = {"canary": word, "victims": victims, "secret": str(directory / "secret")}
        before = {name: _state(victims[name][0], victims[name][1]) for name in ATTACKS}
        found = inside.python(ATTACK, **how)
        after = {name: _state(victims[name][0], victims[name][1]) for name in ATTACKS}
        control = host.python(ATTACK, **how)
        wait_until(lambda: None if _dead(victims["signal"][0]) else "alive", "death by signal")
        wait_until(lambda: None if _dead(victims["ptrace"][0]) else "alive", "death by tracer")
        reached = {name: _state(victims[name][0], victims[name][1]) for name in ATTACKS}

    with on_the_host():
        assert [n for n in ATTACKS if word not in str(control[n]) and before[n] == reached[n]] == []
    assert [n for n in ATTACKS if word in str(found[n])] == []
    assert [n for n in ATTACKS if before[n] != after[n]] == []


def _dead(pid: int) -> bool:
    return "State:\tZ" in _read(Path(f"/proc/{pid}/status")) or not Path(f"/proc/{pid}").exists()


def _state(pid: int, address: int) -> dict[str, Any]:
    """What an attack could have changed of a process, by the host's own /proc."""
    if _dead(pid):
        return {"dead": True}
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(address)
        content = memory.read(38)
    status = _read(Path(f"/proc/{pid}/status")).splitlines()
    lines = [line for line in status if line.startswith(("TracerPid", "SigPnd", "ShdPnd"))]
    stat = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return {"memory": content, "lines": lines, "nice": stat[16], "limits": _read(Path(f"/proc/{pid}/limits"))}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


# Everything that /proc says of every process, and every number that answers to a pidfd.
SEEN = """
import os
text, listed, answering = [], set(), set()
for name in os.listdir("/proc"):
    if not name.isdigit():
        continue
    listed.add(int(name))
    for file in ("cmdline", "environ", "comm"):
        try:
            with open(f"/proc/{name}/{file}", "rb") as opened:
                text.append(opened.read().decode(errors="replace"))
        except OSError:
            pass
# A number that /proc does not list may be a thread's, or a process's that began or ended meanwhile.
for pid in range(1, given["most"]):
    try:
        os.close(os.pidfd_open(pid))
        answering.add(pid)
    except OSError:
        pass
now = {int(name) for name in os.listdir("/proc") if name.isdigit()}
print(ascii({"seen": given["canary"] in "".join(text), "hidden": sorted(answering - listed - now),
                  "answers": given["pid"] in answering}))
"""


@covers("processes", "own")
def test_no_host_process_can_be_seen(inside: Inside, host: World) -> None:
    """/proc lists no process of the host's, and no process answers that /proc does not list."""
    word = canary()

    with held(host, "print(os.getpid())", word=word) as (_, pid):
        how = {"canary": word, "pid": pid, "most": min(pid + 1000, 1 << 17)}
        control = host.python(SEEN, **how)
        found = inside.python(SEEN, **how)

    with on_the_host():
        assert control["seen"], "the same probe has to see it on the host"
        assert control["answers"] or pid >= 1 << 17
    assert not found["seen"]
    assert found["hidden"] == []


# Made on the host under numbers and names of their own; gone when the check is over.
IPC = r"""
import struct
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
text = given["canary"].encode()
key = given["key"]
flags = 0o3666  # IPC_CREAT | IPC_EXCL
ipc = {"shm": libc.shmget(key, 4096, flags), "msg": libc.msgget(key, flags)}
ipc["sem"] = libc.semget(key, 1, flags)
assert min(ipc.values()) >= 0, ipc
ctypes.memmove(libc.shmat(ipc["shm"], None, 0), text, len(text))
message = struct.pack("l", 1) + text
assert libc.msgsnd(ipc["msg"], message, len(text), 0) == 0
assert libc.semctl(ipc["sem"], 0, 16, 4711) == 0
queue = libc.mq_open(given["queue"].encode(), os.O_RDWR | os.O_CREAT, 0o600, None)
assert queue >= 0, ctypes.get_errno()
assert libc.mq_send(queue, text, len(text), 0) == 0
print(ascii(ipc))
"""
NO_IPC = """
for name, rmid in (("shm", lambda n: libc.shmctl(n, 0, None)), ("msg", lambda n: libc.msgctl(n, 0, None)),
                   ("sem", lambda n: libc.semctl(n, 0, 0))):
    if globals().get("ipc", {}).get(name, -1) >= 0:
        rmid(ipc[name])
libc.mq_unlink(given["queue"].encode())
"""
# By number, by key, by name, and by what /proc lists.
LOOK = r"""
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
key, ids = given["key"], given["ids"]
def shm(number):
    at = libc.shmat(number, None, 0o10000) if number >= 0 else -1
    return "" if at in (-1, None, 2**64 - 1) else ctypes.string_at(at, 38).decode(errors="replace")
def msg(number):
    # MSG_COPY | IPC_NOWAIT | MSG_NOERROR: looks at the first message and leaves it there.
    flags = 0o40000 | 0o4000 | 0o10000
    buffer = ctypes.create_string_buffer(200)
    got = libc.msgrcv(number, buffer, 190, ctypes.c_long(0), flags) if number >= 0 else -1
    return buffer.raw[8:8 + got].decode(errors="replace") if got > 0 else ""
def sem(number):
    return str(libc.semctl(number, 0, 12, 0)) if number >= 0 else ""
def queue():
    number = libc.mq_open(given["queue"].encode(), os.O_RDONLY | os.O_NONBLOCK)
    if number < 0:
        return f"errno {ctypes.get_errno()}"
    return "open"
found = {
    "shm": shm(ids["shm"]), "msg": msg(ids["msg"]), "sem": sem(ids["sem"]),
    "shm by key": shm(libc.shmget(key, 0, 0)), "msg by key": msg(libc.msgget(key, 0)),
    "sem by key": sem(libc.semget(key, 0, 0)), "mq": queue(),
}
for name in ("shm", "msg", "sem"):
    with open(f"/proc/sysvipc/{name}") as file:
        found[f"{name} listed"] = str(any(line.split()[0] == str(key) for line in file))
print(ascii(found))
"""


@covers("processes", "own")
def test_no_ipc_of_the_host_is_there(inside: Inside, host: World) -> None:
    """Shared memory, message queues and semaphores of the host's are out of reach by number, key and name."""
    word = canary()
    key = int(word[-7:], 16)
    queue = f"/{word}"

    with held(host, IPC, NO_IPC, canary=word, key=key, queue=queue) as (_, ids):
        control = host.python(LOOK, key=key, queue=queue, ids=ids)
        found = inside.python(LOOK, key=key, queue=queue, ids=ids)

    seen = {
        **dict.fromkeys(("shm", "shm by key", "msg", "msg by key"), word),
        **dict.fromkeys(("sem", "sem by key"), "4711"),
        **dict.fromkeys(("shm listed", "msg listed", "sem listed"), "True"),
        "mq": "open",
    }
    with on_the_host():
        assert control == seen, "the same probe has to find all of it on the host"
    assert [name for name, text in seen.items() if found[name] == text] == []
    assert found["mq"] == "errno 2"


@covers("processes", "own")
def test_ipc_of_the_sandbox_is_not_the_hosts(inside: Inside, host: World) -> None:
    """Shared memory made inside works there, and is not on the host's list."""
    key = int(canary()[-7:], 16)
    make = "import ctypes; print(ctypes.CDLL(None).shmget(given['key'], 4096, 0o3600))"
    remove = "import ctypes; print(ctypes.CDLL(None).shmctl(given['number'], 0, None))"
    where = "print(ascii(any(l.split()[0] == str(given['key']) for l in open('/proc/sysvipc/shm'))))"

    number = inside.python(make, key=key)
    there, here = inside.python(where, key=key), host.python(where, key=key)
    removed = inside.python(remove, number=number)

    assert number >= 0
    assert there
    assert not here
    assert removed == 0


NAME = """
import os
with open("/proc/sys/kernel/hostname") as file:
    print(ascii([os.uname().nodename, file.read().strip()]))
"""


@covers("processes", "own")
def test_the_host_name_is_another(inside: Inside, host: World) -> None:
    """The host's name is not the sandbox's."""
    outside = host.python(NAME)

    found = inside.python(NAME)

    if outside[0] == "sandbox":
        raise HarnessError("this host is called sandbox itself", "hostname something-else")
    assert found[0] == found[1]
    assert not set(found) & set(outside)


NAMESPACES = """
import os
print(ascii({name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}))
"""


@covers("processes", "own", means=True)
def test_the_namespaces_are_not_the_hosts(inside: Inside, host: World, cell: Cell) -> None:
    """PID, IPC, UTS and cgroup namespaces are not the host's, or the kernel is not."""
    outside, found = host.python(NAMESPACES), inside.python(NAMESPACES)
    names = [name for name in ("pid", "ipc", "uts", "cgroup") if name in cell.means.lower()]

    if names:
        assert [name for name in names if found[name] == outside[name]] == []
    else:
        assert "separate kernel" in cell.means
        boot_id = "print(ascii(open('/proc/sys/kernel/random/boot_id').read()))"
        assert inside.python(boot_id) != host.python(boot_id)
