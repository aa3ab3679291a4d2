"""What is kept of a run while it lasts and after it changed something, in `runs/TIME-PID/` of the project's
state.

    lock      held (flock) while the run lives; the kernel lets go of it even when the launcher is killed
    snapshot  launcher/watch.py's Snapshot, old contents included
    changes   after the end: the entries that the run changed, in the same format
    old/      their old copies, as plain files for a person to compare
    moved/    what `restore` took away from the project

A run that changed nothing leaves nothing. Only the launcher writes here; none of it is ever mounted inside.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from launcher.errors import HostError, UserError
from launcher.state import PLAIN, make_dir, unwritable, write_atomic
from launcher.untrusted import clip, open_parent, printable
from launcher.watch import Change, Entry, Snapshot, changes, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.watch import Kind, What

KEEP = 5
MAGIC = b"claude-sandbox snapshot 1\0"
STALE_S = 3600.0  # a run that is being set up has its final name long before


class Run:
    """One run whose lock we hold; the lock goes with `close` or with the process."""

    def __init__(self, directory: str, lock: int, taken: Snapshot) -> None:
        self.directory, self.lock, self.snapshot = directory, lock, taken

    def close(self) -> None:
        """Lets go of the lock."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def new_name(started_s: float | None = None) -> str:
    """TIME-PID: sorts by time, readable, and no two live runs share one."""
    now = time.time() if started_s is None else started_s
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    return f"{moment}.{int(now * 1e6) % 1_000_000:06d}Z-{os.getpid()}"


def save(taken: Snapshot, project_state: str, name: str = "") -> Run:
    """Keeps `taken` in a run directory of its own, locked. Raises HostError when that cannot be written."""
    name = name or new_name()
    runs = f"{project_state}/runs"
    hidden, final = f"{runs}/.{name}", f"{runs}/{name}"
    try:
        make_dir(runs)
        os.mkdir(hidden, 0o700)
        lock = _lock(hidden, os.O_CREAT | os.O_EXCL)
        assert lock is not None  # nobody else knows the name yet
        _write(f"{hidden}/snapshot", _pack(taken))
        # Seen under its name only with the lock held: a start at the same moment must not take it for a
        # leftover.
        os.rename(hidden, final)
    except OSError as error:
        try:
            _remove(hidden)
        except OSError:
            pass  # what kept us from writing is what is said
        raise unwritable(final, error) from error
    return Run(final, lock, taken)


def finish(run: Run, found: list[Change]) -> None:
    """Ends a run: its directory goes when nothing changed, else it keeps the old copies for `restore`."""
    kept = [c for c in found if c.what in ("appeared", "changed", "removed")]
    try:
        if kept:
            old = f"{run.directory}/old"
            make_dir(old)
            for number, change in enumerate(kept):
                if change.old is not None and change.old.content is not None:
                    name = "".join(c if c in PLAIN else "_" for c in change.name)[-100:]
                    _write(
                        f"{old}/{number}-{name}",
                        change.old.content,
                    )
            write_atomic(f"{run.directory}/changes", _pack_changes(run.snapshot, kept))
        else:
            _remove(run.directory)
        _prune(os.path.dirname(run.directory))
    except OSError as error:
        raise unwritable(run.directory, error) from error
    finally:
        run.close()


def leftovers(project_state: str) -> list[Change]:
    """What runs that were killed changed; each is compared now and ended. Live runs are left alone."""
    found: list[Change] = []
    runs = f"{project_state}/runs"
    for name in _names(runs):
        directory = f"{runs}/{name}"
        if os.path.exists(f"{directory}/changes"):
            continue
        lock = _lock(directory)
        if lock is None:
            continue
        taken = _load(f"{directory}/snapshot")
        if taken is None:
            os.close(lock)
            _remove(directory)
            continue
        differences = changes(taken)
        found += differences
        finish(Run(directory, lock, taken), differences)
    return found


def _names(runs: str) -> list[str]:
    """Run directories by age; those that a killed start left half made are removed."""
    try:
        names = sorted(os.listdir(runs))
    except FileNotFoundError:
        return []
    for name in names:
        if name.startswith(".") and _stale(f"{runs}/{name}"):
            _remove(f"{runs}/{name}")
    return [n for n in names if not n.startswith(".")]


def _stale(hidden: str) -> bool:
    """Whether a run was being set up long ago, and by nobody who lives."""
    try:
        if os.lstat(hidden).st_mtime > time.time() - STALE_S:
            return False
    except FileNotFoundError:
        return False
    lock = _lock(hidden)
    if lock is None:
        return not os.path.lexists(f"{hidden}/lock")
    os.close(lock)
    return True


