"""Which starts are made where each takes seconds."""

from __future__ import annotations

from conformance.harness.cells import Cell
from conformance.harness.economy import Planned, needed


def one(
    name: str,
    variant: str,
    *,
    row: str = "exit",
    starts: bool = True,
    means: bool = False,
    word: str = "same",
    alike: bool = False,
) -> Planned:
    cell = Cell(backend="vm", variant=variant, row=row, word=word, means="")
    return Planned(name=name, cell=cell, means=means, starts=starts, alike=alike)


def ran(*planned: Planned, dear: bool = True) -> list[str]:
    wanted = needed(planned, lambda _backend: dear)
    return [f"{p.name} {p.cell.variant}" for p, is_wanted in zip(planned, wanted, strict=True) if is_wanted]


def test_where_the_promise_is_that_of_the_default_one_check_proves_it_and_starts_nothing() -> None:
    more = (one("asks", "off", starts=False), one("asks too", "off", starts=False))

    assert ran(one("a", "default"), one("m", "off", means=True, starts=False), one("a", "off"), *more) == [
        "a default", "asks off",
    ]  # fmt: skip


def test_no_cell_is_left_without_a_proof() -> None:
    both = (one("a", "default"), one("b", "default"))

    assert ran(*both, one("m", "off", means=True), one("a", "off"), one("b", "off")) == [
        "a default", "b default", "a off",
    ]  # fmt: skip


def test_another_promise_is_another_thing_to_show() -> None:
    assert ran(one("a", "default"), one("a", "off", word="absent")) == ["a default", "a off"]
    assert ran(one("a", "default", row="dns"), one("a", "off")) == ["a default", "a off"]
    assert len(ran(one("a", "default"), *(one(name, "off", word="absent") for name in "ab"))) == 3


def test_where_the_default_is_not_run_all_are() -> None:
    assert ran(one("a", "off"), one("b", "off")) == ["a off", "b off"]


def test_where_starts_are_cheap_all_are_made() -> None:
    assert len(ran(one("a", "default"), one("a", "off"), one("b", "off"), dear=False)) == 3


def test_of_parameters_that_are_alike_the_first_stands_for_all() -> None:
    alike = [one(f"a[{n}]", variant, alike=True) for variant in ("default", "off") for n in range(3)]

    assert ran(*alike, one("b[0]", "default"), one("b[1]", "default")) == [
        "a[0] default", "a[0] off", "b[0] default", "b[1] default",
    ]  # fmt: skip
    assert len(ran(*alike, dear=False)) == 6
