"""The backends that tasks know by name: which program starts each, and whether it is proven."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Backend:
    """`program` is a console program of this distribution. `proven` False: it runs, and not all of its column
    is proven yet, so that it is looked at when it is named only.
    """

    name: str
    program: str
    proven: bool = True


BACKENDS = (
    Backend(name="bubblewrap", program="claude-sandbox"),
    Backend(name="container", program="claude-sandbox-container"),
    Backend(name="vm", program="claude-sandbox-vm", proven=False),
)


def chosen(names: Sequence[str]) -> tuple[Backend, ...]:
    """Those of the names; without any all that are proven. Raises UserError as `find` does."""
    return tuple(find(name) for name in names) or tuple(b for b in BACKENDS if b.proven)


def find(name: str) -> Backend:
    """The backend called `name`. Raises UserError when there is none; the nearest name is offered."""
    by_name = {backend.name: backend for backend in BACKENDS}
    backend = by_name.get(name)
    if backend is None:
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"backends: {', '.join(by_name)}"
        raise UserError(f"unknown backend {name!r}", hint)
    return backend
