"""What is in a process's memory: of QEMU's, all that the guest has ever written to of its own is a part."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.checks.probes.rooted import outside_as_root
from conformance.harness.errors import HarnessError

# given: pid, words (reversed, so that they are nowhere as they are looked for). Prints those that are there.
# By pagemap (proc_pid_pagemap(5)), so that no page comes into being by being looked at.
SOURCE = r"""
import os, struct
PAGE = os.sysconf("SC_PAGESIZE")
PRESENT = 1 << 63 | 1 << 62
words = {word: word[::-1].encode() for word in given["words"]}
found = set()

def runs(pagemap, start, end):
    # Neighbours among the pages that are there, at most 16 MiB at once.
    for at in range(start, end, 4096 * PAGE):
        count = min(4096, (end - at) // PAGE)
        pagemap.seek(at // PAGE * 8)
        data = pagemap.read(count * 8)
        there = [entry & PRESENT for (entry,) in struct.iter_unpack("=Q", data)]
        first = None
        for number, present in enumerate([*there, 0]):
            if present and first is None:
                first = number
            elif not present and first is not None:
                yield at + first * PAGE, (number - first) * PAGE
                first = None

with (
    open(f"/proc/{given['pid']}/maps") as maps,
    open(f"/proc/{given['pid']}/mem", "rb", 0) as memory,
    open(f"/proc/{given['pid']}/pagemap", "rb", 0) as pagemap,
):
    read = 0
    for line in maps.readlines():
        where, mode, *_ = line.split()
        if mode[0] != "r" or "[v" in line:
            continue
        start, end = (int(number, 16) for number in where.split("-"))
        for at, size in runs(pagemap, start, end):
            memory.seek(at)
            data = memory.read(size) or b""
            read += len(data)
            found.update(word for word, text in words.items() if text in data)
print(ascii([read, sorted(found)]))
"""


def holds(pid: int, words: Iterable[str]) -> list[str]:
    """Which of the words are in the memory of a process. Raises HarnessError where nobody here is root."""
    wanted = {word[::-1]: word for word in words}
    read, found = outside_as_root(SOURCE, pid=pid, words=list(wanted))
    if read < 1 << 20:
        raise HarnessError(f"of the memory of process {pid} no more than {read} bytes can be read")
    return sorted(wanted[word] for word in found)
