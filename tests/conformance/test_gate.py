"""The gate: no promise without a proof, no proof without a promise."""

from __future__ import annotations

import pytest

from conformance.harness.cells import Cell, selected
from conformance.harness.covers import Cover, covers, of, sentence
from conformance.harness.errors import HarnessError
from conformance.harness.gate import Check, problems
from launcher.spec.load import load

SPEC = load()
UID = selected(SPEC, ["bubblewrap"], rows=["uid"])


def check(*found: Cover, name: str = "test_it", where: str = "checks/test_x.py") -> Check:
    return Check(name=name, where=where, covers=found)


def test_a_proof_for_every_cell_opens_it() -> None:
    assert problems(SPEC, [check(Cover(row="uid", word="same"))], UID, complete=True) == []


def test_a_cell_without_a_check_is_named() -> None:
    wrong = problems(
        SPEC, [check(Cover(row="uid", word="same", variants=("default", "off")))], UID, complete=True
    )

    assert wrong == ["cells that nothing proves: bubblewrap-uid-same (no-network, tmux, bare)"]


def test_a_check_of_the_means_proves_no_promise() -> None:
    wrong = problems(SPEC, [check(Cover(row="uid", word="same", means=True))], UID, complete=True)

    assert wrong[0].startswith("cells that nothing proves: bubblewrap-uid-same (default,")


def test_a_file_on_its_own_is_not_asked_for_all_cells() -> None:
    assert problems(SPEC, [check(Cover(row="home", word="own"))], UID, complete=False) == []


@pytest.mark.parametrize(
    ("cover", "said"),
    [
        pytest.param(
            Cover(row="ssh-agnet", word="forwarded"),
            "there is no row 'ssh-agnet'; did you mean 'ssh-agent'?",
            id="row",
        ),
        pytest.param(Cover(row="uid", word="sane"), "'sane' is not a word; did you mean 'same'?", id="word"),
        pytest.param(
            Cover(row="uid", word="own"), "uid is nowhere own: the table has same", id="not-the-rows"
        ),
        pytest.param(
            Cover(row="uid", word="same", by="magic"), "uid is nowhere same by 'magic'", id="not-the-means"
        ),
        pytest.param(
            Cover(row="network", word="absent", variants=("tmux",)),
            "network is nowhere absent under tmux: the table has shared, own",
            id="not-the-variants",
        ),
        pytest.param(
            Cover(row="uid", word="same", variants=("defualt",)),
            "there is no variant 'defualt'; did you mean 'default'?",
            id="variant",
        ),
        pytest.param(
            Cover(row="uid", word="same", needs=("x12",)),
            "there is no row 'x12' that it could need; did you mean 'x11'?",
            id="need",
        ),
    ],
)
def test_a_cover_that_fits_no_cell_is_explained(cover: Cover, said: str) -> None:
    assert problems(SPEC, [check(cover)], UID, complete=False) == [f"checks/test_x.py: test_it: {said}"]


def test_a_check_that_names_no_cell_is_told_so() -> None:
    assert problems(SPEC, [check()], UID, complete=False) == [
        "checks/test_x.py: test_it covers no cell: it lacks @covers(row, word)"
    ]


def test_two_checks_of_one_name_in_two_files_are_two_of_one_id() -> None:
    cover = Cover(row="uid", word="same")
    both = [check(cover, where="checks/test_a.py"), check(cover, where="checks/test_b.py")]

    assert problems(SPEC, both, UID, complete=True) == [
        "two checks are named test_it: checks/test_a.py, checks/test_b.py"
    ]


def test_two_checks_of_one_name_in_one_file_do_not_hide_each_other() -> None:
    with pytest.raises(HarnessError, match="two checks are named test_twice"):

        class Module:
            @covers("uid", "same")
            def test_twice(self) -> None:
                """First."""

            @covers("uid", "same")  # type: ignore[no-redef]
            def test_twice(self) -> None:  # noqa: F811
                """Second."""


def test_covers_stand_above_each_other() -> None:
    @covers("x11", "forwarded", needs=["wayland"])
    @covers("wayland", "forwarded", variant="tmux", means=True)
    def test_both() -> None:
        """Both displays.

        And more.
        """

    assert of(test_both) == (
        Cover(row="x11", word="forwarded", needs=("wayland",)),
        Cover(row="wayland", word="forwarded", variants=("tmux",), means=True),
    )
    assert sentence(test_both) == "Both displays."


def test_a_cover_fits_by_row_word_and_variant() -> None:
    cell = Cell(backend="vm", variant="off", row="uid", word="same", means="")

    assert Cover(row="uid", word="same").fits(cell)
    assert Cover(row="uid", word="same", variants=("off",)).fits(cell)
    assert not Cover(row="uid", word="same", variants=("tmux",)).fits(cell)
    assert not Cover(row="home", word="same").fits(cell)
