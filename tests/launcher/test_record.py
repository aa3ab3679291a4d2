from __future__ import annotations

import pytest

from launcher.record import Record


class Point(Record):
    x: int
    y: int = 0


class Named(Point):
    name: str


def test_fields_come_in_order_of_declaration_with_the_base_first() -> None:
    assert Named(name="a", x=1).fields() == {"x": 1, "y": 0, "name": "a"}


def test_equal_by_value_and_type() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    assert len({Point(x=1), Point(x=1)}) == 1


def test_replace_makes_a_changed_copy() -> None:
    point = Point(x=1)

    assert point.replace(y=5) == Point(x=1, y=5)
    assert point.y == 0


def test_a_field_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match=r"x is frozen"):
        Point(x=1).x = 2  # type: ignore[misc]


@pytest.mark.parametrize("values", [{}, {"x": 1, "z": 2}], ids=["missing", "unknown"])
def test_a_missing_or_unknown_field_is_an_error(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(**values)
