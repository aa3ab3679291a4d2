"""Load order and content of modules, by the files beside them."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.vm import modules
from launcher.vm.packed import ELF, ZSTD

DEP = """\
kernel/net/9pnet_virtio.ko: kernel/net/9pnet.ko kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko
kernel/net/9pnet.ko:
kernel/virtio/virtio.ko: kernel/virtio/virtio_ring.ko
kernel/virtio/virtio_ring.ko:
kernel/gpu/virtio-gpu.ko.xz: kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko
extra/ring_a.ko: extra/ring_b.ko
extra/ring_b.ko: extra/ring_a.ko
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "lib/modules/6.1.0-test"
    made.mkdir(parents=True)
    (made / "modules.dep").write_text(DEP)
    (made / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\nkernel/drivers/tty/n-gsm.ko\n")
    return made


def order(directory: Path, *wanted: str) -> list[str]:
    return [path.rpartition("/")[2] for path in modules.closure(str(directory), wanted)]


def test_what_is_needed_comes_first_and_once(directory: Path) -> None:
    assert order(directory, "9pnet_virtio", "virtio", "9pnet") == [
        "virtio_ring.ko",
        "virtio.ko",
        "9pnet.ko",
        "9pnet_virtio.ko",
    ]


def test_paths_are_absolute(directory: Path) -> None:
    assert modules.closure(str(directory), ("9pnet",)) == (f"{directory}/kernel/net/9pnet.ko",)


@pytest.mark.parametrize("name", ["virtio_gpu", "virtio-gpu"])
def test_a_dash_is_an_underscore(directory: Path, name: str) -> None:
    assert order(directory, name) == ["virtio_ring.ko", "virtio.ko", "virtio-gpu.ko.xz"]
    assert order(directory, "n_gsm", "n-gsm") == []


def test_what_is_built_in_is_left_out(directory: Path) -> None:
    assert order(directory, "overlay", "9pnet") == ["9pnet.ko"]


def test_modules_that_need_each_other_come_once(directory: Path) -> None:
    assert order(directory, "ring_a") == ["ring_b.ko", "ring_a.ko"]


def test_a_name_that_the_kernel_does_not_have_is_said_with_the_kernel(directory: Path) -> None:
    with pytest.raises(HostError, match=r"the kernel 6\.1\.0-test has no module fuse"):
        modules.closure(str(directory), ("9pnet", "fuse"))


def test_names_are_those_to_be_loaded_and_those_built_in(directory: Path) -> None:
    assert modules.names(str(directory)) >= {"9pnet", "virtio_gpu", "overlay", "n_gsm"}
    assert "fuse" not in modules.names(str(directory))


@pytest.mark.parametrize("name", ["modules.dep", "modules.builtin"])
def test_a_tree_that_is_not_whole_is_said_with_what_makes_it_so(directory: Path, name: str) -> None:
    (directory / name).unlink()

    with pytest.raises(HostError, match=rf"6\.1\.0-test are not whole: {name}") as caught:
        modules.closure(str(directory), ("9pnet",))

    assert "depmod 6.1.0-test" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ko", ELF + b"module"),
        ("a.ko.xz", lzma.compress(ELF + b"module")),
        ("a.ko.gz", gzip.compress(ELF + b"module", mtime=0)),
    ],
)
def test_a_module_is_loaded_uncompressed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert modules.load(str(tmp_path / name)) == ELF + b"module"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param(lzma.compress(ELF)[:-4], "cannot be read", id="cut"),
        pytest.param(lzma.compress(b"text"), "is damaged", id="no-module"),
        pytest.param(b"", "is damaged", id="empty"),
        pytest.param(ZSTD + b"cut", "cannot be read|nothing here unpacks", id="zstd"),
    ],
)
def test_a_module_that_cannot_be_had_is_said(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "a.ko.xz"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(HostError, match=what) as caught:
        modules.load(str(path))

    assert str(path) in caught.value.what
