"""Lies are told by real starts, and what became of them is told apart."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from launcher.errors import UserError
from launcher.spec.load import load
from sabotage.lies import lies
from sabotage.score import Told, score, summary
from sabotage.together import batches, checks


def test_every_row_has_its_checks_in_a_file_that_is_found() -> None:
    """By the text of the files, as importing them all takes long."""
    found = checks()

    assert set(load().rows) <= set(found)
    assert [path.name for path in found["gh-token"]] == ["test_environment.py"]


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


@pytest.mark.parametrize("backend", ["bubblewrap", "container", "vm"])
def test_each_lie_is_in_one_batch_and_none_beside_one_that_could_be_taken_for_it(backend: str) -> None:
    every = lies(backend).values()

    found = batches(every, backend)

    assert sorted(spoil.name for batch in found for spoil in batch) == sorted(spoil.name for spoil in every)
    assert len(found[0]) > 10
    for batch in found:
        rows = [spoil.row for spoil in batch]
        assert len(set(rows)) == len(rows)
        assert len({spoil.variant for spoil in batch}) == 1
        assert not {"claude-config", "claude-settings"} <= set(rows), "the one lies in the other"
        assert len(batch) == 1 or all(spoil.own for spoil in batch)


@pytest.mark.skipif(os.geteuid() == 0, reason="sandboxes are started by an ordinary user: invoke test")
def test_of_lies_told_in_one_start_each_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that its row does not notice is not caught by what the other breaks."""
    unnoticed = replace(lies("bubblewrap")["locale:C"], row="timezone")
    noticed = lies("bubblewrap")["gh-config:missing"]
    monkeypatch.setattr("sabotage.score.lies", lambda _backend: {s.name: s for s in (unnoticed, noticed)})

    told = score(jobs=1, say=lambda _line: None)

    assert [(one.spoil.name, one.outcome) for one in told] == [
        ("locale:C", "survived"),
        ("gh-config:missing", "caught"),
    ]
