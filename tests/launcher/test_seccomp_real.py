"""The filter as bwrap installs it on this kernel; every attack has a control without it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import time
from errno import EAFNOSUPPORT, EBADF, EINVAL, EIO, ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pexpect
import pytest

from launcher.seccomp import program
from launcher.syscalls import MACHINES, NUMBERS

MACHINE = platform.machine()
PYTHON = "/usr/bin/python3"
RULES: dict[str, tuple[str | int, ...]] = {
    "deny": (
        "keyctl", "add_key", "request_key", "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf",
        "userfaultfd", "perf_event_open", "init_module", "finit_module", "delete_module", "create_module",
        "query_module", "get_kernel_syms", "kexec_load", "kexec_file_load",
    ),
    "families": (17, 38, 40),
    "ioctls": (0x5412, 0x541C),
}  # fmt: skip
SANDBOX = ("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp")

# As root the calls meet no other refusal; the numbers of an ordinary user need no account.
users = pytest.mark.parametrize("uid", [0, 12345] if os.geteuid() == 0 else [os.geteuid()])
on_x86_64 = pytest.mark.skipif(MACHINE != "x86_64", reason="the foreign ABIs are x86_64's")

PRELUDE = """
import ctypes, errno, fcntl, json, mmap, os, signal, struct, sys, termios
libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    # The call's result, or minus its errno.
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(nr), *map(ctypes.c_ulong, args))
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
N = json.loads(sys.argv[1])
"""


def sandboxed(
    *command: str, filtered: bool, uid: int, userns: bool = False
) -> subprocess.CompletedProcess[str]:
    """The command in a plain bwrap, with the filter or without."""
    argv, passed = [*SANDBOX], []
    if filtered:
        fd = os.memfd_create("filter")
        os.write(fd, program(MACHINE, rules=RULES, userns=userns))
        os.lseek(fd, 0, os.SEEK_SET)
        argv += ["--seccomp", str(fd)]
        passed = [fd]
    other = uid != os.geteuid()
    identity: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []} if other else {}
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(
            [*argv, "--", *command], pass_fds=passed, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, cwd="/", check=False, **identity,
        )  # fmt: skip
    finally:
        for fd in passed:
            os.close(fd)


def probe(source: str, *, filtered: bool, uid: int, userns: bool = False) -> Any:  # noqa: ANN401  (JSON)
    """The value of the Python expression `source` inside, where N holds this machine's numbers by name."""
    numbers = {name: nr for name, pair in NUMBERS.items() if (nr := pair[MACHINES[MACHINE][1]]) is not None}
    code = f"{PRELUDE}\nprint(json.dumps({source}))"
    argv = (PYTHON, "-I", "-c", code, json.dumps(numbers))
    done = sandboxed(*argv, filtered=filtered, uid=uid, userns=userns)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@users
def test_every_denied_call_is_refused(uid: int) -> None:
    denied = [str(name) for name in RULES["deny"] if NUMBERS[str(name)][MACHINES[MACHINE][1]] is not None]
    # Arguments of all ones, so that the control does nothing: bad pointers, descriptors, commands.
    source = f"{{name: call(N[name], *[2**64 - 1] * 6) for name in {denied!r}}}"
    assert probe(source, filtered=True, uid=uid) == dict.fromkeys(denied, -EPERM)
    control = probe(source, filtered=False, uid=uid)
    # Calls for the privileged alone say EPERM by themselves to all others.
    passed = {name for name, result in control.items() if result != -EPERM}
    assert passed >= (set(denied) if uid == 0 else {"keyctl", "add_key", "request_key"}), control


@users
@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_nothing_can_be_typed_into_a_terminal(uid: int, high: int) -> None:
    source = f"""in_child(lambda: [
        os.setsid(), pty := os.openpty(), fcntl.ioctl(pty[1], termios.TIOCSCTTY, 0),
        text := ctypes.create_string_buffer(b"\\n"),
        result := call(N["ioctl"], pty[1], termios.TIOCSTI | {high}, ctypes.addressof(text)),
        waiting := bytearray(4), fcntl.ioctl(pty[1], termios.FIONREAD, waiting),
        -result * 256 + waiting[0]][-1])"""
    assert probe(source, filtered=True, uid=uid) == EPERM * 256
    # 1: the byte is there. EIO: Linux 6.2 and later with dev.tty.legacy_tiocsti=0.
    assert probe(source, filtered=False, uid=uid) in (1, EIO * 256)


