"""The filter as values: its answers by an interpreter of classic BPF, the numbers by libseccomp's tables."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from launcher.errors import HostError
from launcher.seccomp import program
from launcher.syscalls import MACHINES, NUMBERS
from tooling.filters import module

ROOT = Path(__file__).parents[2]

RULES: dict[str, tuple[str | int, ...]] = {
    "deny": ("keyctl", "add_key", "create_module", "io_uring_setup", "bpf", "userfaultfd", "kexec_load"),
    "families": (17, 38, 40),
    "ioctls": (0x5412, 0x541C),
}
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, EAFNOSUPPORT = 0x50001, 0x50026, 0x50061
NEWUSER = 0x10000000
AARCH64, ARM = 0xC00000B7, 0x40000028
X86_64, I386 = 0xC000003E, 0x40000003

machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
high_bits = st.integers(0, 0xFFFFFFFF)


def interpret(code: bytes, arch: int, nr: int, args: tuple[int, ...] = ()) -> int:
    """What the kernel would answer: bpf(4)'s machine on struct seccomp_data, as far as seccomp permits it.

    Raises where the kernel's checker would refuse the program: unknown operations, jumps out of the program.
    """
    padded = [*args, *(0xDEADBEEF_DEADBEEF for _ in range(6 - len(args)))]
    data = struct.pack("<IIQ6Q", nr & 0xFFFFFFFF, arch, 0x7FFF_1234_5678, *padded)
    operations = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, operand = operations[at]
        at += 1
        match operation:
            case 0x20:
                assert operand % 4 == 0
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x45:
                at += if_true if accumulator & operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")


def verdict(machine: str, name: str, *args: int, userns: bool = False) -> int:
    """The answer to a call by name, of the machine's own architecture."""
    arch, column = MACHINES[machine]
    nr = NUMBERS[name][column]
    assert nr is not None
    return interpret(program(machine, rules=RULES, userns=userns), arch, nr, args)


def test_every_number_is_the_one_that_libseccomp_has() -> None:
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    theirs = {n: tuple(resolve(a, n.encode()) for a in (X86_64, AARCH64)) for n in NUMBERS}
    assert not [n for n, pair in theirs.items() if -1 in pair], "libseccomp does not know these names at all"
    # Below -1 are libseccomp's own stand-ins for calls which that architecture lacks.
    assert {n: tuple(v if v >= 0 else None for v in pair) for n, pair in theirs.items()} == NUMBERS


