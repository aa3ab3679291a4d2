"""The backends that tasks know by name, and which program starts each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Backend:
    """`program` is a console program of this distribution."""

    name: str
    program: str


BACKENDS = (
    Backend(name="bubblewrap", program="claude-sandbox"),
    Backend(name="container", program="claude-sandbox-container"),
    Backend(name="vm", program="claude-sandbox-vm"),
)


def chosen(names: Sequence[str]) -> tuple[Backend, ...]:
    """Those of the names; without any all. Raises UserError as `find` does."""
    return tuple(map(find, names)) or BACKENDS


def find(name: str) -> Backend:
    """The backend called `name`. Raises UserError when there is none; the nearest name is offered."""
    by_name = {backend.name: backend for backend in BACKENDS}
    backend = by_name.get(name)
    if backend is None:
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"backends: {', '.join(by_name)}"
        raise UserError(f"unknown backend {name!r}", hint)
    return backend
