"""What depmod(8) does, where kmod is not installed: modules.dep of a tree, of which only a part is kept."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from launcher.vm import modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def depends(module: bytes) -> tuple[str, ...]:
    """The names of the modules that one needs, by `depends=` in its .modinfo section (an ELF file, 64 bits).

    Raises ValueError for what is none.
    """
    try:
        for entry in _section(module, b".modinfo").split(b"\0"):
            if entry.startswith(b"depends="):
                names = entry.removeprefix(b"depends=").decode("ascii").split(",")
                return tuple(modules.canonical(name) for name in names if name)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no module: {error}") from error
    raise ValueError("no module: it does not say on what it depends")


def _section(elf: bytes, name: bytes) -> bytes:
    # Elf64_Ehdr and Elf64_Shdr of elf(5): e_shoff; e_shentsize, e_shnum, e_shstrndx; sh_name … sh_size.
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", elf, table + size * number) for number in range(count)]
    for section in sections:
        at = sections[names][4] + section[0]
        if elf[at : at + len(name) + 1] == name + b"\0":
            return elf[section[4] : section[4] + section[5]]
    return b""


def prune(directory: Path, keep: Sequence[str]) -> int:
    """Leaves of the modules in `directory` (lib/modules/RELEASE) those whose path below kernel/ begins with a
    name in `keep` (a file, or a directory), and what these need; writes modules.dep. Returns how many stay.

    Raises HostError and ValueError for modules that cannot be read, ValueError for one that needs another
    which is not there.
    """
    files = {modules.name_of(path.name): path for path in sorted(directory.rglob("*.ko*"))}
    wanted = [name for name, path in files.items() if _named(path.relative_to(directory / "kernel"), keep)]
    needs: dict[str, tuple[str, ...]] = {}
    while wanted:
        name = wanted.pop()
        if name not in needs:
            needs[name] = depends(modules.load(str(files[name])))
            if gone := [other for other in needs[name] if other not in files]:
                raise ValueError(f"{files[name].name} needs {', '.join(gone)}")
            wanted += needs[name]
    for name in files.keys() - needs.keys():
        files[name].unlink()
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    lines = []
    for name in sorted(needs):
        needed = [str(files[other].relative_to(directory)) for other in _all_needed(name, needs)]
        lines.append(" ".join([f"{files[name].relative_to(directory)}:", *needed]))
    (directory / "modules.dep").write_text("\n".join(lines) + "\n")
    return len(needs)


def _named(path: Path, keep: Sequence[str]) -> bool:
    """Whether `keep` has the path, without what it is compressed by, or a directory that it lies in."""
    plain = str(path).partition(".ko")[0]
    return any(plain == name or plain.startswith(f"{name}/") for name in keep)


def _all_needed(name: str, needs: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """What `name` needs, itself or by another, in the order of modules.dep: what is loaded first last."""
    order: dict[str, None] = {}

    def add(one: str) -> None:
        for other in needs[one]:
            if other not in order:
                add(other)
        order[one] = None

    add(name)
    return iter(list(order)[-2::-1])
