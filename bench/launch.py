"""`invoke bench launch`: what one start costs, beside what it cannot avoid and beside its peers, in one run.

Everything is taken in turns on one machine, and what is judged are ratios of medians; the milliseconds are of
this machine and this hour.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import chdir, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import container, floor, peers, stages, terminal, timing
from launcher.errors import HostError
from tooling import backends, ordinary, prepare
from tooling.report import say

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"
OUTPUT_BYTES = 100_000_000
OUTPUT_ROUNDS = 3
OWN_PYTHON = "the venv's python -c pass"  # what the program's first line names: with site-packages


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number with the limit that it has to stay at or below (`strict`: below)."""

    name: str
    value: float
    limit: float
    unit: str = ""
    strict: bool = False
    of_least: float | None = None

    @property
    def kept(self) -> bool:
        """Whether it does."""
        return self.value < self.limit if self.strict else self.value <= self.limit


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run: what is judged, what each kind of start took, what ours is made of, and where it was."""

    measures: tuple[Measure, ...]
    times_ms: dict[str, dict[str, float]]
    parts_ms: dict[str, float]
    processes: tuple[dict[str, object], ...]
    machine: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A home and a project that were made for the benchmark, and the environment of who starts there."""

    home: Path
    project: Path
    environment: dict[str, str]


def run(*, runs: int, as_json: bool, yes: bool) -> int:
    """Measures and prints; 1 when a limit is broken. Root goes on as an ordinary user."""
    if os.geteuid() == 0:
        switches = [*(["--json"] if as_json else []), *(["--yes"] if yes else [])]
        return ordinary.go_on(ROOT, ["bench", "launch", f"--runs={runs}", *switches], yes=yes)
    for name in ("bubblewrap", "container"):
        prepare.prepare(backends.find(name), yes=yes, optional=False, needs_agent=False)
    others = peers.find_or_install(yes=yes, retry="invoke bench launch --yes")
    with desk() as where:
        report = measure(where, others, runs=runs)
    print(json.dumps(asdict(report), indent=2) if as_json else text(report))
    return 0 if all(measured.kept for measured in report.measures) else 1


