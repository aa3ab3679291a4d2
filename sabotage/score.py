"""Tell every lie, run the checks of the row that it is about, and count how many lies were noticed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sabotage.lies import lies
from sabotage.spoils import Spoil

ROOT = Path(__file__).parent.parent
DOOR = Path(__file__).parent / "door.py"
LIMIT_S = 120


@dataclass(frozen=True, kw_only=True)
class Told:
    """What became of a lie: "caught", "survived", "control" (red without the lie, too) or "not told"."""

    spoil: Spoil
    outcome: str
    reason: str = ""


def score(
    wanted: Iterable[str] = (),
    *,
    backend: str = "bubblewrap",
    jobs: int = 2,
    say: Callable[[str], None] = print,
) -> list[Told]:
    """All lies whose name starts with one of `wanted` (all without any), each beside an honest control."""
    prefixes = tuple(wanted)
    chosen = [s for name, s in lies().items() if not prefixes or name.startswith(prefixes)]
    controls = sorted({(s.row, s.variant) for s in chosen})
    with ThreadPoolExecutor(jobs) as pool:
        say(f"{len(controls)} honest controls…")
        verdicts = pool.map(lambda c: _verdict(c[0], c[1], backend, "")[0], controls)
        honest = dict(zip(controls, verdicts, strict=True))
        say(f"{len(chosen)} lies…")
        told = []
        for result in pool.map(lambda s: _tell(s, backend, honest[s.row, s.variant]), chosen):
            told.append(result)
            line = f"{len(told):3}/{len(chosen)}  {result.outcome:9} {result.spoil.name}  {result.reason}"
            say(line.rstrip())
    return told


def summary(told: Iterable[Told]) -> dict[str, object]:
    """As matrix.json has it: {"spoiled", "caught", "survivors"}; what could not be told is named apart."""
    results = list(told)
    tellable = [t for t in results if t.outcome != "not told"]
    return {
        "spoiled": len(tellable),
        "caught": sum(t.outcome == "caught" for t in tellable),
        "survivors": [t.spoil.name for t in tellable if t.outcome != "caught"],
        "not_told": {t.spoil.name: t.reason for t in results if t.outcome == "not told"},
    }


def _tell(spoil: Spoil, backend: str, honest: str) -> Told:
    if honest != "proven":
        return Told(spoil=spoil, outcome="not told", reason=f"the row is {honest} without it")
    verdict, reason = _verdict(spoil.row, spoil.variant, backend, f"{sys.executable} -I {DOOR} {spoil.name}")
    if verdict == "broken":
        return Told(spoil=spoil, outcome="caught")
    if (
        "grants no" in reason
        or "grants nothing" in reason
        or "nothing r" in reason
        or "is not in the" in reason
    ):
        return Told(spoil=spoil, outcome="not told", reason=reason.splitlines()[0][:120])
    return Told(spoil=spoil, outcome="survived", reason=f"{verdict}: {reason[:160]}")


def _verdict(row: str, variant: str, backend: str, command: str) -> tuple[str, str]:
    """The verdict of one cell, and why it is not proven."""
    with tempfile.TemporaryDirectory(prefix="sabotage-") as directory:
        argv = [
            sys.executable, "-m", "pytest", "conformance", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
            "--backend", backend, "--row", row, "--variant", variant, "--matrix", directory,
            *(["--command", command] if command else []),
        ]  # fmt: skip
        started = time.monotonic()
        try:
            done = subprocess.run(
                argv, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return "unproven", f"no end after {time.monotonic() - started:.0f} s"
        matrix = Path(directory) / "matrix.json"
        if not matrix.exists():
            return "unproven", (done.stdout + done.stderr)[-300:]
        cells = json.loads(matrix.read_text())["cells"]
    cell = next(c for c in cells if (c["row"], c["variant"]) == (row, variant))
    return cell["verdict"], cell["reason"]
