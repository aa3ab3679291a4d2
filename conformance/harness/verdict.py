"""Proven, broken, unproven: what became of a check, and of a cell that several checks look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import pytest

from conformance.harness.cells import Cell
from conformance.harness.errors import HarnessError
from fixtures.errors import MissingProgram, NeedsRoot


class Verdict(StrEnum):
    """Never mixed: `unproven` says nothing about the promise, and is no pass."""

    PROVEN = "proven"
    BROKEN = "broken"
    UNPROVEN = "unproven"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one check came to. `reason` when it is not proven; `evidence` a directory's name, or ""."""

    backend: str
    variant: str
    row: str
    check: str
    sentence: str
    means: bool
    verdict: str
    reason: str = ""
    seconds: float = 0.0
    evidence: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def of_exception(error: BaseException) -> Verdict:
    """An assertion that failed is a broken promise. Anything else says that we could not look.

    pytest.fail is an assertion, too, but a time limit of pytest-timeout's comes by the same class.
    """
    if isinstance(error, AssertionError):
        return Verdict.BROKEN
    if isinstance(error, pytest.fail.Exception) and not str(error).startswith("Timeout"):
        return Verdict.BROKEN
    return Verdict.UNPROVEN


def remediable(error: BaseException) -> bool:
    """Whether something that this machine lacks is the reason, so that the check skips."""
    return isinstance(error, (MissingProgram, NeedsRoot)) or (
        isinstance(error, HarnessError) and bool(error.remedy)
    )


def merged(outcomes: Iterable[Outcome]) -> tuple[Verdict, str]:
    """A cell's verdict, and the reasons for it: broken if one check says so, proven if all do."""
    outcomes = list(outcomes)
    for verdict in (Verdict.BROKEN, Verdict.UNPROVEN):
        reasons = [o.reason for o in outcomes if o.verdict == verdict]
        if reasons:
            return verdict, "; ".join(dict.fromkeys(reason for reason in reasons if reason))
    return (Verdict.PROVEN, "") if outcomes else (Verdict.UNPROVEN, "no check looked at it")


def of_cell(cell: Cell, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes that are about this cell."""
    key = (cell.backend, cell.variant, cell.row)
    return [o for o in outcomes if (o.backend, o.variant, o.row) == key]
