"""System calls as such: their numbers, and how a probe makes them."""

from __future__ import annotations

import ctypes

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


def numbers(wanted: list[str]) -> dict[str, int]:
    """The system calls' numbers on this machine, by libseccomp; without those that it never had."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise HarnessError("libseccomp knows the calls' numbers", "apt-get install libseccomp2") from None
    found = {name: library.seccomp_syscall_resolve_name(name.encode()) for name in wanted}
    unknown = [name for name, number in found.items() if number == -1]
    if unknown:
        raise HarnessError(
            f"this libseccomp does not know {', '.join(unknown)}", "apt-get install libseccomp2"
        )
    return {name: number for name, number in found.items() if number >= 0}
