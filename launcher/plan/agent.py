"""What runs inside: the agent with a note on where it is, or bash; and what is visible for its sake, or
asked for.
"""

from __future__ import annotations

from launcher.errors import UserError
from launcher.plan import places
from launcher.plan.context import Context
from launcher.plan.model import Granted, Mount
from launcher.untrusted import inside, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.plan.model import Mode


def command(context: Context) -> tuple[str, ...]:
    """The argv inside."""
    request, host = context.request, context.host
    if request.shell:
        return ("/bin/bash", *request.args)
    if not host.agent:
        return ("claude", *request.args)  # only explained, never run: missing.report() has it
    if any(a.startswith("--append-system-prompt") for a in request.args):
        return (host.agent.path, *request.args)  # the user's own takes its place: Claude Code knows one
    return (host.agent.path, "--append-system-prompt", briefing(context), *request.args)


def briefing(context: Context) -> str:
    """What the agent is told about the place it is in: enough that it does not try in vain, or misjudge
    what it sees.
    """
    request = context.request
    network = "The network is the host's." if request.network else "There is no network but loopback."
    read_only = [
        what
        for what, row in (("~/.ssh", "ssh-keys"), ("~/.gitconfig", "git-config"))
        if row not in request.without and context.offer(row).entries
    ]
    if "claude-settings-write" not in request.also:
        read_only.append("the user's Claude settings")
    return (
        f"You run inside claude-sandbox ({request.backend}). You can write to the project directory"
        f" {context.subject.path} (also at /project) and to ~/.claude; your home is empty and goes away at"
        f" exit, as does /tmp. {', '.join([*read_only, '.git/hooks'])} are read-only."
        " There is no root, no sudo, no Docker and no access to the user's other files or processes."
        f" {network} What you install outside the project is lost at exit."
    )


def agent_mounts(context: Context) -> Granted:
    """The agent's install tree and its interpreter's, read-only, at their host paths: programs find their
    parts by them.
    """
    agent = context.host.agent
    if not agent:
        return Granted(row="agent", granted=False, reason="claude is not on PATH")
    project = context.subject.path
    mounts = [
        Mount(kind="bind", source=tree, target=tree, mode="ro")
        for tree in agent.trees
        # An agent installed in the project is there already, writable as the project is.
        if not (tree + "/").startswith(project + "/")
    ]
    mounts.append(Mount(kind="symlink", source=agent.path, target=f"{places.BIN}/{agent.name}"))
    return Granted(row="agent", source=agent.path, target=agent.path, mounts=tuple(mounts))


def shares(context: Context, refused: Callable[..., str]) -> Granted:
    """--share PATH: bound at its host path, and under /project where it lies in PROJECT.

    Raises UserError when it does not exist or must not be given; a share never covers the project or a place
    of ours.
    """
    host = context.host
    mounts, notes = [], []
    for share in sorted(context.request.shares, key=lambda s: s.path.count("/")):
        path = share.path
        places_of = {"home": host.home, "runtime": host.runtime, "state": host.state}
        reason = refused(path, **places_of, writable=share.mode == "rw")
        hint = "share a directory or a file below it"
        if reason and share.mode == "rw" and not refused(path, **places_of, writable=False):
            hint = "share it read-only, without :rw"
        reason = reason or _covers(context, path, writable=share.mode == "rw")
        if reason:
            raise UserError(f"--share {printable(path)} {reason}", hint)
        mode: Mode = "rw" if share.mode == "rw" else "ro"
        mounts += [Mount(kind="bind", source=path, target=to, mode=mode) for to in context.both(path)]
        if share.link:
            notes.append(f"--share {printable(share.link)} is a symlink: inside it is {printable(path)}")
    return Granted(row="share", mounts=tuple(mounts), note="; ".join(notes))


def _covers(context: Context, path: str, *, writable: bool) -> str:
    """Why a mount at `path` would undo what the sandbox has there, or ""."""
    project = context.subject.path
    if inside(project, path):
        what = "is PROJECT" if path == project else "holds PROJECT"
        return f"{what}, and would undo the protections in it"
    if writable and inside(path, project):
        return "lies in PROJECT, which is writable but for what is protected in it"
    own = (places.HOME, places.PROJECT, places.RUN, context.runtime)
    return "would cover what the sandbox has of its own there" if any(inside(p, path) for p in own) else ""