def _lock(directory: str, how: int = 0) -> int | None:
    """A descriptor that holds the run's lock, or None while somebody else does, or when the run is gone."""
    import fcntl

    try:
        fd = os.open(f"{directory}/lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def _remove(directory: str) -> None:
    """Removes a run directory of ours, symlinks in it as such; another launcher may be at it, too."""
    try:
        for entry in list(os.scandir(directory)):
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(directory)
    except FileNotFoundError:
        return


def _prune(runs: str) -> None:
    ended = [n for n in _names(runs) if os.path.exists(f"{runs}/{n}/changes")]
    for name in ended[:-KEEP]:
        _remove(f"{runs}/{name}")


# -- the format: NUL-ended fields, a content after its length


def _field(*values: str | int) -> bytes:
    return b"".join(os.fsencode(v) + b"\0" if isinstance(v, str) else b"%d\0" % v for v in values)


def _pack_entry(e: Entry) -> bytes:
    length = -1 if e.content is None else len(e.content)
    fields = _field(e.root, e.name, e.kind, e.mode, e.size, e.mtime_ns, e.ctime_ns, e.link, length)
    return fields + (e.content or b"")


def _pack(taken: Snapshot) -> bytes:
    head = _field(
        taken.project, taken.taken_ns, len(taken.watched), *(v for pair in taken.watched for v in pair)
    )
    return MAGIC + head + _field(len(taken.entries)) + b"".join(_pack_entry(e) for e in taken.entries)


def _pack_changes(taken: Snapshot, kept: list[Change]) -> bytes:
    parts = [MAGIC, _field(taken.project, len(kept))]
    for c in kept:
        parts.append(_field(c.root, c.name, c.what, c.kind, c.detail, int(c.old is not None)))
        if c.old is not None:
            parts.append(_pack_entry(c.old))
    return b"".join(parts)


class _Reader:
    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):
            raise ValueError("not a snapshot")
        self.data, self.at = data, len(MAGIC)

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        value, self.at = os.fsdecode(self.data[self.at : end]), end + 1
        return value

    def number(self) -> int:
        return int(self.text())

    def entry(self) -> Entry:
        root, name = self.text(), self.text()
        kind: Kind = self.text()  # type: ignore[assignment]  # we wrote it
        mode, size, mtime_ns, ctime_ns = (self.number() for _ in range(4))
        link, length = self.text(), self.number()
        content = None if length < 0 else self.data[self.at : self.at + length]
        if content is not None and len(content) != length:
            raise ValueError("cut short")
        self.at += max(length, 0)
        return Entry(
            root=root,
            name=name,
            kind=kind,
            mode=mode,
            size=size,
            mtime_ns=mtime_ns,
            ctime_ns=ctime_ns,
            link=link,
            content=content,
        )


def _load(path: str) -> Snapshot | None:
    """The snapshot in `path`; None when it is not whole (the launcher was killed while it wrote)."""
    try:
        with open(path, "rb") as file:
            r = _Reader(file.read())
        project, taken_ns = r.text(), r.number()
        watched = tuple((r.text(), r.text()) for _ in range(r.number()))
        entries = tuple(r.entry() for _ in range(r.number()))
    except (OSError, ValueError):
        return None
    return Snapshot(project=project, watched=watched, entries=entries, taken_ns=taken_ns)


def _load_changes(path: str) -> tuple[str, list[Change]]:
    with open(path, "rb") as file:
        r = _Reader(file.read())
    project, found = r.text(), []
    for _ in range(r.number()):
        root, name = r.text(), r.text()
        what: What = r.text()  # type: ignore[assignment]  # we wrote it
        kind, detail = r.text(), r.text()
        old = r.entry() if r.number() else None
        found.append(Change(root=root, name=name, what=what, kind=kind, detail=detail, old=old))
    return project, found


# -- putting back


