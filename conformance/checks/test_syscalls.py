"""Row syscalls: the table's list of calls, socket families and ioctls, by number and by foreign ABI."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from pathlib import Path
from signal import SIGSEGV, SIGSYS
from typing import Any

import pytest

from conformance.checks.probes.calls import CAME, PRELUDE, THROUGH, numbers
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.world import World
from launcher.spec.load import load

ONES = 2**64 - 1  # does nothing as an argument: a bad pointer, descriptor, command


def listed() -> list[str]:
    """The calls of the table's list."""
    return [name for denied in load().seccomp.deny for name in denied.calls]


@covers("syscalls", "filtered")
def test_each_listed_call_is_refused(inside: Inside, host: World) -> None:
    """Each call of the table's list fails with EPERM, by its number, and gets past no filter."""
    calls = {name: [number, *[ONES] * 6] for name, number in numbers(listed()).items()}

    control = host.python(PRELUDE + THROUGH, calls=calls)
    found = inside.python(PRELUDE + THROUGH, calls=calls)

    with on_the_host():
        assert {name: came for name, (came, _) in control.items() if came != CAME} == {}
    assert {name: result for name, result in found.items() if result != ["", -EPERM]} == {}


KEYRING = """
# KEYCTL_GET_KEYRING_ID of the user's own keyring, and a key in the process's own.
print(ascii([call(given["keyctl"], 0, 2**32 - 4, 0), call(given["keyctl"], 6, 2**32 - 3)]))
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


@covers("syscalls", "filtered")
def test_sockets_of_listed_families_do_not_exist(inside: Inside, host: World) -> None:
    """A socket of each listed family fails with EAFNOSUPPORT, whatever its type and its high bits."""
    by = numbers(["socket", "socketpair"])
    families = load().seccomp.families
    # SOCK_RAW, _STREAM, _DGRAM and _SEQPACKET; the kernel looks at the low half of a family alone.
    calls = {
        f"{name}, type {kind}, high bits {high}": [by["socket"], family | high << 32, kind, 0]
        for name, family in families.items()
        for kind, high in ((3, 0), (1, 0), (2, 7), (5, 0))
    }
    calls["socketpair"] = [by["socketpair"], families["AF_ALG"], 1, 0, ONES]
    # AF_PACKET by its older name: AF_INET with SOCK_PACKET.
    calls["SOCK_PACKET"] = [by["socket"], 2, 10, 0]

    control = host.python(PRELUDE + THROUGH, calls=calls)
    found = inside.python(PRELUDE + THROUGH, calls=calls)

    with on_the_host():
        assert {name: came for name, (came, _) in control.items() if came != CAME} == {}
    assert {name: result for name, result in found.items() if result != ["", -EAFNOSUPPORT]} == {}


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
print(ascii(found))
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


I386 = r"""
def gate(number):
    # push rbx, rbp; eax: number, the six arguments: -1; int 0x80; pop rbp, rbx; ret
    code = b"\x53\x55\xb8" + struct.pack("<i", number)
    code += b"".join(bytes([0xB8 + register]) + b"\xff" * 4 for register in (3, 1, 2, 6, 7, 5))
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code + b"\xcd\x80\x5d\x5b\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
def key():
    # mov eax, 288 (i386's keyctl); ebx: KEYCTL_GET_KEYRING_ID (0), ecx: @u (-4), edx: do not make it
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(b"\x53\x31\xdb\xb9\xfc\xff\xff\xff\x31\xd2\xb8\x20\x01\0\0\xcd\x80\x5b\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
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
print(ascii({
    "getpid": in_child(lambda: int(gate(20) == os.getpid())),
    "keyctl": in_child(key),
    "program": in_child(program),
    "calls": {name: in_child(lambda: gate(number)) for name, number in given["calls"].items()},
}))
"""


@covers("syscalls", "filtered")
def test_no_call_gets_in_by_i386s_gate(inside: Inside, host: World) -> None:
    """Each filtered call, by i386's number and gate, ends its process; an i386 program ends at its first."""
    if platform.machine() != "x86_64":
        pytest.skip("the foreign ABIs known here are those of x86_64")
    calls = numbers([*listed(), "ioctl", "socket", "socketcall", "clone", "unshare", "setns"], "i386")

    control = host.python(PRELUDE + I386, calls=calls)
    found = inside.python(PRELUDE + I386, calls=calls)

    # SIGSEGV, ENOEXEC: a kernel built without it, whose gate is shut for everybody.
    shut = control["getpid"] == -SIGSEGV
    with on_the_host():
        assert control["getpid"] in (1, -SIGSEGV)
        assert control["keyctl"] > 0 or control["keyctl"] in (-126, -SIGSEGV)
        assert control["program"] in (42, 108)
        assert (set(control["calls"].values()) == {-SIGSEGV}) is shut
        assert -SIGSYS not in control["calls"].values()
    refused = -SIGSEGV if shut else -SIGSYS
    assert found["getpid"] == found["keyctl"] == refused
    assert found["program"] == -SIGSYS or (control["program"] == found["program"] == 108)
    assert {name: result for name, result in found["calls"].items() if result != refused} == {}


@covers("syscalls", "filtered")
def test_no_call_gets_in_by_x32s_numbers(inside: Inside, host: World) -> None:
    """Each call of x32's, filtered or not, fails with ENOSYS before a kernel that had x32 would see it."""
    if platform.machine() != "x86_64":
        pytest.skip("the foreign ABIs known here are those of x86_64")
    known = numbers([*listed(), "getpid", "ioctl", "socket", "clone", "unshare", "execve"], "x32")
    calls = {name: [number, *[ONES] * 6] for name, number in known.items()}

    control = host.python(PRELUDE + THROUGH, calls=calls)
    found = inside.python(PRELUDE + THROUGH, calls=calls)

    with on_the_host():
        assert {name: came for name, (came, _) in control.items() if came != CAME} == {}
    assert {name: result for name, result in found.items() if result != ["", -ENOSYS]} == {}


UTSNAME = """
buffer = ctypes.create_string_buffer(6 * 65)
call(given["uname"], ctypes.addressof(buffer))
print(ascii([buffer.raw[at * 65:(at + 1) * 65].split(b"\\0")[0].decode() for at in (2, 3)]))
"""


@covers("syscalls", "own")
def test_a_call_is_answered_by_a_kernel_of_its_own(inside: Inside, host: World) -> None:
    """uname(2), by its number, gives another kernel's release and version than on the host."""
    number = numbers(["uname"])["uname"]

    outside = host.python(PRELUDE + UTSNAME, uname=number)
    found = inside.python(PRELUDE + UTSNAME, uname=number)

    with on_the_host():
        assert outside == [os.uname().release, os.uname().version]
    assert all(found)
    assert found != outside


@covers("syscalls", "own", means=True)
def test_the_emulator_is_filtered(sandbox: Machine) -> None:
    """Every thread of QEMU runs under a seccomp filter, and gains no privilege by what it starts."""
    found = {}
    for thread in Path(f"/proc/{sandbox.qemu}/task").iterdir():
        with suppress(OSError):  # those that serve files end when they have nothing to do
            lines = (thread / "status").read_text().splitlines()
            kept = [line.split()[1] for line in lines if line.startswith(("NoNewPrivs:", "Seccomp:"))]
            found[thread.name] = kept

    assert found
    assert {name: modes for name, modes in found.items() if modes != ["1", "2"]} == {}


@covers("syscalls", "own")
def test_ordinary_calls_work_there(inside: Inside, host: World) -> None:
    """Threads, processes, debuggers, terminals, sockets and git work as on the host."""
    assert inside.python(PRELUDE + ORDINARY) == host.python(PRELUDE + ORDINARY)


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
print(ascii(done))
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
print(ascii([found, found[str(os.getpid())]]))
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
