"""A real kernel boots from what these parts give: an unpacked image, an initramfs, modules in order."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from pathlib import Path

from fixtures import packages
from launcher.vm import kernel, modules
from launcher.vm.cpio import Archive
from launcher.vm.kernel import Kernel

WANTED = (
    "9p",
    "9pnet_virtio",
    "virtio_pci",
    "virtio_console",
    "overlay",
    "virtio_gpu",
    "virtio_input",
    "fuse",
)
MACHINE = (
    *("-accel", "tcg", "-M", "q35", "-m", "256", "-nodefaults", "-no-user-config", "-no-reboot"),
    *("-display", "none", "-serial", "stdio"),
)
QUIET = "console=ttyS0 quiet panic=-1 cryptomgr.notests"


def booted(image: str, initramfs: bytes, tmp_path: Path) -> list[str]:
    """What the guest writes until it ends, without what the kernel adds."""
    (tmp_path / "initramfs").write_bytes(initramfs)
    files = ("-kernel", image, "-initrd", str(tmp_path / "initramfs"), "-append", QUIET)
    command = [packages.find("qemu-system-x86_64"), *MACHINE, *files]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=100)
    return [line for line in os.fsdecode(done.stdout).splitlines() if not line.startswith("[")]


def started(script: str) -> Archive:
    """An archive whose first process is a shell that runs `script` and turns the machine off."""
    archive = Archive()
    archive.node("dev/console", "c", 0o600, 5, 1)
    archive.file("bin/busybox", Path(packages.find("busybox")).read_bytes(), 0o755)
    archive.file("init", os.fsencode(f"#!/bin/busybox sh\n{script}\n/bin/busybox poweroff -f\n"), 0o755)
    return archive


def test_every_module_of_a_closure_is_loaded_in_its_order(fetched: Kernel, tmp_path: Path) -> None:
    paths = modules.closure(fetched.modules, WANTED)
    names = [f"m/{number:02}.ko" for number in range(len(paths))]
    archive = started(
        "\n".join(
            [
                "/bin/busybox mkdir /proc; /bin/busybox mount -t proc proc /proc",
                *(f"/bin/busybox insmod /{name} || echo failed {name}" for name in names),
                "while read -r name rest; do echo loaded $name; done < /proc/modules",
                "read -r rest < /proc/sys/kernel/osrelease; echo release $rest",
            ]
        )
    )
    for name, path in zip(names, paths, strict=True):
        archive.file(name, modules.load(path), 0o644)

    said = booted(kernel.vmlinux(fetched, str(tmp_path / "cache")), archive.close(), tmp_path)

    assert f"release {fetched.release}" in said
    assert {f"loaded {modules.name_of(path)}" for path in paths} <= set(said)
    assert not [line for line in said if line.startswith("failed")]


def test_the_kernel_makes_of_an_archive_what_was_written(fetched: Kernel, tmp_path: Path) -> None:
    big = bytes(range(256)) * 5000
    odd = "b\udcff '"
    archive = started(
        "\n".join(
            [
                f"/bin/busybox stat -c '%n %a %u %g %F' {path}"
                for path in ("/a", "/a/link", "/a/big", "/dev/null", "/fifo", shlex.quote(f"/a/{odd}"))
            ]
            + ["/bin/busybox readlink /a/link", "/bin/busybox sha256sum < /a/big"]
        )
    )
    archive.file("a/big", big, 0o640, uid=1000, gid=70000)
    archive.file(f"a/{odd}", b"", 0o600)
    archive.symlink("a/link", "../x y", uid=1001, gid=1002)
    archive.directory("a", 0o711, uid=5, gid=6)  # which was made before, as a parent
    archive.node("dev/null", "c", 0o666, 1, 3)
    archive.node("fifo", "p", 0o600)

    said = booted(kernel.vmlinux(fetched, str(tmp_path / "cache")), archive.close(), tmp_path)

    digest = hashlib.sha256(big).hexdigest()
    assert said == [
        "/a 711 5 6 directory",
        "/a/link 777 1001 1002 symbolic link",
        "/a/big 640 1000 70000 regular file",
        "/dev/null 666 0 0 character special file",
        "/fifo 600 0 0 fifo",
        f"/a/{odd} 600 0 0 regular empty file",
        "../x y",
        f"{digest}  -",
    ]
