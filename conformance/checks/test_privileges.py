"""Row privileges: capabilities, what setuid programs gain, and typing into the caller's terminal."""

from __future__ import annotations

import base64
import errno
import os
import struct
import sys
from pathlib import Path

import pexpect
import pytest

from conformance.checks.probes import network
from conformance.checks.probes.calls import PRELUDE, numbers
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside, literal, probe
from conformance.harness.sandbox import Sandbox, spawn, stop
from conformance.harness.world import World
from fixtures.errors import FixtureError
from fixtures.process import output
from launcher.spec.load import load

STATUS = """
import os
wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
found = {}
for pid in [*filter(str.isdigit, os.listdir("/proc")), "self"]:
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        continue
    found[pid] = {name: lines[name].strip() for name in wanted}
print(ascii(found))
"""


@covers("privileges", "absent")
def test_no_process_has_a_capability(inside: Inside, host: World) -> None:
    """Every process inside, pid 1 included, has no capability in any of its five sets."""
    control = host.python(STATUS)["self"]

    found = inside.python(STATUS)

    with on_the_host():
        assert int(control["CapBnd"], 16) != 0, "the probe sees a set that is not empty on the host"
    assert "1" in found
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert {pid: s for pid, s in found.items() if any(int(s[name], 16) for name in sets)} == {}


@covers("privileges", "absent", means=True)
def test_no_process_can_gain_any(inside: Inside, host: World, cell: Cell) -> None:
    """no_new_privs is set for every process inside."""
    control = host.python(STATUS)["self"]

    found = inside.python(STATUS)

    assert "no_new_privs" in cell.means
    with on_the_host():
        assert control["NoNewPrivs"] == "0", "on the host the probe runs without it"
    assert {pid: s for pid, s in found.items() if s["NoNewPrivs"] != "1"} == {}


DEEDS = """
import socket
def done(work):
    try:
        result = work()
        return "done" if result in (None, 0) else result
    except OSError as error:
        return -error.errno
def libcall(name, *arguments):
    ctypes.set_errno(0)
    return 0 if getattr(libc, name)(*arguments) == 0 else -ctypes.get_errno()
def in_own_process(work):
    pid = os.fork()
    if pid == 0:
        result = done(work)
        os._exit(0 if result == "done" else -result)
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
directory = __import__("tempfile").mkdtemp()
deeds = {
    "mount": lambda: libcall("mount", b"none", directory.encode(), b"tmpfs", 0, None),
    "chroot": lambda: os.chroot("/usr"),
    "sethostname": lambda: libcall("sethostname", b"other", 5),
    "setuid": lambda: os.setuid(given["root"]),
    "setgroups": lambda: os.setgroups([]),
    "unshare": lambda: libcall("unshare", 0x20000),
    "setdomainname": lambda: libcall("setdomainname", b"other", 5),
}
print(ascii({name: in_own_process(work) for name, work in deeds.items()}))
libc.umount2(directory.encode(), 2)
os.rmdir(directory)
"""


@covers("privileges", "absent")
def test_nothing_that_takes_a_capability_can_be_done(inside: Inside, host: World) -> None:
    """mount, chroot, setuid, setgroups, sethostname and a new mount namespace fail with EPERM."""
    program = probe(PRELUDE + DEEDS, {"root": 0})
    # With the capabilities of a namespace of one's own the same probe does it all, but for setgroups.
    unshared = ("unshare", "--user", "--map-root-user", "--mount", "--uts")
    outside = host.run((*unshared, "/usr/bin/python3", "-I", "-"), stdin=program)
    if outside.returncode != 0:
        raise HarnessError(f"no control by a user namespace: {outside.stderr[-500:]}")
    control = literal(outside.stdout)

    found = inside.python(PRELUDE + DEEDS, root=0)

    with on_the_host():
        assert {name: r for name, r in control.items() if r != 0 and name != "setgroups"} == {}
    assert {name: r for name, r in found.items() if r not in (-errno.EPERM, -errno.EINVAL)} == {}
    # EINVAL: a user that the sandbox does not have at all.
    assert [name for name, r in found.items() if r == -errno.EINVAL and name != "setuid"] == []


