"""Which lies are told in one start: one of a machine takes seconds, and a lie about one grant breaks one row.

Never two about the same row, or about rows of which one is looked at with the other's help: a check that
turns red by the one lie would count for the other. What is caught beside others was caught by its own row's
checks; what is not is told once more, alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from conformance.harness.cells import FOLLOWS
from sabotage.spoils import WITH, Spoil

CHECKS = Path(__file__).parent.parent / "conformance/checks"
# Without these nothing inside can be asked, or nothing belongs to whom it should.
FOUNDATIONS = frozenset({"home", "project", "terminal", "tmp", "uid"})


def checks() -> dict[str, dict[Path, set[str]]]:
    """Row → the files that have checks of it, each with the rows whose resource these need besides.

    By the text of the files: to import them all takes longer than most rows do.
    """
    found: dict[str, dict[Path, set[str]]] = {}
    for path in sorted(CHECKS.glob("test_*.py")):
        for row, needs in _covers(ast.parse(path.read_text())):
            found.setdefault(row, {}).setdefault(path, set()).update(needs)
    return found


def _covers(module: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "covers":
            needs = next((word.value for word in call.keywords if word.arg == "needs"), ast.Tuple([]))
            yield ast.literal_eval(call.args[0]), ast.literal_eval(needs)


def batches(spoils: Iterable[Spoil], backend: str) -> list[tuple[Spoil, ...]]:
    """All of them, each in the first batch where it disturbs nobody; most are alone."""
    related = _related(backend)
    found: list[list[Spoil]] = []
    for spoil in spoils:
        fitting = (batch for batch in found if all(_apart(spoil, other, related) for other in batch))
        batch = next(fitting, None)
        if batch is None:
            found.append([spoil])
        else:
            batch.append(spoil)
    return sorted(map(tuple, found), key=len, reverse=True)


def _apart(one: Spoil, other: Spoil, related: set[frozenset[str]]) -> bool:
    rows = {one.row, other.row}
    return (
        one.own
        and other.own
        and one.variant == other.variant
        and len(rows) == 2
        and rows not in related
        and rows.isdisjoint(FOUNDATIONS)
    )


def _related(backend: str) -> set[frozenset[str]]:
    """Pairs of rows."""
    needs = ((row, other) for row, files in checks().items() for named in files.values() for other in named)
    granted = ((row, other) for (of, row), others in WITH.items() if of == backend for other in others)
    return {frozenset(pair) for pair in (*FOLLOWS.items(), *needs, *granted)}
