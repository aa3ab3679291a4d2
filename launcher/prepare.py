"""What has to be on the host before a start: directories of the user's that are made once, and the project's
state.

Everything under ~/.claude is writable from inside, so a former agent may have left a link anywhere in it:
nothing here follows one.
"""

from __future__ import annotations

import errno
import os

from launcher import git, state
from launcher.errors import HostError
from launcher.plan.context import Context
from launcher.plan.model import Plan
from launcher.spec.table import CLAUDE_PRIVATE, CLAUDE_SETTINGS
from launcher.untrusted import printable


def prepare(context: Context, plan: Plan) -> None:
    """Make what the Plan binds and is not there yet. Raises HostError when the disk or a permission is in
    the way.
    """
    granted = {g.row for g in plan.rows if g.granted}
    state.project_dir(context.host.state, context.subject.path)
    try:
        if "claude-config" in granted:
            os.makedirs(context.offer("claude-config").entries[0].source, 0o700, exist_ok=True)
            # A mount point that is missing would be made by bwrap, and stay.
            _make_missing(
                context.offer("claude-config").entries[0].source,
                [(name, "dir", "") for name in CLAUDE_PRIVATE],
            )
        if "claude-settings" in granted:
            empty = [(name, kind, content) for name, kind, content, create in CLAUDE_SETTINGS if create]
            _make_missing(context.offer("claude-config").entries[0].source, empty)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HostError(
            f"{printable(str(error.filename))} cannot be made: {error.strerror}",
            "free some space there"
            if full
            else "mend the owner and the mode, or start without the login: --without claude-config",
        ) from error
    if "claude-json" in granted:
        copy = state.claude_json(context.subject.state, context.offer("claude-json").entries[0].source)
        if not os.path.lexists(copy):
            # Without one, Claude Code takes its own backups in ~/.claude for what is left of a lost file.
            state.write_atomic(copy, b"{}\n")
    if context.subject.git:
        git.make_missing(context.subject.git)


def _make_missing(directory: str, wanted: list[tuple[str, str, str]]) -> None:
    """Make what is missing, empty: what is there is a mount point inside, and cannot be planted.

    Raises OSError with the whole path.
    """
    base = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        there = set(os.listdir(base))
        for name, kind, content in wanted:
            if name not in there:
                try:
                    _make(name, kind, content, base)
                except FileExistsError:
                    continue  # another start at the same moment
                except OSError as error:
                    raise OSError(error.errno, error.strerror, f"{directory}/{name}") from error
    finally:
        os.close(base)


def _make(name: str, kind: str, content: str, base: int) -> None:
    if kind == "dir":
        os.mkdir(name, 0o755, dir_fd=base)
        return
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=base)
    try:
        os.write(file, content.encode())
    except OSError:
        os.unlink(name, dir_fd=base)  # empty, it would be taken for settings that are broken
        raise
    finally:
        os.close(file)
