"""Row syscalls: the table's list of calls, socket families and ioctls, by number and by foreign ABI."""

from __future__ import annotations

import platform
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from signal import SIGSEGV, SIGSYS
from typing import Any

import pytest

from conformance.checks.probes.calls import PRELUDE, numbers
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from launcher.spec.load import load

# Calls that any kernel lets an ordinary user make, so that only a filter says EPERM to them.
TELLING = {"add_key", "keyctl", "request_key", "modify_ldt", "ustat"}

# Arguments of all ones do nothing: bad pointers, descriptors, commands.
EACH = "print(json.dumps({name: call(number, *[2**64 - 1] * 6) for name, number in given['calls'].items()}))"


@covers("syscalls", "filtered")
def test_each_listed_call_is_refused(inside: Inside, host: World) -> None:
    """Each call of the table's list fails with EPERM, by its number."""
    calls = numbers([name for denied in load().seccomp.deny for name in denied.calls])

    control = host.python(PRELUDE + EACH, calls=calls)
    found = inside.python(PRELUDE + EACH, calls=calls)

    passed = {name for name, result in control.items() if result != -EPERM}
    with on_the_host():
        assert passed >= TELLING & set(calls), "on the host they get past the door"
    assert {name: result for name, result in found.items() if result != -EPERM} == {}


KEYRING = """
# KEYCTL_GET_KEYRING_ID of the user's own keyring, and a key in the process's own.
print(json.dumps([call(given["keyctl"], 0, 2**32 - 4, 0), call(given["keyctl"], 6, 2**32 - 3)]))
"""


@covers("syscalls", "filtered")
def test_keyrings_are_out_of_reach(inside: Inside, host: World) -> None:
    """keyctl with arguments that work on the host reaches neither the user's nor the session's keyring."""
    number = numbers(["keyctl"])["keyctl"]

    control = host.python(PRELUDE + KEYRING, keyctl=number)
    found = inside.python(PRELUDE + KEYRING, keyctl=number)

    with on_the_host():
        assert -EPERM not in control, "the same probe has to reach them on the host"
    assert found == [-EPERM, -EPERM]


FAMILIES = """
high = 7 << 32
found = {}
for name, family in given["families"].items():
    # SOCK_RAW, _STREAM, _DGRAM and _SEQPACKET; the kernel looks at the low half of a family alone.
    results = [call(given["socket"], family | bits, kind, 0) for kind in (3, 1, 2, 5) for bits in (0, high)]
    found[name] = sorted(set(min(result, 0) for result in results))
pair = (ctypes.c_int * 2)()
found["socketpair"] = [call(given["socketpair"], 38, 1, 0, ctypes.addressof(pair))]
# AF_PACKET by its older name: AF_INET with SOCK_PACKET.
found["SOCK_PACKET"] = [call(given["socket"], 2, 10, 0)]
print(json.dumps(found))
"""


@covers("syscalls", "filtered")
def test_sockets_of_listed_families_do_not_exist(inside: Inside, host: World) -> None:
    """A socket of each listed family fails with EAFNOSUPPORT, whatever its type and its high bits."""
    how: dict[str, Any] = {"families": load().seccomp.families, **numbers(["socket", "socketpair"])}

    control = host.python(PRELUDE + FAMILIES, **how)
    found = inside.python(PRELUDE + FAMILIES, **how)

    with on_the_host():
        assert -EPERM in control["AF_PACKET"], "on the host it takes a privilege, and exists"
        assert control["SOCK_PACKET"] == [-EPERM]
    assert {name: result for name, result in found.items() if result != [-EAFNOSUPPORT]} == {}


# On a terminal of the probe's own, which is its controlling one; a byte that is typed waits on it.
IOCTLS = """
def attack(request, high):
    os.setsid()
    _, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    argument = ctypes.create_string_buffer(bytes([0, 0, 0, 0]))
    return call(given["ioctl"], slave, request | high, ctypes.addressof(argument))
found = {
    name: [in_child(lambda: attack(request, high)) for high in (0, 1 << 32, 0xFFFFFFFF << 32)]
    for name, request in given["ioctls"].items()
}
print(json.dumps(found))
"""


@covers("syscalls", "filtered")
def test_listed_ioctls_are_refused(inside: Inside, host: World) -> None:
    """Each listed ioctl fails with EPERM on a terminal of one's own, with any high bits set."""
    how: dict[str, Any] = {"ioctls": load().seccomp.ioctls, **numbers(["ioctl"])}

    control = host.python(PRELUDE + IOCTLS, **how)
    found = inside.python(PRELUDE + IOCTLS, **how)

    # ENOTTY of TIOCLINUX, EIO of TIOCSTI where the kernel has it switched off: it went past any filter.
    with on_the_host():
        assert [name for name, results in control.items() if -EPERM in results] == []
    assert {name: r for name, r in found.items() if r != [-EPERM] * 3} == {}


