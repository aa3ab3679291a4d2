"""Row devices."""

from __future__ import annotations

import os
from pathlib import Path

from conformance.checks.probes.held import held
from conformance.harness.cells import Cell, cells
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.world import World
from fixtures.errors import FixtureError
from fixtures.listeners import canary
from fixtures.process import output
from launcher.spec.load import load

# Major and minor numbers (the kernel's Documentation/admin-guide/devices.txt) that a program needs.
MINIMAL = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
PTMX, PTS = (5, 2), range(136, 144)
# Where the sandbox's own terminal is no pseudo-terminal: a virtio console, a serial line.
LINES = ((229, 0), (4, 64))
DRM = 226
LINKS = {"core", "fd", "ptmx", "pts", "shm", "stdin", "stdout", "stderr", "console", "mqueue"}

NODES = """
import os, stat
found = []
for top, directories, files in os.walk("/dev"):
    for name in files:
        path = os.path.join(top, name)
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
            kind = "block" if stat.S_ISBLK(status.st_mode) else "char"
            found.append([path, kind, os.major(status.st_rdev), os.minor(status.st_rdev)])
print(ascii({"names": sorted(os.listdir("/dev")), "nodes": found}))
"""


def granted(cell: Cell, row: str) -> bool:
    """Whether the table gives another row of the same sandbox a resource."""
    spec = load()
    rows = {c.row: c.word for c in cells(spec, cell.backend, cell.variant)}
    return rows.get(row, spec.rows[row].cell(cell.backend, cell.variant).word) != "absent"


@covers("devices", "own")
def test_only_the_minimal_devices_are_there(inside: Inside, host: World, cell: Cell) -> None:
    """/dev has null, zero, full, random, urandom, tty and terminals, and nothing that no other row grants."""
    outside = host.python(NODES)
    allowed = {("char", *number) for number in (*MINIMAL.values(), PTMX)}
    names = {*MINIMAL, *LINKS}
    if granted(cell, "kvm"):
        allowed.add(("char", 10, 232))
        names.add("kvm")
    if granted(cell, "gpu"):
        names.add("dri")

    found = inside.python(NODES)

    unknown = [
        path
        for path, kind, major, minor in found["nodes"]
        if (kind, major, minor) not in allowed
        and not (kind == "char" and major in PTS)
        and not (path == "/dev/console" and (major, minor) in LINES)
        and not (kind == "char" and major == DRM and granted(cell, "gpu"))
    ]
    more = {(kind, major, minor) for _, kind, major, minor in outside["nodes"]} - allowed
    with on_the_host():
        assert len(more) > 3, "the same probe sees more on the host"
    assert unknown == []
    assert set(found["names"]) - names == set()
    assert set(MINIMAL) <= set(found["names"])


ATTEMPTS = """
import errno, os
found = {}
for path in given["paths"]:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        found[path] = "open"
    except OSError as error:
        found[path] = errno.errorcode[error.errno]
print(ascii(found))
"""
FORBIDDEN = (
    "kmsg", "mem", "port", "kvm", "fuse", "vsock", "vhost-net", "vhost-vsock", "loop-control", "loop0",
    "mapper/control", "net/tun", "input", "hidraw0", "snd", "video0", "sda", "vda", "nvme0n1", "tty0", "tty1",
    "hugepages", "cpu_dma_latency", "rtc0", "uinput", "btrfs-control", "userfaultfd", "autofs",
)  # fmt: skip


@covers("devices", "own")
def test_devices_of_the_host_are_not_there(inside: Inside, host: World, cell: Cell) -> None:
    """No disk, memory, kernel log, input or virtualisation device of the host has a name inside."""
    exists = "import os\nprint(ascii([p for p in given['paths'] if os.path.lexists(p)]))"
    nodes = [path for path, *_ in host.python(NODES)["nodes"] if not path.startswith("/dev/pts/")]
    named = [f"/dev/{name}" for name in FORBIDDEN]
    paths = {*named, *nodes} - {f"/dev/{name}" for name in (*MINIMAL, "ptmx", "console")}
    if granted(cell, "kvm"):
        paths.discard("/dev/kvm")
    if granted(cell, "gpu"):
        paths = {path for path in paths if not path.startswith("/dev/dri/")}

    control = host.python(exists, paths=sorted(paths))
    found = inside.python(exists, paths=sorted(paths))

    with on_the_host():
        assert len(control) > 3, "the same probe finds some of them on the host"
    assert found == []


WORK = """
import errno, os
def failing(path):
    try:
        os.write(os.open(path, os.O_WRONLY), b"x")
        return ""
    except OSError as error:
        return errno.errorcode[error.errno]
print(ascii({
    "null": [os.write(os.open("/dev/null", os.O_WRONLY), b"abc"), len(os.read(os.open("/dev/null", 0), 9))],
    "zero": os.read(os.open("/dev/zero", 0), 4).hex(),
    "full": failing("/dev/full"),
    "random": [len(os.read(os.open(f"/dev/{name}", 0), 16)) for name in ("random", "urandom")],
    "pty": os.isatty(os.openpty()[1]),
}))
"""