@users
def test_other_requests_to_a_terminal_work(uid: int) -> None:
    source = """[pty := os.openpty(), termios.tcgetattr(pty[1])[6] and 0,
        fcntl.ioctl(pty[0], termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0)),
        *os.get_terminal_size(pty[1]), call(N["ioctl"], pty[1], 0x541C, 0)][-3:]"""
    assert probe(source, filtered=True, uid=uid) == [132, 50, -EPERM]
    assert probe(source, filtered=False, uid=uid) == [132, 50, -25]  # ENOTTY: TIOCLINUX is for consoles


@users
def test_sockets_of_denied_families_do_not_exist(uid: int) -> None:
    families = sorted(int(f) for f in RULES["families"])
    source = f"[call(N['socket'], f | h << 32, 3, 0) for f in {families} for h in (0, 7)]"
    assert set(probe(source, filtered=True, uid=uid)) == {-EAFNOSUPPORT}
    assert probe("call(N['socket'], 2, 10, 0)", filtered=True, uid=uid) == -EAFNOSUPPORT
    # A packet socket for those who may; kernels without AF_ALG or AF_VSOCK refuse these by themselves.
    packet = ["call(N['socket'], 17, 3, 0)", "call(N['socket'], 2, 10, 0)"]
    for control in [probe(source, filtered=False, uid=uid) for source in packet]:
        assert control > 2 if uid == 0 else control == -EPERM


@users
def test_sockets_of_other_families_work(uid: int) -> None:
    source = "[call(N['socket'], f, 1, 0) > 2 for f in (1, 2)] + [call(N['socket'], 16, 3, 0) > 2]"
    assert probe(source, filtered=True, uid=uid) == [True, True, True]


NAMESPACES = """[
    in_child(lambda: call(N["unshare"], 0x10000000)),
    in_child(lambda: [r := call(N["clone"], 0x10000000 | 17, 0, 0, 0, 0), r or os._exit(0),
                      r > 0 and os.waitpid(r, 0), min(r, 0)][-1]),
    call(N["clone3"], 0, 0),
    call(N["setns"], 2**32 - 1, 0),
]"""


@users
def test_no_user_namespace_is_made_or_entered_unless_granted(uid: int) -> None:
    assert probe(NAMESPACES, filtered=True, uid=uid) == [-EPERM, -EPERM, -ENOSYS, -EPERM]
    assert probe(NAMESPACES, filtered=False, uid=uid) == [0, 0, -EINVAL, -EBADF]
    assert probe(NAMESPACES, filtered=True, uid=uid, userns=True) == [0, 0, -EINVAL, -EBADF]


@on_x86_64
@users
def test_x32_calls_do_not_exist(uid: int) -> None:
    source = "call(0x40000000 | 39) in (-38, os.getpid())"
    assert probe("call(0x40000000 | 39)", filtered=True, uid=uid) == -ENOSYS
    assert probe(source, filtered=False, uid=uid)  # its getpid, on the few kernels with CONFIG_X86_X32_ABI


@on_x86_64
@users
def test_the_32_bit_gate_kills_a_64_bit_program(uid: int) -> None:
    # mov eax, 20 (i386's getpid); int 0x80; ret
    source = r"""in_child(lambda: [
        page := mmap.mmap(-1, 4096, prot=7), page.write(b"\xb8\x14\0\0\0\xcd\x80\xc3"),
        gate := ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page))),
        gate() == os.getpid()][-1])"""
    assert probe(source, filtered=True, uid=uid) == -signal.SIGSYS
    # SIGSEGV: a kernel without CONFIG_IA32_EMULATION has no such gate.
    assert probe(source, filtered=False, uid=uid) in (1, -signal.SIGSEGV)


