"""What is said while a start takes more than a moment."""

from __future__ import annotations

import os
import time


class Notice:
    """One line on the terminal while a start takes more than a moment; it goes away when that is over."""

    AFTER_S = 1.0

    def __init__(self) -> None:
        self._due = time.monotonic() + self.AFTER_S
        self._shown = False

    def left(self) -> float | None:
        """Seconds until it is due; None once it is shown."""
        return None if self._shown else max(0.0, self._due - time.monotonic())

    def show(self) -> None:
        """Show it, if it is due."""
        if not self._shown and time.monotonic() >= self._due:
            self._shown = True
            os.write(2, b"claude-sandbox: the machine starts\xe2\x80\xa6")

    def close(self) -> None:
        """Take it away."""
        self._due = float("inf")
        if self._shown:
            self._shown = False
            os.write(2, b"\r\x1b[K")
