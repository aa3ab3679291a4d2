"""`invoke sabotage`: the proofs proven."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

from tooling import backends, ordinary, suite
from tooling.report import say

ROOT = Path(__file__).parent.parent


def sabotage(*, named: tuple[str, ...], wanted: tuple[str, ...], jobs: int, alone: bool, yes: bool) -> int:
    """Tell the lies and print the score; build/matrix/sabotage.json has it for the next matrix.

    Status 1 when one survived. Started by root it goes on as an ordinary user.
    """
    columns = backends.chosen(named)
    narrowed = [*(f"--backend={name}" for name in named), *(f"--lie={lie}" for lie in wanted)]
    arguments = ["sabotage", f"--jobs={jobs}", *(["--alone"] if alone else []), *narrowed]
    if os.geteuid() == 0:
        return ordinary.go_on(ROOT, [*arguments, *(["--yes"] if yes else [])], yes=yes)
    suite.require_pytest()
    # Not before: `invoke run` is for who has not installed what the tests need.
    from sabotage.score import score, summary

    suite.require_fresh_install()
    again = shlex.join([sys.argv[0], *arguments, "--yes"])
    suite.prepare_all(columns, yes=yes, retry=again)
    told = []
    for backend in columns:
        say(f"{backend.name}:")
        told += score(wanted, backend=backend.name, jobs=jobs, alone=alone, say=say)
    result = summary(told)
    directory = ROOT / "build/matrix"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sabotage.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, why in dict(result["not_told"]).items():  # type: ignore[call-overload]
        say(f"not told: {name}: {why}")
    survivors = result["survivors"]
    say(f"caught {result['caught']} of {result['spoiled']} lies; survivors: {survivors or 'none'}")
    return 1 if survivors else 0
