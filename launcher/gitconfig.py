"""Reads the little that matters from git's configuration files; git itself is not run on what an agent may
have written, and a start does not wait for it.
"""

from __future__ import annotations

import os

from launcher.untrusted import CONFIG_LIMIT, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILES = 30  # followed through include.path
SPACE = " \t\r\n"
ESCAPES = {"n": "\n", "t": "\t", "b": "\b", '"': '"', "\\": "\\"}


def values(text: str) -> Iterator[tuple[str, str]]:
    """(key, value) of a configuration file; keys as `core.hookspath`, `includeif.<condition>.path`.

    The grammar is that of git-config(1), "Syntax"; stops where git would give up on the file.
    """
    section, at = "", 1 if text.startswith("\ufeff") else 0
    text = text.replace("\r\n", "\n")
    while at < len(text):
        c = text[at]
        if c in SPACE:
            at += 1
        elif c in "#;":
            at = _line_end(text, at)
        elif c == "[":
            section, at = _section(text, at + 1)
            if not section:
                return
        else:
            start = at
            while at < len(text) and ((text[at].isalnum() and text[at].isascii()) or text[at] == "-"):
                at += 1
            name = text[start:at].lower()
            while at < len(text) and text[at] in " \t":
                at += 1
            if not name:
                return
            if at >= len(text) or text[at] == "\n":
                continue  # a name without a value is a boolean, never a path
            if text[at] != "=":
                return
            value, at = _value(text, at + 1)
            if value is None:
                return
            yield f"{section}.{name}", value


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _section(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] not in '] \t\n"':
        end += 1
    name = text[at:end].lower()
    while end < len(text) and text[end] in " \t":
        end += 1
    if text[end : end + 1] == "]":
        return name, end + 1
    if text[end : end + 1] != '"':
        return "", end
    sub, end = [], end + 1
    while end < len(text) and text[end] not in '"\n':
        end += text[end] == "\\"
        sub.append(text[end : end + 1])
        end += 1
    return (f"{name}.{''.join(sub)}", end + 2) if text[end : end + 2] == '"]' else ("", end)


def _value(text: str, at: int) -> tuple[str | None, int]:
    end = _line_end(text, at)
    line = text[at:end]
    if not any(c in line for c in '\\"#;'):
        return line.strip(SPACE), end
    out: list[str] = []
    spaces, quoted = 0, False
    while at < len(text) and text[at] != "\n":
        c = text[at]
        at += 1
        if not quoted and c in SPACE:
            spaces += bool(out)
            continue
        if not quoted and c in "#;":
            at = _line_end(text, at)
            break
        if spaces:
            out.append(" " * spaces)
            spaces = 0
        if c == '"':
            quoted = not quoted
        elif c == "\\":
            escaped, at = text[at : at + 1], at + 1
            if escaped == "\n":
                continue
            if escaped not in ESCAPES or not escaped:
                return None, at
            out.append(ESCAPES[escaped])
        else:
            out.append(c)
    return (None, at) if quoted else ("".join(out), at)


class Found:
    """What `collect` gathers: each with the directory that relative paths start from left to the caller."""

    def __init__(self) -> None:
        self.hooks_paths: list[str] = []
        self.worktrees: list[str] = []
        self.files: list[str] = []  # those that were included
        self.unread: list[str] = []  # too large or not a file: git would read, we do not


def collect(paths: list[str], home: str) -> Found:
    """core.hooksPath, core.worktree and the included files, of all files in `paths` and what they include.

    Conditions of `includeIf` are taken as true and every value counts, not only the last: an agent may switch
    branches or unset a value, so whatever could become the hooks path is one.
    """
    found, queue = Found(), list(paths)
    seen: set[str] = set()
    while queue and len(seen) < MAX_FILES + len(paths):
        path = queue.pop(0)
        if path in seen:
            continue
        seen.add(path)
        content = read(path, CONFIG_LIMIT, follow=True)
        if content is None:
            if os.path.exists(path):
                found.unread.append(path)
            continue
        lowered = content.lower()
        if not (b"hookspath" in lowered or b"include" in lowered or b"worktree" in lowered):
            continue
        for key, value in values(os.fsdecode(content)):
            if key == "core.hookspath":
                found.hooks_paths.append(home_path(value, home))
            elif key == "core.worktree":
                found.worktrees.append(value)
            elif key == "include.path" or (key.startswith("includeif.") and key.endswith(".path")):
                included = os.path.normpath(os.path.join(os.path.dirname(path), home_path(value, home)))
                found.files.append(included)
                queue.append(included)
    found.unread += queue
    return found


def home_path(value: str, home: str) -> str:
    """`value` with a leading ~/ replaced, as git's type "path" has it."""
    return home + value[1:] if value == "~" or value.startswith("~/") else value
