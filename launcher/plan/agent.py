"""What runs inside: the agent with a note on where it is, or bash; and what is visible for its sake, or
asked for.
"""

from __future__ import annotations

from launcher.errors import UserError
from launcher.plan import places
from launcher.plan.context import Context
from launcher.plan.model import Granted, Mount
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


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
    """What the agent is told about the place it is in: enough that it does not try in vain, or misjudge what
    it sees.
    """
    network = "The network is the host's." if context.request.network else "There is no network but loopback."
    return (
        f"You run inside claude-sandbox ({context.request.backend}). You can write to the project directory"
        f" {context.subject.path} (also at /project) and to ~/.claude; your home is empty and goes away at"
        " exit, as does /tmp. ~/.ssh, ~/.gitconfig, the user's Claude settings and .git/hooks are read-only."
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
    """--share PATH: bound at its host path.

    Raises UserError when it does not exist or must not be given; a share never covers the project or a place
    of ours.
    """
    host = context.host
    mounts = []
    for share in context.request.shares:
        path = share.path
        reason = refused(
            path, home=host.home, runtime=host.environ.get("XDG_RUNTIME_DIR", ""), state=host.state
        )
        if reason or context.subject.path.startswith(path + "/"):
            why = reason or "holds PROJECT, and would undo the protections in it"
            raise UserError(f"--share {printable(path)} {why}", "share a directory or a file below it")
        mounts.append(Mount(kind="bind", source=path, target=path, mode="rw" if share.mode == "rw" else "ro"))
    return Granted(row="share", mounts=tuple(mounts))
