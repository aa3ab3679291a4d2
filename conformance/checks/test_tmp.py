"""Row tmp."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from conformance.checks.probes.held import held
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.listeners import canary

PLACES = ("/tmp", "/var/tmp", "/dev/shm")

MAKE = """
for place in given["places"]:
    with open(f"{place}/{given['canary']}", "w") as file:
        file.write(given["canary"])
print(True)
"""
REMOVE = """
for place in given["places"]:
    if os.path.exists(f"{place}/{given['canary']}"):
        os.unlink(f"{place}/{given['canary']}")
"""
# By name, and by what is in any file there: another name would do as well.
LOOK = """
import os, stat
word = given["half"] + given["other"]
found = set()
for place in given["places"]:
    for where in (place, f"/proc/1/root{place}", f"/proc/self/root{place}"):
        try:
            names = os.listdir(where)
        except OSError:
            names = []
        for name in names:
            try:
                if stat.S_ISREG(os.lstat(f"{where}/{name}").st_mode):
                    with open(f"{where}/{name}", errors="replace") as file:
                        name += file.read(4096)
            except OSError:
                pass
            if word in name:
                found.add(place)
print(ascii(sorted(found)))
"""


@covers("tmp", "own")
def test_no_temporary_file_of_the_host_is_there(inside: Inside, host: World) -> None:
    """A file in the host's /tmp, /var/tmp or /dev/shm is not there inside, under any name."""
    word = canary()
    how: dict[str, Any] = {"places": PLACES, "half": word[:15], "other": word[15:]}

    with held(host, MAKE, REMOVE, canary=word, places=PLACES):
        control = host.python(LOOK, **how)
        found = inside.python(LOOK, **how)

    with on_the_host():
        assert control == sorted(PLACES), "the same probe has to find them on the host"
    assert found == []


@covers("tmp", "own")
def test_temporary_files_stay_inside(inside: Inside, host: World) -> None:
    """Anybody can write in /tmp, /var/tmp and /dev/shm, and the host sees nothing of it."""
    del host
    word = canary()
    memory = """
from multiprocessing.shared_memory import SharedMemory
made = SharedMemory(given["name"], create=True, size=9)
made.unlink()
made.close()
print(True)
"""

    written = [inside.write(f"{place}/{word}", word) for place in PLACES]
    read = [inside.check_output(f"cat {place}/{word}") for place in PLACES]
    modes = inside.check_output("stat -c %a /tmp /var/tmp /dev/shm").split()
    shared = inside.python(memory, name=word[:20])
    outside = swept(f"{place}/{word}" for place in PLACES)
    inside.output(f"rm -f {' '.join(f'{place}/{word}' for place in PLACES)}")

    assert [done.rc for done in written] == [0, 0, 0]
    assert read == [word] * 3
    assert modes[:2] == ["1777", "1777"]
    assert shared
    assert outside == []


@covers("tmp", "own", variant=("default", "no-network", "bare", "off"))
def test_temporary_files_are_gone(
    host: World, new_world: Callable[..., World], launch: Callable[..., CompletedProcess[bytes]]
) -> None:
    """What is written there is not there at the next start, and never on the host."""
    del host
    world, word = new_world(), canary()
    names = [f"{place}/{word}" for place in PLACES]
    files = " ".join(names)
    shell = ("--quiet", "--shell", str(world.path), "-c")

    first = launch(world, *shell, f"echo {word} | tee {files} /project/note >/dev/null && cat {names[0]}")
    outside = swept(names)
    second = launch(world, *shell, f"cat {files}; cat /project/note")

    assert first.stdout.decode().split() == [word], first.stderr
    assert outside == []
    assert second.stdout.decode().split() == [word], second.stderr


def swept(names: Iterable[str]) -> list[str]:
    """Which of the files came to be on the host, where they do not stay."""
    found = [Path(name) for name in names if Path(name).exists()]
    for path in found:
        path.unlink()
    return list(map(str, found))


@covers("tmp", "own", means=True)
def test_each_is_a_file_system_of_its_own(inside: Inside, cell: Cell) -> None:
    """/tmp and /var/tmp are the file system that the table names; /dev/shm lies on one."""
    kinds = inside.check_output("stat -f -c %T /tmp /var/tmp /dev/shm").split()

    assert kinds == [cell.means] * 3
    assert inside.mount_point("/tmp").exists
    assert inside.mount_point("/var/tmp").exists
