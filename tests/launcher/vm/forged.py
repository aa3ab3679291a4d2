"""Kernels that are none, as small files: a bzImage's header around a payload, a vmlinux, trees of modules."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Callable
from pathlib import Path

from launcher.vm.image import PVH
from launcher.vm.packed import ELF

RELEASE = "6.1.0-9-test"
MODULES = ("9p", "9pnet_virtio", "virtio_pci", "virtio_console")


def vmlinux(release: str = RELEASE, *, note: bytes = PVH) -> bytes:
    """What passes for an unpacked kernel: an ELF file with the PVH note and the banner."""
    return ELF + bytes(100) + note + b"\0Linux version %s (gcc) #1\n\0" % release.encode() + bytes(5000)


def bzimage(
    content: bytes | None = None,
    *,
    release: str = RELEASE,
    compress: Callable[[bytes], bytes] = lzma.compress,
) -> bytes:
    """The header that boot.rst describes, a sector of code with the release's text, and the payload."""
    unpacked = vmlinux(release) if content is None else content
    payload = compress(unpacked) + len(unpacked).to_bytes(4, "little")
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20F)
    struct.pack_into("<H", image, 0x20E, 0x100)
    struct.pack_into("<II", image, 0x248, 64, len(payload))
    text = f"{release} (builder) #1".encode() + b"\0"
    image[0x300 : 0x300 + len(text)] = text
    return bytes(image) + bytes(64) + payload + bytes(32)


def tree(root: Path, release: str = RELEASE, *, modules: tuple[str, ...] = MODULES) -> Path:
    """`root`/lib/modules/RELEASE with a modules.dep of these names."""
    made = root / "lib/modules" / release
    made.mkdir(parents=True)
    (made / "modules.dep").write_text("".join(f"kernel/{name}.ko:\n" for name in modules))
    (made / "modules.builtin").write_text("")
    return made


def installed(root: Path, release: str, *, modules: tuple[str, ...] = MODULES) -> Path:
    """A kernel as packages install it: boot/vmlinuz-RELEASE, and its modules."""
    tree(root, release, modules=modules)
    (root / "boot").mkdir(exist_ok=True)
    image = root / "boot" / f"vmlinuz-{release}"
    image.write_bytes(bzimage(release=release))
    return image


def cached(home: Path, release: str) -> Path:
    """A kernel as `invoke setup` leaves it in the cache of `home`."""
    directory = home / ".cache/claude-sandbox/kernel" / release
    directory.mkdir(parents=True, mode=0o755)
    return installed(directory, release)
