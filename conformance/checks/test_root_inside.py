"""Row privileges, one wall further in: who has become root inside, by whatever means, is not root outside.

Where the sandbox's users are the host's own, root inside is root's number outside. What stands then is that
it has no capability, and that nothing of the host's is there for it to write to.
"""

from __future__ import annotations

import json
from pathlib import Path

from conformance.checks.probes.calls import PRELUDE, numbers
from conformance.checks.probes.rooted import inside_as_root, outside_as_root
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

DEEDS = """
import socket, stat
def done(work):
    try:
        result = work()
        return "done" if result is None or result >= 0 else result
    except OSError as error:
        return -error.errno
def opened(path, flags=os.O_WRONLY):
    os.close(os.open(path, flags))
def socketed(family, kind):
    socket.socket(family, kind).close()
def mknod(kind, number):
    path = f"{given['top']}/node-{os.getpid()}"
    try:
        os.mknod(path, kind | 0o600, number)
    finally:
        if os.path.lexists(path):
            os.unlink(path)
def mounted():
    ctypes.set_errno(0)
    here = given["top"].encode()
    if libc.mount(b"none", here, b"tmpfs", 0, None):
        return -ctypes.get_errno()
    return libc.umount2(here, 2)
deeds = {
    "character device": lambda: mknod(stat.S_IFCHR, os.makedev(1, 8)),
    "block device": lambda: mknod(stat.S_IFBLK, os.makedev(8, 0)),
    "sysrq-trigger": lambda: opened("/proc/sysrq-trigger"),
    "core_pattern": lambda: opened("/proc/sys/kernel/core_pattern"),
    "modprobe": lambda: opened("/proc/sys/kernel/modprobe"),
    "hostname": lambda: opened("/proc/sys/kernel/hostname"),
    "mount": mounted,
    "raw socket": lambda: socketed(socket.AF_INET, socket.SOCK_RAW),
    "packet socket": lambda: socketed(socket.AF_PACKET, socket.SOCK_RAW),
    "chown": lambda: os.chown(given["file"], 0, 0),
    "chmod": lambda: os.chmod(given["file"], 0o4755),
    "chroot": lambda: os.chroot("/usr"),
    "write a file of the user's": lambda: opened(given["file"]),
    "make a file": lambda: opened(f"{given['directory']}/made-by-root", os.O_CREAT | os.O_WRONLY),
    "setuid": lambda: os.setresuid(given["uid"], given["uid"], given["uid"]),
}
def in_child(work):
    # Some deeds cannot be undone.
    if (pid := os.fork()) == 0:
        result = done(work)
        os._exit(0 if result == "done" else -result)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "done" if code == 0 else -code
print(ascii({name: in_child(work) for name, work in deeds.items()}))
"""


@covers("privileges", "absent", by="setpriv", variant=("default", "no-network"))
def test_root_inside_can_do_nothing_that_takes_root(sandbox: Sandbox, host: World) -> None:
    """Root inside makes no device, mounts nothing, opens no sysctl or raw socket, takes nobody's file."""
    name = "of-the-users"
    file = host.write(host.path / name, "content", mode=0o644)
    scratch = host.services.scratch("as-root")
    owned = host.write(scratch / "file", "content", mode=0o644)

    uid = host.user.uid
    control = outside_as_root(
        PRELUDE + DEEDS, top=str(scratch), file=str(owned), directory=str(scratch), uid=uid
    )
    found = inside_as_root(
        sandbox, PRELUDE + DEEDS, top="/tmp", file=f"/project/{name}", directory="/project", uid=uid
    )

    # A kernel may have been built without modules, magic keys or IPv4's raw sockets.
    lacking = {deed for deed, result in control.items() if result in (-2, -93)}  # ENOENT, EPROTONOSUPPORT
    with on_the_host():
        assert {deed: r for deed, r in control.items() if r != "done" and deed not in lacking} == {}
        assert lacking <= {"modprobe", "sysrq-trigger", "raw socket"}
    refusals = {-1, -2, -13, -30, -93}  # EPERM, ENOENT, EACCES, EROFS, EPROTONOSUPPORT
    assert {deed: result for deed, result in found.items() if result not in refusals} == {}
    after = file.stat()
    assert (after.st_uid, after.st_mode & 0o7777, file.read_text()) == (uid, 0o644, "content")
    assert not (host.path / "made-by-root").exists()


