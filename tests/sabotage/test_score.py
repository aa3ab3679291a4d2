"""Lies are told by real starts, and what became of them is told apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.spec.load import load
from sabotage.lies import lies
from sabotage.score import Told, _checks, score, summary


def test_every_row_has_its_checks_in_a_file_that_is_found() -> None:
    """By the text of the files, as importing them all takes long."""
    assert {row: [] for row in load().rows} == {row: [] for row in load().rows if _checks(row)}
    assert [Path(path).name for path in _checks("gh-token")] == ["test_environment.py"]


@pytest.mark.skipif(os.geteuid() == 0, reason="sandboxes are started by an ordinary user: invoke test")
def test_a_lie_that_is_noticed_is_caught() -> None:
    said: list[str] = []

    told = score(["gh-token:leaked"], jobs=1, say=said.append)

    assert [(one.spoil.name, one.outcome) for one in told] == [("gh-token:leaked", "caught")]
    assert said[-1].startswith("  1/1  caught ")


def test_what_is_not_caught_is_named() -> None:
    spoil = lies("bubblewrap")["gh-token:leaked"]

    result = summary(
        [
            Told(spoil=spoil, outcome="caught"),
            Told(spoil=lies("bubblewrap")["kvm:bound"], outcome="not told", reason="no kvm"),
            Told(spoil=lies("bubblewrap")["uid:missing"], outcome="survived", backend="container"),
        ]
    )

    assert result == {
        "spoiled": 2,
        "caught": 1,
        "survivors": ["container: uid:missing"],
        "not_told": {"bubblewrap: kvm:bound": "no kvm"},
    }


def test_an_unknown_lie_is_said_with_one_that_is_near() -> None:
    with pytest.raises(UserError, match="there is no lie 'syscals'") as said:
        score(["syscals"])

    assert "did you mean" in said.value.hint
