"""Which kernel is taken, what is said of those that cannot be, and the cache of unpacked ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.vm import image, kernel
from launcher.vm.kernel import Kernel, find
from tests.launcher.program import NOBODY
from tests.launcher.vm.children import child, together
from tests.launcher.vm.forged import MODULES, RELEASE, bzimage, cached, installed, tree, vmlinux


def of(tmp_path: Path, given: str | Path = "") -> Kernel:
    """What is found where the home and what is installed lie below `tmp_path`."""
    return find(str(given), {}, str(tmp_path / "home"), system=str(tmp_path / "system"))


def refused(tmp_path: Path, given: str | Path = "") -> HostError:
    with pytest.raises(HostError) as caught:
        of(tmp_path, given)
    assert caught.value.hint
    return caught.value


def test_a_given_kernel_comes_with_the_modules_beside_it(tmp_path: Path) -> None:
    cached(tmp_path / "home", "9.9.9")
    image = installed(tmp_path / "given", RELEASE)

    found = of(tmp_path, image)

    modules = tmp_path / "given/lib/modules" / RELEASE
    assert found == Kernel(image=str(image), release=RELEASE, modules=str(modules))


def test_a_given_vmlinux_may_have_its_modules_where_the_systems_are(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(vmlinux())
    modules = tree(tmp_path / "system/usr")

    found = of(tmp_path, tmp_path / "vmlinux")

    assert (found.image, found.modules) == (str(tmp_path / "vmlinux"), str(modules))


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, RELEASE)
    monkeypatch.chdir(tmp_path / "boot")

    assert of(tmp_path, f"vmlinuz-{RELEASE}").image == str(tmp_path / f"boot/vmlinuz-{RELEASE}")


def test_the_newest_of_the_cache_comes_before_what_is_installed(tmp_path: Path) -> None:
    for release in ("6.1.0-10-amd64", "6.1.0-9-amd64"):
        cached(tmp_path / "home", release)
    installed(tmp_path / "system", "6.9.0")

    assert of(tmp_path).release == "6.1.0-10-amd64"


def test_the_cache_is_where_xdg_says(tmp_path: Path) -> None:
    cached(tmp_path / "home", RELEASE)

    found = find("", {"XDG_CACHE_HOME": str(tmp_path / "home/.cache")}, "/nonexistent", system="/nonexistent")

    assert found.release == RELEASE


def test_the_newest_that_is_installed_and_has_9p_is_taken(tmp_path: Path) -> None:
    system = tmp_path / "system"
    installed(system, "6.1.0-9-amd64")
    installed(system, "6.1.0-10-amd64")
    installed(system, "6.1.0-11-cloud-amd64", modules=MODULES[1:])
    (system / "boot/vmlinuz-broken").write_text("")

    assert of(tmp_path).release == "6.1.0-10-amd64"


def test_a_kernel_beside_its_modules_is_found(tmp_path: Path) -> None:
    """As on Fedora and Arch; what /boot has there does not say its release, or cannot be read."""
    modules = tree(tmp_path / "system/usr")
    (modules / "vmlinuz").write_bytes(bzimage())

    assert of(tmp_path).image == str(modules / "vmlinuz")


def test_a_kernel_of_nixos_is_found(tmp_path: Path) -> None:
    booted = tmp_path / "system/run/booted-system"
    modules = tree(booted / "kernel-modules")
    (booted / "kernel").write_bytes(bzimage())

    assert of(tmp_path).modules == str(modules)
    booted.rename(tmp_path / "current-system")
    modules = tmp_path / "current-system/kernel-modules/lib/modules" / RELEASE
    assert of(tmp_path, tmp_path / "current-system/kernel").modules == str(modules)


def test_what_is_built_in_is_there(tmp_path: Path) -> None:
    image = installed(tmp_path / "system", RELEASE, modules=MODULES[1:])
    builtin = tmp_path / "system/lib/modules" / RELEASE / "modules.builtin"
    builtin.write_text("kernel/fs/9p/9p.ko\n")

    assert of(tmp_path).image == str(image)


def test_no_kernel_at_all_is_said_with_what_fetches_one(tmp_path: Path) -> None:
    error = refused(tmp_path)

    assert error.what == "there is no kernel for the VM here"
    assert "invoke setup --backend vm" in error.hint


@pytest.mark.parametrize("lacking", MODULES)
def test_a_kernel_without_what_a_guest_needs_is_said(tmp_path: Path, lacking: str) -> None:
    image = installed(tmp_path / "system", RELEASE, modules=tuple(n for n in MODULES if n != lacking))

    assert f"{image} lacks {lacking}, which" in refused(tmp_path, image).what
    assert f"{image} lacks {lacking}, which" in refused(tmp_path).what


def test_modules_that_are_missing_are_said(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(bzimage())

    error = refused(tmp_path, tmp_path / "bzImage")

    assert f"{tmp_path}/bzImage are missing: there is no lib/modules/{RELEASE}" in error.what


def test_a_file_that_is_no_kernel_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("text")

    assert "is no kernel for the VM" in refused(tmp_path, tmp_path / "notes").what
    assert "No such file" in refused(tmp_path, tmp_path / "gone").what


@pytest.mark.parametrize("part", ["", RELEASE, "{0}/boot/vmlinuz-{0}", "{0}/lib/modules/{0}"])
def test_a_cached_kernel_that_others_may_write_is_passed_over(tmp_path: Path, part: str) -> None:
    cached(tmp_path / "home", RELEASE)
    path = tmp_path / "home/.cache/claude-sandbox/kernel" / part.format(RELEASE)
    assert of(tmp_path).release == RELEASE

    path.chmod(path.stat().st_mode | 0o002)

    assert "can be written by others" in refused(tmp_path).what


@pytest.mark.as_root
def test_a_cached_kernel_of_somebody_elses_is_passed_over(tmp_path: Path) -> None:
    image = cached(tmp_path / "home", RELEASE)
    installed(tmp_path / "system", "5.10.0")
    os.chown(image, NOBODY, NOBODY)

    assert of(tmp_path).release == "5.10.0"


def test_a_kernel_that_is_being_fetched_is_passed_over(tmp_path: Path) -> None:
    cached(tmp_path / "home", RELEASE)
    kernels = tmp_path / "home/.cache/claude-sandbox/kernel"
    (kernels / RELEASE).rename(kernels / ".new-abc")
    (kernels / "6.2").mkdir()

    assert "6.2, of the cache, is not whole" in refused(tmp_path).what


@pytest.fixture
def one(tmp_path: Path) -> Kernel:
    installed(tmp_path / "system", RELEASE)
    return of(tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def test_the_vmlinux_is_unpacked_once(one: Kernel, cache: str) -> None:
    path = kernel.vmlinux(one, cache)
    inode = os.stat(path).st_ino

    assert Path(path).read_bytes() == vmlinux()
    assert (kernel.vmlinux(one, cache), os.stat(path).st_ino) == (path, inode)
    assert [os.stat(p).st_mode & 0o777 for p in (cache, path)] == [0o700, 0o600]
    assert os.listdir(cache) == [os.path.basename(path)]


def test_a_vmlinux_that_was_given_is_used_as_it_is(tmp_path: Path, cache: str) -> None:
    tree(tmp_path)
    (tmp_path / "vmlinux").write_bytes(vmlinux())

    assert kernel.vmlinux(of(tmp_path, tmp_path / "vmlinux"), cache) == str(tmp_path / "vmlinux")
    assert not os.path.exists(cache)


def test_what_cannot_be_unpacked_is_booted_as_it_is(one: Kernel, cache: str) -> None:
    Path(one.image).write_bytes(bzimage(compress=lambda _: b"\x02\x21\x4c\x18lz4"))

    assert kernel.vmlinux(one, cache) == one.image
    assert os.listdir(cache) == []


@pytest.mark.parametrize("size", [0, 100])
def test_a_cut_file_is_never_used(one: Kernel, cache: str, size: int) -> None:
    path = kernel.vmlinux(one, cache)
    os.truncate(path, size)

    assert kernel.vmlinux(one, cache) == path
    assert Path(path).read_bytes() == vmlinux()


def test_another_image_under_the_same_name_is_unpacked_again(one: Kernel, cache: str) -> None:
    before = kernel.vmlinux(one, cache)
    times = os.stat(one.image)
    other = vmlinux().replace(b"gcc", b"GCC")
    Path(one.image).write_bytes(bzimage(other))
    os.utime(one.image, ns=(times.st_atime_ns, times.st_mtime_ns))  # as cp -p does

    after = kernel.vmlinux(one, cache)

    assert Path(after).read_bytes() == other
    assert Path(before).read_bytes() == vmlinux()


def test_a_vmlinux_that_others_may_write_is_refused(one: Kernel, cache: str) -> None:
    os.chmod(kernel.vmlinux(one, cache), 0o666)

    with pytest.raises(HostError, match="can be written by others"):
        kernel.vmlinux(one, cache)


def test_a_link_in_its_place_is_refused(one: Kernel, cache: str, tmp_path: Path) -> None:
    path = kernel.vmlinux(one, cache)
    os.rename(path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", path)

    with pytest.raises(HostError, match="symbolic link"):
        kernel.vmlinux(one, cache)


def test_a_damaged_image_is_said_and_leaves_nothing(one: Kernel, cache: str) -> None:
    content = bytearray(Path(one.image).read_bytes())
    content[1100:1140] = bytes(40)
    Path(one.image).write_bytes(content)

    with pytest.raises(HostError, match="is damaged"):
        kernel.vmlinux(one, cache)
    assert os.listdir(cache) == []


def test_old_ones_go_when_a_newer_one_is_made(tmp_path: Path, cache: str) -> None:
    paths = []
    for number in range(5):
        installed(tmp_path / "system", f"6.1.{number}")
        paths.append(kernel.vmlinux(of(tmp_path), cache))
        os.utime(paths[-1], (1000 + number, 1000 + number))
        assert os.path.exists(paths[0])  # since it is used all the while
        kernel.vmlinux(of(tmp_path, tmp_path / "system/boot/vmlinuz-6.1.0"), cache)

    assert sorted(os.listdir(cache)) == sorted(os.path.basename(paths[n]) for n in (0, 3, 4))


@pytest.mark.parametrize("left", [None, b"cut"], ids=["empty", "cut"])
def test_starts_at_the_same_moment_all_get_a_whole_one(one: Kernel, cache: str, left: bytes | None) -> None:
    path = kernel.vmlinux(one, cache)
    script = (
        "from launcher.vm.kernel import Kernel, vmlinux\n"
        "kernel = Kernel(image=sys.argv[1], release=sys.argv[2], modules='')\n"
        "sys.stdout.buffer.write(open(vmlinux(kernel, sys.argv[3]), 'rb').read())\n"
    )
    for _ in range(3):
        if left is None:
            os.unlink(path)
        else:
            Path(path).write_bytes(left)

        seen = together([child(script, one.image, one.release, cache) for _ in range(5)])

        assert seen == [vmlinux()] * 5
        assert os.listdir(cache) == [os.path.basename(path)]


def test_a_real_kernel_is_unpacked(fetched: Kernel, tmp_path: Path) -> None:
    path = kernel.vmlinux(fetched, str(tmp_path / "cache"))

    assert image.read(path).release == fetched.release
    assert os.path.getsize(path) == image.size(image.read(fetched.image))