@contextmanager
def desk() -> Iterator[Desk]:
    """A home as users have one: ~/.claude, ~/.ssh, a git identity, and a repository to work on."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.home()) as directory:
        home = Path(directory)
        for name in (".claude", ".ssh"):
            (home / name).mkdir(mode=0o700)
        (home / ".gitconfig").write_text("[user]\n\tname = Bench\n\temail = bench@localhost\n")
        (home / ".claude.json").write_text("{}")
        project = home / "project"
        project.mkdir()
        environment = {
            "HOME": directory,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "xterm",
        }
        subprocess.run(["git", "init", "-q", str(project)], env=environment, check=True)
        yield Desk(home=home, project=project, environment=environment)


def measure(where: Desk, others: peers.Peers, *, runs: int) -> Report:
    """Every number of one run."""
    before = _load()
    program = str(Path(sys.prefix) / "bin/claude-sandbox")
    start = ["--shell", str(where.project), "-c", "true"]
    with chdir(where.project):
        times = _starts(where, others, program, start, runs=runs)
    contained = str(Path(sys.prefix) / "bin/claude-sandbox-container"), str(where.project), runs
    say(f"{runs} starts of a container, by root…")
    times |= container.by_root(*contained, where.environment)
    say(f"{runs} through sudo, and as often {container.CROWD} at once…")
    times |= container.through_sudo(*contained, where.environment)
    say("the stages of a start…")
    parts = _parts(where, start, times, runs=min(runs, 15))
    say(f"{OUTPUT_BYTES / 1e6:.0f} MB to a terminal…")
    output = _output(where, program)
    held = terminal.while_running(
        [program, "--shell", str(where.project), "-c", "echo re''ady; read -r _"],
        where.environment,
        cwd=str(where.project),
        ready=b"ready",
    )
    ours, floor_of = times["claude-sandbox"], [times["python3 -I -c pass"], times["raw bwrap"]]
    return Report(
        measures=(
            ratio("start: ours / (python3 + raw bwrap)", [ours], floor_of, limit=1.6),
            ratio("start: ours / firejail", [ours], [times["firejail"]], limit=1, strict=True),
            ratio("start: ours / sandbox-runtime", [ours], [times["sandbox-runtime"]], limit=1, strict=True),
            ratio(
                "container: ours / (python3 + raw nspawn)",
                [times[container.OURS]],
                [times[container.BARE], times[container.RAW]],
                limit=1.1,
            ),
            ratio(
                f"container: {container.CROWD} at once / one",
                [times[container.CROWDED]],
                [times[container.ONE]],
                limit=crowds_limit(times),
                strict=True,
            ),
            ratio("output: ours / no sandbox", [output["with us"]], [output["without us"]], limit=1.4),
            Measure(
                name="memory of the launcher meanwhile", value=_launchers_mib(held), limit=15, unit=" MB"
            ),
        ),
        times_ms={
            name: {"median": taken.median_ms, "least": taken.least_ms, "runs": len(taken.all_ms)}
            for name, taken in {**times, **{f"output {k}": v for k, v in output.items()}}.items()
        },
        parts_ms=parts,
        processes=tuple(asdict(process) for process in held),
        machine={**_machine(), "load": f"{before} before, {_load()} after"},
    )


def crowds_limit(times: dict[str, timing.Times]) -> float:
    """3 where there are processors enough; else a tenth more than a crowd of Pythons takes over one.

    Where a start has work for a processor all the time, c of them cannot do n in less than n/c times one.
    """
    return max(3, 1.1 * times[container.EMPTY].median_ms / times["python3 -I -c pass"].median_ms)


def ratio(
    name: str, ours: list[timing.Times], theirs: list[timing.Times], *, limit: float, strict: bool = False
) -> Measure:
    """Medians are judged; what was disturbed least is told beside them."""
    least = sum(t.least_ms for t in ours) / sum(t.least_ms for t in theirs)
    value = sum(t.median_ms for t in ours) / sum(t.median_ms for t in theirs)
    return Measure(name=name, value=value, limit=limit, strict=strict, of_least=least)


def _starts(
    where: Desk, others: peers.Peers, program: str, start: list[str], *, runs: int
) -> dict[str, timing.Times]:
    cwd = str(where.project)
    raw = floor.rendered([sys.executable, "-I"], start, where.environment, cwd=cwd)
    firejail = peers.firejail_argv(others, cwd)
    srt = peers.srt_argv(others, cwd, where.home / "srt.json")
    say(f"{runs} starts of each, in turns…")
    return timing.in_turns(
        {
            "python3 -I -c pass": lambda: timing.start_to_end_ms(
                [SYSTEM_PYTHON, "-I", "-c", "pass"], where.environment
            ),
            OWN_PYTHON: lambda: timing.start_to_end_ms([sys.executable, "-c", "pass"], where.environment),
            "raw bwrap": lambda: floor.bwrap_ms(raw),
            "claude-sandbox": lambda: timing.start_to_end_ms([program, "--quiet", *start], where.environment),
            "firejail": lambda: timing.start_to_end_ms(firejail, where.environment),
            "sandbox-runtime": lambda: timing.start_to_end_ms(srt, where.environment),
        },
        rounds=runs,
    )


def _parts(where: Desk, start: list[str], times: dict[str, timing.Times], *, runs: int) -> dict[str, float]:
    """Medians of the stages of a start, in order; the last is what is left of the whole."""
    command = [sys.executable, "-I", stages.__file__, *start]
    each = []
    for _ in range(runs):
        done = subprocess.run(command, env=where.environment, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise HostError(f"the stages ended with {done.returncode}", "its own words are above")
        each.append(json.loads(done.stdout))
    parts = {
        "interpreter": times[OWN_PYTHON].median_ms,
        **{name: statistics.median(one[name] for one in each) for name in each[0]},
        "bwrap": times["raw bwrap"].median_ms,
    }
    return {**parts, "helpers, terminal, unwinding": times["claude-sandbox"].median_ms - sum(parts.values())}


def _output(where: Desk, program: str) -> dict[str, timing.Times]:
    """What `cat` of a file of 100 MB takes on a terminal, with us in between and without."""
    big = where.project / "big"
    line = "".join(chr(33 + number % 90) for number in range(79)) + "\n"
    big.write_text(line * (OUTPUT_BYTES // len(line)))
    cwd, show = str(where.project), ["-c", "cat big"]

    def on_terminal(argv: list[str]) -> float:
        return terminal.output_ms(argv, where.environment, cwd=cwd, size=OUTPUT_BYTES)

    return timing.in_turns(
        {
            "without us": lambda: on_terminal(["/bin/bash", *show]),
            "with us": lambda: on_terminal([program, "--quiet", "--shell", cwd, *show]),
        },
        rounds=OUTPUT_ROUNDS,
    )


def _launchers_mib(held: list[terminal.Process]) -> float:
    """What the process that was started holds: nothing of ours when bwrap has taken its place."""
    return 0.0 if held[0].name == "bwrap" else held[0].rss_mib


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _machine() -> dict[str, str]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    bwrap = subprocess.run(
        [shutil.which("bwrap") or "bwrap", "--version"], stdout=subprocess.PIPE, text=True, check=False
    )
    return {
        "cpu": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "bwrap": bwrap.stdout.strip(),
    }


def line(one: Measure) -> str:
    """A measure with its limit, and whether that is kept."""
    sign = "<" if one.strict else "≤"
    verdict = "ok" if one.kept else "OVER"
    return f"{one.name:38} {one.value:6.2f}{one.unit:3}  {sign} {one.limit:g}{one.unit:3}  {verdict}"


def text(report: Report) -> str:
    """The report for a person."""
    lines = [line(one) for one in report.measures]
    lines.append("")
    lines.append(f"{'milliseconds':38} {'median':>8} {'least':>8} {'runs':>5}")
    for name, taken in report.times_ms.items():
        lines.append(f"{name:38} {taken['median']:8.1f} {taken['least']:8.1f} {taken['runs']:5.0f}")
    lines.append("")
    lines.append(
        "one start of ours, milliseconds: " + " · ".join(f"{k} {v:.1f}" for k, v in report.parts_ms.items())
    )
    lines.append(
        "while the agent runs: " + ", ".join(f"{p['name']} {p['rss_mib']:.1f} MB" for p in report.processes)
    )
    lines.append(" · ".join(f"{name} {value}" for name, value in report.machine.items()))
    return "\n".join(lines)
