"""The agent on a terminal: what a person would see of it, and do."""

from __future__ import annotations

import os
import re
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pexpect

from fixtures.terminal import hang_up

ROWS, COLUMNS = 40, 120
WAIT_S = 20.0


class Terminal:
    """What a person has before them: words to wait for, keys to press."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], *, cwd: Path) -> None:
        self.written = b""
        self._child: pexpect.spawn[bytes] = pexpect.spawn(
            argv[0],
            [*argv[1:]],
            cwd=os.fspath(cwd),
            env=dict(env),
            timeout=WAIT_S,
            dimensions=(ROWS, COLUMNS),
        )

    def sees(self, words: str) -> None:
        """Wait until they are written: on the screen parted by movements of the cursor, not by spaces."""
        gap = rb"(?:\s|\x1b\[[0-9;?]*[A-Za-z])+"
        self.sees_pattern(gap.join(re.escape(word.encode()) for word in words.split()))

    def sees_pattern(self, pattern: bytes) -> None:
        """Wait until something written fits. AssertionError with what was written instead."""
        found = self._expect(pattern, WAIT_S)
        assert found == 0, f"no {pattern!r} but {self._child.before!r}"

    def watches(self, seconds: float) -> None:
        """Look on for so long, whatever is written."""
        self._expect(None, seconds)

    def types(self, text: str) -> None:
        """Press the keys, then Enter, which counts as a paste when it comes in the same read."""
        self._child.send(text)
        self.sees(text)
        self._child.send("\r")

    def interrupts(self) -> None:
        """Press Ctrl-C."""
        self._child.send("\x03")

    def resizes(self, rows: int, columns: int) -> None:
        """Drag the window's corner."""
        self._child.setwinsize(rows, columns)

    def ends(self) -> int:
        """Wait for the end, and give the exit status."""
        assert self._expect(None, WAIT_S) == 1, f"it goes on: {self._child.before!r}"
        self._child.wait()
        assert self._child.exitstatus is not None, f"killed by signal {self._child.signalstatus}"
        return int(self._child.exitstatus)

    def close(self) -> None:
        """Hang up, and end what stays."""
        hang_up(self._child)

    def modes(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self._child.child_fd)

    def left_on(self) -> set[str]:
        """The DEC private modes that were switched on last, of all that were switched (25: the cursor)."""
        switched: dict[str, bytes] = {}
        for numbers, way in re.findall(rb"\x1b\[\?([0-9;]+)([hl])", self.written):
            switched.update(dict.fromkeys(numbers.decode().split(";"), way))
        assert switched, "a program that switches none cannot leave one on"
        return {number for number, way in switched.items() if way == b"h"}

    def _expect(self, pattern: bytes | None, seconds: float) -> int:
        """0: it was written, 1: the end came, 2: the time is over."""
        never = rb"(?!)"
        found = self._child.expect([pattern or never, pexpect.EOF, pexpect.TIMEOUT], timeout=seconds)
        for part in (self._child.before, self._child.after):
            self.written += part if isinstance(part, bytes) else b""
        return int(found)


def fresh_modes() -> list[Any]:
    """How a terminal is set that nobody has used."""
    ends = os.openpty()
    try:
        return termios.tcgetattr(ends[0])
    finally:
        for end in ends:
            os.close(end)
