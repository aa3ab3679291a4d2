"""What was typed to `invoke run`, before invoke takes it apart: its own complaint has no example in it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from invoke.exceptions import Exit
from invoke.tasks import Task

from launcher.errors import LauncherError, UserError
from tooling import backends
from tooling.report import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invoke.parser.argument import Argument

VALUED = ("--flags", "--backend", "--project")


class Run(Task[Callable[..., None]]):
    """The task `run`; invoke asks it for its arguments once, just before it reads the command line."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Invoke's own. Raises Exit where BACKEND or PROJECT is missing, after saying so."""
        try:
            check(sys.argv[1:])
        except LauncherError as error:
            say(f"claude-sandbox: {error.what}")
            say(f"  {error.hint}")
            raise Exit(code=error.status) from None
        return super().get_arguments(ignore_unknown_help)


def check(typed: Sequence[str]) -> None:
    """Raises UserError for `run` without BACKEND or PROJECT; silent where it may mean something else."""
    words = list(typed[: typed.index("--")] if "--" in typed else typed)
    if "run" not in words or {"-h", "--help"} & {*words}:
        return
    before, words = ["", *words[: words.index("run")]], words[words.index("run") + 1 :]
    # Only flags of invoke's own and their values, and none whose value `run` itself may be.
    apart = all(
        w[:1] == "-" or (flag[:1] == "-" and "=" not in flag) for flag, w in itertools.pairwise(before)
    )
    if not apart or before[-1][:1] == "-":
        return
    given = []
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name in VALUED and not equals:
            value = words.pop(0) if words else ""
        if name in ("--backend", "--project"):
            given.append(value)
        elif name[:1] != "-":
            given.append(name)
    if len(given) == 1:
        backends.find(given[0])
        hint = f"as: invoke run {given[0]} ~/proj   (or a dot for where you stand)"
        raise UserError(f"run {given[0]} lacks PROJECT, the directory that the agent works on", hint)
    if not given:
        what = "run lacks a backend, and PROJECT, the directory that the agent works on"
        raise UserError(what, "as: invoke run bubblewrap ~/proj")
