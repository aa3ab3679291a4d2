"""One line in a repository's info/exclude: for what the launcher keeps in a project and no commit should
have.
"""

from __future__ import annotations

import os
import stat

from launcher.untrusted import DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.git import GitLayout


LIMIT = 1 << 20  # bytes of an exclude file that are read


def exclude(layout: GitLayout, pattern: str) -> bool:
    """Add `pattern` (gitignore(5)) unless it is there. False when the file cannot be written, or only through
    a link: everything in the repository is a former agent's word.
    """
    if not layout.common_dir:
        return False
    try:
        info = _info(layout.common_dir)
    except OSError:
        return False
    try:
        return _added(info, pattern.encode())
    except OSError:
        return False
    finally:
        os.close(info)


def _info(common_dir: str) -> int:
    """The directory info, made if it is missing: git's own templates make it, others need not."""
    try:
        os.mkdir(f"{common_dir}/info", 0o755)
    except FileExistsError:
        pass
    return os.open(f"{common_dir}/info", DIRECTORY)


def _added(info: int, line: bytes) -> bool:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open("exclude", flags, 0o644, dir_fd=info)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LIMIT:
            return False
        content = os.read(file, LIMIT)
        if line not in content.splitlines():
            os.write(file, (b"\n" if content and not content.endswith(b"\n") else b"") + line + b"\n")
        return True
    finally:
        os.close(file)
