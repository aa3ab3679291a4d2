"""git's, ssh's and gh's configuration, and the SSH agent. Keys in variables are plain lists
(plan/listed.py).
"""

from __future__ import annotations

from launcher.plan import listed, places
from launcher.plan.context import Context
from launcher.plan.model import Granted, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.host.model import Entry


def dotfiles(row: str) -> Callable[[Context], Granted]:
    """A row that shows files of the user's home, read-only, under the sandbox's home."""

    def plan(context: Context) -> Granted:
        offer = context.offer(row)
        if not offer.entries:
            system_wide = listed.mounts(context, row)
            if system_wide:  # /etc/gitconfig
                return Granted(
                    row=row, source=listed.shown(system_wide, ()), target="the same", note=offer.note
                )
            return Granted(row=row, granted=False, reason=offer.reason, note=offer.note)
        mounts = [placed(e, places.HOME) for e in offer.entries]
        link = f"{context.host.home}/.ssh"
        if row == "ssh-keys" and context.host.home != places.HOME:
            # A configuration that says IdentityFile /home/u/.ssh/id finds it.
            mounts.append(Mount(kind="symlink", source=f"{places.HOME}/.ssh", target=link))
        target = f"{places.HOME}/{offer.entries[0].name}"
        return Granted(row=row, source=offer.shown, target=target, mounts=tuple(mounts), note=offer.note)

    return plan


def placed(entry: Entry, base: str) -> Mount:
    """One file, directory or staged copy below `base`. A directory is made, not bound: its entries follow
    one by one.
    """
    target = entry.name if entry.name.startswith("/") else f"{base}/{entry.name}"
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