@machines
@given(nr=st.integers(0, 0x3FFFFFFF), args=st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_calls_without_a_rule_pass_with_any_arguments(machine: str, nr: int, args: tuple[int, ...]) -> None:
    arch, column = MACHINES[machine]
    if nr not in [pair[column] for pair in NUMBERS.values()]:
        assert interpret(program(machine, rules=RULES, userns=False), arch, nr, args) == ALLOW


@machines
@given(args=st.tuples(*[st.integers(0, 2**64 - 1)] * 6), userns=st.booleans())
def test_denied_names_are_eperm_with_any_arguments(machine: str, args: tuple[int, ...], userns: bool) -> None:
    for name in set(RULES["deny"]) - {"create_module"}:
        assert verdict(machine, str(name), *args, userns=userns) == EPERM


def test_a_name_that_an_architecture_lacks_is_left_out_there_and_denied_elsewhere() -> None:
    rules = {"deny": ("create_module",), "families": (), "ioctls": ()}
    none = {"deny": (), "families": (), "ioctls": ()}
    assert program("aarch64", rules=rules, userns=True) == program("aarch64", rules=none, userns=True)
    assert interpret(program("x86_64", rules=rules, userns=True), X86_64, 174) == EPERM


def test_an_unknown_name_is_an_error_that_names_it() -> None:
    with pytest.raises(LookupError, match="keyctrl"):
        program("x86_64", rules={**RULES, "deny": ("keyctrl",)}, userns=False)


@pytest.mark.parametrize("machine", ["riscv64", "i686", ""])
def test_a_machine_without_tables_is_a_host_error(machine: str) -> None:
    with pytest.raises(HostError, match="no syscall filter for machine") as caught:
        program(machine, rules=RULES, userns=False)
    assert "x86_64 and aarch64" in caught.value.hint


@machines
@given(
    arch=st.one_of(st.sampled_from([I386, ARM, X86_64, AARCH64, 0]), high_bits),
    nr=st.one_of(high_bits, st.integers(0, 460)),
)
def test_every_call_of_a_foreign_architecture_kills_the_process(machine: str, arch: int, nr: int) -> None:
    if arch != MACHINES[machine][0]:
        assert interpret(program(machine, rules=RULES, userns=True), arch, nr) == KILL_PROCESS


@given(nr=st.integers(0x40000000, 0xFFFFFFFE), userns=st.booleans())
@example(nr=0x40000000, userns=False)
@example(nr=0x40000000 | 514, userns=True)  # x32's own ioctl
@example(nr=0xFFFFFFFE, userns=False)
def test_x32_numbers_do_not_exist(nr: int, userns: bool) -> None:
    assert interpret(program("x86_64", rules=RULES, userns=userns), X86_64, nr) == ENOSYS


@machines
def test_the_number_by_which_a_tracer_skips_a_call_passes(machine: str) -> None:
    assert interpret(program(machine, rules=RULES, userns=False), MACHINES[machine][0], -1) == ALLOW


@machines
@given(high=high_bits, request=st.one_of(st.sampled_from([0x5412, 0x541C]), high_bits))
@example(high=0, request=0x5412)
@example(high=0xFFFFFFFF, request=0x541C)
@example(high=0x5412, request=0)
@example(high=0, request=0x5413)
def test_an_ioctl_is_judged_by_the_low_word_of_its_request(machine: str, high: int, request: int) -> None:
    expected = EPERM if request in (0x5412, 0x541C) else ALLOW
    assert verdict(machine, "ioctl", 0, high << 32 | request) == expected


@machines
@pytest.mark.parametrize("call", ["socket", "socketpair"])
@given(high=high_bits, family=st.one_of(st.integers(0, 64), high_bits), kind=st.sampled_from([1, 2, 3, 5]))
@example(high=0xFFFFFFFF, family=40, kind=1)
@example(high=40, family=1, kind=1)
def test_a_socket_is_judged_by_the_low_word_of_its_family(
    machine: str, call: str, high: int, family: int, kind: int
) -> None:
    expected = EAFNOSUPPORT if family in (17, 38, 40) else ALLOW
    assert verdict(machine, call, high << 32 | family, kind) == expected


@machines
@given(high=high_bits, flags=st.sampled_from([0, 0o2000000, 0o4000]))
def test_packet_sockets_are_refused_by_their_older_name_too(machine: str, high: int, flags: int) -> None:
    assert verdict(machine, "socket", 2, high << 32 | 10 | flags) == EAFNOSUPPORT
    assert verdict(machine, "socket", 1, high << 32 | 10 | flags) == ALLOW
    without = program(machine, rules={**RULES, "families": (40,)}, userns=False)
    nr = NUMBERS["socket"][MACHINES[machine][1]]
    assert nr is not None
    assert interpret(without, MACHINES[machine][0], nr, (2, 10)) == ALLOW


@machines
@pytest.mark.parametrize("call", ["clone", "unshare"])
@given(flags=st.integers(0, 2**64 - 1))
@example(flags=NEWUSER)
@example(flags=NEWUSER << 32)
@example(flags=0x1200011)
def test_no_user_namespace_is_made_unless_granted(machine: str, call: str, flags: int) -> None:
    assert verdict(machine, call, flags) == (EPERM if flags & NEWUSER else ALLOW)
    assert verdict(machine, call, flags, userns=True) == ALLOW


@machines
def test_no_namespace_is_entered_and_clone3_does_not_exist_unless_granted(machine: str) -> None:
    assert verdict(machine, "setns", 3, 0) == EPERM
    assert verdict(machine, "clone3", 0, 88) == ENOSYS
    assert verdict(machine, "setns", 3, 0, userns=True) == ALLOW
    assert verdict(machine, "clone3", 0, 88, userns=True) == ALLOW


@machines
@given(
    deny=st.sets(st.sampled_from(sorted(set(NUMBERS)))),
    families=st.sets(st.integers(0, 2**32 - 1), max_size=400).map(tuple),
    ioctls=st.sets(st.integers(0, 2**32 - 1), max_size=400).map(tuple),
)
@example(deny=set(NUMBERS), families=tuple(range(100, 500)), ioctls=tuple(range(500, 900)))
def test_rules_longer_than_a_short_jump_still_hold(
    machine: str, deny: set[str], families: tuple[int, ...], ioctls: tuple[int, ...]
) -> None:
    arch, column = MACHINES[machine]
    rules: dict[str, tuple[str | int, ...]] = {"deny": tuple(deny), "families": families, "ioctls": ioctls}
    code = program(machine, rules=rules, userns=False)
    for name in deny:
        if (nr := NUMBERS[name][column]) is not None:
            assert interpret(code, arch, nr, (0, 0, 0)) == EPERM
    by_argument = [("socket", families, 0, EAFNOSUPPORT), ("ioctl", ioctls, 1, EPERM)]
    for name, values, position, refusal in by_argument:
        nr = NUMBERS[name][column]
        assert nr is not None
        for value in (*values[:2], *values[-2:]):
            expected = EPERM if name in deny else refusal
            assert interpret(code, arch, nr, (0,) * position + (value,)) == expected
    assert interpret(code, arch, 4095) == ALLOW


@machines
@pytest.mark.parametrize("count", range(120, 131))
def test_rules_around_the_length_of_a_short_jump_hold(machine: str, count: int) -> None:
    arch, column = MACHINES[machine]
    values = tuple(range(1000, 1000 + count))
    code = program(machine, rules={"deny": (), "families": (17, *values), "ioctls": values}, userns=False)
    ioctl, socket = NUMBERS["ioctl"][column], NUMBERS["socket"][column]
    assert ioctl is not None
    assert socket is not None
    assert [interpret(code, arch, ioctl, (0, v)) for v in (999, 1000, values[-1])] == [ALLOW, EPERM, EPERM]
    assert interpret(code, arch, socket, (values[-1], 1)) == EAFNOSUPPORT
    assert [interpret(code, arch, nr) for nr in (ioctl + 1, socket + 1)] == [ALLOW, ALLOW]


def test_rules_that_no_kernel_would_load_are_an_error() -> None:
    with pytest.raises(ValueError, match="4096"):
        program("x86_64", rules={**RULES, "ioctls": tuple(range(2100))}, userns=False)


def test_building_the_filter_takes_less_than_half_a_millisecond() -> None:
    source = (
        "import sys, time; from launcher.seccomp import program\n"
        f"rules = {RULES!r}\n"
        "times = []\n"
        "for _ in range(20):\n"
        "    start = time.perf_counter(); program('x86_64', rules=rules, userns=False)\n"
        "    times.append(time.perf_counter() - start)\n"
        "print(min(times) * 1000)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=root, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 0.5


def test_the_assembled_filters_are_those_of_the_spec() -> None:
    assert (ROOT / "launcher/filters.py").read_text() == module(), "run `invoke docs`"