@on_x86_64
@users
def test_a_32_bit_program_is_killed_and_the_shell_says_so(uid: int) -> None:
    # One page: ELF header, one loadable segment at 0x10000, then: exit(42), by i386's numbers.
    code = bytes.fromhex("b801000000 bb2a000000 cd80")
    elf = bytes.fromhex(
        "7f454c46010101000000000000000000 0200 0300 01000000 54000100 34000000 00000000 00000000"
        "3400 2000 0100 0000 0000 0000"
        "01000000 00000000 00000100 00000100 00100000 00100000 05000000 00100000"
    ) + code.ljust(4096 - 84, b"\0")
    octal = "".join(f"\\{byte:03o}" for byte in elf)
    write = f"printf '{octal}'"
    command = ("bash", "-c", f"{write} > /tmp/small; chmod +x /tmp/small; /tmp/small; exit $?")
    filtered, control = (sandboxed(*command, filtered=f, uid=uid) for f in (True, False))
    assert filtered.returncode == 128 + signal.SIGSYS
    assert "Bad system call" in filtered.stderr
    assert control.returncode in (42, 126)  # 126: a kernel that runs no 32-bit programs


def wait_for_another_group(child: pexpect.spawn[bytes], group: int) -> None:
    """Returns when the terminal is another group's: until then keys go to the shell, which ignores them."""
    deadline = time.monotonic() + 20
    while os.tcgetpgrp(child.child_fd) == group:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_job_control_works(tmp_path: Path) -> None:
    (tmp_path / "filter").write_bytes(program(MACHINE, rules=RULES, userns=False))
    start = 'exec 9<"$0"; exec "$@"'
    argv = [str(tmp_path / "filter"), *SANDBOX, "--seccomp", "9", "--die-with-parent", "--"]
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb"}
    shell = ["env", "PS1=ready> ", "bash", "--norc", "--noprofile", "--noediting", "-i"]
    with pexpect.spawn("bash", ["-c", start, *argv, *shell], env=environment, timeout=20) as child:
        child.expect_exact("ready> ")
        shell_group = os.tcgetpgrp(child.child_fd)
        child.sendline("sleep 100")
        wait_for_another_group(child, shell_group)
        child.send("\x1a")
        child.expect("Stopped.*ready> ")
        child.sendline("fg")
        wait_for_another_group(child, shell_group)
        child.send("\x03")
        child.expect_exact("ready> ")
        child.sendline("stty size; exit 7")
        child.expect(r"\d+ \d+\r\n")
        child.expect(pexpect.EOF)
    assert child.exitstatus == 7


PROGRAMS = {
    "python": (
        PYTHON, "-c",
        "import subprocess, threading, multiprocessing.pool as p\n"
        "threads = [threading.Thread(target=subprocess.check_call, args=(['true'],)) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(sum(p.Pool(2).map(abs, range(-3, 1))))",
    ),
    "git": (
        "sh", "-ec",
        "cd /tmp; git init -q r; cd r; echo a > f; git add f;"
        "git -c user.name=a -c user.email=b commit -qm six; git log --format=%s | sed s/six/6/",
    ),
    "node": (
        "node", "-e",
        "const {Worker} = require('worker_threads'), {execSync} = require('child_process');"
        "new Worker('require(`worker_threads`).parentPort.postMessage(6)', {eval: true}).on('message', m =>"
        " require('fs').promises.readFile('/proc/self/stat')"
        "   .then(() => process.stdout.write(execSync(`echo ${m}`))))",
    ),
    "curl": ("sh", "-ec", "curl --version >&2; echo 6 > /tmp/f; curl -s file:///tmp/f"),
    "gcc": (
        "sh", "-ec",
        "cd /tmp; echo 'int main(void) { return 6; }' > a.c; gcc -pipe -o a a.c; ./a || echo $?",
    ),
}  # fmt: skip


@users
@pytest.mark.parametrize("name", PROGRAMS)
def test_ordinary_programs_work(name: str, uid: int) -> None:
    if shutil.which(name.replace("python", PYTHON)) is None:
        pytest.skip(f"no {name} here")
    done = sandboxed(*PROGRAMS[name], filtered=True, uid=uid)
    assert (done.returncode, done.stdout.strip()) == (0, "6"), done.stderr
