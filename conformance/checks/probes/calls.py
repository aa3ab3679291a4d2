"""System calls as such: their numbers, and how a probe makes them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from conformance.harness.errors import HarnessError

# What a probe of system calls begins with.
PRELUDE = """
import ctypes, fcntl, mmap, os, pty, signal, struct, termios
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    # The call's result, or minus its errno.
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    return -ctypes.get_errno() if result == -1 else result
def in_child(work):
    # What `work` returns in a process of its own, or the negative number of the signal that ended it.
    out, into = os.pipe()
    if not (pid := os.fork()):
        os.write(into, struct.pack("q", work()))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(into)
    return struct.unpack("q", os.read(out, 8))[0] if status == 0 else status
"""

# Which calls come through the filters that a process has: a filter of the probe's own, on top of them, hands
# each to a tracer, and any that refuses goes before it (seccomp(2): ERRNO and KILL have precedence over
# TRACE). So the kernel need not have the call. Prints {name: ["came through" or "", its result]}; on x86_64
# what came through is not done (ENOSYS). given: calls, name → number and arguments.
THROUGH = r"""
ALLOW, TRACE, LOAD, EQUAL, RETURN = 0x7FFF0000, 0x7FF00000, 0x20, 0x15, 0x06
TRACEME, POKEUSER, CONT, SETOPTIONS, GETEVENTMSG = 0, 6, 7, 0x4200, 0x4201
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
def made(name):
    number, *arguments = given["calls"][name]
    # struct sock_filter: code, jump if true, if false, operand.
    code = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, number), (RETURN, 0, 0, TRACE), (RETURN, 0, 0, ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in code))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(program)))
    out, into = os.pipe()
    if not (pid := os.fork()):
        libc.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        zero = ctypes.c_ulong(0)
        libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero)
        if libc.prctl(22, ctypes.c_ulong(2), ctypes.c_ulong(ctypes.addressof(head)), zero, zero):
            os._exit(9)
        os.write(into, struct.pack("q", call(number, *arguments)))
        os._exit(0)
    os.close(into)
    came, status = "", os.waitpid(pid, 0)[1]
    libc.ptrace(SETOPTIONS, pid, None, 0x100080)
    while os.WIFSTOPPED(status):
        signalled = os.WSTOPSIG(status)
        if status >> 16 == 7:
            came = "came through"
            if os.uname().machine == "x86_64":
                libc.ptrace(POKEUSER, pid, 15 * 8, 2**64 - 1)
        stops = status >> 16 or signalled == signal.SIGSTOP
        libc.ptrace(CONT, pid, None, 0 if stops else signalled)
        status = os.waitpid(pid, 0)[1]
    result = os.read(out, 8)
    os.close(out)
    # Without a result, minus the signal that ended it, or how far it came.
    return [came, struct.unpack("q", result)[0] if result else os.waitstatus_to_exitcode(status)]
print(ascii({name: made(name) for name in given["calls"]}))
"""
CAME = "came through"
# SCMP_ARCH_* of seccomp.h, which are linux/audit.h's; x32's numbers have bit 30 set.
FOREIGN = {"i386": 0x40000003, "x32": 0x4000003E}


def numbers(wanted: Iterable[str], abi: str = "") -> dict[str, int]:
    """The system calls' numbers on this machine, by libseccomp; without those that it never had.

    `abi`: those of another ABI of this machine's, "i386" or "x32".
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise HarnessError("libseccomp knows the calls' numbers", "apt-get install libseccomp2") from None
    architecture = FOREIGN[abi] if abi else library.seccomp_arch_native()
    resolve = library.seccomp_syscall_resolve_name_arch
    found = {name: resolve(ctypes.c_uint32(architecture), name.encode()) for name in wanted}
    unknown = [name for name, number in found.items() if number == -1]
    if unknown:
        raise HarnessError(
            f"this libseccomp does not know {', '.join(unknown)}", "apt-get install libseccomp2"
        )
    return {name: number for name, number in found.items() if number >= 0}
