"""The row host-triggers and its kin over one run: looked at before the agent starts, compared when it has
ended.
"""

from __future__ import annotations

import os
import time

from launcher import runs, watch
from launcher.errors import HostError
from launcher.links import Links
from launcher.spec.table import CLAUDE_PLANTED, CLAUDE_SETTINGS, TRIGGERS
from launcher.untrusted import clip, expand, mode_of, open_parent, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.git import GitLayout
    from launcher.plan.context import Subject

SHOWN = 8  # links that get a line each
MAX_NAME = 200  # bytes of a name that are part of what it is kept as
PATTERNS = tuple(pattern for pattern, _tool in TRIGGERS)
# Names under ~/.claude that the host's claude would run or read, and that cannot be made empty beforehand.
PLANTABLE = (*CLAUDE_PLANTED, *(name for name, _, _, create in CLAUDE_SETTINGS if not create))


def protected(project: str, layout: GitLayout | None) -> tuple[str, ...]:
    """For --protect: what of the row is there now, directories whole; never through a symlink."""
    bases = [(project, pattern.removesuffix("/**")) for pattern in PATTERNS]
    found = [path for base, pattern in bases for path in expand(base, pattern)]
    found += layout.triggers if layout else ()
    return tuple(dict.fromkeys(p for p in found if mode_of(p) and os.path.realpath(p) == p))


class Watching:
    """`begin` once the sandbox is built, `finish` once it is gone; each returns the lines to be said."""

    def __init__(self, subject: Subject, claude: str, *, protect: bool) -> None:
        """`claude`: the host's ~/.claude when it is writable inside, or "". `protect`: put back at once."""
        self._subject = subject
        self._protect = protect
        self._claude = claude
        self._there: frozenset[str] = frozenset()
        self._links = Links(claude)
        self._run: runs.Run | None = None

    def begin(self) -> list[str]:
        """Take and keep the snapshot. Says what a run that was killed has left changed."""
        git = self._subject.git
        self._there = frozenset(n for n in PLANTABLE if os.path.lexists(f"{self._claude}/{n}"))
        if self._claude:
            self._links.note()
        left = runs.leftovers(self._subject.state)
        taken = watch.snapshot(self._subject.path, PATTERNS, git.watched if git else ())
        self._run = runs.save(taken, self._subject.state)
        said = watch.report(left, self._subject.path)
        return ["claude-sandbox: an earlier run was killed; what it changed:", *said] if said else []

    def cancel(self) -> None:
        """The agent never ran: there is nothing to compare."""
        if self._run is not None:
            runs.finish(self._run, [])
            self._run = None

    def finish(self) -> list[str]:
        """Compare, keep the old copies of what changed, and say it. Nothing when the run never began."""
        if self._run is None:
            return []
        taken = self._run.snapshot
        found = watch.changes(taken)
        found += watch.planted(self._subject.path, taken.taken_ns, patterns=PATTERNS)
        said = watch.report(found, self._subject.path)
        try:
            runs.finish(self._run, found)
        except HostError as error:  # an agent that fills the disk silences nothing
            return [*said, f"claude-sandbox: {error.what}", f"  {error.hint}", *self._take_away()]
        if not os.path.isdir(self._subject.path):
            gone = printable(self._subject.path)
            said = [f"claude-sandbox: {gone} is not there any more: what changed in it was not looked at"]
        elif self._protect and any(c.what in ("appeared", "changed", "removed") for c in found):
            put_back = runs.restore(self._subject.state, self._subject.path)
            # Nothing puts these back; but some may lie in a directory that was moved away.
            rest = [
                c
                for c in found
                if c.what == "unexamined" or (c.what == "planted" and os.path.lexists(f"{c.root}/{c.name}"))
            ]
            said = [f"claude-sandbox: --protect: {line}" for line in put_back]
            said += watch.report(rest, self._subject.path)
        return said + self._take_away()

    def _take_away(self) -> list[str]:
        """Move what was planted under ~/.claude into the project's state; nothing is deleted."""
        if not self._claude:
            return []
        said = []
        for name in PLANTABLE:
            path = f"{self._claude}/{name}"
            if name not in self._there and os.path.lexists(path):
                what = f"{printable(path)} appeared, and your claude would obey it"
                said.append(f"claude-sandbox: {what}: {self._moved(name)}")
        left = self._links.left()
        for number, (name, target) in enumerate(left):
            done = self._moved(name, number)
            if number < SHOWN:
                what = f"{printable(f'{self._claude}/{name}')} is a new link to {printable(target)}"
                said.append(f"claude-sandbox: {what}, and your claude would follow it: {done}")
        if len(left) > SHOWN:
            said.append(f"claude-sandbox: and {len(left) - SHOWN} more such links, treated the same")
        return said + self._unseen()

    def _moved(self, name: str, number: int = 0) -> str:
        """Move `name` below ~/.claude into the state, stepping through no link; what was done, in words."""
        told = clip(name.replace("/", "+"), MAX_NAME)
        kept = f"{self._subject.state}/planted-{time.strftime('%Y%m%dT%H%M%S')}-{told}"
        kept = f"{kept}-{number}" if os.path.lexists(kept) else kept
        try:
            directory, last = open_parent(self._claude, name)
            try:
                os.rename(last, kept, src_dir_fd=directory)
            finally:
                os.close(directory)
        except OSError as error:
            return f"remove it ({error.strerror})"
        return f"moved to {printable(kept)}"

    def _unseen(self) -> list[str]:
        what = "claude-sandbox: not all of ~/.claude could be looked at for new links"
        said = [f"{what}: there is too much of it"] if self._links.late else []
        if self._links.unseen:
            said.append(f"{what}: {printable(self._links.unseen[0])} is closed to you")
        return said
