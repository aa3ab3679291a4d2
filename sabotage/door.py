"""`python -I door.py MARK BACKEND SPOIL [flags] PROJECT [ARG…]`: the launcher, with one thing spoiled.

The file MARK is there once the lie was told. Status 124 when there was nothing to spoil: no check may take
that for a sandbox.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def main(argv: list[str]) -> int:
    """Tell the lie that argv[3] names, and go on as the backend's program. The container's comes here twice:
    as the user, and through sudo as root, where a lie knows the user's home by the variables sudo was given.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from launcher import backends, cli, elevate, launch
    from sabotage.lies import lies
    from sabotage.spoils import NothingToSpoil

    if os.geteuid() == 0 and (sudo := elevate.caller()):
        os.environ.update(elevate.environment(sudo))
    mark, backend, spoil = Path(argv[1]), argv[2], lies(argv[2])[argv[3]]
    module = backends.of(backend)
    resolve, render = launch.plan, module.render

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
        module.render = lambda *args, **named: told(twist(render(*args, **named)))  # type: ignore[method-assign]
    try:
        return cli.main([cli.PROGRAMS[backend], *argv[4:]], backend)
    except NothingToSpoil as nothing:
        print(f"sabotage: {nothing}", file=sys.stderr)
        return 124


if __name__ == "__main__":
    sys.exit(main(sys.argv))
