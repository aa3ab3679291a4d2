"""The kernel that the guest gets: which one, where its modules are, and its vmlinux, unpacked once.

A bzImage unpacks itself, which takes 3 of the 5 seconds of a boot under TCG.
"""

from __future__ import annotations

import os
import stat

from launcher.errors import HostError
from launcher.record import Record
from launcher.untrusted import printable
from launcher.vm import cache, image, modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NEEDED = ("9p", "9pnet_virtio", "virtio_pci", "virtio_console")  # no guest is without them
# Where a system keeps modules (NixOS in the last one), each with lib/modules/RELEASE below it.
ROOTS = ("", "/usr", "/run/booted-system/kernel-modules")
KEPT = 3  # unpacked kernels, 60 MB each
FETCH = "have one fetched: invoke setup --backend vm"


class Kernel(Record):
    """`image`: path of a bzImage or vmlinux; `modules`: its directory lib/modules/RELEASE. Both absolute."""

    image: str
    release: str
    modules: str


def find(given: str, environ: Mapping[str, str], home: str, *, system: str = "") -> Kernel:
    """The kernel `given` by its path; with "" the newest in the user's cache that can be used, or else the
    newest that is installed. `system` stands before the paths of what is installed.

    Raises HostError for an image that is none or cannot be read, whose modules are not there, or that lacks
    what every guest needs; and when there is no kernel at all.
    """
    roots = tuple(system + root for root in ROOTS)
    if given:
        path = os.path.abspath(given)
        beside = os.path.dirname(path)
        # kernel-modules: beside NixOS's /run/current-system/kernel.
        return _whole(image.read(path), (os.path.dirname(beside), beside, f"{beside}/kernel-modules", *roots))
    refused: list[HostError] = []
    for found in (_cached(fetched(environ, home), refused), _installed(system, roots, refused)):
        for one, places in sorted(found, key=lambda pair: _version(pair[0].release), reverse=True):
            try:
                return _whole(one, places)
            except HostError as error:
                refused.append(error)
    why = f" ({refused[0].what})" if refused else ""
    raise HostError(f"there is no kernel for the VM here{why}", f"{FETCH}; or name one: --kernel PATH")


def fetched(environ: Mapping[str, str], home: str) -> str:
    """Where `invoke setup` puts kernels: a directory that has one for each, RELEASE, with boot/ and lib/."""
    return f"{cache.cache_dir(environ, home)}/kernel"


def vmlinux(kernel: Kernel, cache_dir: str) -> str:
    """Path of what QEMU is to be given: the vmlinux of `kernel`, unpacked into the cache if need be (1 s).

    Where nothing here unpacks it that is the image itself. Raises HostError for an image that is damaged, and
    for a cache that cannot be written or relied on.
    """
    packed = image.read(kernel.image)
    if not packed.length:
        return kernel.image
    prefix = "vmlinux-"
    path = f"{cache.made(cache_dir)}/{prefix}{kernel.release}-{_identity(kernel.image)}"
    if _usable(path, image.size(packed)):
        return path
    content = image.extracted(packed)
    if content is None:
        return kernel.image
    cache.write(path, content)
    cache.keep_newest(cache_dir, prefix, KEPT)
    return path


def _usable(path: str, size: int) -> bool:
    """Whether it is there and whole; then it counts as used."""
    try:
        found = os.lstat(path)
        cache.check(path, found)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        cache.used(path)
    except FileNotFoundError:  # also when another start removes it at this moment
        return False
    return True


def _identity(path: str) -> str:
    """A name for what the file holds now. No content changes without the change time (which no tool can set),
    and reading it all would take longer."""
    found = os.stat(path)
    return "-".join(f"{n:x}" for n in (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def _cached(directory: str, refused: list[HostError]) -> Iterator[tuple[image.Image, tuple[str, ...]]]:
    for name in _names(directory):
        tree = f"{directory}/{name}"
        path = f"{tree}/boot/vmlinuz-{name}"
        try:
            for part in (tree, path, f"{tree}/lib/modules/{name}"):
                cache.check(part)
            cache.check(directory, os.stat(directory))
            yield image.read(path), (tree,)
        except FileNotFoundError as error:
            what = (
                f"{printable(tree)}, of the cache, is not whole: {printable(str(error.filename))} is missing"
            )
            refused.append(HostError(what, "remove it: it is made again"))
        except HostError as error:
            refused.append(error)


def _installed(
    system: str, roots: tuple[str, ...], refused: list[HostError]
) -> Iterator[tuple[image.Image, tuple[str, ...]]]:
    boot = f"{system}/boot"
    paths = [f"{boot}/{name}" for name in _names(boot) if name.startswith("vmlinuz-")]
    paths += [
        f"{root}/lib/modules/{name}/vmlinuz" for root in roots for name in _names(f"{root}/lib/modules")
    ]
    paths.append(f"{system}/run/booted-system/kernel")
    for path in paths:
        if os.path.exists(path):
            try:
                yield image.read(path), roots
            except HostError as error:
                refused.append(error)


def _whole(found: image.Image, places: Iterable[str]) -> Kernel:
    """The image with its modules, below the first of `places` that has them. Raises HostError."""
    shown = printable(found.path)
    for place in places:
        directory = f"{place}/lib/modules/{found.release}"
        if os.path.isdir(directory):
            break
    else:
        what = f"the modules of the kernel {shown} are missing: there is no lib/modules/{found.release}"
        raise HostError(what, f"install them beside it or in /lib/modules; or {FETCH}")
    known = modules.names(directory)
    lacking = [name for name in NEEDED if name not in known]
    if lacking:
        what = f"the kernel {shown} lacks {', '.join(lacking)}, which a guest needs"
        raise HostError(what, f"take another by --kernel PATH, or {FETCH}")
    return Kernel(image=found.path, release=found.release, modules=directory)


def _names(directory: str) -> list[str]:
    """What lies there, but for what is hidden: a kernel that is being fetched is."""
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except OSError:
        return []


def _version(release: str) -> tuple[int, ...]:
    """For comparison: 6.1.0-9-amd64 is older than 6.1.0-10-amd64."""
    return tuple(map(int, "".join(c if c.isdecimal() else " " for c in release).split()))
