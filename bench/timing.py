"""Wall-clock time of one process from start to end, and of several kinds of them taken in turns."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds of one kind of start."""

    all_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """The middle one: a neighbour on the machine that wakes up once does not move it."""
        return statistics.median(self.all_ms)

    @property
    def least_ms(self) -> float:
        """The one that was disturbed least."""
        return min(self.all_ms)


def in_turns(kinds: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Times]:
    """Runs every kind once in each of `rounds` rounds, and one round before that which does not count.

    So whatever else the machine does meanwhile falls on all kinds alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, measure in kinds.items():
            spent_ms = measure()
            if number:
                taken[name].append(spent_ms)
    return {name: Times(all_ms=tuple(values)) for name, values in taken.items()}


def start_to_end_ms(argv: Sequence[str], environment: Mapping[str, str]) -> float:
    """Milliseconds until the process has ended; its output goes nowhere, but its errors where ours go.

    Inheritable descriptors are passed on. Raises HostError when it does not end with status 0.
    """
    nowhere = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    begin = time.perf_counter_ns()
    pid = os.posix_spawn(argv[0], list(argv), environment, file_actions=nowhere)
    _, wait_status = os.waitpid(pid, 0)
    spent_ms = (time.perf_counter_ns() - begin) / 1e6
    status = os.waitstatus_to_exitcode(wait_status)
    if status:
        raise HostError(
            f"{argv[0]} ended with {status} in the benchmark", "its own words are above, if it had any"
        )
    return spent_ms
