"""Proven, broken and unproven never mix."""

from __future__ import annotations

import pytest

from conformance.harness.errors import ConsoleTimeout, HarnessError
from conformance.harness.verdict import Outcome, Verdict, merged, of_exception, remediable
from fixtures.errors import Failed, MissingProgram, NeedsRoot, NotReady


def outcome(verdict: str, reason: str = "") -> Outcome:
    return Outcome(
        backend="bubblewrap",
        variant="default",
        row="uid",
        check="test_it",
        sentence="It is so.",
        means=False,
        verdict=verdict,
        reason=reason,
    )


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        pytest.param(AssertionError("seen"), Verdict.BROKEN, id="assertion"),
        pytest.param(ConsoleTimeout("no end", "screen"), Verdict.UNPROVEN, id="console-timeout"),
        pytest.param(HarnessError("probe broke"), Verdict.UNPROVEN, id="harness"),
        pytest.param(NotReady("no window"), Verdict.UNPROVEN, id="fixture"),
        pytest.param(Failed("exit status 1"), Verdict.UNPROVEN, id="command"),
        pytest.param(OSError("anything"), Verdict.UNPROVEN, id="other"),
        pytest.param(KeyboardInterrupt(), Verdict.UNPROVEN, id="interrupt"),
    ],
)
def test_only_an_assertion_breaks_a_promise(error: BaseException, verdict: Verdict) -> None:
    assert of_exception(error) == verdict


def test_pytest_fail_is_an_assertion_and_its_time_limit_is_not() -> None:
    with pytest.raises(pytest.fail.Exception) as said:
        pytest.fail("it must not")
    with pytest.raises(pytest.fail.Exception) as late:
        pytest.fail("Timeout (>120.0s) from pytest-timeout.")

    assert of_exception(said.value) == Verdict.BROKEN
    assert of_exception(late.value) == Verdict.UNPROVEN


@pytest.mark.parametrize(
    ("error", "skips"),
    [
        pytest.param(MissingProgram("Xvfb", "apt-get install xvfb"), True, id="program"),
        pytest.param(NeedsRoot("a daemon"), True, id="root"),
        pytest.param(HarnessError("no card", "sudo modprobe vgem"), True, id="remedy"),
        pytest.param(HarnessError("probe broke"), False, id="no-remedy"),
        pytest.param(NotReady("no window"), False, id="late"),
    ],
)
def test_only_what_somebody_can_mend_skips(error: BaseException, skips: bool) -> None:
    assert remediable(error) is skips


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        pytest.param(["proven", "proven"], "proven", id="all"),
        pytest.param(["proven", "unproven"], "unproven", id="one-not-seen"),
        pytest.param(["unproven", "broken", "proven"], "broken", id="one-broken"),
        pytest.param([], "unproven", id="none"),
    ],
)
def test_a_cell_is_as_good_as_its_worst_check(verdicts: list[str], expected: str) -> None:
    assert merged(outcome(verdict) for verdict in verdicts)[0] == expected


def test_the_reasons_are_those_of_the_verdict() -> None:
    outcomes = [outcome("unproven", "no card"), outcome("broken", "read it"), outcome("broken", "read it")]

    assert merged(outcomes) == (Verdict.BROKEN, "read it")


def test_nobody_looked_is_a_reason() -> None:
    assert merged([]) == (Verdict.UNPROVEN, "no check looked at it")
