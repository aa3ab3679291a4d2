"""Fetching a kernel, with stand-ins for apt alone: dpkg-deb packs and unpacks, and the modules are real."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures import packages
from launcher.errors import HostError
from launcher.vm import kernel as kernels
from launcher.vm import modules
from launcher.vm.kernel import Kernel
from tests.launcher.vm.children import child, together
from tests.launcher.vm.forged import bzimage
from tooling import kernel, machine

RELEASE = "6.1.0-9-test"
APT_CACHE = """\
#!/bin/sh
for last; do :; done
grep "^$last " "$0.known" | sed 's/^[^ ]* /  Depends: /'
"""
APT_GET = """\
#!/bin/sh
[ "$1" = download ] || exit 100
shift
for name; do cp "$0.archives/$name.deb" . || exit 100; done
"""


@dataclass(frozen=True, kw_only=True)
class Apt:
    """Stand-ins in `programs`, what apt-cache knows, the packages that apt-get has, and where kernels go."""

    programs: Path
    into: Path

    def know(self, *depends: str) -> None:
        """Makes apt-cache know these dependencies, each `package other`."""
        (self.programs / "apt-cache.known").write_text("".join(f"{line}\n" for line in depends))

    def pack(self, name: str, tree: Path) -> None:
        """Makes a package of `tree`."""
        (tree / "DEBIAN").mkdir(exist_ok=True)
        control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: test\nDescription: test\n"
        (tree / "DEBIAN/control").write_text(control)
        archives = self.programs / "apt-get.archives"
        archives.mkdir(exist_ok=True)
        command = [packages.find("dpkg-deb"), "-Znone", "-b", str(tree), str(archives / f"{name}.deb")]
        subprocess.run(command, check=True, capture_output=True)

    def write(self, program: str, source: str) -> None:
        """Replaces a stand-in."""
        (self.programs / program).write_text(source)
        (self.programs / program).chmod(0o755)

    def left(self) -> list[str]:
        """What lies where kernels go, but for the lock."""
        return sorted(set(os.listdir(self.into)) - {".lock"})


@pytest.fixture
def tree(fetched: Kernel, tmp_path: Path) -> Path:
    """What a kernel's package unpacks to: some real modules, of which a guest does not need one."""
    made = tmp_path / "package"
    shutil.copytree(fetched.modules, made / "lib/modules" / RELEASE)
    directory = made / "lib/modules" / RELEASE
    (directory / "modules.dep").unlink()  # as Debian's
    (directory / "kernel/sound").mkdir()
    shutil.copy(next(directory.rglob("failover.ko*")), directory / "kernel/sound/soundcore.ko")
    (made / "boot").mkdir()
    (made / "boot" / f"vmlinuz-{RELEASE}").write_bytes(bzimage(release=RELEASE))
    return made


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """A machine whose apt knows of one kernel by way of Debian's newest."""
    made = Apt(programs=tmp_path / "programs", into=tmp_path / "cache/kernel")
    made.programs.mkdir()
    made.write("apt-cache", APT_CACHE)
    made.write("apt-get", APT_GET)
    made.know(f"linux-image-amd64 linux-image-{RELEASE}")
    monkeypatch.setenv("PATH", f"{made.programs}:/usr/bin:/bin")
    return made


@pytest.fixture
def packed(apt: Apt, tree: Path) -> Apt:
    """The same, and the package is there."""
    apt.pack(f"linux-image-{RELEASE}", tree)
    return apt


def found(apt: Apt) -> Kernel:
    """What the launcher finds there."""
    cache = apt.into.parent.parent
    apt.into.parent.rename(cache / "claude-sandbox")
    try:
        return kernels.find("", {"XDG_CACHE_HOME": str(cache)}, "/nonexistent", system="/nonexistent")
    finally:
        (cache / "claude-sandbox").rename(apt.into.parent)


def test_what_is_fetched_is_what_the_launcher_finds(packed: Apt) -> None:
    before = os.umask(0o002)  # as Ubuntu's users have: what others can write is refused
    try:
        fetched = kernel.fetch(packed.into)
    finally:
        os.umask(before)

    assert fetched == packed.into / RELEASE
    assert found(packed).release == RELEASE
    assert packed.left() == [RELEASE]


