"""The launcher's own state: what it keeps between runs, per project, under XDG_STATE_HOME.

    VERSION of the layout, in the file `version`
    KEY/                  one project; KEY is its real path, escaped so that a person can read it
        runs/TIME-PID/    what launcher/runs.py keeps
        unsaid            what the last run found and could not say, its terminal being gone
        claude/           the project's copy of ~/.claude.json

Nothing of it is ever mounted inside but `claude/`: what the host trusts must not be the agent's to write.
"""

from __future__ import annotations

import errno
import os
import stat

from launcher.errors import HostError, UserError
from launcher.untrusted import printable, read

VERSION = 1
MAX_KEY = 200  # bytes; a name may have 255, and a digest and temporary suffixes need room
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
UNSAID_LIMIT = 1 << 16  # bytes
JSON_LIMIT = 64 << 20  # bytes; the host's own file grows with every project it has seen


def state_dir(environ: dict[str, str], home: str) -> str:
    """$XDG_STATE_HOME/claude-sandbox; a relative value is ignored, as the XDG specification asks."""
    base = environ.get("XDG_STATE_HOME", "")
    return os.path.join(base if base.startswith("/") else f"{home}/.local/state", "claude-sandbox")


def project_key(project: str) -> str:
    """The real path as one file name: `/` is `+`, every other odd byte %XX; a long one ends in a digest."""
    shown = "".join(
        "+" if c == "/" else c if c in PLAIN else "".join(f"%{b:02X}" for b in os.fsencode(c))
        for c in os.path.realpath(project)
    )
    if len(shown) <= MAX_KEY:
        return shown
    from hashlib import sha256

    digest = sha256(os.fsencode(os.path.realpath(project))).hexdigest()[:32]
    # `=` stands in no escaped path, so a shortened key is never another project's whole one.
    return f"{shown[-(MAX_KEY - 33) :]}={digest}"


def project_path(state: str, project: str) -> str:
    """Where the project's directory in `state` is, or will be."""
    return f"{state}/{project_key(project)}"


def project_dir(state: str, project: str) -> str:
    """The project's directory in `state`, made 0700 if need be.

    Raises HostError when the state is a newer program's, or cannot be written.
    """
    path = project_path(state, project)
    try:
        os.makedirs(state, 0o700, exist_ok=True)
        check_version(state)
        make_dir(path)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def check_version(state: str) -> None:
    """Writes the version into a new state directory; refuses, touching nothing, one of a newer program."""
    path = f"{state}/version"
    text = read(path)
    if text is None or not text.strip().isdigit():
        write_atomic(path, b"%d\n" % VERSION)
    elif int(text[:20]) > VERSION:
        from launcher import __version__

        what = f"{printable(state)} was written by a newer claude-sandbox (layout {int(text[:20])}; "
        what += f"this one, {__version__}, knows {VERSION})"
        raise HostError(
            what, "use the newer claude-sandbox, or another XDG_STATE_HOME; nothing there was touched"
        )


def make_dir(path: str) -> None:
    """A directory of ours, 0700. OSError when something else has its name."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(path, 0o700)


def keep_unsaid(project_state: str, lines: list[str]) -> None:
    """Keep what nobody can have read, its terminal being gone, for the next start to say."""
    if lines:
        text = "\n".join([*unsaid(project_state), *lines])
        write_atomic(f"{project_state}/unsaid", os.fsencode(text)[-UNSAID_LIMIT:])


def unsaid(project_state: str) -> list[str]:
    """The lines that are kept."""
    text = read(f"{project_state}/unsaid")
    return os.fsdecode(text).split("\n") if text else []


def forget_unsaid(project_state: str) -> None:
    """They have been said."""
    try:
        os.unlink(f"{project_state}/unsaid")
    except FileNotFoundError:
        return


def write_atomic(path: str, content: bytes, mode: int = 0o600) -> None:
    """`path` with `content`, whole or not at all, for whoever reads it meanwhile. Raises HostError."""
    # Not beside it where an agent could write: callers hand over paths in the launcher's own directories
    # only, or, for claude/, one whose temporary name is opened exclusively.
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        if os.path.lexists(temporary):
            os.unlink(temporary)  # a killed process with our number left it
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        if error.errno != errno.EEXIST and os.path.lexists(temporary):
            os.unlink(temporary)
        raise unwritable(path, error) from error


def unwritable(path: str, error: OSError) -> HostError:
    """The two lines for a state file that cannot be written."""
    why = f"{printable(path)}: {error.strerror or error}"
    what = f"what is kept between runs cannot be written: {why}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostError(what, "free some space there, or set XDG_STATE_HOME to a disk that has some")
    return HostError(what, "make that directory yours and writable, or set XDG_STATE_HOME to one that is")


def claude_json(project_state: str, host_file: str) -> str:
    """The project's copy of ~/.claude.json; seeded from `host_file`, which is never written.

    Its directory is mounted inside, so it is the agent's word: anything but a regular file of ours is
    replaced without being followed. Raises UserError for a host file that is no JSON object, HostError when
    it cannot write.
    """
    directory = f"{project_state}/claude"
    path = f"{directory}/claude.json"
    try:
        make_dir(directory)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid():
                return path
            # Moved, not deleted: it may be a directory, and what an agent left there is evidence.
            os.rename(path, _free_name(f"{directory}/claude.json.replaced"))
        seed = _seed(host_file)
        if seed is not None:
            _clear_temporary(f"{path}.{os.getpid()}.tmp")
            write_atomic(path, seed)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def _free_name(path: str) -> str:
    number = 0
    while os.path.lexists(f"{path}{number}"):
        number += 1
    return f"{path}{number}"


def _clear_temporary(path: str) -> None:
    if os.path.lexists(path):
        os.rename(path, _free_name(f"{path}.replaced"))


def _seed(host_file: str) -> bytes | None:
    """The host's file, checked to be a JSON object; None when there is none."""
    if not os.path.exists(host_file):
        return None
    content = read(host_file, JSON_LIMIT, follow=True)
    fix = "mend it, or move it away and start without it (or leave it out: --without claude-json)"
    if content is None:
        raise UserError(f"{printable(host_file)} is not a file that can be read", fix)
    import json

    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{printable(host_file)} is not JSON: {printable(str(error))}", fix) from error
    if not isinstance(value, dict):
        raise UserError(f"{printable(host_file)} is JSON, but not an object", fix)
    return content
