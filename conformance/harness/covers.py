"""`@covers(row, word)`: which promise a check proves; collected for each selected cell with that word."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from conformance.harness.cells import Cell
from conformance.harness.errors import HarnessError

ATTRIBUTE = "__covers__"
Check = TypeVar("Check", bound=Callable[..., None])


@dataclass(frozen=True, kw_only=True)
class Cover:
    """`variants`: only in these, all that have the word when empty. `means`: about how, not whether.

    `by`: only where the table's means have that word in them. `needs`: rows whose resource the host must have
    when the sandbox starts, besides that of `row`. `slow`: it keeps a processor busy for many seconds, as a
    start does (economy.py). `alike`: its parameters differ in what is the host's to look at, or goes the same
    way through the backend: where starts take seconds the first of them stands for all.
    """

    row: str
    word: str
    variants: tuple[str, ...] = ()
    means: bool = False
    needs: tuple[str, ...] = ()
    by: str = ""
    slow: bool = False
    alike: bool = False

    def fits(self, cell: Cell) -> bool:
        """Whether a check of this is one of that cell."""
        return (
            (self.row, self.word) == (cell.row, cell.word)
            and (not self.variants or cell.variant in self.variants)
            and self.by in cell.means
        )  # fmt: skip


def covers(
    row: str,
    word: str,
    *,
    variant: str | Iterable[str] = (),
    means: bool = False,
    needs: Iterable[str] = (),
    by: str = "",
    slow: bool = False,
    alike: bool = False,
) -> Callable[[Check], Check]:
    """Say that a check proves `word` of `row`; may stand above a check more than once.

    Raises HarnessError when another check of the module has the same name: Python would keep the last alone.
    """
    chosen = (variant,) if isinstance(variant, str) else tuple(variant)
    how: dict[str, Any] = {"means": means, "needs": tuple(needs), "by": by, "slow": slow, "alike": alike}
    cover = Cover(row=row, word=word, variants=chosen, **how)
    module = sys._getframe(1).f_locals

    def mark(check: Check) -> Check:
        former = module.get(check.__name__)
        if former is not None and hasattr(former, ATTRIBUTE):
            raise HarnessError(f"two checks are named {check.__name__}, in {check.__module__}")
        setattr(check, ATTRIBUTE, (cover, *of(check)))
        return check

    return mark


def of(check: object) -> tuple[Cover, ...]:
    """What a check covers, () for what is none."""
    found: tuple[Cover, ...] = getattr(check, ATTRIBUTE, ())
    return found


def sentence(check: object) -> str:
    """The promise in plain words: the first line of its docstring, else its name."""
    said = (getattr(check, "__doc__", "") or "").strip().partition("\n")[0]
    return said or str(getattr(check, "__name__", "")).removeprefix("test_").replace("_", " ")
