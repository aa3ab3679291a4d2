"""Lies in what the launcher does, not in what it plans: functions of it replaced."""

from __future__ import annotations

import os
from typing import Any

from launcher.run import console, inner, mounts, session, spawn
from launcher.triggers import Watching
from sabotage.spoils import ALLOW_ALL, Spoil, filtered


def lies() -> list[Spoil]:
    """Spoils by patching."""
    return [
        # nspawn closes and resets these once more.
        _inherited("descriptors", "descriptors stay open", _keep_descriptors),
        _inherited("umask", "the caller's umask", lambda: nothing(os, "umask")),
        _inherited("signals", "ignored signals", lambda: nothing(spawn, "_signals")),
        _inherited("limits", "the caller's limits", lambda: nothing(spawn, "_limits")),
        # Seen from inside only past the filter: two protections lie over each other here.
        Spoil(
            name="inheritance:keyring",
            row="inheritance",
            backend="bubblewrap",
            says="the caller's keyring, and no filter",
            patch=lambda: spawn.SYS_KEYCTL.clear(),
            launch=filtered("inheritance", "keyring", "", ALLOW_ALL).launch,
        ),
        Spoil(
            name="limits:soft",
            row="limits",
            says="limits that can be lifted",
            patch=_soft,
            backend="bubblewrap",
        ),
        Spoil(
            name="host-triggers:silent",
            row="host-triggers",
            says="changes are not reported",
            patch=_silent,
            own=True,
        ),
        _patched("terminal:size", "terminal", "no resize", lambda: nothing(console.Console, "resize")),
        # sudo puts it back by itself.
        Spoil(
            name="terminal:raw",
            row="terminal",
            backend="bubblewrap",
            says="not restored",
            patch=lambda: nothing(console.Console, "release"),
        ),
        Spoil(
            name="privileges:owners",
            row="privileges",
            backend="container",
            says="what is root inside is root on the disk",
            patch=lambda: nothing(mounts.Kernel, "map_owners"),
        ),
        _patched("exit:status", "exit", "status 0 whatever happened", _always_zero),
    ]


def _patched(name: str, row: str, says: str, patch: Any) -> Spoil:  # noqa: ANN401
    return Spoil(name=name, row=row, says=says, patch=patch)


def _inherited(name: str, says: str, patch: Any) -> Spoil:  # noqa: ANN401
    row = "inheritance"
    return Spoil(name=f"{row}:{name}", row=row, says=says, patch=patch, backend="bubblewrap")


def nothing(owner: Any, name: str) -> None:  # noqa: ANN401
    """Replace a function by one that does nothing."""
    setattr(owner, name, lambda *_args, **_named: 0)


def _keep_descriptors() -> None:
    def left_open(stdio: tuple[int, int, int], keep: frozenset[int]) -> None:
        del keep
        for target, source in enumerate([os.dup(number) for number in stdio]):
            os.dup2(source, target, inheritable=True)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.set_inheritable(int(name), True)
                except OSError:
                    pass

    spawn._descriptors = left_open


def _soft() -> None:
    """bash's ulimit with -S: the hard one stays what it was."""
    inner.STAGE = inner.STAGE.replace("ulimit ", "ulimit -S ")


def _silent() -> None:
    finish = Watching.finish
    Watching.finish = lambda self: finish(self) and []  # type: ignore[method-assign]


def _always_zero() -> None:
    attend = session.Session.attend

    def zero(self: session.Session, *args: Any, **named: Any) -> int:  # noqa: ANN401
        attend(self, *args, **named)
        return 0

    session.Session.attend = zero  # type: ignore[method-assign]