RAW = """
import socket
kinds = {
    "ICMP": (socket.AF_INET, socket.IPPROTO_ICMP),
    "TCP": (socket.AF_INET, socket.IPPROTO_TCP),
    "UDP": (socket.AF_INET, socket.IPPROTO_UDP),
    "any": (socket.AF_INET, socket.IPPROTO_RAW),
    "ICMPv6": (socket.AF_INET6, socket.IPPROTO_ICMPV6),
    "TCP over IPv6": (socket.AF_INET6, socket.IPPROTO_TCP),
    "any over IPv6": (socket.AF_INET6, socket.IPPROTO_RAW),
}
found = {}
for name, (family, protocol) in kinds.items():
    try:
        socket.socket(family, socket.SOCK_RAW, protocol).close()
        found[name] = 0
    except OSError as error:
        found[name] = -error.errno
print(ascii(found))
"""


@covers("privileges", "absent")
def test_no_raw_socket_can_be_made(inside: Inside, host: World) -> None:
    """Raw sockets, which send as anybody and read all that comes, fail with EPERM: ICMP, TCP, UDP and any."""
    # Who has the network's capabilities makes each of them.
    by = ("unshare", "--user", "--map-root-user", "--net")
    control = network.outside(host, (*by, *network.PYTHON), RAW)

    found = inside.python(RAW)

    with on_the_host():
        assert control == dict.fromkeys(control, 0)
    assert found == dict.fromkeys(control, -errno.EPERM)


# A program that asks for a password is looked at while it waits.
EUID = """
import os, subprocess
with subprocess.Popen(given["argv"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                      stderr=subprocess.STDOUT, start_new_session=True) as child:
    said = os.read(child.stdout.fileno(), 400).decode(errors="replace")
    with open(f"/proc/{child.pid}/status") as file:
        uids = [line.split()[1:] for line in file if line.startswith("Uid:")][0]
    child.stdin.close()
    try:
        child.kill()  # or it waits for two seconds, as it does after a wrong word
    except PermissionError:
        pass
print(ascii({"said": said, "uids": [int(uid) for uid in uids]}))
"""


ASKING = {"su": ["su", "root", "-c", "id"], "sudo": ["sudo", "-S", "-k", "-p", "word:", "id", "-u"]}


@covers("privileges", "absent")
@pytest.mark.parametrize("program", ASKING)
def test_setuid_programs_gain_nothing(inside: Inside, host: World, program: str) -> None:
    """su and sudo run as whoever starts them, and never as root."""
    argv = ASKING[program]
    if not host.run(("sh", "-c", f"test -u $(command -v {program})")).returncode == 0:
        raise HarnessError(f"this host has no setuid {program}", f"apt-get install {program}")

    control = host.python(EUID, argv=argv)
    found = inside.python(EUID, argv=argv)

    with on_the_host():
        assert 0 in control["uids"] or control["said"].strip() == "0", "on the host it runs as root"
    assert found["uids"] == [host.user.uid] * 4
    assert found["said"].strip() != "0"


@covers("privileges", "absent")
def test_a_planted_setuid_program_gains_nothing(inside: Inside, host: World) -> None:
    """A program of root's with the setuid, setgid bit or a file capability, in the project, gives nothing."""
    planted = plant(host)
    lines = {
        "setuid": f"'{planted}/setuid' -u",
        "setgid": f"'{planted}/setgid' -g",
        "capable": f"'{planted}/capable' CapEff: /proc/self/status",
    }

    outside = {name: host.run(("sh", "-c", line)).stdout.split() for name, line in lines.items()}
    found = {name: inside.sh(line) for name, line in lines.items()}

    control = {"setuid": ["0"], "setgid": ["0"], "capable": ["CapEff:", f"{1 << 13:016x}"]}
    with on_the_host():
        assert outside == control, "on the host each of them gives what it says"
    unchanged = {
        "setuid": [str(host.user.uid)],
        "setgid": [str(host.user.gid)],
        "capable": ["CapEff:", f"{0:016x}"],
    }
    # One that does not even start gives nothing either.
    got = {name: done.stdout.split() for name, done in found.items()}
    assert {name: words for name, words in got.items() if words not in ([], unchanged[name])} == {}


