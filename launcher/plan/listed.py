"""What the spec's lists give a row: entries of /etc, and variables of the host's environment."""

from __future__ import annotations

from launcher.plan.context import Context
from launcher.plan.model import Granted, Mount
from launcher.spec.table import ENVIRONMENT, ETC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def mounts(context: Context, row: str) -> tuple[Mount, ...]:
    """The /etc entries of a row, as far as the host has them. Links into /usr stay links."""
    if row not in ETC:
        return ()
    names = {f"/etc/{name}" for name in ETC[row]}
    return tuple(
        Mount(kind="symlink" if e.kind == "link" else "bind", source=e.source, target=e.name, mode="ro")
        for e in context.offer("etc").entries
        if e.name in names
    )


def variables(context: Context, row: str) -> tuple[tuple[str, str], ...]:
    """The variables that the spec assigns to a row (a name, or a prefix ending in `*`) and that are set."""
    wanted = ENVIRONMENT.get(row)
    if not wanted:
        return ()
    prefixes = tuple(name[:-1] for name in wanted if name.endswith("*"))
    environ = context.host.environ
    return tuple((n, v) for n, v in environ.items() if n in wanted or (prefixes and n.startswith(prefixes)))


def only(row: str) -> Callable[[Context], Granted]:
    """A row that is nothing but its lists."""

    def plan(context: Context) -> Granted:
        entries, found = mounts(context, row), variables(context, row)
        if not entries and not found:
            first = [f"/etc/{name}" for name in ETC.get(row, ())[:1]]
            first += [f"${name}" for name in ENVIRONMENT.get(row, ())[:1]]
            return Granted(row=row, granted=False, reason=f"this host has no {' nor '.join(first)}")
        return Granted(row=row, source=shown(entries, found), target="the same")

    return plan


def added(context: Context, granted: Granted) -> Granted:
    """A granted row with what the lists add to it; a variable or file that the row sets itself
    stands.
    """
    if not granted.granted:
        return granted
    own = {name for name, _ in granted.environment} | {mount.target for mount in granted.mounts}
    extra = tuple((n, v) for n, v in variables(context, granted.row) if n not in own)
    return granted.replace(
        mounts=granted.mounts + tuple(m for m in mounts(context, granted.row) if m.target not in own),
        environment=granted.environment + extra,
    )


def shown(entries: tuple[Mount, ...], found: tuple[tuple[str, str], ...]) -> str:
    """A few of the names, for people."""
    names = [*(m.target for m in entries), *(f"${name}" for name, _ in found)]
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
