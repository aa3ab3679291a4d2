"""Tell every lie, run the checks of the row that it is about, and count how many lies were noticed.

A lie that no start had anything for (the door leaves a mark once it was told) is "not told", whatever the
checks made of starts that were refused. A row that is broken without any lie counts against the score.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from conformance.harness.boot import kind
from conformance.harness.mounts import python_in_namespace
from fixtures.users import ordinary_user
from launcher.errors import UserError
from sabotage.lies import lies
from sabotage.spoils import Spoil

ROOT = Path(__file__).parent.parent
DOOR = Path(__file__).parent / "door.py"
CHECKS = ROOT / "conformance/checks"
LIMIT_S = 120


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
    say: Callable[[str], None] = print,
) -> list[Told]:
    """All lies whose name starts with one of `wanted` (all without any), each beside an honest control."""
    prefixes, known = tuple(wanted), lies(backend)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in known):
            near = get_close_matches(prefix, [*known, *(s.row for s in known.values())], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise UserError(f"there is no lie {prefix!r}", hint)
    chosen = [s for name, s in known.items() if not prefixes or name.startswith(prefixes)]
    controls = sorted({(s.row, s.variant) for s in chosen})
    with ThreadPoolExecutor(jobs) as pool:
        say(f"{len(controls)} honest controls…")
        verdicts = pool.map(lambda c: _verdict(c[0], c[1], backend), controls)
        honest = dict(zip(controls, verdicts, strict=True))
        say(f"{len(chosen)} lies…")
        told = []
        for result in pool.map(lambda s: _tell(s, backend, honest[s.row, s.variant]), chosen):
            told.append(replace(result, backend=backend))
            line = f"{len(told):3}/{len(chosen)}  {result.outcome:9} {result.seconds:4.1f} s  "
            say(f"{line}{result.spoil.name}  {result.reason}".rstrip())
    return told


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


def _tell(spoil: Spoil, backend: str, honest: tuple[str, str]) -> Told:
    verdict, reason = honest
    if verdict != "proven":
        outcome = "control" if verdict == "broken" else "not told"
        return Told(spoil=spoil, outcome=outcome, reason=f"{verdict} without it: {_line(reason)}")
    with tempfile.TemporaryDirectory(prefix="told-") as directory:
        mark = Path(directory) / "mark"
        command = f"{sys.executable} -I {DOOR} {mark} {backend} {spoil.name}"
        began = time.monotonic()
        verdict, reason = _verdict(spoil.row, spoil.variant, backend, command)
        seconds = time.monotonic() - began
        if not mark.exists():
            return Told(spoil=spoil, outcome="not told", reason=_line(reason), seconds=seconds)
    if verdict == "broken":
        return Told(spoil=spoil, outcome="caught", seconds=seconds)
    return Told(spoil=spoil, outcome="survived", reason=f"{verdict}: {_line(reason)}", seconds=seconds)


def _line(reason: str) -> str:
    """What the door said, if it did, else how the reason begins."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()] or [""]
    return next((line for line in lines if line.startswith("sabotage: ")), lines[0])[:160]


def _verdict(row: str, variant: str, backend: str, command: str = "") -> tuple[str, str]:
    """The verdict of one cell, and why it is not proven. Of a lie, one broken promise is enough.

    One process: an ordinary user's is in a mount namespace of its own, which some rows need.
    """
    limit_s = LIMIT_S * kind(backend).pace
    with tempfile.TemporaryDirectory(prefix="sabotage-") as directory:
        python = shlex.split(python_in_namespace(ordinary_user())) or [sys.executable]
        argv = [
            *python[:-1], "timeout", "--kill-after=5", str(limit_s), python[-1],
            "-m", "pytest", *_checks(row), "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
            "--backend", backend, "--row", row, "--variant", variant, "--matrix", directory,
            *(["--command", command, "--until-broken"] if command else []),
        ]  # fmt: skip
        done = subprocess.run(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        matrix = Path(directory) / "matrix.json"
        if not matrix.exists():
            late = f"no end after {limit_s:g} s: " if done.returncode in (124, 137) else ""
            return "unproven", late + (done.stdout + done.stderr)[-300:]
        cells = json.loads(matrix.read_text())["cells"]
    cell = next(c for c in cells if (c["row"], c["variant"]) == (row, variant))
    return cell["verdict"], cell["reason"]


def _checks(row: str) -> list[str]:
    """The files that have checks of the row: to read them all takes longer than most rows do."""
    covers = re.compile(rf"@covers\(\s*[\"']{re.escape(row)}[\"']")
    return [str(path) for path in sorted(CHECKS.glob("test_*.py")) if covers.search(path.read_text())]
