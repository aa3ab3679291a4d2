"""`python -I door.py SPOIL [flags] PROJECT [ARG…]`: the launcher's command line, with one thing spoiled.

Status 124 when there was nothing to spoil: no check may take that for a sandbox.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    """Tell the lie that argv[1] names, and go on as claude-sandbox."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from launcher import cli, launch
    from launcher.backends import bubblewrap
    from sabotage.lies import lies
    from sabotage.spoils import NothingToSpoil

    spoil = lies()[argv[1]]
    resolve, render = launch.plan, bubblewrap.render
    if spoil.patch:
        spoil.patch()
    if spoil.plan:
        lie = spoil.plan
        launch.plan = lambda context: lie(resolve(context))
    if spoil.launch:
        twist = spoil.launch
        bubblewrap.render = lambda *args, **named: twist(render(*args, **named))
    try:
        return cli.main(["claude-sandbox", *argv[2:]], "bubblewrap")
    except NothingToSpoil as nothing:
        print(f"sabotage: {nothing}", file=sys.stderr)
        return 124


if __name__ == "__main__":
    sys.exit(main(sys.argv))
