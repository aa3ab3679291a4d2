"""How xdist hands out checks: all of one boot to one worker, so that no sandbox is started twice.

Checks that start all that they need by themselves go by their file, to whichever worker has time. Which those
are stands in their ids: the process that hands out knows nothing else of a check.

Not by xdist's own groups, which are written into node ids that pytest 9 no longer lets anyone change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from conformance.harness.cells import APART, Cell

if TYPE_CHECKING:
    import pytest


def group_of(nodeid: str, groups: Sequence[tuple[str, str]]) -> str:
    """The boot that a check's node id names, by the longest of the known (id, group); else the id itself.

    Of one that is apart, with its file's name after it.
    """
    file, _, inside = nodeid.partition("[")
    fitting = [(len(name), name, group) for name, group in groups if name in inside]
    if not fitting:
        return nodeid
    _, name, group = max(fitting)
    return f"{group} {file.partition('::')[0]}" if name + APART in inside else group


def groups(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """(what a check's id holds, its group) for each cell."""
    found = []
    for cell in cells:
        group = f"{cell.backend}-{cell.variant}"
        found += [(cell.id, group), (cell.means_id, group)]
    return found


class ByBoot(LoadScopeScheduling):  # type: ignore[misc]
    """One unit of work for each backend and variant; the largest first."""

    def __init__(self, config: pytest.Config, log: Any, cells: Iterable[Cell]) -> None:  # noqa: ANN401
        super().__init__(config, log)
        self._groups = groups(cells)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid, self._groups)