def restore(project_state: str, project: str) -> list[str]:
    """Puts back what the last run changed; a line for each path. Nothing is lost: what was there goes to
    moved/.

    No symlink below the project (or the git directory that came along) is followed. Raises UserError when no
    run changed anything.
    """
    leftovers(project_state)
    runs = f"{project_state}/runs"
    ended = [n for n in _names(runs) if os.path.exists(f"{runs}/{n}/changes")]
    if not ended:
        what = f"nothing to put back in {printable(project)}: no kept run changed a file that your tools run"
        raise UserError(what, "runs that changed something say so when they end")
    directory = f"{runs}/{ended[-1]}"
    try:
        _, found = _load_changes(f"{directory}/changes")
        make_dir(f"{directory}/moved")
    except (OSError, ValueError) as error:
        raise HostError(
            f"{printable(directory)} cannot be read: {error}", "look at the copies in its old/"
        ) from error
    # What appeared goes first: a planted symlink may stand where a directory has to be made again.
    order = ("appeared", "changed", "removed")
    found.sort(key=lambda c: (order.index(c.what), c.name.count("/")))
    return [f"{printable(c.name)}: {_restore(c, directory)}" for c in found]


def _restore(change: Change, directory: str) -> str:
    old = change.old
    now = look(change.root, change.name)
    if old is None:
        if now is None:
            return "already gone"
        try:
            return f"moved to {_put_away(change, directory)}"
        except OSError as error:
            return f"not moved: {error.strerror}"
    if now is not None and now.kind == old.kind and _same(now, old):
        return "already as before"
    if old.kind not in ("file", "link", "dir"):
        return f"not put back: it was a {old.kind}"
    if old.kind == "file" and old.content is None:
        return "not put back: it was too large to keep"
    try:
        fd, last = _make_parent(change.root, change.name)
    except OSError:
        return "not put back: something on the way to it is not a directory"
    try:
        kept = f" (what was there is now {_put_away(change, directory)})" if now is not None else ""
        _recreate(fd, last, old)
    except OSError as error:
        return f"not put back: {error.strerror}"
    finally:
        os.close(fd)
    return f"as before{kept}"


def _same(now: Entry, old: Entry) -> bool:
    if old.kind == "file":
        return (now.content, now.mode) == (old.content, old.mode) and old.content is not None
    return now.link == old.link


def _make_parent(root: str, name: str) -> tuple[int, str]:
    """`open_parent`, with the directories on the way made where they are missing."""
    parts = name.split("/")
    for depth in range(1, len(parts)):
        fd, last = open_parent(root, "/".join(parts[:depth]))
        try:
            os.mkdir(last, 0o755, dir_fd=fd)
        except FileExistsError:
            continue
        finally:
            os.close(fd)
    return open_parent(root, name)


def _recreate(fd: int, name: str, old: Entry) -> None:
    if old.kind == "link":
        os.symlink(old.link, name, dir_fd=fd)
        return
    if old.kind == "dir":
        os.mkdir(name, old.mode & 0o777, dir_fd=fd)
        return
    temporary = f".claude-sandbox.{os.getpid()}.tmp"
    made = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd
    )
    try:
        view = memoryview(old.content or b"")
        while view:
            view = view[os.write(made, view) :]
        os.fchmod(made, old.mode & 0o777)
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:
        os.unlink(temporary, dir_fd=fd)
        raise
    finally:
        os.close(made)


def _put_away(change: Change, directory: str) -> str:
    """Moves what is at the path out of the project; returns where to. Across file systems a file is copied
    first.

    Anything else that cannot cross (a directory, a fifo) stays beside its place under another name.
    """
    fd, last = open_parent(change.root, change.name)
    try:
        kept = f"{directory}/moved/{_free(directory, last)}"
        try:
            os.rename(last, kept, src_dir_fd=fd)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return _put_away_far(fd, last, kept, os.path.basename(directory))
        return printable(kept)
    finally:
        os.close(fd)


def _free(directory: str, last: str) -> str:
    number = 0
    while os.path.lexists(f"{directory}/moved/{number}-{clip(last, 200)}"):
        number += 1
    return f"{number}-{clip(last, 200)}"


def _put_away_far(fd: int, last: str, kept: str, run: str) -> str:
    mode = os.stat(last, dir_fd=fd, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(last, dir_fd=fd), kept)
    elif stat.S_ISREG(mode):
        _copy(fd, last, kept)
    else:
        beside = f"{clip(last, 150)}.moved-by-claude-sandbox-{run}"
        os.rename(last, beside, src_dir_fd=fd, dst_dir_fd=fd)
        return printable(beside)
    os.unlink(last, dir_fd=fd)
    return printable(kept)


def _copy(fd: int, last: str, kept: str) -> None:
    source = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    try:
        target = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while chunk := os.read(source, 1 << 20):
                os.write(target, chunk)
        finally:
            os.close(target)
    finally:
        os.close(source)
