"""Look for strings everywhere that a process can read: files, and what other processes hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conformance.harness.inside import Inside
from conformance.harness.world import World

# given: needles (in hex: a console's own files must not be found), roots, skip (directories), others,
# of_processes (names below /proc/PID). Prints {number of a needle: [where it was found]}.
SOURCE = r"""
import os, stat

needles = [bytes.fromhex(needle) for needle in given["needles"]]
found = {}


def look(path, limit=1 << 24):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        content = b""
        while len(content) < limit and (chunk := os.read(fd, 1 << 20)):
            content += chunk
    except OSError:
        return
    finally:
        os.close(fd)
    for number, needle in enumerate(needles):
        if needle in content:
            found.setdefault(number, []).append(path)


for root in given["roots"]:
    for top, directories, files in os.walk(root):
        directories[:] = [d for d in directories if os.path.join(top, d) not in given["skip"]]
        for name in files:
            path = os.path.join(top, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            if given["others"] and not status.st_mode & 0o004:
                continue
            look(path)
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in given["of_processes"]:
        look(f"/proc/{pid}/{name}")
print(ascii(found))
"""
# The host's own programs, which are no user's; and the kernel's files, which are looked at one by one.
SYSTEM = ("/usr", "/proc", "/sys", "/dev", "/nix", "/opt")


def inside(
    sandbox: Inside, needles: Sequence[str | bytes], *, skip: Sequence[str] = (), others: bool = False
) -> dict[str, Any]:
    """Needle → where it was found: in each file, and in the environment and argv of each process.

    `others`: only in files that everybody may read, and not in environments.
    """
    return _named(
        needles, sandbox.python(SOURCE, timeout_s=60, **_given(needles, ["/"], [*SYSTEM, *skip], others))
    )


def on_host(
    host: World, needles: Sequence[str | bytes], roots: Sequence[str], *, others: bool = False
) -> dict[str, Any]:
    """The same on the host, as the user, in these directories and in the user's processes."""
    return _named(needles, host.python(SOURCE, timeout_s=60, **_given(needles, roots, (), others)))


def _given(
    needles: Sequence[str | bytes], roots: Sequence[str], skip: Sequence[str], others: bool
) -> dict[str, Any]:
    return {
        "needles": [_bytes(needle).hex() for needle in needles],
        "roots": list(roots),
        "skip": list(skip),
        "others": others,
        "of_processes": ["cmdline"] if others else ["cmdline", "environ"],
    }


def _named(needles: Sequence[str | bytes], found: dict[str, Any]) -> dict[str, Any]:
    return {_bytes(needles[int(number)]).decode(errors="replace"): where for number, where in found.items()}


def _bytes(needle: str | bytes) -> bytes:
    return needle.encode() if isinstance(needle, str) else needle