def plant(host: World) -> Path:
    """A directory in the project with programs of root's. Raises HarnessError without sudo."""
    directory = host.path / "planted"
    # A capability of version 2 with CAP_NET_RAW, permitted and effective (linux/capability.h).
    value = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    code = "import os, sys; os.setxattr(sys.argv[1], 'security.capability', bytes.fromhex(sys.argv[2]))"
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    install = (*sudo, "install", "-D", "-o", "root", "-g", "root")
    try:
        output((*install, "-m", "4755", "/usr/bin/id", str(directory / "setuid")))
        output((*install, "-m", "2755", "/usr/bin/id", str(directory / "setgid")))
        output((*install, "-m", "0755", "/usr/bin/grep", str(directory / "capable")))
        output((*sudo, sys.executable, "-I", "-c", code, str(directory / "capable"), value.hex()))
        output((*sudo, "chown", str(host.user.uid), str(directory)))
    except FixtureError as error:
        raise HarnessError(f"nobody here makes a program of root's: {error}", "as root, or by sudo") from None
    return directory


# Types a line into every terminal that it can open, with any high bits in the request's number.
TYPE = """
found = []
for path in ["/dev/tty", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2",
             *(f"/dev/pts/{name}" for name in os.listdir("/dev/pts") if name.isdigit())]:
    try:
        file = os.open(path, os.O_RDWR | os.O_NOCTTY)
    except OSError:
        continue
    for high in (0, 1 << 32, 0xFFFFFFFF << 32):
        results = set()
        for byte in given["text"].encode():
            argument = ctypes.c_char(byte)
            results.add(call(given["ioctl"], file, 0x5412 | high, ctypes.addressof(argument)))
        found.append([path, sorted(results)])
with open(given["answer"], "w") as answer:
    answer.write(ascii(found))
"""
# What is in the caller's terminal when the sandbox has ended, as a shell there would read it.
CALLER = r"""
stty -icanon -echo min 0 time 0
"$@"
printf 'after:'
stty -icanon -echo min 0 time 3
dd bs=4096 count=1 2>/dev/null | base64 -w 0
printf ':end\n'
"""


@covers("privileges", "absent", variant=("default", "no-network", "off"))
def test_nothing_is_typed_into_the_callers_terminal(sandbox: Sandbox, host: World, cell: Cell) -> None:
    """A sandbox that types by TIOCSTI leaves nothing in its caller's terminal for the shell there to run."""
    directory = host.services.scratch("typed")
    number = numbers(["ioctl"])["ioctl"]

    def run(answer: Path, argv: tuple[str, ...]) -> tuple[bytes, list[list[object]]]:
        how = {"text": "typed\n", "answer": str(answer), "ioctl": number}
        program = host.write(host.path / "type.py", probe(PRELUDE + TYPE, how).decode())
        left = left_behind(host, (*argv, f"exec /usr/bin/python3 -I '{program}'"))
        return left, literal(answer.read_text())

    typed, errors = run(directory / "control", ("/bin/bash", "-c"))
    shell = (*sandbox.command, "--quiet", *sandbox.flags, "--shell", str(host.path), "-c")
    left, found = run(host.path / "answer", shell)

    assert left == b""
    if load().rows["syscalls"].cell(cell.backend, cell.variant).word == "filtered":
        assert [path for path, results in found if results != [-errno.EPERM]] == []
    assert "/dev/tty" in [path for path, _ in found]
    # Kernels from 6.2 on may have TIOCSTI switched off for everybody.
    with on_the_host():
        assert b"typed" in typed or all(results == [-errno.EIO] for _, results in errors)


def left_behind(host: World, argv: tuple[str, ...]) -> bytes:
    """Run a command on a terminal of its own; what there was to read afterwards."""
    child = spawn(("/bin/sh", "-c", CALLER, "sh", *argv), host.user, host.environ, cwd=host.home)
    try:
        child.expect(rb"after:([A-Za-z0-9+/=]*):end", timeout=90)
        return base64.b64decode(child.match.group(1))
    except (pexpect.TIMEOUT, pexpect.EOF) as error:
        raise HarnessError(f"the caller's terminal did not answer: {error}") from None
    finally:
        stop(child)
