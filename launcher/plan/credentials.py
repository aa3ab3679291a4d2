"""Rows of the group "credentials": git, ssh and gh configuration, the SSH agent, keys in variables."""

from __future__ import annotations

from launcher.plan import places
from launcher.plan.context import Context
from launcher.plan.model import Granted, Mount
from launcher.spec.table import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.host.model import Entry


def dotfiles(row: str) -> Callable[[Context], Granted]:
    """A row that shows files of the user's home, read-only, under the sandbox's home."""

    def plan(context: Context) -> Granted:
        offer = context.offer(row)
        if not offer.entries:
            return Granted(row=row, granted=False, reason=offer.reason, note=offer.note)
        mounts = tuple(placed(e, places.HOME) for e in offer.entries)
        top = sorted({e.name for e in offer.entries}, key=len)[0]
        return Granted(row=row, source=offer.shown, target=f"{places.HOME}/{top}", mounts=mounts, note=offer.note)

    return plan


def placed(entry: Entry, base: str) -> Mount:
    """One file, directory or staged copy below `base`. A directory is made, not bound: its entries follow one by one."""
    target = f"{base}/{entry.name}"
    if entry.kind == "dir":
        return Mount(kind="dir", target=target, perms=0o700)
    if entry.kind == "content":
        return Mount(kind="data", target=target, content=entry.content, perms=0o600)
    return Mount(kind="bind", source=entry.source, target=target, mode="ro")


def ssh_agent(context: Context) -> Granted:
    """The agent's socket. It needs no network, so it works under --no-network, too."""
    offer = context.offer("ssh-agent")
    if not offer.entries:
        return Granted(row="ssh-agent", granted=False, reason=offer.reason, note=offer.note)
    target = f"{context.runtime}/ssh-agent.sock"
    return Granted(
        row="ssh-agent",
        source=offer.shown,
        target=target,
        mounts=(Mount(kind="bind", source=offer.entries[0].source, target=target, mode="rw"),),
        environment=(("SSH_AUTH_SOCK", target),),
    )


def variables(row: str) -> Callable[[Context], Granted]:
    """A row that copies the variables which the spec assigns to it."""

    def plan(context: Context) -> Granted:
        wanted = [name for name, owner in ENVIRONMENT if owner == row]
        found = forwarded(context.host.environ, wanted)
        if not found:
            return Granted(row=row, granted=False, reason=f"none of {wanted[0]}, … is set" if len(wanted) > 1 else f"{wanted[0]} is not set")
        names = ", ".join(name for name, _ in found)
        return Granted(row=row, source=names, target="the same", environment=found)

    return plan


def forwarded(environ: dict[str, str], wanted: list[str]) -> tuple[tuple[str, str], ...]:
    """The variables among `wanted` (a name, or a prefix ending in `*`) that are set."""
    exact = {name for name in wanted if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in wanted if name.endswith("*"))
    return tuple(
        (name, value) for name, value in environ.items() if name in exact or (prefixes and name.startswith(prefixes))
    )
