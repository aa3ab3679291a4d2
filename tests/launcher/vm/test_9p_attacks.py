"""What a guest can do to its shares that is not the one which we have made: root in it, or no kernel at all.

Nothing that was not granted is read, nothing outside of a writable share is written, and QEMU lives on.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from conformance.checks.probes.readonly import seen
from fixtures import packages
from launcher.backends.base import Share
from launcher.plan.model import Machine
from launcher.run.session import staged
from launcher.vm import kernel, modules, qemu
from launcher.vm.cpio import Archive
from launcher.vm.initramfs import BASE
from launcher.vm.kernel import Kernel
from tests.launcher.vm.raw9p import ATTACH, REMOVE, WALK, Raw9p, Refused, hostile, text

SECRET = "of the host alone"
LINKS = ("to-secret", "to-outside", "up", "to-shadow")
SYMLINK = 0x02  # in the type of a qid


class There:
    """Directories: `writable` and `granted` are shared, `outside` is not; `before`: what was in that."""

    def __init__(self, top: Path, shares: list[Raw9p]) -> None:
        self.writable, self.granted, self.outside = (
            top / name for name in ("writable", "granted", "outside")
        )
        self.shares = shares
        self.before = seen(self.outside)

    @property
    def rw(self) -> Raw9p:
        return self.shares[0]

    @property
    def ro(self) -> Raw9p:
        return self.shares[1]


@pytest.fixture
def directories(tmp_path: Path) -> Path:
    """Where they are, with links in the writable one that lead out of it, as an agent leaves them."""
    if os.geteuid() == 0:
        pytest.skip(
            "unproven as root, who may what the launcher's user may not: invoke test runs it as another"
        )
    for name in ("writable/dir", "granted/dir", "outside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("writable/file", "granted/file", "writable/dir/file", "granted/dir/file"):
        (tmp_path / name).write_text("granted")
    (tmp_path / "outside/secret").write_text(SECRET)
    (tmp_path / "writable/to-secret").symlink_to(tmp_path / "outside/secret")
    (tmp_path / "writable/to-outside").symlink_to(tmp_path / "outside")
    (tmp_path / "writable/up").symlink_to("../outside")
    (tmp_path / "writable/to-shadow").symlink_to("/etc/shadow")
    return tmp_path


@pytest.fixture
def there(directories: Path) -> Iterator[There]:
    """Both shares, to be driven by hand."""
    writable = Share(tag="project_share", at="/x", source=str(directories / "writable"), writable=True)
    granted = Share(tag="granted", at="/y", source=str(directories / "granted"))
    with open(directories / "log", "wb") as log, hostile(writable, granted, log=log.fileno()) as shares:
        found = There(directories, shares)
        yield found
        assert seen(found.outside) == found.before


def refused(act: Callable[..., object], *arguments: object) -> str:
    """The errno's name that it meets; "" when it works."""
    try:
        act(*arguments)
    except Refused as error:
        return error.name
    return ""


def content(share: Raw9p, *names: str, fid: int = 0) -> bytes:
    found = share.walk(*names, fid=fid)
    share.open(found)
    return share.content(found)


def test_what_is_shared_can_be_read(there: There) -> None:
    assert content(there.rw, "file") == content(there.ro, "dir", "file") == b"granted"


def test_above_a_share_is_the_share(there: There) -> None:
    root = there.rw.qid(0)

    assert there.rw.qid(there.rw.walk("..")) == root
    assert there.rw.qid(there.rw.walk("dir", "..")) == root
    assert refused(content, there.rw, "..", "..", "outside", "secret") == "ENOENT"
    assert refused(content, there.rw, "..", "outside", "secret") == "ENOENT"


@pytest.mark.parametrize("name", ["/etc", "..", "/", ""])
def test_no_name_attaches_to_another_directory(there: There, name: str) -> None:
    there.rw.call(
        ATTACH, struct.pack("<II", 77, 0xFFFFFFFF) + text("root") + text(name) + struct.pack("<I", 0)
    )

    assert there.rw.qid(77) == there.rw.qid(0)


