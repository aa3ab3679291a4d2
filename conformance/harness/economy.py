"""Where each start takes seconds: which checks need not start one more, as what they show was shown already.

A check that starts sandboxes of its own, or takes as long inside (`slow`), runs in the default variant. In
another one, where its row promises the same, it runs only when nothing else proves the cell there; then the
first of such checks does. Of one whose parameters are `alike` the first alone is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    by_default = {_promise(one) for one in planned if one.cell.variant == DEFAULT}
    more = _more(planned, dear)
    spared = [_is_spared(one, by_default, dear) or alike for one, alike in zip(planned, more, strict=True)]
    proven = _cells(one for one, left_out in zip(planned, spared, strict=True) if not left_out)
    found = []
    for one, left_out in zip(planned, spared, strict=True):
        first = left_out and not one.means and _cell(one) not in proven
        if first:
            proven.add(_cell(one))
        found.append(first or not left_out)
    return found


def _is_spared(one: Planned, by_default: set[tuple[str, ...]], dear: Callable[[str], bool]) -> bool:
    elsewhere = one.cell.variant != DEFAULT and _promise(one) in by_default
    return one.starts and elsewhere and dear(one.cell.backend)


def _more(planned: Sequence[Planned], dear: Callable[[str], bool]) -> Iterator[bool]:
    """Of each, whether one that is alike has come before."""
    seen = set()
    for one in planned:
        key = (one.name.partition("[")[0], one.cell, one.means)
        yield one.alike and key in seen and dear(one.cell.backend)
        seen.add(key)


def _promise(one: Planned) -> tuple[str, ...]:
    return (one.name, one.cell.backend, one.cell.row, one.cell.word)


def _cell(one: Planned) -> tuple[str, ...]:
    return (one.cell.backend, one.cell.variant, one.cell.row)


def _cells(planned: Iterable[Planned]) -> set[tuple[str, ...]]:
    return {_cell(one) for one in planned if not one.means}
