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
    notes: list[str] = []
    if layout:
        mounts += [Mount(kind="bind", source=p, target=p, mode="rw") for p in layout.outside]
        notes += layout.notes
        if layout.refused:
            notes.append(f"{layout.refused[0]} is left out: {layout.refused[1]}")
        elif layout.enclosing:
            notes.append(f"PROJECT is part of the repository {layout.enclosing}; start there to have git")
    return Granted(
        row="project",
        source=path,
        target=f"{path} and {places.PROJECT}",
        mounts=tuple(mounts),
        note="; ".join(f"git: {note}" for note in notes),
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
    # husky writes its hooks at every `npm install`, and fails the installation when it cannot.
    husky = any("/.husky" in path for path in layout.hooks)
    return Granted(
        row="git-hooks",
        source=shown,
        target="the same paths, and under /project",
        mounts=tuple(mounts),
        environment=(("HUSKY", "0"),) if husky else (),
    )


def host_triggers(context: Context) -> Granted:
    """Watched by the launcher at exit; with --protect read-only from the start."""
    if not context.request.protect:
        return Granted(
            row="host-triggers",
            source="what your tools run from PROJECT",
            target="compared when the sandbox ends",
        )
    project = context.subject.path
    pins = {
        parent: "rw"
        for path in context.subject.triggers
        for parent in _between(path, project)
        if parent not in dict(context.subject.git.pins if context.subject.git else ())
    }
    mounts = [
        Mount(kind="bind", source=path, target=target, mode="ro" if mode == "ro" else "rw")
        for path, mode in {**pins, **dict.fromkeys(context.subject.triggers, "ro")}.items()
        for target in context.both(path)
    ]
    mounts.sort(key=lambda m: m.target.count("/"))
    count = len(context.subject.triggers)
    return Granted(row="host-triggers", source=f"{count} paths", target="the same", mounts=tuple(mounts))


def _between(path: str, project: str) -> list[str]:
    """Directories between the project and `path`: pinned, so that none can be moved away with what
    is in it.
    """
    if not path.startswith(project + "/"):
        return []
    parts = path[len(project) + 1 :].split("/")[:-1]
    return [project + "/" + "/".join(parts[: n + 1]) for n in range(len(parts))]


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
