"""Collection fails while a promise has no proof, or a proof no promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from conformance.harness.cells import Cell, cells, variants
from conformance.harness.covers import Cover
from launcher.spec.model import Spec


@dataclass(frozen=True, kw_only=True)
class Check:
    """A collected check, before it is known for which cells: `where` is its file, for messages."""

    name: str
    where: str
    covers: tuple[Cover, ...]


def problems(spec: Spec, checks: Sequence[Check], chosen: Sequence[Cell], *, complete: bool) -> list[str]:
    """What is wrong, one sentence each. `complete`: all checks are here, so that cells can be missed."""
    found = [f"{check.where}: {check.name} covers no cell: it lacks @covers(row, word)"
             for check in checks if not check.covers]  # fmt: skip
    found += _twice(checks)
    for check in checks:
        for cover in check.covers:
            found += [f"{check.where}: {check.name}: {wrong}" for wrong in wrongs(spec, cover)]
    if complete:
        missed = [cell for cell in chosen if not any(c.fits(cell) for k in checks for c in _promises(k))]
        if missed:
            found.append(f"cells that nothing proves: {_listed(missed)}")
    return found


def wrongs(spec: Spec, cover: Cover) -> Iterable[str]:
    """Why a cover fits no cell at all, if so."""
    if cover.row not in spec.rows:
        yield f"there is no row {cover.row!r}{_near(cover.row, spec.rows)}"
        return
    if cover.word not in spec.words:
        yield f"{cover.word!r} is not a word{_near(cover.word, spec.words)}"
        return
    names = variants(spec)
    for name in cover.variants:
        if name not in names:
            yield f"there is no variant {name!r}{_near(name, names)}"
            return
    for row in cover.needs:
        if row not in spec.rows:
            yield f"there is no row {row!r} that it could need{_near(row, spec.rows)}"
    there = [
        cell
        for backend in spec.backends
        for name in cover.variants or names
        for cell in cells(spec, backend, name)
        if cell.row == cover.row
    ]
    words = [cell.word for cell in there]
    if cover.word not in words:
        under = f" under {', '.join(cover.variants)}" if cover.variants else ""
        shown = ", ".join(dict.fromkeys(words)) or "nothing"
        yield f"{cover.row} is nowhere {cover.word}{under}: the table has {shown}"
    elif not any(cover.fits(cell) for cell in there):
        yield f"{cover.row} is nowhere {cover.word} by {cover.by!r}"


def _twice(checks: Sequence[Check]) -> Iterable[str]:
    """A check's id is its name and its cell: two of them would be one line of the matrix."""
    for name, count in Counter(check.name for check in checks).items():
        if count > 1:
            where = ", ".join(check.where for check in checks if check.name == name)
            yield f"two checks are named {name}: {where}"


def _promises(check: Check) -> Iterable[Cover]:
    """A cell is proven by what it promises; how that is kept comes on top."""
    return (cover for cover in check.covers if not cover.means)


def _listed(cells: Sequence[Cell]) -> str:
    """As in `bubblewrap-home-own (default, no-network), bubblewrap-home-absent (off)`."""
    under: dict[str, list[str]] = {}
    for cell in cells:
        under.setdefault(f"{cell.backend}-{cell.row}-{cell.word}", []).append(cell.variant)
    return ", ".join(f"{name} ({', '.join(names)})" for name, names in under.items())


def _near(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