def test_only_what_a_guest_can_need_is_kept(packed: Apt) -> None:
    directory = kernel.fetch(packed.into) / "lib/modules" / RELEASE

    assert "soundcore" not in modules.names(str(directory))
    assert list(directory.rglob("soundcore*")) == []
    wanted = ("9p", "9pnet_virtio", "virtio_pci", "virtio_console", "virtio_net", "overlay", "fuse")
    assert all(os.path.exists(path) for path in modules.closure(str(directory), wanted))


def test_a_kernel_that_is_there_is_replaced(packed: Apt) -> None:
    image = kernel.fetch(packed.into) / "boot" / f"vmlinuz-{RELEASE}"
    image.write_text("damaged")

    kernel.fetch(packed.into)

    assert image.read_bytes() == bzimage(release=RELEASE)
    assert packed.left() == [RELEASE]


def test_a_kernel_in_parts_below_usr_is_put_together(apt: Apt, tree: Path) -> None:
    """As Ubuntu's: image and modules apart, by two dependencies; below usr/lib as newer releases have it."""
    parts = tree.parent / "modules"
    (parts / "usr").mkdir(parents=True)
    (tree / "lib").rename(parts / "usr/lib")
    apt.pack(f"linux-image-{RELEASE}", tree)
    apt.pack(f"linux-modules-{RELEASE}", parts)
    apt.know(
        f"linux-image-generic linux-image-{RELEASE}",
        "linux-image-generic linux-firmware",
        f"linux-image-{RELEASE} linux-base",
        f"linux-image-{RELEASE} linux-modules-{RELEASE}",
    )

    assert kernel.packages() == [f"linux-image-{RELEASE}", f"linux-modules-{RELEASE}"]
    kernel.fetch(apt.into)
    assert found(apt).release == RELEASE


def test_a_package_that_cannot_be_fetched_is_said_and_leaves_nothing(apt: Apt) -> None:
    with pytest.raises(HostError, match="apt-get download ended with 100") as caught:
        kernel.fetch(apt.into)

    assert "apt-get update" in caught.value.hint
    assert apt.left() == []


def test_a_package_that_is_no_kernel_is_said_and_leaves_nothing(apt: Apt, tree: Path) -> None:
    (tree / "boot" / f"vmlinuz-{RELEASE}").unlink()
    apt.pack(f"linux-image-{RELEASE}", tree)

    with pytest.raises(HostError, match="not as kernels are packed: 0 of boot"):
        kernel.fetch(apt.into)
    assert apt.left() == []


def test_an_apt_that_knows_no_kernel_is_said(apt: Apt) -> None:
    apt.know("other linux-image-1")

    with pytest.raises(HostError, match="apt knows no kernel here") as caught:
        kernel.fetch(apt.into)
    assert "apt-get update" in caught.value.hint


@pytest.mark.parametrize("program", ["apt-get", "apt-cache"])
def test_without_apt_it_is_said_what_else_will_do(
    apt: Apt, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SYSTEM_PATH", str(apt.programs))
    monkeypatch.setenv("PATH", str(apt.programs))
    (apt.programs / program).unlink()

    with pytest.raises(HostError, match=f"there is no {program} here") as caught:
        kernel.fetch(apt.into)

    assert "--kernel" in caught.value.hint
    assert not apt.into.exists()


FETCH = "from pathlib import Path; from tooling import kernel; kernel.fetch(Path(sys.argv[1]))\n"


def test_what_a_killed_fetch_left_goes_with_the_next(packed: Apt) -> None:
    packed.write("apt-get", APT_GET + "kill -KILL $PPID\n")
    with pytest.raises(AssertionError):
        together([child(FETCH, str(packed.into))])
    (left,) = packed.left()
    assert left.startswith(kernel.UNFINISHED)

    packed.write("apt-get", APT_GET)
    kernel.fetch(packed.into)

    assert packed.left() == [RELEASE]


def test_fetches_at_the_same_moment_do_not_disturb_each_other(packed: Apt) -> None:
    together([child(FETCH, str(packed.into)) for _ in range(3)])

    assert packed.left() == [RELEASE]
    assert found(packed).release == RELEASE