ESCAPES = ("../outside/made", "dir/../../outside/made", "/tmp/made", "to-outside/made", "..", ".", "")


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_is_one_name(there: There, name: str) -> None:
    """Whatever takes a name takes none that is a path."""
    rw = there.rw
    file, root = rw.walk("file"), rw.walk()
    deeds: dict[str, Callable[[], None]] = {
        "create": lambda: rw.create(rw.walk(), name),
        "symlink": lambda: rw.symlink(root, name, "target"),
        "mkdir": lambda: rw.mkdir(root, name),
        "mknod": lambda: rw.mknod(root, name, stat.S_IFIFO | 0o666, (0, 0)),
        "link": lambda: rw.link(root, file, name),
        "renameat": lambda: rw.renameat(0, "dir", 0, name),
        "renameat from": lambda: rw.renameat(0, name, 0, "moved"),
        "unlinkat": lambda: rw.unlinkat(0, name),
        "rmdir": lambda: rw.unlinkat(0, name, 0x200),
        "rename": lambda: rw.rename(file, root, name),
    }

    came = {deed: refused(act) for deed, act in deeds.items()}

    assert [deed for deed, result in came.items() if result == ""] == []
    assert sorted(os.listdir(there.writable)) == sorted(["dir", "file", *LINKS])


@pytest.mark.parametrize("link", LINKS)
def test_a_link_is_followed_by_nobody_here(there: There, link: str) -> None:
    """It is a text, for the guest's kernel to make of what it will, in its own root."""
    rw = there.rw
    fid = rw.walk(link)
    attacks: dict[str, Callable[[], object]] = {
        "read": lambda: content(rw, link),
        "write": lambda: rw.open(rw.walk(link), os.O_RDWR),
        "truncate": lambda: rw.open(rw.walk(link), os.O_WRONLY | os.O_TRUNC),
        "walk": lambda: content(rw, link, "secret"),
        "list": lambda: rw.names(_opened(rw, link)),
        "create": lambda: rw.create(rw.walk(link), "made"),
        "mkdir": lambda: rw.mkdir(rw.walk(link), "made"),
        "unlink": lambda: rw.unlinkat(fid, "secret"),
        "rename out": lambda: rw.renameat(0, "file", fid, "made"),
        "rename in": lambda: rw.renameat(fid, "secret", 0, "made"),
        "size": lambda: rw.setattr(rw.walk(link), valid=0x8),
        "attribute": lambda: rw.setxattr(rw.walk(link), "user.attack", b"1"),
    }

    came = {name: refused(act) for name, act in attacks.items()}

    assert rw.qid(fid)[0] == SYMLINK
    assert [name for name, result in came.items() if result == ""] == []
    # Its mode and times are its own; a hard link is one to the link.
    with suppress(Refused):
        rw.setattr(fid, valid=0x1, mode=0o777)
    with suppress(Refused):
        rw.link(rw.walk(), fid, "second")
        assert (there.writable / "second").is_symlink()


def _opened(share: Raw9p, *names: str) -> int:
    fid = share.walk(*names)
    share.open(fid)
    return fid


def test_a_directory_that_turns_into_a_link_leads_nowhere(there: There) -> None:
    """As a second agent on the host swaps it, between one message and the next."""
    rw = there.rw
    fid, file, opened = rw.walk("dir"), rw.walk("dir", "file"), rw.walk("dir")
    rw.open(opened)
    os.rename(there.writable / "dir", there.writable / "gone")
    (there.writable / "dir").symlink_to(there.outside)
    (there.outside / "file").write_text(SECRET)
    there.before = seen(there.outside)

    attacks: dict[str, Callable[[], object]] = {
        "read": lambda: content(rw, "secret", fid=fid),
        "read by a fid of before": lambda: rw.open(file),
        "create": lambda: rw.create(rw.walk(fid=fid), "made"),
        "mkdir": lambda: rw.mkdir(fid, "made"),
        "symlink": lambda: rw.symlink(fid, "made", "target"),
        "link": lambda: rw.link(fid, rw.walk("file"), "made"),
        "unlink": lambda: rw.unlinkat(fid, "secret"),
        "rename": lambda: rw.renameat(0, "file", fid, "made"),
        "rename in": lambda: rw.renameat(fid, "secret", 0, "made"),
        "mode": lambda: rw.setattr(file, valid=0x1, mode=0o777),
        "size": lambda: rw.setattr(file, valid=0x8),
        "remove": lambda: rw.call(REMOVE, struct.pack("<I", rw.walk(fid=file))),
    }
    came = {name: refused(act) for name, act in attacks.items()}

    assert [name for name, result in came.items() if result == ""] == []
    with suppress(Refused):
        assert b"secret" not in rw.names(opened)


