"""What the host's own tools would run from a project: how it was before the agent, and what is different
after.

Row host-triggers. Looking is bounded and follows no symlink; `launcher/runs.py` keeps what is found.
"""

from __future__ import annotations

import os
import stat
import time

from launcher.record import Record
from launcher.untrusted import MAX_SCANNED, expand, inside, mode_of, open_parent, printable, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Kind = Literal["file", "dir", "link", "fifo", "socket", "device"]
    What = Literal["appeared", "changed", "removed", "planted", "unexamined"]

MAX_CONTENT = 1 << 20  # bytes of one file that are kept
MAX_KEPT = 16 << 20  # bytes of all of them
MAX_ENTRIES = 2000  # found by listing watched directories
MAX_DEPTH = 6  # of a directory that is watched as a whole
SHOWN = 8  # names on one line
CLOCK_NS = 10_000_000  # a file's times come from a clock that ticks every 4 ms or so
GIT_FILES = ("config", "config.worktree", "commondir", "hooks/*", "modules/**/config", "modules/**/hooks/*")
TOO_FULL = "too full"
# Looked for even where a package manager has put somebody else's packages; other names are many there, and no
# tool is started there.
ANYWHERE = (".envrc", ".vscode/tasks.json")
VENDORED = "/node_modules/"
BARE = frozenset({"HEAD", "objects", "refs", "config"})


class Entry(Record):
    """One path that is there. `content` is None for what is no file, too large or unreadable."""

    root: str  # a directory that no agent can replace: the project, or a git directory that came along
    name: str  # relative to it
    kind: Kind
    mode: int = 0  # permission bits
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    link: str = ""
    content: bytes | None = None

    @property
    def path(self) -> str:
        """Absolute."""
        return f"{self.root}/{self.name}"


class Snapshot(Record):
    """What was there of `watched`, pairs of a directory and a pattern relative to it."""

    project: str
    watched: tuple[tuple[str, str], ...]
    entries: tuple[Entry, ...]
    taken_ns: int


class Change(Record):
    """One difference. `old` is None for what appeared; "planted" and "unexamined" have no old state."""

    root: str
    name: str
    what: What
    kind: str = ""
    detail: str = ""
    old: Entry | None = None


def snapshot(
    project: str, patterns: tuple[str, ...], git_triggers: tuple[tuple[str, str], ...] = ()
) -> Snapshot:
    """What exists now. `patterns`: relative to `project` (a real path); `git_triggers`: GitLayout.watched."""
    watched = tuple(dict.fromkeys((*((project, p) for p in (".git", *patterns)), *git_triggers)))
    taken = time.time_ns()
    entries = tuple(_collect(project, watched).found.values())
    return Snapshot(project=project, watched=watched, entries=entries, taken_ns=taken)


def _roots(project: str, watched: tuple[tuple[str, str], ...]) -> list[str]:
    """Directories to start from, shortest first: below them no component is followed."""
    bases = sorted({project, *(base for base, _ in watched)}, key=len)
    return [b for i, b in enumerate(bases) if not any(inside(b, other) for other in bases[:i])]


class _Collector:
    def __init__(self, project: str, roots: list[str]) -> None:
        self.project, self.roots = project, roots
        self.found: dict[str, Entry] = {}
        self.unseen: dict[tuple[str, str], None] = {}  # (base, name) of directories too full to be listed
        self.kept = self.listed = 0

    def add(self, path: str, depth: int = 0) -> None:
        """Looks at `path`, at what it contains, and at what it leads to within the same root."""
        # Only what is found by listing counts: filling a directory must not hide the rest of the list.
        self.listed += depth > 0
        if path in self.found or (depth > 0 and self.listed > MAX_ENTRIES):
            return
        try:
            os.lstat(path)  # most of the list is not there: one call each
            there = True
        except (OSError, ValueError):
            there = False
        root = next((r for r in self.roots if inside(path, r) and r != path), "")
        if not root:
            return
        name = path[len(root) :].strip("/")
        # Also when it leads nowhere: what it leads to may come into being where nobody watches.
        link = _first_link(root, name) if there or "/" in name else ""
        if not there and not link:
            return
        entry = look(root, link or name, MAX_CONTENT if self.kept < MAX_KEPT else 0)
        if entry is None:
            return
        self.found[entry.path] = entry
        self.kept += len(entry.content or b"")
        if entry.kind == "link" and there:
            real = os.path.realpath(path)
            if inside(real, root) and real != path:
                self.add(real, depth)
        elif entry.kind == "dir" and os.path.basename(path) != ".git" and depth < MAX_DEPTH:
            for child in _listed(path):
                self.add(f"{path}/{child}", depth + 1)


