"""Rows of the group "project and identity", but for Claude's own files (plan/claude.py)."""

from __future__ import annotations

from launcher.plan import places
from launcher.plan.context import Context
from launcher.plan.model import Granted, Mount

PIN = "pinned"


def project(context: Context) -> Granted:
    """The project at its host path and at /project, and the real git directory when that lies outside."""
    path = context.subject.path
    layout = context.subject.git
    mounts = [Mount(kind="bind", source=path, target=target, mode="rw") for target in context.both(path)]
    note = ""
    if layout:
        mounts += [Mount(kind="bind", source=p, target=p, mode="rw") for p in layout.outside]
        if layout.refused:
            note = f"git: {layout.refused[0]} is left out: {layout.refused[1]}"
        elif layout.enclosing:
            note = (
                f"git: PROJECT is part of the repository {layout.enclosing}; start there to have git inside"
            )
    return Granted(
        row="project", source=path, target=f"{path} and {places.PROJECT}", mounts=tuple(mounts), note=note
    )


def git_hooks(context: Context) -> Granted:
    """Hooks read-only; .git and what leads to the hooks pinned by being mount points, which cannot be
    renamed.
    """
    layout = context.subject.git
    if not layout or not (layout.hooks or layout.pins):
        return Granted(row="git-hooks", granted=False, reason="PROJECT has no git directory")
    mounts = [
        Mount(kind="bind", source=path, target=target, mode="ro" if mode == "ro" else "rw")
        for path, mode in (*layout.pins, *((h, "ro") for h in layout.hooks))
        for target in context.both(path)
    ]
    # Parents before what lies in them, whatever order git.py found them in.
    mounts.sort(key=lambda m: m.target.count("/"))
    shown = ", ".join(layout.hooks[:3]) + ("…" if len(layout.hooks) > 3 else "")
    return Granted(
        row="git-hooks", source=shown, target="the same paths, and under /project", mounts=tuple(mounts)
    )


def host_triggers(context: Context) -> Granted:
    """Watched by the launcher at exit; with --protect read-only from the start."""
    if not context.request.protect:
        return Granted(
            row="host-triggers",
            source="what your tools run from PROJECT",
            target="compared when the sandbox ends",
        )
    mounts = [
        Mount(kind="bind", source=path, target=target, mode="ro")
        for path in context.subject.triggers
        for target in context.both(path)
    ]
    return Granted(
        row="host-triggers",
        source=f"{len(context.subject.triggers)} paths",
        target="read-only",
        mounts=tuple(mounts),
    )


def uid(context: Context) -> Granted:
    """The caller's own uid and gid; passwd and group that name them, root and nobody."""
    user, group = context.host.uid, context.host.gid
    shell = "/bin/bash"
    people = [
        f"sandbox:x:{user}:{group}::{places.HOME}:{shell}",
        f"nobody:x:65534:65534::/nonexistent:{shell}",
    ]
    groups = [f"sandbox:x:{group}:", "nobody:x:65534:"]
    # For uid 0 both lines have it, and the first one answers: ssh looks for ~/.ssh by it, not by HOME.
    people.insert(1 if user == 0 else 0, "root:x:0:0::/root:/bin/sh")
    groups.insert(1 if group == 0 else 0, "root:x:0:")
    files = (("passwd", people), ("group", groups))
    mounts = tuple(
        Mount(kind="data", target=f"/etc/{name}", content=("\n".join(lines) + "\n").encode(), perms=0o644)
        for name, lines in files
    )
    variables = (("USER", "sandbox"), ("LOGNAME", "sandbox"))
    return Granted(
        row="uid",
        source=f"uid {user}, gid {group}",
        target="the same, named sandbox",
        mounts=mounts,
        environment=variables,
    )
