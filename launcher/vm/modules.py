"""A kernel's loadable modules: which ones a wanted one needs, in which order, and their content.

By the files that depmod(8) and the kernel's build leave beside them, modules.dep(5) and modules.builtin. In
names `-` and `_` are the same, as for modprobe(8).
"""

from __future__ import annotations

import os

from launcher.errors import HostError
from launcher.untrusted import printable
from launcher.vm.packed import ELF, ZSTD, unpacked


def name_of(path: str) -> str:
    """The module's name by its file's: kernel/drivers/net/virtio_net.ko.xz is virtio_net."""
    return canonical(path.rpartition("/")[2].partition(".ko")[0])


def canonical(name: str) -> str:
    """A module's name as the kernel itself spells it."""
    return name.replace("-", "_")


def names(modules_dir: str) -> frozenset[str]:
    """All that this kernel has, to be loaded or built in. Raises HostError as `closure` does."""
    return frozenset((*_dependencies(modules_dir), *_built_in(modules_dir)))


def closure(modules_dir: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Absolute paths of the modules' files in the order in which they can be loaded, each once; what the
    kernel has built in is left out.

    `modules_dir`: …/lib/modules/RELEASE. Raises HostError for a name that the kernel does not have, and when
    there is no modules.dep.
    """
    dependencies = _dependencies(modules_dir)
    built_in = _built_in(modules_dir)
    order: dict[str, None] = {}

    def add(path: str, above: tuple[str, ...]) -> None:
        if path in order or path in above:  # a ring is no kernel's, but would have no end
            return
        # A line of modules.dep names all that is needed, what is to be loaded first last.
        for needed in reversed(dependencies.get(name_of(path), (path,))[1:]):
            add(needed, (*above, path))
        order[path] = None

    for name in map(canonical, wanted):
        if name in dependencies:
            add(dependencies[name][0], ())
        elif name not in built_in:
            raise HostError(
                f"the kernel {release_of(modules_dir)} has no module {name}",
                "take another by --kernel PATH, or have one fetched: invoke setup --backend vm",
            )
    return tuple(os.path.join(modules_dir, path) for path in order)


def load(path: str) -> bytes:
    """The module uncompressed, as every kernel takes it. Raises HostError when that cannot be had."""
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            packed = file.read()
        content = unpacked(packed)
    except (OSError, ValueError) as error:
        raise HostError(
            f"the kernel module {shown} cannot be read: {error}", "install that kernel again"
        ) from error
    if content is None and packed.startswith(ZSTD):
        raise HostError(
            f"nothing here unpacks the kernel module {shown}", "install zstd, or use Python 3.14 or newer"
        )
    if content is None or not content.startswith(ELF):
        raise HostError(f"the kernel module {shown} is damaged", "install that kernel again")
    return content


def release_of(modules_dir: str) -> str:
    """The kernel's release by the directory of its modules, for messages."""
    return printable(modules_dir.rstrip("/").rpartition("/")[2])


def _dependencies(modules_dir: str) -> dict[str, tuple[str, ...]]:
    """Name → its file and the files that it needs, relative to the directory."""
    found = {}
    for line in _lines(modules_dir, "modules.dep"):
        path, _, needed = line.partition(":")
        if path:
            found[name_of(path)] = (path, *needed.split())
    return found


def _built_in(modules_dir: str) -> frozenset[str]:
    return frozenset(name_of(line) for line in _lines(modules_dir, "modules.builtin") if line)


def _lines(modules_dir: str, name: str) -> list[str]:
    try:
        with open(f"{modules_dir}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().split("\n")
    except OSError as error:
        raise HostError(
            f"the modules of the kernel {release_of(modules_dir)} are not whole: {name}: {error.strerror}",
            f"as root: depmod {release_of(modules_dir)}; or have one fetched: invoke setup --backend vm",
        ) from error
