"""The host's time of day beside its monotonic clock, for a guest that has to be told of changes."""

from __future__ import annotations

import time


class Clock:
    """Notices when this host's time of day was set, or went on while it slept: a guest's did not."""

    LEAST_S = 2.0

    def __init__(self) -> None:
        self._ahead = self._now()

    def jumped(self) -> bool:
        """Whether it has, since this was asked last."""
        ahead = self._now()
        if abs(ahead - self._ahead) < self.LEAST_S:
            return False
        self._ahead = ahead
        return True

    def _now(self) -> float:
        return time.time() - time.monotonic()
