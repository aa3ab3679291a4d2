"""`python -I door.py MARKS BACKEND SPOIL[,SPOIL…] [flags] PROJECT [ARG…]`: the launcher, spoiled.

In the directory MARKS there is a file by the name of each lie that was told. Status 124 when there was
nothing to spoil: no check may take that for a sandbox. Of several lies those are told that can be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from launcher.backends.base import Launch
    from launcher.plan.context import Context
    from launcher.plan.model import Plan

T = TypeVar("T")


def main(argv: list[str]) -> int:
    """Tell the lies that argv[3] names, and go on as the backend's program. The container's comes here twice:
    as the user, and through sudo as root, where a lie knows the user's home by the variables sudo was given.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from launcher import backends, cli, elevate, launch
    from sabotage.lies import lies
    from sabotage.spoils import NothingToSpoil

    if os.geteuid() == 0 and (sudo := elevate.caller()):
        os.environ.update(elevate.environment(sudo))
    marks, backend, known = Path(argv[1]), argv[2], lies(argv[2])
    spoils = [known[name] for name in argv[3].split(",")]
    module = backends.of(backend)
    resolve, render = launch.plan, module.render

    told: set[str] = set()

    def spoiled(truth: T, changes: Iterable[tuple[str, Callable[[T], T] | None]]) -> T:
        """What the lies make of it."""
        for name, change in changes:
            if change is None:
                continue
            try:
                truth = change(truth)
            except NothingToSpoil:
                if len(spoils) == 1:
                    raise
            else:
                told.add(name)
        return truth

    def plan(context: Context) -> Plan:
        request = spoiled(context.request, ((spoil.name, spoil.request) for spoil in spoils))
        return spoiled(resolve(context.replace(request=request)), ((s.name, s.plan) for s in spoils))

    def rendered(*args: Any, **named: Any) -> Launch:  # noqa: ANN401
        """The last that is done before the start: what was refused until then was not told."""
        found = spoiled(render(*args, **named), ((spoil.name, spoil.launch) for spoil in spoils))
        for name in told:
            with suppress(OSError):  # what a test has closed to us is not ours to mend
                (marks / name).touch()
        return found

    launch.plan = plan
    module.render = rendered  # type: ignore[method-assign]
    for spoil in spoils:
        if spoil.patch:
            spoil.patch()
            told.add(spoil.name)
    try:
        return cli.main([cli.PROGRAMS[backend], *argv[4:]], backend)
    except NothingToSpoil as nothing:
        print(f"sabotage: {nothing}", file=sys.stderr)
        return 124


if __name__ == "__main__":
    sys.exit(main(sys.argv))
