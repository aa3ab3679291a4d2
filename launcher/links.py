"""Symbolic links below ~/.claude: which were there before an agent, and which it left that lead out of it.

The host's own claude appends to history.jsonl and writes below todos, and would do so through a link, be it
to ~/.bashrc or to ~/.config.
"""

from __future__ import annotations

import os
import time

from launcher.plan import places
from launcher.spec.table import CLAUDE_PRIVATE, CLAUDE_SETTINGS
from launcher.untrusted import inside
from launcher.watch import CLOCK_NS, ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = 2  # that are noted before the agent runs
MAX_NOTED = 5000  # entries looked at then
# Directories that are read-only or private inside, where no agent leaves a link: some hold whole
# repositories.
SHUT = frozenset((*CLAUDE_PRIVATE, *(name for name, kind, _, _ in CLAUDE_SETTINGS if kind == "dir")))


class Links:
    """`note` before the agent runs, `left` when it has ended. `base`: the real path of ~/.claude."""

    def __init__(self, base: str) -> None:
        self.unseen: list[str] = []  # directories that `left` could not look into
        self.late = False  # `left` did not come to an end
        self._base = base
        self._before: dict[str, str] = {}
        self._noted = 0  # levels of which all links are in `_before`
        self._since = 0

    def note(self) -> None:
        """Remember what links there are, as far down and as many as costs a start nothing."""
        self._since = time.time_ns() - CLOCK_NS
        for number, (level, entry, is_link) in enumerate(self._walk()):
            self._noted = level - 1
            if number >= MAX_NOTED or level > LEVELS:
                return
            if is_link:
                self._before[self._name(entry)] = _target(entry)
        self._noted = LEVELS

    def left(self, deadline_s: float = 2.0) -> list[tuple[str, str]]:
        """Links that are new or lead elsewhere than before, and out of ~/.claude: (name below it, target).

        Below what was noted a link is new by its change time, which an agent cannot forge.
        """
        stop = time.monotonic() + deadline_s
        found = []
        for number, (level, entry, is_link) in enumerate(self._walk()):
            if number % 500 == 499 and time.monotonic() > stop:
                self.late = True
                break
            if not is_link:
                continue
            name, target = self._name(entry), _target(entry)
            if self._before.get(name) == target or (level > self._noted and _changed(entry) < self._since):
                continue
            if not inside(self._leads_to(name, target), self._base):
                found.append((name, target))
        return sorted(found, key=lambda link: (link[0].count("/"), link))

    def _walk(self) -> Iterator[tuple[int, str, bool]]:
        """(level, path, whether it is a link) of links and directories, level by level, through no link."""
        level, here = 0, [self._base]
        self.unseen = []
        while here:
            level, above, here = level + 1, here, []
            for directory in above:
                try:
                    with os.scandir(directory) as entries:
                        for entry in entries:
                            if entry.is_symlink():
                                yield level, entry.path, True
                                continue
                            yield level, entry.path, False
                            if entry.is_dir(follow_symlinks=False) and not (
                                level == 1 and entry.name in SHUT
                            ):
                                here.append(entry.path)
                except FileNotFoundError:
                    continue
                except OSError:
                    if ours(directory):
                        self.unseen.append(directory)

    def _name(self, path: str) -> str:
        return path[len(self._base) + 1 :]

    def _leads_to(self, name: str, target: str) -> str:
        """The real path on the host. Claude Code links to its newest log by the path that it has inside."""
        own = f"{places.HOME}/.claude"
        if inside(target, own) and not os.path.lexists(places.HOME):
            target = self._base + target[len(own) :]
        return os.path.realpath(os.path.join(self._base, os.path.dirname(name), target))


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _changed(path: str) -> int:
    try:
        return os.lstat(path).st_ctime_ns
    except OSError:
        return 0
