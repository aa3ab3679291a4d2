"""Which worker gets which check."""

from __future__ import annotations

from conformance.harness.cells import Cell
from conformance.harness.schedule import group_of, groups

FILE = "conformance/checks/test_exit.py"
CELLS = [
    Cell(backend="vm", variant=variant, row=row, word="same", means="")
    for variant in ("default", "off")
    for row in ("exit", "exit-more")
]


def group(parameters: str) -> str:
    return group_of(f"{FILE}::test_it[{parameters}]", groups(CELLS))


def test_checks_of_one_boot_go_together() -> None:
    assert group("vm-exit-same") == group("vm-exit-more-same-7") == group("vm-exit-means") == "vm-default"
    assert group("vm-exit-same[off]") == group("vm-exit-means[off]-[x]") == "vm-off"


def test_a_check_that_starts_its_own_goes_by_its_file() -> None:
    assert group("vm-exit-same-apart") == group("vm-exit-more-same-apart-7") == f"vm-default {FILE}"
    assert group("vm-exit-same[off]-apart-7") == f"vm-off {FILE}"


def test_what_is_no_check_is_by_itself() -> None:
    assert group_of("tests/test_docs.py::test_it", groups(CELLS)) == "tests/test_docs.py::test_it"