@covers("devices", "own")
def test_the_minimal_devices_work(inside: Inside, host: World) -> None:
    """null, zero, full, random and pseudo-terminals do what they do on the host."""
    expected = host.python(WORK)

    found = inside.python(WORK)

    assert found == expected
    assert found["full"] == "ENOSPC"


@covers("devices", "own")
def test_no_device_can_be_made(inside: Inside, host: World) -> None:
    """mknod fails wherever one may write, and a node planted in the project opens nothing."""
    planted = plant(host)
    make = """
import errno, os, stat
found = {}
for top in given["tops"]:
    for kind, number in ((stat.S_IFCHR, os.makedev(1, 8)), (stat.S_IFBLK, os.makedev(8, 0))):
        try:
            os.mknod(f"{top}/made", kind | 0o666, number)
            os.close(os.open(f"{top}/made", os.O_RDONLY))
            found[f"{top} {kind}"] = "made"
        except OSError as error:
            found[f"{top} {kind}"] = errno.errorcode[error.errno]
        if os.path.lexists(f"{top}/made"):
            os.unlink(f"{top}/made")
print(ascii(found))
"""
    tops = ["/project", "/tmp", "/dev/shm", "/home/sandbox"]
    nodes = [f"{planted}/random", f"{planted}/null"]

    control = host.python(ATTEMPTS, paths=nodes)
    found = inside.python(ATTEMPTS, paths=nodes)
    made = inside.python(make, tops=tops)

    with on_the_host():
        assert set(control.values()) == {"open"}, "on the host the planted nodes open"
    assert set(found.values()) <= {"EACCES", "ENXIO", "EPERM"}
    assert {where: result for where, result in made.items() if result not in ("EPERM", "EACCES")} == {}


def plant(host: World) -> Path:
    """Device nodes for everybody, in the project. Raises HarnessError without sudo."""
    directory = host.path / "nodes"
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    try:
        output((*sudo, "install", "-d", "-o", str(host.user.uid), str(directory)))
        for name, minor in (("random", "8"), ("null", "3")):
            if not (directory / name).exists():
                output((*sudo, "mknod", "-m", "666", str(directory / name), "c", "1", minor))
    except FixtureError as error:
        raise HarnessError(f"nobody here makes a device node: {error}", "as root, or by sudo") from None
    return directory


# A terminal of the user's with a line that waits to be read.
TERMINAL = """
import tty
master, slave = os.openpty()
tty.setraw(slave)
os.write(master, given["canary"].encode())
print(ascii(os.ttyname(slave)))
"""
READ = """
import os
found = []
for name in filter(str.isdigit, os.listdir("/dev/pts")):
    try:
        file = os.open(f"/dev/pts/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        found.append(os.read(file, 100).decode(errors="replace") if name == given["number"] else "")
    except OSError as error:
        found.append(f"errno {error.errno}")
print(ascii(found))
"""


@covers("devices", "own")
def test_no_terminal_of_the_host_is_there(inside: Inside, host: World) -> None:
    """A terminal of the host's user cannot be read by its number: /dev/pts is the sandbox's own."""
    word = canary()

    with held(host, TERMINAL, canary=word) as (_, path):
        number = path.rpartition("/")[2]
        found = inside.python(READ, number=number)
        control = host.python(READ, number=number)

    with on_the_host():
        assert word in control, "the same probe reads it on the host"
    assert word not in found


@covers("devices", "own", means=True, needs=["kvm"])
def test_dev_is_what_the_table_says(inside: Inside, cell: Cell) -> None:
    """/dev is the file system that the table names, with the nodes that it lists."""
    kind, _, listed = cell.means.partition(";")[0].partition(" ")

    mounted = inside.mount_point("/dev")

    assert mounted.filesystem == kind
    for name in listed.removeprefix("with ").replace("and ", "").split(", "):
        assert kind != "tmpfs" or inside.file(f"/dev/{name}").exists, name


# Classes of PCI (linux/pci_ids.h): mass storage, multimedia, serial; and QEMU's names of what a host gives.
STORAGE, MULTIMEDIA, SERIAL = 0x01, 0x04, 0x0780
HOSTS = ("vfio", "usb-host", "vhost", "scsi", "nvme", "ide", "virtio-blk", "floppy", "sd-card", "rng")


@covers("devices", "own", by="QEMU's own")
def test_the_machine_has_no_disk_no_sound_and_nothing_of_the_hosts(sandbox: Machine) -> None:
    """QEMU has no block device and no sound card, and passes no device of the host through."""
    found = sandbox.qmp("query-pci")
    classes = [device["class_info"]["class"] for bus in found for device in bus["devices"]]
    types = [
        entry["type"]
        for path in ("/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached")
        for entry in sandbox.qmp("qom-list", path=path)
    ]
    partitions = sandbox.inside.output("cat /proc/partitions").splitlines()[2:]

    assert SERIAL in classes, "what the machine does have is seen"
    assert any("virtio-9p" in kind for kind in types)
    assert [number for number in classes if number >> 8 in (STORAGE, MULTIMEDIA)] == []
    assert [kind for kind in types if kind.removeprefix("child<").startswith(HOSTS)] == []
    assert sandbox.qmp("query-block") == []
    assert partitions == []
