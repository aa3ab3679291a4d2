"""`python -I door.py MARK SPOIL [flags] PROJECT [ARG…]`: the launcher's command line, with one thing spoiled.

The file MARK is there once the lie was told. Status 124 when there was nothing to spoil: no check may take
that for a sandbox.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def main(argv: list[str]) -> int:
    """Tell the lie that argv[2] names, and go on as claude-sandbox."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from launcher import cli, launch
    from launcher.backends import bubblewrap
    from sabotage.lies import lies
    from sabotage.spoils import NothingToSpoil

    mark, spoil = Path(argv[1]), lies()[argv[2]]
    resolve, render = launch.plan, bubblewrap.render

    def told(spoiled: T) -> T:
        with suppress(OSError):  # what a test has closed to us is not ours to mend
            mark.touch()
        return spoiled

    if spoil.request:
        ask = spoil.request
        launch.plan = lambda context: told(resolve(context.replace(request=ask(context.request))))
    if spoil.patch:
        spoil.patch()
        told(None)
    if spoil.plan:
        lie = spoil.plan
        launch.plan = lambda context: told(lie(resolve(context)))
    if spoil.launch:
        twist = spoil.launch
        bubblewrap.render = lambda *args, **named: told(twist(render(*args, **named)))
    try:
        return cli.main(["claude-sandbox", *argv[3:]], "bubblewrap")
    except NothingToSpoil as nothing:
        print(f"sabotage: {nothing}", file=sys.stderr)
        return 124


if __name__ == "__main__":
    sys.exit(main(sys.argv))
