"""One line in a repository's info/exclude: for what the launcher keeps in a project and no commit should
have.
"""

from __future__ import annotations

import os

from launcher.untrusted import open_parent, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.git import GitLayout


def exclude(layout: GitLayout, pattern: str) -> bool:
    """Add `pattern` (gitignore(5)) unless it is there. False when the file cannot be written without
    following a link.
    """
    if not layout.common_dir:
        return False
    path = f"{layout.common_dir}/info/exclude"
    line = pattern.encode() + b"\n"
    content = read(path, 1 << 20) or b""
    if line in content.splitlines(keepends=True):
        return True
    try:
        directory, name = open_parent(layout.common_dir, "info/exclude")
    except FileNotFoundError:
        try:
            os.mkdir(f"{layout.common_dir}/info", 0o755)
            directory, name = open_parent(layout.common_dir, "info/exclude")
        except OSError:
            return False
    except OSError:
        return False
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, 0o644, dir_fd=directory)
    except OSError:
        return False
    finally:
        os.close(directory)
    try:
        os.write(file, (b"\n" if content and not content.endswith(b"\n") else b"") + line)
    finally:
        os.close(file)
    return True
