"""Tell every lie, run the checks of the row that it is about, and count how many lies were noticed.

A lie that no start had anything for (the door leaves a mark for each that was told) is "not told", whatever
the checks made of starts that were refused. A row that is broken without any lie counts against the score:
that it is not is known from the last matrix, where that is of the very files that stand here, else from a
control of each row.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from conformance.harness import matrix
from conformance.harness.boot import kind
from conformance.harness.mounts import python_in_namespace
from fixtures.users import ordinary_user
from launcher.errors import UserError
from sabotage.lies import lies
from sabotage.spoils import Spoil
from sabotage.together import batches, checks

ROOT = Path(__file__).parent.parent
DOOR = Path(__file__).parent / "door.py"
MATRIX = ROOT / "build/matrix/matrix.json"
LIMIT_S, MORE_S = 120, 20  # of one row, and of each that is looked at beside it
Verdict = tuple[str, str]  # and the reason
Cell = tuple[str, str]  # row, variant


@dataclass(frozen=True, kw_only=True)
class Told:
    """What became of a lie: "caught", "survived", "control" (red without the lie, too) or "not told"."""

    spoil: Spoil
    outcome: str
    reason: str = ""
    backend: str = "bubblewrap"
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """As in `container: uid:missing`."""
        return f"{self.backend}: {self.spoil.name}"


def score(
    wanted: Iterable[str] = (),
    *,
    backend: str = "bubblewrap",
    jobs: int = 2,
    alone: bool = False,
    say: Callable[[str], None] = print,
) -> list[Told]:
    """All lies whose name starts with one of `wanted` (all without any), in their order.

    `alone`: each in starts of its own, and with a control of its own. Raises UserError for an unknown name.
    """
    chosen = _chosen(tuple(wanted), lies(backend))
    run = _Run(backend, len(chosen), jobs, say)
    honest = {} if alone else _proven(backend)
    run.control({(s.row, s.variant) for s in chosen} - honest.keys())
    run.honest |= honest
    tellable = [spoil for spoil in chosen if run.is_honest(spoil)]
    say(f"{len(tellable)} lies…")
    run.tell([(spoil,) for spoil in tellable] if alone else batches(tellable, backend))
    return [run.told[spoil.name] for spoil in chosen]


def _chosen(prefixes: tuple[str, ...], known: dict[str, Spoil]) -> list[Spoil]:
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in known):
            near = get_close_matches(prefix, [*known, *(s.row for s in known.values())], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise UserError(f"there is no lie {prefix!r}", hint)
    return [s for name, s in known.items() if not prefixes or name.startswith(prefixes)]


def _proven(backend: str) -> dict[Cell, Verdict]:
    """What the last matrix has proven of this backend, when it is of this very commit."""
    try:
        last = json.loads(MATRIX.read_text())
        revision = last["about"]["revision"]
        cells = [cell for cell in last["cells"] if cell["backend"] == backend]
    except (OSError, ValueError, KeyError):
        return {}
    if revision != matrix.about(ROOT)["revision"] or revision == "unknown" or "dirty" in revision:
        return {}
    return {(c["row"], c["variant"]): ("proven", "") for c in cells if c["verdict"] == "proven"}


class _Run:
    """One backend's score, as it comes in."""

    def __init__(self, backend: str, number: int, jobs: int, say: Callable[[str], None]) -> None:
        self.backend = backend
        self.number = number  # of lies
        self.jobs = jobs
        self.say = say
        self.honest: dict[Cell, Verdict] = {}
        self.told: dict[str, Told] = {}
        self._files = checks()

    def control(self, cells: Collection[Cell]) -> None:
        """Look at these without any lie; a variant's are shared out among the jobs."""
        if not cells:
            return
        self.say(f"{len(cells)} honest controls…")
        parts = []
        for variant in sorted({variant for _, variant in cells}):
            rows = sorted(row for row, of in cells if of == variant)
            parts += [(variant, rows[n :: self.jobs]) for n in range(self.jobs) if rows[n :: self.jobs]]
        with ThreadPoolExecutor(self.jobs) as pool:
            for (variant, _), found in zip(parts, pool.map(lambda p: self._look(*p), parts), strict=True):
                self.honest |= {(row, variant): verdict for row, verdict in found.items()}

    def is_honest(self, spoil: Spoil) -> bool:
        """Whether its row is proven without it; if not, that is what became of the lie."""
        verdict, reason = self.honest[spoil.row, spoil.variant]
        if verdict != "proven":
            outcome = "control" if verdict == "broken" else "not told"
            self._say(spoil, outcome, f"{verdict} without it: {_line(reason)}", 0.0)
        return verdict == "proven"

    def tell(self, groups: Iterable[tuple[Spoil, ...]]) -> None:
        """Each group in one start; once more alone what is not caught by that."""
        with ThreadPoolExecutor(self.jobs) as pool:
            left = [spoil for spoils in pool.map(self._tell, groups) for spoil in spoils]
            list(pool.map(self._tell, [(spoil,) for spoil in left]))

    def _tell(self, spoils: tuple[Spoil, ...]) -> list[Spoil]:
        """What is to be told once more."""
        with tempfile.TemporaryDirectory(prefix="told-") as marks:
            names = ",".join(spoil.name for spoil in spoils)
            command = f"{sys.executable} -I {DOOR} {marks} {self.backend} {names}"
            began = time.monotonic()
            found = self._look(spoils[0].variant, [spoil.row for spoil in spoils], command)
            seconds = time.monotonic() - began
            told = {path.name for path in Path(marks).iterdir()}
        left = []
        # A start that fails by one of them breaks what is looked at by starts of their own, whatever the row.
        failed = len(spoils) > 1 and any("NeverStarted" in reason for _, reason in found.values())
        for spoil in spoils:
            verdict, reason = found[spoil.row]
            if spoil.name in told and verdict == "broken" and not failed:
                self._say(spoil, "caught", "", seconds / len(spoils))
            elif len(spoils) > 1:
                left.append(spoil)
            elif spoil.name not in told:
                self._say(spoil, "not told", _line(reason), seconds)
            else:
                self._say(spoil, "survived", f"{verdict}: {_line(reason)}", seconds)
        return left

    def _say(self, spoil: Spoil, outcome: str, reason: str, seconds: float) -> None:
        self.told[spoil.name] = Told(
            spoil=spoil, outcome=outcome, reason=reason, seconds=seconds, backend=self.backend
        )
        line = f"{len(self.told):3}/{self.number}  {outcome:9} {seconds:4.1f} s  {spoil.name}  {reason}"
        self.say(line.rstrip())

    def _look(self, variant: str, rows: list[str], command: str = "") -> dict[str, Verdict]:
        """The verdicts of rows of one variant, and why they are not proven. Of a lie, one broken promise of
        each is enough.

        One process: an ordinary user's is in a mount namespace of its own, which some rows need.
        """
        limit_s = (LIMIT_S + MORE_S * (len(rows) - 1)) * kind(self.backend).pace
        files = sorted({str(path) for row in rows for path in self._files[row]})
        with tempfile.TemporaryDirectory(prefix="sabotage-") as directory:
            python = shlex.split(python_in_namespace(ordinary_user())) or [sys.executable]
            argv = [
                *python[:-1], "timeout", "--kill-after=5", str(limit_s), python[-1],
                "-m", "pytest", *files, "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
                "--backend", self.backend, "--variant", variant, "--matrix", directory,
                *(f"--row={row}" for row in rows),
                *(["--command", command, "--until-broken"] if command else []),
            ]  # fmt: skip
            done = subprocess.run(
                argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            drawn = Path(directory) / "matrix.json"
            if not drawn.exists():
                late = f"no end after {limit_s:g} s: " if done.returncode in (124, 137) else ""
                return dict.fromkeys(rows, ("unproven", late + (done.stdout + done.stderr)[-300:]))
            cells = json.loads(drawn.read_text())["cells"]
        found = {c["row"]: (c["verdict"], c["reason"]) for c in cells if c["variant"] == variant}
        return {
            row: found.get(row, ("unproven", f"no such cell: {variant} changes nothing of it"))
            for row in rows
        }


def summary(told: Iterable[Told]) -> dict[str, object]:
    """As matrix.json has it: {"spoiled", "caught", "survivors"}; what could not be told is named apart."""
    results = list(told)
    tellable = [t for t in results if t.outcome != "not told"]
    return {
        "spoiled": len(tellable),
        "caught": sum(t.outcome == "caught" for t in tellable),
        "survivors": [t.name for t in tellable if t.outcome != "caught"],
        "not_told": {t.name: t.reason for t in results if t.outcome == "not told"},
    }


def _line(reason: str) -> str:
    """What the door said, if it did, else how the reason begins."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()] or [""]
    return next((line for line in lines if line.startswith("sabotage: ")), lines[0])[:160]