def test_no_device_is_made_and_none_is_opened(there: There) -> None:
    rw = there.rw
    os.mkfifo(there.writable / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(there.writable)  # a socket's path is short
        listener.bind("socket")

        opened = {name: refused(rw.open, rw.walk(name), os.O_RDWR) for name in ("fifo", "socket")}
    made = {
        kind: refused(rw.mknod, 0, "made", kind | 0o666, device)
        for kind, device in ((stat.S_IFCHR, (1, 3)), (stat.S_IFBLK, (7, 0)))
    }

    assert opened == {"fifo": "ENXIO", "socket": "ENXIO"}
    assert set(made.values()) == {"EPERM"}
    assert not (there.writable / "made").exists()


def test_nothing_is_given_away_and_nothing_gains_a_capability(there: There) -> None:
    rw = there.rw
    file = rw.walk("file")
    capable = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
    before = (there.writable / "file").stat()

    given = [refused(lambda v=valid: rw.setattr(file, valid=v, uid=0, gid=0)) for valid in (0x2, 0x4, 0x6)]
    marked = {
        name: refused(rw.setxattr, file, name, value)
        for name, value in {
            "security.capability": capable,
            "trusted.overlay.opaque": b"y",
            "security.selinux": b"x",
        }.items()
    }

    after = (there.writable / "file").stat()
    assert given == ["EPERM"] * 3
    assert "" not in marked.values()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert [name for name in os.listxattr(there.writable / "file") if not name.startswith("user.")] == []


def test_long_names_and_ways_are_refused_and_the_next_works(there: There) -> None:
    rw = there.rw

    names = {size: refused(rw.mkdir, 0, "n" * size) for size in (255, 256, 4096, 30_000)}
    fid, deep = 0, 0
    with suppress(Refused):
        for _ in range(40):
            rw.mkdir(fid, "d" * 200)
            fid, deep = rw.walk("d" * 200, fid=fid), deep + 1

    assert names[255] == ""
    assert {names[256], names[4096], names[30_000]} <= {"ENAMETOOLONG", "EINVAL"}
    assert deep > 5
    assert content(rw, "file") == b"granted"


def test_who_holds_a_file_open_has_that_file_alone(there: There) -> None:
    """Removed and made again on the host, the name is another file, which an open one does not reach."""
    rw = there.rw
    fid = rw.walk("file")
    rw.open(fid, os.O_RDWR)
    os.unlink(there.writable / "file")
    (there.writable / "file").write_text("another")

    rw.write(fid, b"GRANTED")

    assert rw.content(fid) == b"GRANTED"
    assert (there.writable / "file").read_text() == "another"


def deeds(share: Raw9p) -> dict[str, Callable[[], object]]:
    """Every message that writes."""
    return {
        "open to read and write": lambda: share.open(share.walk("file"), os.O_RDWR),
        "open to append": lambda: share.open(share.walk("file"), os.O_WRONLY | os.O_APPEND),
        "mode": lambda: share.setattr(share.walk("file"), valid=0x1, mode=0o600),
        "size": lambda: share.setattr(share.walk("file"), valid=0x8),
        "times": lambda: share.setattr(share.walk("file"), valid=0x30),
        "create": lambda: share.create(share.walk(), "made"),
        "symlink": lambda: share.symlink(0, "link", "target"),
        "mkdir": lambda: share.mkdir(0, "directory"),
        "mknod": lambda: share.mknod(0, "node", stat.S_IFREG | 0o666, (0, 0)),
        "link": lambda: share.link(0, share.walk("file"), "second"),
        "attribute": lambda: share.setxattr(share.walk("file"), "user.attack", b"1"),
        "rename": lambda: share.rename(share.walk("dir", "file"), 0, "moved"),
        "renameat": lambda: share.renameat(0, "dir", 0, "other"),
        "unlinkat": lambda: share.unlinkat(0, "file"),
        "rmdir": lambda: share.unlinkat(0, "other", 0x200),
    }


def test_a_read_only_share_is_so_whatever_the_guest_thinks(there: There) -> None:
    """Read-only by QEMU: a mount that root in the guest makes writable changes nothing."""
    before = seen(there.granted)

    control = {name: refused(act) for name, act in deeds(there.rw).items()}
    came = {name: refused(act) for name, act in deeds(there.ro).items()}

    # Some file systems have no attributes of users'.
    assert {name: result for name, result in control.items() if result and name != "attribute"} == {}
    assert set(came.values()) == {"EROFS"}
    assert seen(there.granted) == before


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(WALK, struct.pack("<IIH", 0, 9, 3) + b"\xff\xff", id="a string longer than its message"),
        pytest.param(WALK, struct.pack("<IIH", 0, 9, 60_000), id="names that are not there"),
        pytest.param(WALK, struct.pack("<IIH", 12345, 9, 0), id="a fid that is nobody's"),
        pytest.param(99, b"", id="a message that is none"),
        pytest.param(40, struct.pack("<IQI", 0, 1 << 63, 0xFFFFFFFF), id="more than fits"),
    ],
)
def test_nonsense_ends_neither_qemu_nor_other_shares(there: There, kind: int, body: bytes) -> None:
    # QEMU may give the device up, which then answers no more.
    with suppress(Refused, TimeoutError):
        there.rw.call(kind, body, patience_s=0.5)

    assert content(there.ro, "file") == b"granted"


