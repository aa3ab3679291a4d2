"""Where things are inside, for every backend."""

from __future__ import annotations

HOME = "/home/sandbox"
PROJECT = "/project"
RUN = "/run/claude-sandbox"
BIN = f"{RUN}/bin"
CLAUDE_JSON = f"{RUN}/claude-json"
PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def runtime(uid: int) -> str:
    """XDG_RUNTIME_DIR inside."""
    return f"/run/user/{uid}"