KERNEL = """
calls = given["calls"]
handle = ctypes.create_string_buffer(136)
struct.pack_into("Ii", handle, 0, 8, 1)
root = os.open("/", os.O_RDONLY)
attempts = {
    # Pointers that lead nowhere: who is allowed hears of them, and nothing happens.
    "init_module": lambda: call(calls["init_module"], 1, 4096, 1),
    "delete_module": lambda: call(calls["delete_module"], 1, 0),
    "open_by_handle_at": lambda: call(calls["open_by_handle_at"], root, ctypes.addressof(handle), 0),
    "swapon": lambda: call(calls["swapon"], 1, 0),
    "acct": lambda: call(calls["acct"], 1),
    "syslog": lambda: call(calls["syslog"], 10, 0, 0),
}
print(ascii({name: work() for name, work in attempts.items() if name in calls}))
"""


@covers("privileges", "absent", by="setpriv", variant=("default",))
def test_root_inside_commands_no_kernel(sandbox: Sandbox) -> None:
    """Modules, swap, accounting, file handles and the kernel's log are refused to root inside."""
    calls = numbers(["init_module", "delete_module", "open_by_handle_at", "swapon", "acct", "syslog"])

    control = outside_as_root(PRELUDE + KERNEL, calls=calls)
    found = inside_as_root(sandbox, PRELUDE + KERNEL, calls=calls)

    heard = {name for name, result in control.items() if result not in (-1, -38)}  # EPERM, ENOSYS
    if not heard:
        raise HarnessError("root itself is allowed none of these here")
    assert {name: result for name, result in found.items() if result not in (-1, -38)} == {}
    assert {name for name in heard if found[name] == -38} == set()


# All that root may open for writing among the kernel's files.
WRITABLE = """
import os
found = []
for top in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/acpi", "/proc/fs", "/sys"):
    for directory, _, names in os.walk(top):
        for name in names:
            path = f"{directory}/{name}"
            try:
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                found.append(path)
            except OSError:
                pass
            if len(found) > 20:
                break
        if len(found) > 20:
            break
print(ascii(found))
"""


@covers("privileges", "absent", by="setpriv", variant=("default",))
def test_root_inside_opens_none_of_the_kernels_files(sandbox: Sandbox) -> None:
    """No file of /proc/sys, /proc/irq, /proc/bus or /sys, cgroups among them, can be opened for writing."""
    control = outside_as_root(WRITABLE)

    found = inside_as_root(sandbox, WRITABLE)

    with on_the_host():
        assert control, "root opens some on the host"
    assert found == []


# Up from every mount, and through every process's root and directory.
AWAY = """
import os
def top(start):
    directory = os.open(start, os.O_PATH)
    for _ in range(64):
        above = os.open("..", os.O_PATH, dir_fd=directory)
        same = os.path.samestat(os.fstat(above), os.fstat(directory))
        os.close(directory)
        directory = above
        if same:
            break
    return f"/proc/self/fd/{directory}"
starts = ["/"]
for line in open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape"):
    starts.append(line.split()[4].encode("latin-1", "replace").decode("unicode_escape", "replace"))
for pid in filter(str.isdigit, os.listdir("/proc")):
    starts += [f"/proc/{pid}/root", f"/proc/{pid}/cwd"]
looked, found = 0, []
for start in starts:
    try:
        above = top(start)
    except OSError:
        continue
    for path in (above, start):
        looked += 1
        try:
            with open(path + given["path"]) as file:
                found.append([start, file.read()])
        except OSError:
            pass
print(ascii([looked, found]))
"""


@covers("privileges", "absent", by="setpriv", variant=("default",))
def test_root_inside_finds_no_way_out_by_directories(sandbox: Sandbox, host: World) -> None:
    """Neither above a mount nor by a process's root or directory does root inside see the host's files."""
    path = str(Path(host.home, ".aws/credentials"))

    _, control = outside_as_root(AWAY, path=path)
    looked, found = inside_as_root(sandbox, AWAY, path=path)

    with on_the_host():
        assert host.found_in(json.dumps(control)), "root on the host reads it by the same ways"
    assert looked > 10
    assert found == []
