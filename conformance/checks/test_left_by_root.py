"""Row privileges: what who has become root inside could leave in the project, for the host to find."""

from __future__ import annotations

import stat
from pathlib import Path

from conformance.checks.probes.rooted import inside_as_root, outside_as_root
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

# In a directory that all may write to, and in which is a file `theirs` that all may write to.
DEEDS = """
import fcntl, os, stat, struct
IMMUTABLE, APPEND, GET, SET = 0x10, 0x20, 0x80086601, 0x40086602
# vfs_cap_data, revision 2, effective: all permitted.
CAPABLE = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
os.chdir(given["directory"])
def made(path, mode):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o755))
    os.chmod(path, mode)
def attribute(name, value):
    os.setxattr("theirs", name, value)
    os.removexattr("theirs", name)
def flag(bit):
    file = os.open("theirs", os.O_RDONLY)
    try:
        before = struct.unpack("i", fcntl.ioctl(file, GET, bytes(4)))[0]
        fcntl.ioctl(file, SET, struct.pack("i", before | bit))
        fcntl.ioctl(file, SET, struct.pack("i", before))
    finally:
        os.close(file)
def taken():
    uid = os.stat("theirs").st_uid
    os.chown("theirs", 0, 0)
    os.chown("theirs", uid, uid)
deeds = {
    "a setuid program": lambda path: made(path, 0o4755),
    "a setgid program": lambda path: made(path, 0o2755),
    "a directory": os.mkdir,
    "a symlink": lambda path: os.symlink("/etc/shadow", path),
    "a fifo": os.mkfifo,
    "a character device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "a block device": lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0)),
    "file capabilities": lambda _: attribute("security.capability", CAPABLE),
    "a trusted attribute": lambda _: attribute("trusted.overlay.opaque", b"y"),
    "a security attribute": lambda _: attribute("security.other", b"x"),
    "immutable": lambda _: flag(IMMUTABLE),
    "append-only": lambda _: flag(APPEND),
    "an owner": lambda _: taken(),
    "the setuid bit of another's": lambda _: os.chmod("theirs", 0o4777),
}
def done(name):
    try:
        deeds[name](name.replace(" ", "-"))
        return "done"
    except OSError as error:
        return error.errno
print(ascii({name: done(name) for name in deeds}))
"""
IDMAPPED = {"ext2/ext3", "xfs", "btrfs", "f2fs", "tmpfs"}  # of stat(1), since Linux 6.3


@covers("privileges", "absent", by="setpriv", variant=("default", "no-network"))
def test_root_inside_leaves_nothing_in_the_project(sandbox: Sandbox, inside: Inside, host: World) -> None:
    """Root inside leaves no setuid program, device, capability or flag in a project, however open to all."""
    open_to_all = "mkdir -m 777 {0} && : >{0}/theirs && chmod 666 {0}/theirs"
    before = inside.output("stat -c %a /project; chmod a+rx /project")
    inside.output(open_to_all.format("/project/open"))
    control = host.services.scratch("left-by-root") / "open"
    host.output(("sh", "-c", open_to_all.format(control)))
    kind = host.output(("stat", "--file-system", "--format=%T", str(control)))

    outside = outside_as_root(DEEDS, directory=str(control))
    found = inside_as_root(sandbox, DEEDS, directory="/project/open")

    # A file system may have no flags or attributes: ENOTTY, EOPNOTSUPP.
    lacking = {deed for deed, result in outside.items() if result in (25, 95)}
    with on_the_host():
        assert {deed for deed, result in outside.items() if result != "done"} == lacking
    made = [deed for deed, result in found.items() if result == "done"]
    if made and kind not in IDMAPPED:
        raise HarnessError(
            f"the project lies on {kind}, which has no idmapped mounts", "have it on ext4 or XFS"
        )
    assert made == []
    assert left(host.path / "open") == {"theirs": (host.user.uid, stat.S_IFREG | 0o666)}
    inside.output(f"rm -r /project/open; chmod {before} /project")


def left(directory: Path) -> dict[str, tuple[int, int]]:
    """Owner and mode of all that is in a directory."""
    found = {path.name: path.lstat() for path in directory.iterdir()}
    return {name: (status.st_uid, status.st_mode) for name, status in found.items()}
