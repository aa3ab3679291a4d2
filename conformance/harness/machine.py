"""A sandbox that is a virtual machine: what is inside has no number here, and QEMU is asked about it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from conformance.harness import as_seen
from conformance.harness.errors import HarnessError
from conformance.harness.sandbox import Sandbox, descendants

ANSWER_S = 10.0
DISPLAY = 0x03
SAMPLE = 31  # all of a million would take a second of the processor on which the guest draws; and no multiple


class Machine(Sandbox):
    """QEMU's. Its processor may be an emulated one, many times slower than ours."""

    start_s = 180.0
    pace = 4.0
    dear = True
    _shots: Path | None = None

    @property
    def qemu(self) -> int:
        """QEMU's number on the host."""
        return self.victim(self.pid)

    @staticmethod
    def victim(launcher: int) -> int:
        """QEMU."""
        return next(pid for pid in descendants(launcher) if "/qemu-system-" in as_seen.link(pid, "exe"))

    @property
    def shares(self) -> dict[str, tuple[Path, bool]]:
        """By its mount tag: the directory of each 9p share, and whether QEMU itself writes nothing there."""
        words = os.fsdecode(as_seen.read(self.qemu, "cmdline")).split("\0")
        given = [_options(words[at + 1]) for at, word in enumerate(words) if word in ("-fsdev", "-device")]
        systems = {options["id"]: options for options in given if "path" in options}
        return {
            options["mount_tag"]: (Path(system["path"]), system.get("readonly") == "on")
            for options in given
            if "mount_tag" in options
            for system in [systems[options["fsdev"]]]
        }

    def more_flags(self) -> tuple[str, ...]:
        """A socket for `qmp`. Its path has at most 107 bytes (unix(7))."""
        self.qmp = Qmp(self.world.services.scratch("qmp") / "socket")
        return ("--qmp-socket", str(self.qmp.path))

    def inner(self) -> dict[int, int]:
        """None: they are its own kernel's."""
        return {}

    def displays(self) -> list[tuple[int, int]]:
        """By their class among QEMU's devices (linux/pci_ids.h)."""
        return [
            (device["id"]["vendor"], device["id"]["device"])
            for bus in self.qmp("query-pci")
            for device in bus["devices"]
            if device["class_info"]["class"] >> 8 == DISPLAY
        ]

    def picture(self) -> Picture:
        """What is on its screen now."""
        if self._shots is None:
            self._shots = self.world.services.scratch("shot")
        path = self._shots / "screen.ppm"
        self.qmp("screendump", filename=str(path))
        return Picture(path.read_bytes())


def _options(text: str) -> dict[str, str]:
    """One of QEMU's lists, where a comma in a value stands twice."""
    parts = (part.replace("\0", ",") for part in text.replace(",,", "\0").split(","))
    return {name: value for name, _, value in (part.partition("=") for part in parts)}


class Picture:
    """A PPM file (ppm(5), 8 bits a channel, as QEMU writes them): `width`, `height`, and the pixels."""

    def __init__(self, data: bytes) -> None:
        kind, size, most, self._pixels = data.split(b"\n", 3)
        if (kind, most) != (b"P6", b"255"):
            raise HarnessError(f"a screendump begins with {data[:20]!r}")
        self.width, self.height = map(int, size.split())

    def share(self, colour: tuple[int, int, int]) -> float:
        """How much of the screen has exactly this colour, by one pixel of SAMPLE."""
        red, green, blue = (self._pixels[n :: 3 * SAMPLE] for n in range(3))
        return sum(pixel == colour for pixel in zip(red, green, blue, strict=True)) / len(red)

    def pixel(self, x: int, y: int) -> tuple[int, ...]:
        """From the upper left."""
        at = 3 * (y * self.width + x)
        return tuple(self._pixels[at : at + 3])


class Qmp:
    """QEMU's monitor (QEMU's documentation, "QMP Reference Manual"): `qmp("query-pci")`.

    One connection for each question, so that none is left open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, command: str, **arguments: Any) -> Any:  # noqa: ANN401  (JSON)
        """What it returns. Raises HarnessError for what it cannot, or does not, answer."""
        try:
            return asyncio.run(asyncio.wait_for(self._ask(command, arguments), ANSWER_S))
        except (QMPError, ExecuteError, OSError, TimeoutError) as error:
            raise HarnessError(f"QMP, {command}: {error!r}") from error

    async def _ask(self, command: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401  (JSON)
        client = QMPClient("conformance")
        await client.connect(str(self.path))
        try:
            return await client.execute(command, arguments)
        finally:
            await client.disconnect()
