"""How a task tells a person that it failed: two lines on stderr and a status, never a traceback."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, ParamSpec

from invoke.exceptions import Exit

from launcher.errors import LauncherError

if TYPE_CHECKING:
    from collections.abc import Callable


P = ParamSpec("P")


def say(line: str) -> None:
    """One line for the person at the terminal; on stderr, so that stdout stays the program's own."""
    print(line, file=sys.stderr, flush=True)


def reported(body: Callable[P, int | None]) -> Callable[P, None]:
    """A task whose errors are printed as two lines and whose returned number is invoke's exit status."""

    @functools.wraps(body)
    def task(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = body(*args, **kwargs)
        except LauncherError as error:
            say(f"claude-sandbox: {error.what}")
            say(f"  {error.hint}")
            raise Exit(code=error.status) from None
        if status:
            raise Exit(code=status)

    return task
