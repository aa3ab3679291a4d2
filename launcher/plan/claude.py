"""Rows about Claude's own files: the login, what the host's claude would execute, and ~/.claude.json."""

from __future__ import annotations

from launcher.plan import places
from launcher.plan.context import Context
from launcher.plan.model import Granted, Mount
from launcher.spec.table import CLAUDE_PRIVATE
from launcher.untrusted import inside

CONFIG = f"{places.HOME}/.claude"
MANAGED = "/etc/claude-code/managed-settings.d"


def claude_config(context: Context) -> Granted:
    """~/.claude, writable; but not what running sessions of the host source or trust, which is private
    inside.

    The host's path is a link to it: settings and plugins name their files by it.
    """
    offer = context.offer("claude-config")
    if not offer.entries:
        return Granted(row="claude-config", granted=False, reason=offer.reason, note=offer.note)
    source = offer.entries[0].source
    if inside(context.subject.path, source):
        why = f"{offer.shown} holds PROJECT"
        note = f"the login is not forwarded: {why}"
        return Granted(row="claude-config", granted=False, reason=why, note=note)
    mounts = [Mount(kind="bind", source=source, target=CONFIG, mode="rw")]
    mounts += [Mount(kind="tmpfs", target=f"{CONFIG}/{name}", perms=0o700) for name in CLAUDE_PRIVATE]
    if offer.shown != CONFIG and not offer.shown.startswith(context.subject.path + "/"):
        mounts.append(Mount(kind="symlink", source=CONFIG, target=offer.shown))
    return Granted(row="claude-config", source=offer.shown, target=CONFIG, mounts=tuple(mounts))


def claude_settings(context: Context) -> Granted:
    """Settings, hooks, commands and their like read-only in the writable ~/.claude."""
    if "claude-settings-write" in context.request.also:
        return Granted(row="claude-settings", granted=False, reason="writable: --with claude-settings-write")
    found = context.offer("claude-config").paths
    if "claude-config" in context.request.without or not found or inside(context.subject.path, found[0]):
        return Granted(row="claude-settings", granted=False, reason="there is no claude-config")
    offer = context.offer("claude-settings")
    config = context.offer("claude-config").entries[0].source
    links = [e for e in offer.entries if e.kind == "link"]
    # A link to a directory has no source here: a mount point is a directory exactly when what it shows is
    # one.
    covered = [e for e in links if e.source and context.host.can_cover]
    mounts = [
        Mount(kind="bind", source=f"{config}/{e.name}", target=f"{CONFIG}/{e.name}", mode="ro")
        for e in offer.entries
        if e.kind != "link" or e in covered
    ]
    left = ", ".join(e.name for e in links if e not in covered)
    notes = (
        [f"claude-settings: {left} in {config} is a symlink: not shown, and not protected"] if left else []
    )
    if inside(config, context.subject.path):
        notes.append(f"claude-settings: {config} lies in PROJECT, where nothing of it is protected")
    return Granted(
        row="claude-settings",
        source=offer.shown,
        target=CONFIG,
        mounts=(*mounts, *accepted(context)),
        covers=tuple((e.source, f"{config}/{e.name}") for e in covered),
        note="; ".join(notes),
    )


def accepted(context: Context) -> tuple[Mount, ...]:
    """The yes to Claude Code's warning of --dangerously-skip-permissions, for who gave that flag.

    It keeps a yes in settings.json only, which is read-only here: it would ask again at every start. An
    organisation's own settings of that kind are left alone.
    """
    given = "--dangerously-skip-permissions" in context.request.args
    theirs = any(e.name == MANAGED for e in context.offer("etc").entries)
    if not given or theirs or context.request.shell:
        return ()
    content = b'{"skipDangerousModePermissionPrompt": true}\n'
    return (Mount(kind="data", target=f"{MANAGED}/claude-sandbox.json", content=content, perms=0o644),)


def claude_json(context: Context) -> Granted:
    """A copy of ~/.claude.json, one per project. A link leads to it: Claude Code writes through the link."""
    source = context.offer("claude-json").shown
    directory = f"{context.subject.state}/claude"
    mounts = (
        Mount(kind="bind", source=directory, target=places.CLAUDE_JSON, mode="rw"),
        Mount(
            kind="symlink", source=f"{places.CLAUDE_JSON}/claude.json", target=f"{places.HOME}/.claude.json"
        ),
    )
    return Granted(
        row="claude-json",
        source=source,
        target=f"{places.HOME}/.claude.json, kept for this project",
        mounts=mounts,
        note=context.offer("claude-json").note,
    )
