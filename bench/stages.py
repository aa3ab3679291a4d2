"""As a program, `python -I stages.py [flags] PROJECT`: how long each stage of one start takes.

Prints {"stage": milliseconds}. It imports nothing before the clock runs but what the clock is made of.
"""

from __future__ import annotations

import os
import sys
import time


def main(arguments: list[str]) -> dict[str, float]:
    """Walks to the rendered Launch as the launcher does, and starts nothing."""
    spent: dict[str, float] = {}
    clock = time.perf_counter_ns
    begin = clock()

    def stage(name: str) -> None:
        nonlocal begin
        spent[name] = (clock() - begin) / 1e6
        begin = clock()

    from launcher import cli, flags, launch, prepare  # noqa: F401  (cli and session: what a start imports, too)
    from launcher.backends import bubblewrap
    from launcher.host.probe import probe
    from launcher.run import session  # noqa: F401

    stage("imports")
    request = flags.parse(arguments, backend="bubblewrap", program="claude-sandbox")
    stage("flags")
    host = probe(os.environ)
    stage("host")
    context = launch.context(request, host)
    plan = launch.plan(context)
    stage("plan")
    prepare.prepare(context, plan)
    stage("prepare")
    bubblewrap.render(plan, host, tty=False)
    stage("render")
    return spent


if __name__ == "__main__":
    spent_ms = main(sys.argv[1:])
    import json

    print(json.dumps(spent_ms))
