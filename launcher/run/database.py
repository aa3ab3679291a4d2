"""A copy of the database in which Nix keeps which paths of its store are valid, while others write to it."""

from __future__ import annotations

import os

from launcher.errors import HostError
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

DATABASE, SCHEMA = "db.sqlite", "schema"  # Nix's names; the other one holds the version of its tables
TRIES = 5


def snapshot(source: str, target: str) -> None:
    """Copy both of them from the directory `source` into the empty `target`, the database as one transaction
    sees it. Nothing is written at `source`, which need not be the user's.

    Raises HostError when that cannot be.
    """
    import shutil
    import sqlite3

    try:
        _copy(f"{source}/{DATABASE}", f"{target}/{DATABASE}")
        shutil.copyfile(f"{source}/{SCHEMA}", f"{target}/{SCHEMA}")
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise HostError(
            f"the database of Nix in {printable(source)} cannot be copied for the guest: {why}",
            "see that there is space in XDG_RUNTIME_DIR or /tmp, or start without it: --without nix-commands",
        ) from error


def _copy(source: str, target: str) -> None:
    import sqlite3

    for left in reversed(range(TRIES)):
        # Without a log nobody has it open, and who may not write there cannot make the files that opening it
        # takes. Its own file changes at a checkpoint alone (sqlite.org, "Write-Ahead Logging").
        unused = not os.path.exists(f"{source}-wal")
        before = os.stat(source)
        try:
            _backup(f"file:{_escaped(source)}?mode=ro{'&immutable=1' if unused else ''}", target)
        except sqlite3.OperationalError:
            if not left:
                raise
            continue
        after = os.stat(source)
        if not unused or (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return
    raise sqlite3.OperationalError("it changes all the time")


def _backup(source: str, target: str) -> None:
    import sqlite3

    theirs, ours = sqlite3.connect(source, uri=True), sqlite3.connect(target)
    try:
        _unguarded(ours)
        theirs.backup(ours)
    finally:
        ours.close()
        theirs.close()


def _unguarded(connection: sqlite3.Connection) -> None:
    """A copy that does not come to its end is of no use to anybody."""
    for pragma in ("journal_mode = off", "synchronous = off"):
        connection.execute(f"pragma {pragma}")


def _escaped(path: str) -> str:
    """For a URI of SQLite's."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
