"""Proven, broken and unproven never mix."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.harness.errors import ConsoleTimeout, HarnessError, on_the_host
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


def test_an_assertion_about_the_host_breaks_no_promise() -> None:
    with pytest.raises(HarnessError, match="works on the host") as said, on_the_host():
        assert not said_of_the_host(), "the same works on the host"

    assert of_exception(said.value) == Verdict.UNPROVEN
    assert not remediable(said.value)


def said_of_the_host() -> list[str]:
    return ["bait"]


CHECKS = Path(__file__).parents[2] / "conformance/checks"
# What checks call what they have seen on the host.
CONTROLS = {"bad", "blind", "control", "controlled", "works"}


def bare(tree: ast.AST, *, below: bool = False) -> Iterator[ast.Assert]:
    """The assertions about controls alone that do not stand below `with on_the_host()`."""
    for node in ast.iter_child_nodes(tree):
        told = isinstance(node, ast.With) and any(
            isinstance(item.context_expr, ast.Call)
            and isinstance(item.context_expr.func, ast.Name)
            and item.context_expr.func.id == "on_the_host"
            for item in node.items
        )
        if isinstance(node, ast.Assert) and not below:
            names = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
            if names & CONTROLS and not names & {"found", "inside", "came"}:
                yield node
        yield from bare(node, below=below or told)


def test_every_control_is_asserted_as_the_hosts() -> None:
    wrong = [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for path in sorted(CHECKS.rglob("*.py"))
        for node in bare(ast.parse(path.read_text()))
    ]

    assert wrong == []


def test_a_control_that_is_asserted_as_a_promise_is_found() -> None:
    source = "with on_the_host():\n    assert control\nassert control == bait\nassert found == control"

    assert [node.lineno for node in bare(ast.parse(source))] == [3]


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
