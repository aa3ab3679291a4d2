"""The row host-triggers and its kin over one run: looked at before the agent starts, compared when it has
ended.
"""

from __future__ import annotations

import os
import time

from launcher import runs, watch
from launcher.errors import HostError
from launcher.spec.table import CLAUDE_PLANTED, CLAUDE_SETTINGS, TRIGGERS
from launcher.untrusted import expand, mode_of, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.git import GitLayout
    from launcher.plan.context import Subject

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
        self._run: runs.Run | None = None

    def begin(self) -> list[str]:
        """Take and keep the snapshot. Says what a run that was killed has left changed."""
        git = self._subject.git
        self._there = frozenset(n for n in PLANTABLE if os.path.lexists(f"{self._claude}/{n}"))
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
        found += watch.planted(self._subject.path, taken.taken_ns)
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
            rest = [c for c in found if c.what in ("planted", "unexamined")]  # nothing puts these back
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
            if name in self._there or not os.path.lexists(path):
                continue
            kept = f"{self._subject.state}/planted-{time.strftime('%Y%m%dT%H%M%S')}-{name}"
            try:
                os.rename(path, kept)
                done = f"moved to {printable(kept)}"
            except OSError as error:
                done = f"remove it ({error.strerror})"
            said.append(f"claude-sandbox: {printable(path)} appeared, and your claude would obey it: {done}")
        return said