def _listed(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(e.name for _, e in zip(range(MAX_ENTRIES), entries, strict=False))
    except OSError:
        return []


def _collect(project: str, watched: tuple[tuple[str, str], ...], also: tuple[str, ...] = ()) -> _Collector:
    collector = _Collector(project, _roots(project, watched))
    for base, pattern in watched:
        budget = [MAX_SCANNED]
        for path in expand(base, pattern, budget):
            collector.add(path)
        if budget[0] <= 0:
            collector.unseen[base, pattern.partition("*")[0].rpartition("/")[0]] = None
    for path in also:
        collector.add(path)
    return collector


def _first_link(root: str, name: str) -> str:
    """The first component of `name` that is a symlink, as a path relative to `root`; "" when none is."""
    at = ""
    for part in name.split("/"):
        at = f"{at}/{part}" if at else part
        try:
            if stat.S_ISLNK(os.lstat(f"{root}/{at}").st_mode):
                return at
        except OSError:
            return ""
    return ""


def look(root: str, name: str, limit: int = MAX_CONTENT) -> Entry | None:
    """The Entry of `root`/`name`, or None when it is not there or a symlink is on the way to it."""
    try:
        fd, last = open_parent(root, name)
    except OSError:
        return None
    try:
        found = os.stat(last, dir_fd=fd, follow_symlinks=False)
        kind = _kind(found.st_mode)
        content = read(last, limit, dir_fd=fd) if kind == "file" and found.st_size <= limit else None
        link = os.readlink(last, dir_fd=fd) if kind == "link" else ""
    except OSError:
        return None
    finally:
        os.close(fd)
    return Entry(
        root=root,
        name=name,
        kind=kind,
        mode=stat.S_IMODE(found.st_mode),
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        link=link,
        content=content,
    )


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISFIFO(mode):
        return "fifo"
    return "socket" if stat.S_ISSOCK(mode) else "device"


# -- what is different


def changes(before: Snapshot) -> list[Change]:
    """What appeared, changed or went since; of a tree that appeared only its top.

    Where a wildcard had too much to look at, one "unexamined": filling a directory must not hide what is in
    it.
    """
    old = {e.path: e for e in before.entries}
    now = _collect(before.project, before.watched, (*old, *_beside(old)))
    new = now.found
    found = [_change(old.get(p), new.get(p)) for p in sorted(old.keys() | new.keys())]
    appeared = {f"{c.root}/{c.name}" for c in found if c and c.what == "appeared"}
    kept = [c for c in found if c and not (c.what == "appeared" and _below(f"{c.root}/{c.name}", appeared))]
    return kept + [
        Change(root=base, name=name or ".", what="unexamined", detail=TOO_FULL) for base, name in now.unseen
    ]


def _beside(paths: Iterable[str]) -> list[str]:
    """What would send git elsewhere from the git directories whose configurations these are; by their names,
    as what is planted around them must not hide it.
    """
    directories = [path.removesuffix("/config") for path in paths if path.endswith("/config")]
    return [f"{directory}/{name}" for directory in directories for name in ("commondir", "config.worktree")]


def _below(path: str, tops: set[str]) -> bool:
    while path := path.rpartition("/")[0]:
        if path in tops:
            return True
    return False


def _change(old: Entry | None, new: Entry | None) -> Change | None:
    if old is None and new is not None:
        return Change(root=new.root, name=new.name, what="appeared", kind=new.kind)
    if old is None:
        return None
    change = Change(root=old.root, name=old.name, what="removed", kind=old.kind, old=old)
    if new is None:
        return change
    change = change.replace(what="changed", kind=new.kind)
    if old.kind != new.kind:
        return change.replace(detail=f"a {old.kind} became a {new.kind}")
    if old.kind == "link":
        return change.replace(detail=f"now to {new.link}") if old.link != new.link else None
    if old.kind != "file":
        return None
    if old.content is None or new.content is None:
        same = (old.size, old.mtime_ns, old.ctime_ns) == (new.size, new.mtime_ns, new.ctime_ns)
        return None if same else change
    if old.content != new.content:
        return change.replace(detail=_keys(old.name, old.content, new.content))
    return change.replace(detail=f"mode {old.mode:o} to {new.mode:o}") if old.mode != new.mode else None


def _keys(name: str, old: bytes, new: bytes) -> str:
    """For git's own configuration, which keys differ: a branch's, or an attack's core.fsmonitor."""
    if os.path.basename(name) not in ("config", "config.worktree"):
        return ""
    from launcher.gitconfig import values

    def by_key(content: bytes) -> dict[str, list[str]]:
        table: dict[str, list[str]] = {}
        for key, value in values(os.fsdecode(content)):
            table.setdefault(key, []).append(value)
        return table

    was, now = by_key(old), by_key(new)
    keys = [k for k in dict.fromkeys((*now, *was)) if was.get(k) != now.get(k)]
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


# -- what was planted below


class _Wanted:
    """Patterns by their first names: one look at a directory's listing tells which of them can be there."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.by_head: dict[str, list[str]] = {}
        self.by_end: dict[str, list[str]] = {}  # those that begin with a wildcard
        for pattern in dict.fromkeys(patterns):
            head = pattern.partition("/")[0]
            table = self.by_end if "*" in head else self.by_head
            table.setdefault(head.rpartition("*")[2], []).append(pattern)
        self.ends = tuple(self.by_end)

    def among(self, names: dict[str, bool]) -> tuple[str, ...]:
        """The patterns that are worth a look in a directory with `names`."""
        found = []
        if not self.by_head.keys().isdisjoint(names.keys()):
            found += [p for head, patterns in self.by_head.items() if head in names for p in patterns]
        if self.ends and any(name.endswith(self.ends) for name in names):
            found += [p for patterns in self.by_end.values() for p in patterns]
        return tuple(found)


def planted(
    project: str, since_ns: int, deadline_s: float = 2.0, patterns: tuple[str, ...] = ()
) -> list[Change]:
    """What in subdirectories of `project` came or changed since: nested git directories, and `patterns`
    there (those of ANYWHERE anyhow).

    One Change "unexamined" when not all of it could be looked at within `deadline_s` seconds (`detail`), or
    for a directory of ours that is closed (`name`). A change time can be no agent's forgery, unlike a
    modification time.
    """
    since, stop = since_ns - CLOCK_NS, time.monotonic() + deadline_s
    wanted, vendored = _Wanted((*ANYWHERE, *patterns)), _Wanted(ANYWHERE)
    found: list[Change] = []
    queue, complete = [project], True
    closed = ""
    while queue:
        if time.monotonic() > stop:
            complete = False
            break
        directory = queue.pop()
        try:
            with os.scandir(directory) as entries:
                below = _listing(entries, stop)
        except OSError:
            closed = closed or (directory if ours(directory) else "")
            continue
        if below is None:
            complete = False
            break
        if below.keys() >= BARE and directory != project:
            found += _since(project, directory, GIT_FILES, since)
            continue
        if directory != project:
            looked_for = vendored if VENDORED in f"{directory}/"[len(project) :] else wanted
            found += _since(
                project, directory, (*looked_for.among(below), *((".git",) if ".git" in below else ())), since
            )
            if below.get(".git"):
                # Moved here whole it keeps the old times of what is in it.
                new = min(_changed(directory), _changed(f"{directory}/.git")) >= since
                found += _since(project, f"{directory}/.git", GIT_FILES, 0 if new else since)
        queue += [f"{directory}/{n}" for n, is_dir in below.items() if is_dir and n != ".git"]
    found = sorted({c.name: c for c in found}.values(), key=lambda c: c.name)
    if closed:
        found.append(Change(root=project, name=closed[len(project) + 1 :] or ".", what="unexamined"))
    if not complete:
        found.append(Change(root=project, name="", what="unexamined", detail=f"{deadline_s:g}"))
    return found


def ours(directory: str) -> bool:
    """It is there and ours, so whoever closed it can open it again; another's no agent of ours has written
    in.
    """
    try:
        return os.lstat(directory).st_uid == os.getuid()
    except OSError:
        return False


def _listing(entries: os._ScandirIterator[str], stop: float) -> dict[str, bool] | None:
    """name -> whether it is a directory (not a symlink to one); None when it takes too long."""
    below = {}
    for number, entry in enumerate(entries):
        below[entry.name] = entry.is_dir(follow_symlinks=False)
        if number % 1000 == 999 and time.monotonic() > stop:
            return None
    return below


def _since(project: str, directory: str, patterns: tuple[str, ...], since: int) -> list[Change]:
    """Files and links that `patterns` name in `directory` with a change time from `since` (ns) on; or a
    directory on the way to one has it, or a link: it came there by being moved.

    A directory that a pattern names stands for all below it, and is named in its place.
    """
    found = []
    for pattern in patterns:
        for path in expand(directory, pattern):
            try:
                status = os.lstat(path)
            except OSError:
                continue
            name = path[len(project) + 1 :]
            is_dir = stat.S_ISDIR(status.st_mode)
            if name.endswith(".sample") or (is_dir and (pattern == ".git" or "*" in pattern)):
                continue
            new = status.st_ctime_ns >= since or _moved(directory, path, since)
            if not (_changed_within(path, since, new=new) if is_dir else new):
                continue
            found.append(Change(root=project, name=name, what="planted", kind=_kind(status.st_mode)))
    return found


def _changed_within(directory: str, since: int, *, new: bool) -> bool:
    """Whether there is something in `directory` and it, or with `new` all of it, changed since. Bounded: what
    is too much to be looked at has been reported when it came.
    """
    queue, looked, holds = [directory], 0, False
    while queue and looked < MAX_ENTRIES:
        above = queue.pop()
        for path in (f"{above}/{name}" for name in _listed(above)):
            looked += 1
            new = new or _changed(path) >= since
            if stat.S_ISDIR(mode_of(path)):
                queue.append(path)
            else:
                holds = True
            if new and holds:
                return True
    return False


def _moved(directory: str, path: str, since: int) -> bool:
    """Whether anything between `directory` and `path` changed since: in a directory that was renamed files
    keep their times.
    """
    above = os.path.dirname(path)
    while inside(above, directory) and above != directory:
        if _changed(above) >= since:
            return True
        above = os.path.dirname(above)
    return False


def _changed(path: str) -> int:
    """Its change time (ns), a link's own; 0 when it is gone."""
    try:
        return os.lstat(path).st_ctime_ns
    except OSError:
        return 0


# -- what is said


def report(found: list[Change], project: str = "") -> list[str]:
    """The lines for the end of a run; none when there is nothing to say. Names cannot steer a terminal."""
    lines = []
    main = [c for c in found if c.what in ("appeared", "changed", "removed")]
    below = [c for c in found if c.what == "planted"]
    if main:
        said = _join(
            [f"{_name(c, project)} ({c.what}{': ' + printable(c.detail) if c.detail else ''})" for c in main]
        )
        count = "1 file that your tools run" if len(main) == 1 else f"{len(main)} files that your tools run"
        lines += [
            f"claude-sandbox: {count} changed: {said}",
            "  put back as before: the same command with --restore",
        ]
    if below:
        lines.append(f"claude-sandbox: new or changed below: {_join([_name(c, project) for c in below])}")
        lines.append(
            "  your tools run these in their directories; look at them first (--restore leaves them alone)"
        )
    unseen = dict.fromkeys(_unexamined(c, project) for c in found if c.what == "unexamined")
    lines += [
        f"claude-sandbox: not all of the project could be looked at for planted files{why}" for why in unseen
    ]
    return lines


def _unexamined(change: Change, project: str) -> str:
    if change.detail == TOO_FULL:
        return f": {_name(change, project)} holds more than can be looked at"
    return f" in {change.detail} s" if change.detail else f": {_name(change, project)} is closed to you"


def _name(change: Change, project: str) -> str:
    return printable(
        change.name if change.root == (project or change.root) else f"{change.root}/{change.name}"
    )


def _join(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
