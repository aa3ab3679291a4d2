"""modules.dep by our own hand says what depmod's does, and only what is needed stays."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fixtures import packages
from launcher.vm import modules
from launcher.vm.kernel import Kernel
from tooling import depmod

KEEP = ("fs/9p", "net/9p/9pnet_virtio", "drivers/virtio/virtio_pci", "drivers/gpu/drm/virtio")


@pytest.fixture
def tree(fetched: Kernel, tmp_path: Path) -> Path:
    """A copy of a real kernel's modules."""
    return Path(shutil.copytree(fetched.modules, tmp_path / "lib/modules" / fetched.release))


def needed(modules_dep: Path) -> dict[str, set[str]]:
    lines = [line.split() for line in modules_dep.read_text().splitlines()]
    return {first.removesuffix(":"): set(rest) for first, *rest in lines}


def loadable(paths: list[str], needs: dict[str, set[str]]) -> bool:
    """Whether each has what it needs before it."""
    return all(needs[path] <= set(paths[:number]) for number, path in enumerate(paths))


def test_what_a_module_needs_is_read_from_it(tree: Path) -> None:
    path = next(tree.rglob("9pnet_virtio.ko*"))

    assert set(depmod.depends(modules.load(str(path)))) == {"9pnet", "virtio", "virtio_ring"}


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF" + bytes(200), b"text" * 100])
def test_what_is_no_module_is_said(content: bytes) -> None:
    with pytest.raises(ValueError, match="no module"):
        depmod.depends(content)


def test_what_is_kept_and_what_that_needs_stay(tree: Path) -> None:
    before = {modules.name_of(path.name) for path in tree.rglob("*.ko*")}

    count = depmod.prune(tree, KEEP)

    left = {modules.name_of(path.name) for path in tree.rglob("*.ko*")}
    assert {"9p", "9pnet", "9pnet_virtio", "netfs", "virtio", "virtio_pci", "virtio_gpu", "drm"} <= left
    assert {"fuse", "overlay", "ext4", "virtio_net", "virtio_input"} <= before - left
    assert count == len(left)
    assert [path for path in tree.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


def test_the_dependencies_are_those_that_depmod_finds(tree: Path, tmp_path: Path) -> None:
    depmod.prune(tree, [path.name for path in (tree / "kernel").iterdir()])
    ours = needed(tree / "modules.dep")
    command = [packages.find("depmod"), "-b", str(tmp_path), tree.name]
    subprocess.run(command, check=True, capture_output=True)

    assert ours == needed(tree / "modules.dep")
    assert len(ours) > 20


def test_load_order_by_our_file_has_what_is_needed_first(tree: Path) -> None:
    depmod.prune(tree, KEEP)
    needs = needed(tree / "modules.dep")

    order = modules.closure(str(tree), ("virtio_gpu", "9p", "9pnet_virtio", "virtio_pci"))

    paths = [str(Path(path).relative_to(tree)) for path in order]
    assert loadable(paths, needs)
    assert len(paths) > 10


def test_a_line_read_from_its_end_is_an_order_to_load_in(tree: Path) -> None:
    """As modprobe and busybox read it."""
    depmod.prune(tree, KEEP)
    needs = needed(tree / "modules.dep")

    lines = [line.replace(":", "").split() for line in (tree / "modules.dep").read_text().splitlines()]

    assert [line for line in lines if not loadable(line[::-1], needs)] == []


def test_a_module_that_needs_what_is_not_there_is_said(tree: Path) -> None:
    next(tree.rglob("9pnet.ko*")).unlink()

    with pytest.raises(ValueError, match="needs 9pnet"):
        depmod.prune(tree, ("net/9p",))
