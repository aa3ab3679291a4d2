"""Row gpu.

Stand-ins take the place of graphics cards, whether or not the machine has one: nodes of the memory devices
(mem(4)), which answer whoever may open them, in a /dev of this run's own. They show that devices come through
as devices, and nothing about drawing. Where no such /dev can be had, the machine's own cards have to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.machine import Machine
from conformance.harness.mounts import REMEDY
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.process import output

DRI = Path("/dev/dri")
DRIVERS = Path("/run/opengl-driver")
# Name → numbers of null, zero and full: open, read and write each tell them apart from a plain file.
STAND_INS = {"renderD128": (1, 5), "card9": (1, 3), "renderD129": (1, 7)}
ASK = r"""
import errno, os, stat
found = {}
for top, _, names in os.walk(given["directory"]):
    for name in names:
        path = os.path.join(top, name)
        status = os.stat(path)
        came = [stat.S_ISCHR(status.st_mode), os.major(status.st_rdev), os.minor(status.st_rdev)]
        reading = (os.O_RDONLY, lambda fd: os.read(fd, 4).hex())
        for flags, act in (reading, (os.O_RDWR, lambda fd: os.write(fd, b"x"))):
            try:
                fd = os.open(path, flags)
                try:
                    came.append(act(fd))
                finally:
                    os.close(fd)
            except OSError as error:
                came.append(errno.errorcode[error.errno])
        found[path] = came
print(ascii(found))
"""


@pytest.fixture
def cards(new_world: Callable[..., World]) -> Iterator[World]:
    """A host with graphics devices: stand-ins, or its own."""
    world = new_world("environment")
    if world.mounts.why_not:
        if not DRI.exists():
            raise HarnessError(f"this machine has no {DRI}, and {world.mounts.why_not}", REMEDY)
        yield world
        return
    world.mounts.own_devices(world.services.scratch("dev"))
    try:
        output((*sudo(), "mkdir", str(DRI)))
        for name, numbers in STAND_INS.items():
            node(DRI / name, numbers)
        yield world
    finally:
        world.mounts.show()


def node(path: Path, numbers: tuple[int, int]) -> None:
    """Make a device node, as root."""
    output((*sudo(), "mknod", "-m", "666", str(path), "c", *map(str, numbers)))


def sudo() -> tuple[str, ...]:
    return () if os.geteuid() == 0 else ("sudo", "-n")


@covers("gpu", "forwarded")
def test_graphics_devices_answer_as_on_the_host(fresh: Callable[..., Sandbox], cards: World) -> None:
    """The nodes below /dev/dri are inside, with the host's numbers, and opening one is opening the device."""
    outside = cards.python(ASK, directory=str(DRI))

    found = fresh(world=cards).inside.python(ASK, directory=str(DRI))

    with on_the_host():
        assert [node for node, (is_device, *_) in outside.items() if is_device] != []
    assert found == outside


@covers("gpu", "forwarded")
def test_a_card_that_comes_later_is_there(fresh: Callable[..., Sandbox], cards: World) -> None:
    """A node that appears on the host while the sandbox runs, appears inside."""
    if (DRI / "renderD128").stat().st_rdev != os.makedev(*STAND_INS["renderD128"]):
        raise HarnessError("nobody plugs a card into this machine", REMEDY)
    sandbox = fresh(world=cards)
    before = sandbox.inside.python(ASK, directory=str(DRI))

    node(DRI / "renderD130", STAND_INS["renderD128"])
    after = sandbox.inside.python(ASK, directory=str(DRI))

    assert set(after) - set(before) == {str(DRI / "renderD130")}
    assert after[str(DRI / "renderD130")] == after[str(DRI / "renderD128")]


@covers("gpu", "forwarded", means=True)
def test_devices_are_mounted_as_devices(fresh: Callable[..., Sandbox], cards: World) -> None:
    """/dev/dri is a mount without nodev, and nothing else of the host's devices comes along."""
    inside = fresh(world=cards).inside

    mounted = inside.mount_point(str(DRI))
    others = inside.output(
        "find /dev -mindepth 1 -path /dev/dri -prune -o \\( -type b -o -type c \\) -print"
    ).split()

    assert mounted.exists
    assert "nodev" not in mounted.options
    expected = {
        f"/dev/{name}"
        for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "pts/0", "pts/ptmx")
    }
    assert {other for other in others if not other.startswith("/dev/pts/")} <= expected


VIRTIO_GPU = (0x1AF4, 0x1050)
HOSTS = ("/dev/dri", "/dev/vfio", "/dev/nvidia", "/dev/kfd")


@covers("gpu", "own")
def test_the_card_is_qemus_and_none_of_the_hosts(sandbox: Machine) -> None:
    """The machine has one graphics card, which QEMU makes of nothing: it has no node of the host's open."""
    opened = []
    for number in os.listdir(f"/proc/{sandbox.qemu}/fd"):
        # Files of shares come and go.
        with suppress(FileNotFoundError):
            opened.append(os.readlink(f"/proc/{sandbox.qemu}/fd/{number}"))
    types = [entry["type"] for entry in sandbox.qmp("qom-list", path="/machine/peripheral-anon")]

    assert sandbox.displays() == [VIRTIO_GPU]
    # Not virtio-vga-gl, which has the host's card draw.
    assert "child<virtio-vga>" in types
    assert "/dev/null" in opened, "what it has open is seen"
    assert [path for path in opened if path.startswith(HOSTS)] == []
    assert not sandbox.inside.file(str(DRI)).exists


@covers("gpu", "absent", variant="off")
def test_without_it_there_is_no_card(fresh: Callable[..., Sandbox], cards: World) -> None:
    """With --without gpu there is neither /dev/dri nor a driver's directory."""
    outside = cards.python(ASK, directory=str(DRI))

    sandbox = fresh(world=cards)
    inside = sandbox.inside

    with on_the_host():
        assert outside
    assert sandbox.displays() == []
    assert inside.python(ASK, directory="/dev/dri") == {}
    assert [path for path in (DRI, DRIVERS) if inside.file(str(path)).exists] == []


@covers("gpu", "absent", variant="bare")
def test_where_the_host_has_no_card_there_is_none(fresh: Callable[..., Sandbox]) -> None:
    """On a host without a graphics card there is no /dev/dri inside."""
    inside = fresh().inside
    if DRI.exists():
        raise HarnessError(f"this machine has a {DRI} that cannot be hidden", REMEDY)

    assert not inside.file(str(DRI)).exists