# ------------------------------------------------------------------------------------- a guest's own root

INIT = """\
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /rw /ro /again
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec >/dev/ttyS0 2>&1
for module in /m/*.ko; do insmod $module; done
echo tags $(cat /sys/bus/virtio/devices/*/mount_tag | tr '\\000' ' ')
how=trans=virtio,version=9p2000.L,rw
mount -t 9p -o $how project_share /rw
mount -t 9p -o $how granted /ro
echo whoami $(id -u)
echo control $(cat /rw/file) $(cat /ro/file)
said() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "worked: $name"; else echo "failed: $name"; fi; }
said write sh -c 'echo written >/rw/made-by-root'
for link in to-secret up/secret to-outside/secret to-shadow; do said "read $link" cat /rw/$link; done
said "above" cat /rw/../outside/secret
said "host by its path" cat OUTSIDE/secret
said "remount" mount -o remount,rw /ro
said "append" sh -c 'echo x >>/ro/file'
said "make" touch /ro/made
said "remove" rm /ro/dir/file
said "mode" chmod 777 /ro/file
said "second mount" sh -c "mount -t 9p -o $how granted /again && touch /again/made"
said "any tag" mount -t 9p -o $how root /again
said "device" mknod /rw/device c 1 3
said "owner" chown 0:0 /rw/file
said "hard link to a link" ln /rw/to-secret /rw/hard
poweroff -f
"""


def test_root_in_the_guest_has_what_was_granted_alone(fetched: Kernel, directories: Path) -> None:
    """A guest with another init, by which one is root: tags, links, ways up, and a share mounted writable."""
    before = seen(directories / "outside"), seen(directories / "granted")
    archive = Archive()
    archive.node("dev/console", "c", 0o600, 5, 1)
    archive.file("bin/busybox", Path(packages.find("busybox")).read_bytes(), 0o755)
    archive.file("init", INIT.replace("OUTSIDE", str(directories / "outside")).encode(), 0o755)
    for number, path in enumerate(modules.closure(fetched.modules, BASE)):
        archive.file(f"m/{number:02}.ko", modules.load(path), 0o644)

    said = booted(fetched, archive.close(), directories)

    assert [line for line in said if line.startswith(("tags", "whoami", "control"))] == [
        "tags project_share granted",
        "whoami 0",
        "control granted granted",
    ]
    assert [line for line in said if line.startswith("worked: ")] == [
        "worked: write",
        "worked: remount",  # the guest's own affair
        "worked: hard link to a link",
    ]
    assert len([line for line in said if line.startswith("failed: ")]) == 14
    assert (directories / "writable/made-by-root").stat().st_uid == os.getuid()
    assert (seen(directories / "outside"), seen(directories / "granted")) == before


def booted(boots: Kernel, initramfs: bytes, directories: Path) -> list[str]:
    """What the guest writes on its serial line, to its end; QEMU by what the launcher renders."""
    shares = (
        (Share(tag="project_share", at="/x", source=str(directories / "writable"), writable=True),
         str(directories / "writable")),
        (Share(tag="granted", at="/y", source=str(directories / "granted")), str(directories / "granted")),
    )  # fmt: skip
    ours, theirs = socket.socketpair()
    initrd = staged("initrd", initramfs)
    with ExitStack() as stack:
        stack.enter_context(ours)
        stack.enter_context(theirs)
        stack.callback(os.close, initrd)
        log = stack.enter_context(open(directories / "log", "wb"))
        parts = qemu.Parts(
            kernel=kernel.vmlinux(boots, str(directories / "cache")), initrd=initrd, ports=(), console=-1,
            network=-1, qmp=theirs.fileno(), shares=shares,
        )  # fmt: skip
        machine = Machine(memory_mib=256, cores=1, accel="tcg", console="virtio")
        argv = qemu.argv(packages.find("qemu-system-x86_64"), machine, parts)
        subprocess.run(
            argv, stdin=subprocess.DEVNULL, stderr=log, pass_fds=(initrd, theirs.fileno()), timeout=110,
            check=True,
        )  # fmt: skip
    lines = (directories / "log").read_text(errors="replace").splitlines()
    return [line.strip() for line in lines]
