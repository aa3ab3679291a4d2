"""Where the agent really is, and what has to be visible for it to run, even under the hidden home."""

from __future__ import annotations

import os

from launcher.host.model import Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VISIBLE = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/nix/store/")


def which(name: str, environ: Mapping[str, str]) -> str:
    """The first executable file of that name on PATH, or ""; shutil.which without its imports.

    An entry of PATH that is relative (or empty: the current directory) is passed over: that is often the
    project, and what an agent left there must not be run.
    """
    if "/" in name:
        return os.path.abspath(name) if os.path.isfile(name) and os.access(name, os.X_OK) else ""
    for directory in environ.get("PATH", os.defpath).split(":"):
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return ""


def installed(environ: Mapping[str, str], home: str) -> str:
    """Where `invoke setup` puts Claude Code when none is on PATH: npm's directory of the user's own."""
    data = environ.get("XDG_DATA_HOME", "")
    return f"{data if data.startswith('/') else home + '/.local/share'}/claude-sandbox/npm"


def find(name: str, environ: Mapping[str, str], home: str) -> Agent | None:
    """The agent on PATH, or else the installed one, with its install tree, and the interpreter of its first
    line with that one's.

    The chain of symlinks is followed: an agent linked into ~/.local/bin lives elsewhere.
    """
    typed = which(name, environ) or which(f"{installed(environ, home)}/node_modules/.bin/{name}", environ)
    if not typed:
        return None
    path = os.path.realpath(typed)
    trees = [install_tree(path, home)]
    bin_dirs: list[str] = []
    for word in interpreter(path):
        program = which(word, environ)
        if program:
            real = os.path.realpath(program)
            trees.append(install_tree(real, home))
            # A script by way of env(1) finds its interpreter by its name on PATH.
            bin_dirs.append(os.path.dirname(real))
    hidden = (t for t in trees if t and not t.startswith(VISIBLE))
    return Agent(
        name=name,
        path=path,
        trees=tuple(dict.fromkeys(hidden)),
        bin_dirs=tuple(dict.fromkeys(d for d in bin_dirs if not d.startswith(VISIBLE))),
    )


def interpreter(path: str) -> list[str]:
    """The programs that a script's `#!` line names: the interpreter, and behind env(1) the one that env
    looks up.
    """
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:
        return []
    if not line.startswith(b"#!"):
        return []
    words = os.fsdecode(line[2:]).split()
    if words and os.path.basename(words[0]) == "env":
        named = [w for w in words[1:] if not w.startswith("-") and "=" not in w]
        return [words[0], *named[:1]]
    return words[:1]


def install_tree(path: str, home: str) -> str:
    """The directory (or the lone file) that `path` needs around it.

    A package under node_modules brings its scope along: platform binaries are its siblings there. A program
    in the
    `bin` of a prefix of its own (a version manager's node, a virtual environment) brings the prefix. In a
    shared bin such as ~/.local/bin or ~/bin the file stands alone: its prefix would be the home.
    """
    parts = path.split("/")
    if "node_modules" in parts:
        at = parts.index("node_modules")
        return "/".join(parts[: at + 2])
    directory = os.path.dirname(path)
    prefix = os.path.dirname(directory)
    shared = {"/", "/opt", "/usr", "/usr/local", home, f"{home}/.local", os.path.dirname(home)}
    if os.path.basename(directory) == "bin" and prefix not in shared:
        return prefix
    return path
