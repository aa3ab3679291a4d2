"""A kernel for the VM's guest, got without root: the distribution's package, unpacked into the user's cache.

    $XDG_CACHE_HOME/claude-sandbox/kernel/RELEASE/
        boot/vmlinuz-RELEASE
        lib/modules/RELEASE/    the modules that a guest can need, and modules.dep

which is where launcher/vm/kernel.py looks for it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HostError
from launcher.vm import cache, kernel
from tooling import depmod
from tooling.machine import which
from tooling.report import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Each depends on the newest kernel of Debian or Ubuntu. Not linux-image-cloud-amd64, which lacks 9p.
NEWEST = ("linux-image-amd64", "linux-image-generic")
PART = re.compile(r"linux-(image|binary|modules|modules-extra)-\d\S*")
# Below kernel/ of the modules: what the guest's devices, its file systems, and containers inside it take. The
# whole tree has 390 MB, nearly all of it drivers of devices that QEMU has not.
KEEP = (
    "crypto",
    "drivers/block/loop",
    "drivers/block/virtio_blk",
    "drivers/block/zram/zram",
    "drivers/char/hw_random/virtio-rng",
    "drivers/char/virtio_console",
    "drivers/crypto/virtio",
    "drivers/gpu/drm/bochs",  # before Linux 5.18; then below tiny
    "drivers/gpu/drm/tiny/bochs",
    "drivers/gpu/drm/virtio",
    "drivers/hid/hid-generic",
    "drivers/hid/usbhid",
    "drivers/input/evdev",
    "drivers/net/tun",
    "drivers/net/veth",
    "drivers/net/virtio_net",
    "drivers/virtio",
    "fs/9p",
    "fs/binfmt_misc",
    "fs/ext4",
    "fs/fuse",
    "fs/overlayfs",
    "fs/squashfs",
    "net/9p/9pnet",
    "net/9p/9pnet_virtio",
    "net/bridge/bridge",
    "net/vmw_vsock/vmw_vsock_virtio_transport",
)
UNFINISHED = ".new-"  # hidden, so that launcher/vm/kernel.py passes it over
OTHERWISE = (
    "install a kernel with 9p and virtio that your user can read (Fedora's and Arch's are, below /boot or "
    "/lib/modules), or name one: --kernel PATH"
)
ROOM = "it takes 500 MB there, of which 30 stay; XDG_CACHE_HOME puts it elsewhere"


def directory() -> Path:
    """Where kernels are put."""
    return Path(kernel.fetched(os.environ, str(Path.home())))


def fetch(into: Path) -> Path:
    """Fetches the newest kernel into `into`/RELEASE, in place of what is there, and gives that directory.

    Raises HostError when this machine's packages are not apt's, or none is a kernel of x86, when apt cannot
    fetch it, and when there is no room.
    """
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if not which(program):
            raise HostError(f"a kernel is fetched by apt, and there is no {program} here", OTHERWISE)
    if os.uname().machine != "x86_64":
        raise HostError(f"the VM's kernel is one of x86_64, and this is {os.uname().machine}", OTHERWISE)
    with _working(into) as place:
        try:
            return _unpacked(_downloaded(packages(), place / "packages"), place / "tree", into)
        except OSError as error:
            raise HostError(f"the kernel cannot be unpacked below {into}: {error}", ROOM) from error
        except ValueError as error:
            raise HostError(f"apt's kernel is not as kernels are packed: {error}", OTHERWISE) from error


def packages() -> list[str]:
    """The packages that make up the newest kernel that apt knows. Raises HostError when it knows none."""
    for newest in NEWEST:
        found: list[str] = []
        wanted = _depends(newest)
        while wanted:
            name = wanted.pop(0)
            if name not in found:
                found.append(name)
                wanted += _depends(name)
        if found:
            return found
    raise HostError(f"apt knows no kernel here ({', '.join(NEWEST)})", f"sudo apt-get update; or {OTHERWISE}")


def _depends(package: str) -> list[str]:
    """The parts of a kernel among what it depends on."""
    without = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    command = ["apt-cache", "depends", *(f"--no-{kind}" for kind in without), package]
    done = subprocess.run(
        command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    words = [line.split() for line in done.stdout.splitlines()]
    return [word[1] for word in words if len(word) == 2 and word[0] == "Depends:" and PART.fullmatch(word[1])]


def _downloaded(names: Sequence[str], place: Path) -> list[Path]:
    place.mkdir()
    command = ["apt-get", "download", *names]
    _run(command, cwd=place, hint=f"sudo apt-get update, and again; or {OTHERWISE}")
    return sorted(place.glob("*.deb"))


def _unpacked(archives: Sequence[Path], tree: Path, into: Path) -> Path:
    """Unpacks them, leaves what a guest can need, and puts it in its place."""
    for archive in archives:
        _run(["dpkg-deb", "-x", str(archive), str(tree)], hint=ROOM)
    image = _the_one(tree, "boot/vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    found = _the_one(tree, f"**/lib/modules/{release}").parent
    made = tree.parent / release
    for name in ("boot", "lib"):
        cache.made(str(made / name))
    image.rename(made / "boot" / image.name)
    found.rename(made / "lib/modules")
    count = depmod.prune(made / "lib/modules" / release, KEEP)
    target = into / release
    if target.exists():
        target.rename(tree.parent / "old")  # with which it goes
    made.rename(target)
    say(f"kernel {release} with {count} modules: {target}")
    return target


def _the_one(tree: Path, pattern: str) -> Path:
    found = sorted(tree.glob(pattern))
    if len(found) != 1:
        raise ValueError(f"{len(found)} of {pattern} in it")
    return found[0]


@contextmanager
def _working(into: Path) -> Iterator[Path]:
    """A directory in `into` that is gone at the end, as are those of killed fetches; one at a time."""
    cache.made(str(into))
    with open(into / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in into.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left)
        place = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=into))
        try:
            yield place
        finally:
            shutil.rmtree(place)


def _run(command: list[str], *, hint: str, cwd: Path | None = None) -> None:
    say(f"$ {shlex.join(command)}")
    status = subprocess.run(command, cwd=cwd, stdout=sys.stderr, check=False).returncode
    if status:
        raise HostError(f"{shlex.join(command[:2])} ended with {status}; its output is above", hint)
