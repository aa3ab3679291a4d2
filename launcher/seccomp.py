"""The sandbox's system call filter, as the classic BPF program that `bwrap --seccomp FD` installs.

    architecture     not the machine's own                    the process is killed (SIGSYS)
    number           x32's (bit 30 set, x86_64)                ENOSYS
    rules["deny"]    by name                                  EPERM
    ioctl            request (low 32 bits) in rules["ioctls"]  EPERM
    socket(pair)     family in rules["families"]               EAFNOSUPPORT
    without userns:  setns; clone, unshare with CLONE_NEWUSER  EPERM
                     clone3                                   ENOSYS
    all else                                                  allowed

Why killed: an errno would answer *all* calls of a foreign program, exit_group included: glibc then dies of
SIGSEGV without a word, musl's `_Exit` spins forever. A shell says "Bad system call". To allow i386's calls
would need every rule a second time, by other numbers (and its socketcall hides the arguments in memory).

Why ENOSYS: nearly all kernels lack x32, and this is how they say so. clone3's flags lie in memory, out of a
filter's sight; glibc takes ENOSYS, and only that, as "use clone" (docker and systemd do the same).
"""

from __future__ import annotations

from struct import pack

from launcher.errors import HostError
from launcher.syscalls import MACHINES, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# linux/filter.h and linux/bpf_common.h: class | size or operation | mode or source
LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT = 0x05, 0x15, 0x35, 0x45

# Offsets in struct seccomp_data (linux/seccomp.h). Of each 64-bit argument only the low half is looked at,
# as the kernel does with those tested here (clone: lower_32_bits); both architectures are little-endian.
NUMBER, ARCHITECTURE = 0, 4
FIRST, SECOND = 16, 24

ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97

X32_BIT = 0x40000000
SKIPPED = 0xFFFFFFFF
CLONE_NEWUSER = 0x10000000
AF_INET, AF_PACKET = 2, 17
SOCK_PACKET, SOCK_TYPE_MASK = 10, 0xF

MOST = 4096  # BPF_MAXINSNS


def program(machine: str, *, rules: Mapping[str, tuple[Any, ...]], userns: bool) -> bytes:
    """The filter for `machine` (`os.uname().machine`): an array of struct sock_filter.

    `rules` holds "deny" (names), "families" (socket families) and "ioctls" (requests); a name that this
    architecture never had is left out. `userns` leaves the calls that make or enter a user namespace alone.

    Raises HostError for a machine without tables, LookupError for a name without a number, ValueError for
    rules that no kernel would load (more than 4096 instructions).
    """
    if machine not in MACHINES:
        raise HostError(
            f"no syscall filter for machine {machine}",
            f"the filter knows {' and '.join(MACHINES)}; use a backend with a kernel of its own",
        )
    code = [_op(LOAD, ARCHITECTURE), *_unless(MACHINES[machine][0], _return(KILL_PROCESS)), _op(LOAD, NUMBER)]
    if machine == "x86_64":
        code += _x32()
    for nr in sorted({n for name in rules["deny"] if (n := number(name, machine)) is not None}):
        code += _when(nr, _return(ERRNO | EPERM))
    for name, body in _by_argument(rules, userns=userns):
        number_here = number(name, machine)
        assert number_here is not None, name
        code += _when(number_here, body)
    code += _return(ALLOW)
    if len(code) > MOST:
        raise ValueError(f"the syscall filter has {len(code)} instructions, the kernel takes {MOST}")
    return b"".join(code)


def _by_argument(rules: Mapping[str, tuple[Any, ...]], *, userns: bool) -> list[tuple[str, list[bytes]]]:
    """Names whose verdict hangs on an argument, each with its body. A body always returns."""
    eperm, allow = _return(ERRNO | EPERM), _return(ALLOW)
    bodies = [("ioctl", _any_of(rules["ioctls"], SECOND, eperm) + allow)]
    families = _any_of(rules["families"], FIRST, _return(ERRNO | EAFNOSUPPORT))
    bodies += [
        ("socket", families + _old_packet(rules["families"]) + allow),
        ("socketpair", families + allow),
    ]
    if not userns:
        flags = [_op(LOAD, FIRST), _op(JUMP_ANY_BIT, CLONE_NEWUSER, 0, 1), *eperm, *allow]
        bodies += [
            ("clone", flags),
            ("unshare", flags),
            ("setns", eperm),
            ("clone3", _return(ERRNO | ENOSYS)),
        ]
    return bodies


def _x32() -> list[bytes]:
    """Refuses x32's numbers. -1 passes: it is how a tracer (strace, gVisor) says "skip this call", and the
    kernel then neither runs one nor touches the result that the tracer has set."""
    refuse = [_op(JUMP_EQUAL, SKIPPED, 1, 0), *_return(ERRNO | ENOSYS)]
    return [_op(JUMP_AT_LEAST, X32_BIT, 0, len(refuse)), *refuse]


def _old_packet(families: tuple[int, ...]) -> list[bytes]:
    """Refuses AF_PACKET by its older name, socket(AF_INET, SOCK_PACKET): net/socket.c rewrites the family."""
    if AF_PACKET not in families:
        return []
    refuse = _when(SOCK_PACKET, _return(ERRNO | EAFNOSUPPORT))
    inner = [_op(LOAD, SECOND), _op(AND, SOCK_TYPE_MASK), *refuse]
    return [_op(LOAD, FIRST), *_when(AF_INET, inner)]


def _any_of(values: tuple[int, ...], offset: int, body: list[bytes]) -> list[bytes]:
    """`body` if the word at `offset` is one of `values`; else falls through."""
    return [_op(LOAD, offset), *(op for value in values for op in _when(value, body))]


def _when(value: int, body: list[bytes]) -> list[bytes]:
    """`body` if the accumulator equals `value`. Conditional jumps reach 255 instructions, plain ones all."""
    if len(body) <= 255:
        return [_op(JUMP_EQUAL, value, 0, len(body)), *body]
    return [_op(JUMP_EQUAL, value, 1, 0), _op(JUMP, len(body)), *body]


def _unless(value: int, body: list[bytes]) -> list[bytes]:
    """`body` if the accumulator differs from `value`."""
    return [_op(JUMP_EQUAL, value, len(body), 0), *body]


def _return(verdict: int) -> list[bytes]:
    return [_op(RETURN, verdict)]


def _op(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. Jumps count from the next instruction."""
    return pack("<HBBI", code, if_true, if_false, operand)
