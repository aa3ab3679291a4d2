"""Where each start takes seconds: which checks need not run once more, as what they show was shown already.

All run in the default variant; but of one whose parameters are `alike` the first alone. In another variant a
row that promises the same there is proven by one check, which starts no sandbox of its own if there is such a
one. What a variant promises otherwise is proven by all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from conformance.harness.cells import DEFAULT, Cell

# Fixtures by which a check starts a sandbox of its own, or makes a host for one.
STARTING = frozenset({"fresh", "launch", "new_world"})
# Fixtures that are, or belong to, the sandbox that all checks of a variant share.
SHARED = frozenset({"sandbox", "inside", "host"})


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A check that is to be run for a cell. `name`: with its parameters. `starts`: a sandbox of its own, or
    it is as slow. `alike`: as covers has it.
    """

    name: str
    cell: Cell
    means: bool
    starts: bool
    alike: bool = False


def needed(planned: Sequence[Planned], dear: Callable[[str], bool]) -> list[bool]:
    """Of each, whether it is to be run. `dear`: whether a backend's starts are."""
    promised = {_promise(one.cell) for one in planned if one.cell.variant == DEFAULT}
    again = [one for one in planned if one.cell.variant != DEFAULT and _promise(one.cell) in promised]
    chosen: dict[Cell, Planned] = {}
    for one in sorted(again, key=lambda one: one.starts):
        if not one.means:
            chosen.setdefault(one.cell, one)
    spared = {id(one) for one in again if chosen.get(one.cell) is not one}
    spared |= {id(one) for one, more in zip(planned, _more(planned), strict=True) if more}
    return [id(one) not in spared or not dear(one.cell.backend) for one in planned]


def _promise(cell: Cell) -> tuple[str, ...]:
    return (cell.backend, cell.row, cell.word, cell.means)


def _more(planned: Sequence[Planned]) -> Iterator[bool]:
    """Of each, whether one that is alike has come before."""
    seen = set()
    for one in planned:
        key = (one.name.partition("[")[0], one.cell, one.means)
        yield one.alike and key in seen
        seen.add(key)
