"""Where pytest and the harness meet: options, which check runs for which cells, verdicts, and the matrix."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import boot, economy, evidence, gate, matrix, mounts
from conformance.harness.cells import APART, Cell, Variant, selected, variants
from conformance.harness.covers import Cover, of, sentence
from conformance.harness.sandbox import Sandbox
from conformance.harness.verdict import Outcome, Verdict, of_exception, remediable
from fixtures.users import ordinary_user
from launcher.spec.load import SpecError, load
from launcher.spec.model import Spec

ROOT = Path(__file__).parents[2]
MATRIX = ROOT / "build/matrix"
CELL = pytest.StashKey[Cell]()
COVER = pytest.StashKey[Cover]()
SANDBOX = pytest.StashKey[Sandbox]()
OUTCOME = "outcome"
BOOT = "boot"


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--backend", action="append", default=[], help="prove this column (default: bubblewrap)")
    group.addoption("--row", action="append", default=[], help="only this row of the table (repeatable)")
    group.addoption("--variant", action="append", default=[], help="only this variant (repeatable)")
    group.addoption(
        "--command", default="", metavar="PROGRAM", help="grade this program, with the same flags"
    )
    group.addoption("--must-run", action="store_true", help="what cannot be looked at has failed")
    group.addoption(
        "--until-broken", action="store_true", help="look no further at a cell that is broken: once is enough"
    )
    group.addoption("--every-check", action="store_true", help="also those that economy.py finds needless")
    group.addoption("--matrix", default=str(MATRIX), metavar="DIR", help="where the matrix is written")


class Conformance:
    """The plugin, one in each process of the test run."""

    def __init__(self, config: pytest.Config, checks: Path) -> None:
        """`checks`: the directory that has them all, below which a run is not a whole one."""
        self.config = config
        self.checks = checks
        try:
            self.spec: Spec = load()
        except SpecError as error:
            raise pytest.UsageError(f"the table cannot be read: {error}") from None
        self.variants = variants(self.spec)
        heed_signals()
        self.backends: list[str] = config.getoption("--backend") or ["bubblewrap"]
        self.rows: list[str] = config.getoption("--row")
        names: list[str] = config.getoption("--variant")
        self._require("backend", self.backends, self.spec.backends)
        self._require("row", self.rows, self.spec.rows)
        self._require("variant", names, self.variants)
        self.cells = selected(self.spec, self.backends, names, self.rows)
        self.must_run: bool = config.getoption("--must-run")
        self.directory = Path(config.getoption("--matrix")).absolute()
        self.is_worker = hasattr(config, "workerinput")
        self.boots: boot.Boots | None = None
        self.needed: dict[tuple[str, str], set[str]] = {}
        self.sharing: Counter[tuple[str, str]] = Counter()
        self.started: list[boot.Start] = []
        self.outcomes: list[Outcome] = []
        self.broken: set[Cell] = set()
        self.boot_records: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.collected = False
        self.from_workers = False

    # -------------------------------------------------------------------------------------- collection

    def cells_of(self, cover: Cover) -> list[Cell]:
        return [cell for cell in self.cells if cover.fits(cell)]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A check becomes one test for each cell that it proves."""
        if "cell" not in metafunc.fixturenames:
            return
        apart = "" if shares(metafunc) else APART
        params = [
            pytest.param((cell, cover), id=(cell.means_id if cover.means else cell.id) + apart)
            for cover in of(metafunc.function)
            for cell in self.cells_of(cover)
        ]
        metafunc.parametrize("cell", params or [pytest.param(None, id="no-cell")], indirect=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        mine = [item for item in items if is_check(item)]
        if not mine:
            return
        self.collected = True
        self._gate(session, mine)
        proving = [item for item in mine if param(item) is not None]
        if self.problems:
            proving = []
        for item in proving:
            found = param(item)
            assert found is not None
            item.stash[CELL], item.stash[COVER] = found
            if shares(item):
                needs = self.needed.setdefault(boot_of(item), set())
                needs.update((found[0].row, *found[1].needs))
        order = {name: number for number, name in enumerate(self.variants)}
        proving.sort(key=lambda item: (item.stash[CELL].backend, order[item.stash[CELL].variant]))
        proving = self._economised(session.config, proving)
        self.sharing.update(boot_of(item) for item in proving if shares(item))
        items[:] = [item for item in items if not is_check(item)] + proving

    def _economised(self, config: pytest.Config, proving: list[pytest.Item]) -> list[pytest.Item]:
        """Without what need not run; with more time where what runs inside takes more."""
        planned = [
            economy.Planned(
                name=name_of(item, item.stash[CELL], item.stash[COVER]),
                cell=item.stash[CELL],
                means=item.stash[COVER].means,
                starts=item.stash[COVER].slow
                or not economy.STARTING.isdisjoint(getattr(item, "fixturenames", ())),
                alike=item.stash[COVER].alike,
            )
            for item in proving
        ]
        every = config.getoption("--every-check")
        wanted = economy.needed(planned, lambda backend: boot.kind(backend).dear and not every)
        kept = [item for item, is_wanted in zip(proving, wanted, strict=True) if is_wanted]
        spared = [item for item, is_wanted in zip(proving, wanted, strict=True) if not is_wanted]
        if spared:
            config.hook.pytest_deselected(items=spared)
        limit = float(config.getini("timeout") or 0)
        for item in kept:
            kind = boot.kind(item.stash[CELL].backend)
            if kind.pace != 1 and limit:
                item.add_marker(pytest.mark.timeout(kind.pace * limit))
            if kind.dear:
                # What could not be looked at is looked at once more, and said; a broken promise is never.
                item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=["AssertionError", "Failed"]))
        return kept

    def _gate(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        checks = {}
        for item in items:
            function = getattr(item, "function", None)
            where = item.location[0]
            name = getattr(item, "originalname", item.name)
            checks[where, name] = gate.Check(name=name, where=where, covers=of(function))
        given = [session.config.invocation_params.dir / argument for argument in session.config.args]
        complete = any(path == self.checks or path in self.checks.parents for path in given)
        self.problems = gate.problems(self.spec, list(checks.values()), self.cells, complete=complete)
        if self.problems and not self.is_worker:
            raise pytest.UsageError("the gate is shut:\n" + "\n".join(self.problems))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """An ordinary user's workers get a mount namespace of their own, where sudo allows it."""
        python = mounts.python_in_namespace(ordinary_user()) if self.cells else ""
        for spec in specs:
            if python and spec.popen and not spec.python:
                spec.python = python

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:  # noqa: ANN401  (xdist's)
        from conformance.harness.schedule import ByBoot

        return None if config.getoption("dist") == "each" else ByBoot(config, log, self.cells)

    # ------------------------------------------------------------------------------------------ a check

    def sandbox(self, item: pytest.Item) -> Sandbox:
        """The shared sandbox of the check's cell. Skips when this host cannot have what its row forwards."""
        cell, cover = item.stash[CELL], item.stash[COVER]
        needs = sorted(self.needed[boot_of(item)])
        sandbox = self.host().get(cell.backend, self.variants[cell.variant], needs)
        item.stash[SANDBOX] = sandbox
        for row in (cell.row, *cover.needs):
            if (error := sandbox.world.missing.get(row)) is not None:
                raise error
        return sandbox

    def host(self) -> boot.Boots:
        """What starts sandboxes in this process."""
        if self.boots is None:
            self.boots = boot.Boots(
                user=ordinary_user(),
                command=shlex.split(self.config.getoption("--command")),
                on_start=self.started.append,
            )
        return self.boots

    def variant(self, cell: Cell) -> Variant:
        return self.variants[cell.variant]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """With --until-broken, what is known to be broken is passed over: nothing is said of this check."""
        if CELL in item.stash and item.stash[CELL] in self.broken:
            pytest.skip("known to be broken (--until-broken)")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """A shared sandbox ends with the last check that shares it: an idle one costs the others time.

        All checks that share one are in one process (schedule.py), where they have all been collected.
        """
        done = yield
        if CELL in item.stash and shares(item):
            self.sharing[boot_of(item)] -= 1
            if not self.sharing[boot_of(item)] and self.boots is not None:
                with self._tidying():
                    self.boots.done(*boot_of(item))
        return done

    @contextmanager
    def _tidying(self) -> Generator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  (a worker's would be lost)
            self.problems.append(f"the test run could not tidy up after itself: {error!r}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if CELL not in item.stash or item.stash[CELL] in self.broken:
            return report
        error = call.excinfo.value if call.excinfo else None
        if error is not None and not report.skipped and remediable(error):
            # The machine lacks something: said as a skip, which no one takes for a pass.
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {error}")
        if error is None and call.when != "call":
            return self._with_boots(report)
        outcome = self._outcome(item, report, error)
        if report.skipped and self.must_run and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"it must run here (--must-run), but: {outcome.reason}"
        if outcome.verdict == Verdict.BROKEN and self.config.getoption("--until-broken"):
            self.broken.add(item.stash[CELL])
        report.user_properties.append((OUTCOME, json.dumps(outcome.as_json())))
        return self._with_boots(report)

    def _with_boots(self, report: pytest.TestReport) -> pytest.TestReport:
        while self.started:
            start = self.started.pop()
            report.user_properties.append((BOOT, json.dumps(asdict(start))))
        return report

    def _outcome(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> Outcome:
        cell, cover = item.stash[CELL], item.stash[COVER]
        verdict, reason, where = Verdict.PROVEN, "", ""
        if error is not None:
            verdict = Verdict.UNPROVEN if report.skipped else of_exception(error)
            reason = _reason(error)
            sandbox = item.stash.get(SANDBOX, None)
            directory = evidence.collect(
                self.directory / "evidence", cell, item.nodeid, report.longreprtext or reason, sandbox
            )
            where = str(directory.relative_to(self.directory))
        return Outcome(
            backend=cell.backend,
            variant=cell.variant,
            row=cell.row,
            check=name_of(item, cell, cover),
            sentence=sentence(getattr(item, "function", None)),
            means=cover.means,
            verdict=verdict.value,
            reason=reason,
            seconds=report.duration,
            evidence=where,
        )

    # -------------------------------------------------------------------------------------- the matrix

    def pytest_sessionstart(self) -> None:
        if not self.is_worker:
            for cell in self.cells:
                shutil.rmtree(self.directory / "evidence" / cell.directory, ignore_errors=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.is_worker:
            return
        for name, value in report.user_properties:
            if name == OUTCOME and str(report.outcome) != "rerun":
                self.outcomes.append(Outcome(**json.loads(str(value))))
                self.collected = True
            elif name == BOOT:
                self.boot_records.append(json.loads(str(value)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401  (xdist's)
        for problem in getattr(node, "workeroutput", {}).get("conformance_problems", ()):
            self.from_workers = True
            if problem not in self.problems:
                self.problems.append(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.boots is not None:
            with self._tidying():
                self.boots.close()
        if self.is_worker:
            session.config.workeroutput["conformance_problems"] = self.problems  # type: ignore[attr-defined]
            return
        if self.problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if self.collected and not self.config.option.collectonly:
            matrix.write(self.directory, self.spec, self.matrix())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter
        if self.problems and self.from_workers:
            write.section("the gate", sep="=", red=True)
            for problem in self.problems:
                write.line(problem)
        if not self.outcomes:
            return
        found = self.matrix()
        write.section("conformance", sep="=")
        for line in matrix.terminal(self.spec, found, colour=write.hasmarkup):
            write.line(line)
        write.line("")
        for line in matrix.summary(found):
            write.line(line)
        write.line(f"the matrix: {self.directory / 'index.html'}")

    def matrix(self) -> dict[str, Any]:
        """What has been found out so far."""
        score = self.directory / "sabotage.json"
        return matrix.build(
            self.spec,
            self.cells,
            self.outcomes,
            self.boot_records,
            about={**matrix.about(ROOT), "at": time.strftime("%Y-%m-%d %H:%M")},
            sabotage=json.loads(score.read_text()) if score.is_file() else None,
            problems=self.problems,
        )

    def _require(self, what: str, given: list[str], known: dict[str, Any]) -> None:
        for name in given:
            if name not in known:
                there = ", ".join(known)
                raise pytest.UsageError(f"--{what}: there is no {what} {name!r}; there are: {there}")


def heed_signals() -> None:
    """A run in a script's background ignores Ctrl-C, and so would every control on the host."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def is_check(item: pytest.Item) -> bool:
    """Whether the fixture that every check has applies to it."""
    return "cell" in getattr(item, "fixturenames", ())


def shares(check: pytest.Item | pytest.Metafunc) -> bool:
    """Whether it uses the sandbox that all checks of its backend and variant share."""
    return not economy.SHARED.isdisjoint(getattr(check, "fixturenames", ()))


def boot_of(item: pytest.Item) -> tuple[str, str]:
    """The backend and the variant of a check that proves a cell."""
    return item.stash[CELL].backend, item.stash[CELL].variant


def name_of(item: pytest.Item, cell: Cell, cover: Cover) -> str:
    """The check's name, with the parameters that are its own: `test_it[/project]`."""
    given = item.callspec.id.replace(cell.means_id if cover.means else cell.id, "", 1)  # type: ignore[attr-defined]
    own = given.removesuffix(APART).removeprefix(APART).strip("-")
    name = str(getattr(item, "originalname", item.name))
    return f"{name}[{own}]" if own else name


def param(item: pytest.Item) -> tuple[Cell, Cover] | None:
    """The cell that an item was made for; None for a check that has none among those selected."""
    spec = getattr(item, "callspec", None)
    found: tuple[Cell, Cover] | None = spec.params.get("cell") if spec else None
    return found


def _reason(error: BaseException) -> str:
    """What an exception says, with the name of its class unless that is an assertion's."""
    text = str(error).strip() or type(error).__name__
    known = isinstance(error, AssertionError) or type(error).__name__ in ("Skipped", "Failed")
    return text if known else f"{type(error).__name__}: {text}"
