"""invoke's tasks; what they do is in tooling/ and bench/."""

from __future__ import annotations

import difflib
import shlex
import sys

from invoke.context import Context
from invoke.parser.argument import Argument
from invoke.tasks import Task, task

import bench.launch
import bench.vm
from launcher.errors import UserError
from tooling import backends, checks, prepare, proofs, suite, words
from tooling.report import reported, say


def _rest() -> tuple[str, ...]:
    """What was typed after the first `--`; from sys.argv, as invoke's own remainder has lost its quotes."""
    return tuple(sys.argv[sys.argv.index("--") + 1 :]) if "--" in sys.argv else ()


class Parallel(Task):  # type: ignore[type-arg]
    """A task whose --jobs is called -n, too, as xdist's own is; of flags, invoke shortens all or none."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            if argument.name == "jobs":
                argument.names = (*argument.names, "n")
        return arguments


@task(
    klass=words.Run,
    positional=["backend", "project"],
    auto_shortflags=False,
    help={
        "backend": "bubblewrap, container or vm",
        "project": "the directory that the agent works on",
        "shell": "bash instead of the agent",
        "flags": "more flags for the launcher, as one word: --flags='--no-network --tmux'",
        "yes": "install what is missing without asking",
    },
)
@reported
def run(
    _context: Context, backend: str, project: str, flags: str = "", shell: bool = False, yes: bool = False
) -> None:
    """Start Claude Code on PROJECT in a sandbox; what is missing is installed after one question.

    Everything after -- goes to the agent: invoke run bubblewrap ~/proj -- -p 'what does this do?'
    """
    chosen = backends.find(backend)
    try:
        given = [*(["--shell"] if shell else []), *shlex.split(flags)]
    except ValueError as error:
        raise UserError(f"--flags: {error}", "quote it once more: --flags=\"--share '/a b'\"") from None
    prepare.prepare(chosen, yes=yes, optional=False, needs_agent="--shell" not in given)
    prepare.start(chosen, project, flags=given, arguments=_rest())


@task(
    auto_shortflags=False,
    help={
        "backend": "bubblewrap, container or vm",
        "yes": "install without asking, for scripts",
    },
)
@reported
def setup(_context: Context, backend: str = "bubblewrap", yes: bool = False) -> None:
    """Install what a backend needs on this machine, and Claude Code when there is none."""
    chosen = backends.find(backend)
    prepare.prepare(chosen, yes=yes)
    say(f"{backend}: this machine has what it needs")


@task(
    name="test",
    klass=Parallel,
    auto_shortflags=False,
    iterable=["backend", "row", "variant"],
    help={
        "backend": "whose column of the table is proven (repeatable; all without it)",
        "row": "prove this row alone (repeatable)",
        "variant": "prove this variant alone: default, no-network, … (repeatable)",
        "command": "grade another program, which takes the same flags",
        "jobs": "tests at a time; 0: one for each core",
        "must-run": "a test that skips is a test that failed",
        "yes": "install what the tests need without asking",
    },
)
@reported
def run_tests(
    _context: Context,
    backend: list[str],
    row: list[str],
    variant: list[str],
    command: str = "",
    jobs: int = 0,
    must_run: bool = False,
    yes: bool = False,
) -> int:
    """Run the tests and prove the table, as an ordinary user; root makes one and goes on as it.

    Arguments for pytest stand after --. With --row, --variant or --command the table alone is proven.
    """
    options = suite.Options(
        backends=tuple(backend) or (("bubblewrap",) if command else ()),
        rows=tuple(row),
        variants=tuple(variant),
        command=command,
        jobs=jobs,
        must_run=must_run,
        yes=yes,
        arguments=_rest(),
    )
    return suite.run(options)


@task(
    klass=Parallel,
    auto_shortflags=False,
    iterable=["backend"],
    help={
        "backend": "whose column of the table is proven (repeatable; all without it)",
        "jobs": "checks at a time; 0: one for each core",
        "must-run": "what cannot be looked at has failed",
        "yes": "install what is needed without asking",
    },
)
@reported
def matrix(
    _context: Context, backend: list[str], jobs: int = 0, must_run: bool = False, yes: bool = False
) -> int:
    """Prove the table and draw it: build/matrix/{index.html,matrix.md,matrix.json,junit.xml}."""
    options = suite.Options(
        backends=tuple(backend), matrix=True, jobs=jobs, must_run=must_run, yes=yes, arguments=_rest()
    )
    return suite.run(options)


@task(
    klass=Parallel,
    auto_shortflags=False,
    iterable=["backend", "lie"],
    help={
        "backend": "whose column has to notice (repeatable; all without it)",
        "lie": "only lies whose name starts so: a row, or row:lie (repeatable)",
        "alone": "each lie in starts of its own, with a control of its own; hours of a VM",
        "jobs": "lies at a time",
        "yes": "install what is needed without asking",
    },
)
@reported
def sabotage(
    _context: Context,
    backend: list[str],
    lie: list[str],
    jobs: int = 2,
    alone: bool = False,
    yes: bool = False,
) -> int:
    """Spoil one grant of the sandbox at a time, and count how often the suite notices."""
    return proofs.sabotage(named=tuple(backend), wanted=tuple(lie), jobs=jobs, alone=alone, yes=yes)


@task(auto_shortflags=False, help={"fix": "mend what can be mended"})
@reported
def lint(_context: Context, fix: bool = False) -> int:
    """ruff, ruff format, mypy --strict, and who may import whom."""
    return checks.lint(fix=fix)


@task(auto_shortflags=False, help={"check": "change nothing, fail when something would change"})
@reported
def docs(_context: Context, check: bool = False) -> int:
    """Render the tables from the spec and build the book."""
    return checks.docs(check=check)


@task(
    name="bench",
    auto_shortflags=False,
    help={
        "what": "launch: beside bwrap, firejail and sandbox-runtime; vm: beside a bare boot and virtme-ng",
        "runs": "starts of each kind; 30 unless said, 5 of a VM",
        "json": "all numbers, for a script",
        "yes": "install the programs to compare with without asking",
    },
)
@reported
def run_bench(_context: Context, what: str, runs: int = 0, json: bool = False, yes: bool = False) -> int:
    """Measure what a start costs, as an ordinary user: invoke bench launch."""
    known = {"launch": (bench.launch.run, 30), "vm": (bench.vm.run, 5)}
    if what not in known:
        near = difflib.get_close_matches(what, known, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}?" if near else f"benchmarks: {', '.join(known)}"
        raise UserError(f"there is no benchmark {what!r}", hint)
    measure, usual = known[what]
    return measure(runs=max(runs, 1) if runs else usual, as_json=json, yes=yes)