FOREIGN = r"""
def gate():
    # mov eax, 20 (i386's getpid); int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid())
def key():
    # mov eax, 288 (i386's keyctl); ebx: KEYCTL_GET_KEYRING_ID (0), ecx: @u (-4), edx: do not make it
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(b"\x53\x31\xdb\xb9\xfc\xff\xff\xff\x31\xd2\xb8\x20\x01\0\0\xcd\x80\x5b\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()
def program():
    # One page: ELF header, one loadable segment at 0x10000, then: exit(42), by i386's numbers.
    elf = bytes.fromhex(
        "7f454c46010101000000000000000000 0200 0300 01000000 54000100 34000000 00000000 00000000"
        "3400 2000 0100 0000 0000 0000"
        "01000000 00000000 00000100 00000100 00100000 00100000 05000000 00100000"
        "b801000000 bb2a000000 cd80"
    )
    file = os.memfd_create("small")
    os.write(file, elf.ljust(4096, b"\0"))
    try:
        os.execve(file, ["small"], {})
    except OSError as error:
        os._exit(100 + error.errno)
x32 = [call(0x40000000 | number) for number in (39, 102)]
print(json.dumps({"int 0x80": in_child(gate), "keyctl by int 0x80": in_child(key), "i386": in_child(program),
                  "x32": [-38 if result == -38 else 0 for result in x32]}))
"""


@covers("syscalls", "filtered")
def test_foreign_abis_are_shut(inside: Inside, host: World) -> None:
    """No call gets in by i386's gate, by an i386 program, or by x32's numbers."""
    if platform.machine() != "x86_64":
        pytest.skip("the foreign ABIs known here are those of x86_64")

    control = host.python(PRELUDE + FOREIGN)
    found = inside.python(PRELUDE + FOREIGN)

    # SIGSEGV, ENOEXEC: a kernel built without it, whose gate is shut for everybody.
    with on_the_host():
        assert control["int 0x80"] in (1, -SIGSEGV)
        assert control["keyctl by int 0x80"] > 0 or control["keyctl by int 0x80"] in (-126, -SIGSEGV)
        assert control["i386"] in (42, 108)
    assert found["int 0x80"] == -SIGSYS or (control["int 0x80"] == found["int 0x80"] == -SIGSEGV)
    assert found["keyctl by int 0x80"] < 0
    assert found["i386"] == -SIGSYS or (control["i386"] == found["i386"] == 108)
    assert found["x32"] == [-ENOSYS, -ENOSYS]


ORDINARY = r"""
import ctypes.util, multiprocessing, select, socket, subprocess, tempfile, threading, time
os.chdir(tempfile.mkdtemp())
done = {}
def work(name, job):
    try:
        done[name] = job()
    except OSError as error:
        done[name] = f"errno {error.errno}"
def threads():
    heard = []
    made = [threading.Thread(target=lambda: heard.append(1)) for _ in range(8)]
    [t.start() for t in made], [t.join() for t in made]
    return len(heard)
def traced():
    # A debugger on its own child: PTRACE_TRACEME, and the stop that comes with it.
    pid = os.fork()
    if pid == 0:
        libc.ptrace(0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(7)
    stopped = os.WIFSTOPPED(os.waitpid(pid, 0)[1])
    libc.ptrace(17, pid, 0, 0)
    return [stopped, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
def terminal():
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0))
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(slave))
    return list(os.get_terminal_size(slave))
def sockets():
    kinds = [(socket.AF_UNIX, 1), (socket.AF_INET, 1), (socket.AF_INET, 2), (socket.AF_INET6, 1)]
    kinds.append((socket.AF_NETLINK, 3))
    return [socket.socket(*kind).fileno() > 0 for kind in kinds]
def loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            server.accept()[0].sendall(b"heard")
            return client.recv(9).decode()
def polled():
    with select.epoll() as poll:
        a, b = socket.socketpair()
        poll.register(a, select.EPOLLIN)
        b.send(b"x")
        return len(poll.poll(1))
work("threads", threads)
def status(*argv):
    return subprocess.run(argv, capture_output=True).returncode
work("processes", lambda: status("sh", "-c", "echo a | cat; exit 3"))
work("traced", traced)
work("terminal", terminal)
work("sockets", sockets)
work("loopback", loopback)
work("epoll", polled)
work("memfd", lambda: os.write(os.memfd_create("x"), b"abc"))
work("mmap", lambda: mmap.mmap(-1, 8192)[:1] == b"\0")
work("signals", lambda: signal.sigtimedwait({signal.SIGUSR1}, 0.001) is None)
work("namespace of no kind", lambda: libc.unshare(0))
work("personality", lambda: libc.personality(0xFFFFFFFF) >= 0)
work("git", lambda: status("git", "init", "-q", "--bare", "."))
import shutil
shutil.rmtree(os.getcwd())
print(json.dumps(done))
"""


@covers("syscalls", "filtered")
def test_ordinary_calls_work(inside: Inside, host: World) -> None:
    """Threads, processes, debuggers, terminals, sockets and git work as on the host."""
    control = host.python(PRELUDE + ORDINARY)

    found = inside.python(PRELUDE + ORDINARY)

    with on_the_host():
        assert [name for name, result in control.items() if "errno" in str(result)] == []
    assert found == control


STATUS = """
import os
found = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/status") as file:
            found[pid] = [line.split()[1] for line in file if line.startswith("Seccomp:")]
    except OSError:
        pass
print(json.dumps([found, found[str(os.getpid())]]))
"""


@covers("syscalls", "filtered", means=True)
def test_a_filter_is_on_every_process(inside: Inside, host: World, cell: Cell) -> None:
    """Every process inside, pid 1 included, runs under a seccomp filter."""
    _, control = host.python(STATUS)

    found, _ = inside.python(STATUS)

    assert "seccomp filter" in cell.means
    with on_the_host():
        assert control == ["0"], "the probe runs without one on the host"
    assert "1" in found
    assert {pid: mode for pid, mode in found.items() if mode != ["2"]} == {}
