"""The backends that tasks know by name: which program starts each, and whether it can be used yet."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Backend:
    """`program` is a console program of this distribution; `built` False: planned, not yet here."""

    name: str
    program: str
    built: bool = True


BACKENDS = (
    Backend(name="bubblewrap", program="claude-sandbox"),
    Backend(name="container", program="claude-sandbox-container"),
    Backend(name="vm", program="claude-sandbox-vm", built=False),
)


def chosen(names: Sequence[str]) -> tuple[Backend, ...]:
    """Those of the names; all that are built without any. Raises UserError as `find` does."""
    return tuple(find(name) for name in names) or tuple(b for b in BACKENDS if b.built)


def find(name: str) -> Backend:
    """The backend called `name`.

    Raises UserError when there is none (the nearest name is offered) or it is not built yet.
    """
    by_name = {backend.name: backend for backend in BACKENDS}
    backend = by_name.get(name)
    if backend is None:
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"backends: {', '.join(by_name)}"
        raise UserError(f"unknown backend {name!r}", hint)
    if not backend.built:
        ready = ", ".join(other.name for other in BACKENDS if other.built)
        raise UserError(
            f"the {name} backend is not built yet", f"for now: {ready}; CHANGELOG.md says when this changes"
        )
    return backend
