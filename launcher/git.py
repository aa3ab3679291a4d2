"""Where a project's git directories are, which of them come along, and what of them a hook could be planted
in.

Looks only; runs nothing. Everything in PROJECT is a former agent's word: a `.git` that became a pointer to
another repository, to the home or into a fifo gains nothing. What lies outside comes along only when it
points back. Layouts as gitrepository-layout(5), git-worktree(1) and gitsubmodules(7) describe them.
"""

from __future__ import annotations

import os
import stat

from launcher.gitconfig import collect
from launcher.record import Record
from launcher.untrusted import CONFIG_LIMIT, GIT_INNARDS, expand, inside, mode_of, printable, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

MAX_MODULES = 500
MAX_INNARDS = 20_000  # directories in modules' objects, refs, … that are looked at
MAX_HOOKS = 200  # entries of one hooks directory that are looked at
# A planted commondir moves hooks and config elsewhere; a gitdir that names another place lets git prune the
# worktree.
POINTERS = ("commondir", "worktrees/*/commondir", "worktrees/*/gitdir", "worktrees/*/modules/**/config")


class GitLayout(Record):
    """Absolute host paths; parents before what lies in them.

    kind      what PROJECT/.git is; "bare": PROJECT is itself a git directory; "": it has none
    outside   directories outside PROJECT that come along read-write, because they point back at PROJECT
    refused   (path, reason with the fix) of one that does not; empty when there is none
    hooks     directories to be read-only; `missing_hooks` are those that `make_missing` has to make first
    pins      (path, mode) to bind onto themselves: a mount point can be neither renamed nor replaced
    triggers  files that configure what git runs, there or not yet; `watched`: the same as (base, pattern)
    notes     what cannot be protected here, to be said at start
    enclosing root of the repository around PROJECT, when PROJECT itself has no .git
    """

    project: str
    dot_git: str = ""
    kind: Literal["dir", "file", "symlink", "bare", ""] = ""
    git_dir: str = ""
    common_dir: str = ""
    outside: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    missing_hooks: tuple[str, ...] = ()
    pins: tuple[tuple[str, str], ...] = ()
    triggers: tuple[str, ...] = ()
    watched: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    enclosing: str = ""


def layout(
    project: str,
    *,
    home: str,
    config_home: str = "",
    patterns: tuple[str, ...] = (),
    shared: tuple[str, ...] = (),
) -> GitLayout | None:
    """The layout of `project` (a real path), or None where no repository is near.

    `patterns`: files of a git directory to watch, relative to it. `shared`: directories that the user granted
    read-write anyway; a git directory in one of them need not point back. `config_home`: $XDG_CONFIG_HOME.
    """
    shared = tuple(os.path.realpath(s) for s in shared)
    found = _locate(project, home, shared)
    if not found.dot_git:
        around = _enclosing(project)
        return found.replace(enclosing=around) if around else None
    if not found.git_dir:
        # Refused or no repository: the pointer is pinned all the same, so that it says at exit what it says
        # now.
        return found.replace(pins=_self_pin(found), watched=((project, ".git"),), triggers=(found.dot_git,))
    return _protect(found, home, config_home or f"{home}/.config", patterns, shared)


# -- which directories they are


def _locate(project: str, home: str, shared: tuple[str, ...]) -> GitLayout:
    dot = os.path.join(project, ".git")
    base = GitLayout(project=project, dot_git=dot)
    mode = mode_of(dot)
    if stat.S_ISDIR(mode):
        note: tuple[str, ...] = ()
        if os.path.lexists(f"{dot}/commondir"):
            note = (f"{printable(dot)}/commondir sends git elsewhere for hooks; a main repository has none",)
        return base.replace(kind="dir", git_dir=dot, common_dir=dot, notes=note)
    if stat.S_ISLNK(mode):
        target = os.path.realpath(dot)
        return _granted(base.replace(kind="symlink"), target, home, shared)
    if stat.S_ISREG(mode):
        base = base.replace(kind="file")
        content = read(dot)
        if content is None or not content.startswith(b"gitdir: "):
            return base.replace(refused=(dot, "it is no pointer that git would follow (gitdir: PATH)"))
        pointer = os.fsdecode(content[len(b"gitdir: ") :].rstrip(b"\r\n"))
        if not pointer or "\0" in pointer:
            return base.replace(refused=(dot, "it points nowhere"))
        return _granted(base, os.path.realpath(os.path.join(project, pointer)), home, shared)
    if mode:
        return base.replace(refused=(dot, "it is neither a directory, a file nor a symlink; remove it"))
    if _is_git_dir(project):
        return base.replace(dot_git=project, kind="bare", git_dir=project, common_dir=project)
    return GitLayout(project=project)


def _granted(base: GitLayout, target: str, home: str, shared: tuple[str, ...]) -> GitLayout:
    """`base` with the git directory that PROJECT/.git leads to, or with the reason why it stays out."""
    project, common = base.project, target
    pointer = read(f"{target}/commondir")
    if pointer is not None:
        common = os.path.realpath(
            os.path.join(target, os.fsdecode(pointer.rstrip(b"\r\n")).replace("\0", ""))
        )
        if os.path.dirname(target) != f"{common}/worktrees":
            return base.replace(refused=(target, f"it is no worktree of {printable(common)}, which it names"))
    reason = _unfit(common, project, home)
    if not reason and (inside(common, project) or any(inside(common, s) for s in shared)):
        return base.replace(git_dir=target, common_dir=common)
    fix = f"if it is yours: --share {printable(common)}:rw"
    if not reason and common != target:
        reason = (
            ""
            if _names_worktree(target, project)
            else f"its gitdir does not name PROJECT/.git; {fix}, or `git worktree repair`"
        )
    elif not reason:
        reason = (
            ""
            if _names_project(target, project, home)
            else f'its core.worktree does not name PROJECT; {fix}, or `git config core.worktree "$PWD"`'
        )
    if reason:
        return base.replace(refused=(common, reason))
    return base.replace(git_dir=target, common_dir=common, outside=(common,))


def _unfit(path: str, project: str, home: str) -> str:
    """Why `path` cannot be a git directory to grant, or ""."""
    if inside(os.path.realpath(home), path) or inside(home, path):
        return "it is or contains the home"
    if path == project:
        return "it is PROJECT itself"
    if not stat.S_ISDIR(mode_of(path)):
        return "it is not there" if not mode_of(path) else "it is not a directory"
    if not inside(path, project) and os.stat(path).st_uid != os.getuid():
        return "it belongs to another user"
    return "" if _is_git_dir(path) else "it is not a git directory (HEAD, objects, refs)"


def _is_git_dir(path: str) -> bool:
    return (
        stat.S_IFMT(mode_of(f"{path}/HEAD")) in (stat.S_IFREG, stat.S_IFLNK)
        and stat.S_ISDIR(mode_of(f"{path}/objects", follow=True))
        and stat.S_ISDIR(mode_of(f"{path}/refs", follow=True))
    )


def _names_worktree(git_dir: str, project: str) -> bool:
    content = read(f"{git_dir}/gitdir")
    if not content or b"\0" in content:
        return False
    named = os.path.join(git_dir, os.fsdecode(content.rstrip(b"\r\n")))
    return os.path.basename(named) == ".git" and os.path.realpath(os.path.dirname(named)) == project


def _names_project(git_dir: str, project: str, home: str) -> bool:
    # As git does: config.worktree overrides config, and the last value counts.
    named = [w for f in ("config", "config.worktree") for w in collect([f"{git_dir}/{f}"], home).worktrees]
    return (
        bool(named)
        and "\0" not in named[-1]
        and os.path.realpath(os.path.join(git_dir, named[-1])) == project
    )


def _enclosing(project: str) -> str:
    above = project
    while above != "/":
        above = os.path.dirname(above)
        if os.path.lexists(f"{above}/.git"):
            return above
    return ""


# -- what is protected in them


class _Protection:
    """Gathers hooks, pins, links and notes of one layout."""

    def __init__(self, found: GitLayout, shared: tuple[str, ...]) -> None:
        self.found = found
        self.roots = (found.project, *found.outside, *shared)  # mount points of their own
        self.hooks: list[str] = []
        self.missing: list[str] = []
        self.pins: dict[str, str] = dict(_self_pin(found))
        self.links: list[str] = []
        self.notes: list[str] = list(found.notes)

    def root_of(self, path: str) -> str:
        return next((r for r in self.roots if inside(path, r)), "")

    def pin(self, directory: str) -> None:
        """Pins `directory` and all between it and the mount that holds it."""
        root = self.root_of(directory)
        while root and directory != root:
            self.pins.setdefault(directory, "rw")
            directory = os.path.dirname(directory)

    def hook_dir(self, path: str) -> None:
        """`path`, whatever it is, as a directory that git takes hooks from."""
        path = os.path.normpath(path)
        link = self._first_link(path)
        if link:
            self.links.append(link)
            self.notes.append(
                f"hooks: {printable(link)} is a symlink, which can be watched but not protected"
            )
        real = os.path.realpath(path)
        if not self.root_of(real) or real in self.hooks:
            return  # not writable inside
        vital = (*self.roots, self.found.git_dir, self.found.common_dir)
        if any(inside(v, real) for v in vital) or any(
            inside(real, f"{self.found.common_dir}/{n}") for n in ("objects", "refs")
        ):
            self.notes.append(
                f"hooks: {printable(real)} is also where work is done, so it cannot be read-only"
            )
            return
        mode = mode_of(real)
        if mode and not stat.S_ISDIR(mode):
            self.links.append(real)
            return
        if not mode and link:
            return
        if os.path.basename(real) == "_" and os.path.basename(os.path.dirname(real)) == ".husky":
            self._add(os.path.dirname(real))  # husky's stubs in _ run the scripts beside it
        self._add(real)

    def _add(self, real: str) -> None:
        if real in self.hooks:
            return
        self.hooks.append(real)
        if not mode_of(real):
            self.missing.append(real)
        self.pin(os.path.dirname(real))
        self.links += _link_targets(real, self.found.project)

    def _first_link(self, path: str) -> str:
        root = self.root_of(path)
        if not root or path == root:
            return ""
        at = root
        for part in path[len(root) :].strip("/").split("/"):
            at = f"{at}/{part}"
            if stat.S_ISLNK(mode_of(at)):
                return at
        return ""


def _link_targets(hooks: str, project: str) -> list[str]:
    """Files of the project that a hook is a symlink to: writable, and run by git on the host."""
    targets = []
    try:
        with os.scandir(hooks) as entries:
            for _, entry in zip(range(MAX_HOOKS), entries, strict=False):
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if inside(real, project) and not inside(real, hooks):
                        targets.append(real)
    except OSError:
        return []
    return sorted(targets)


def _protect(
    found: GitLayout, home: str, config_home: str, patterns: tuple[str, ...], shared: tuple[str, ...]
) -> GitLayout:
    parts = _Protection(found, shared)
    git_dirs = tuple(dict.fromkeys((found.common_dir, found.git_dir)))
    for directory in git_dirs:
        parts.pin(directory)
    if found.kind == "symlink":
        parts.links.append(found.dot_git)
        parts.notes.append(f"{printable(found.dot_git)} is a symlink, which can be watched but not protected")
    parts.hook_dir(f"{found.common_dir}/hooks")
    if found.git_dir != found.common_dir:
        # Not gitdir: git rewrites it once a day, and dies when it cannot (update_linked_gitdir in its
        # setup.c).
        parts.pins[f"{found.git_dir}/commondir"] = "ro"
    configs = [f"{d}/{name}" for d in git_dirs for name in ("config", "config.worktree")]
    work_trees = [found.project, *_modules(parts, git_dirs, home)]
    own = [f"{home}/.gitconfig", f"{config_home}/git/config", "/etc/gitconfig"]
    config = collect([*configs, *own], home)
    for path in dict.fromkeys(config.hooks_paths):
        if path and "\0" not in path:
            for tree in work_trees if not path.startswith("/") else work_trees[:1]:
                parts.hook_dir(os.path.join(tree, path))
    parts.notes += [f"{printable(p)} is not examined for a hooks path" for p in config.unread]
    parts.notes += _alternates(found, shared)
    links = dict.fromkeys(p for p in (*config.files, *parts.links) if parts.root_of(p) not in ("", p))
    inner = [(d, p) for d in git_dirs for p in dict.fromkeys((*patterns, *POINTERS))]
    single = [(parts.root_of(p), p[len(parts.root_of(p)) + 1 :]) for p in links]
    triggers = dict.fromkeys((*(t for base, p in inner for t in expand(base, p)), *links))
    return found.replace(
        hooks=tuple(sorted(parts.hooks)),
        missing_hooks=tuple(sorted(parts.missing)),
        pins=tuple(
            sorted((p, m) for p, m in parts.pins.items() if not any(inside(p, h) for h in parts.hooks))
        ),
        triggers=tuple(triggers),
        watched=(*inner, *single),
        notes=tuple(parts.notes),
    )


def _self_pin(found: GitLayout) -> tuple[tuple[str, str], ...]:
    """.git itself, where it can be a mount point."""
    if found.kind == "dir":
        return ((found.dot_git, "rw"),)
    return ((found.dot_git, "ro"),) if found.kind == "file" else ()


def _modules(parts: _Protection, git_dirs: tuple[str, ...], home: str) -> list[str]:
    """Protects the hooks of every submodule's git directory; returns their work trees in PROJECT."""
    trees: list[str] = []
    starts = [f"{d}/modules" for d in git_dirs]
    starts += [p for p in expand(git_dirs[0], "worktrees/*/modules") if mode_of(p)]
    budget = [MAX_MODULES * 4, MAX_INNARDS]
    for start in dict.fromkeys(starts):
        if not mode_of(start):
            continue
        found: list[str] = []
        if not _module_dirs(start, found, budget, top=True) or len(found) > MAX_MODULES:
            parts.hooks.append(start)
            parts.pin(os.path.dirname(start))
            parts.notes.append(f"{printable(start)} holds a symlink or too much; it is read-only as a whole")
            continue
        parts.pin(start)
        for module in found:
            parts.pin(module)
            parts.hook_dir(f"{module}/hooks")
            config = collect([f"{module}/config", f"{module}/config.worktree"], home)
            parts.links += config.files
            tree = os.path.realpath(os.path.join(module, config.worktrees[-1])) if config.worktrees else ""
            if tree and inside(tree, parts.found.project):
                trees.append(tree)
            for path in config.hooks_paths:
                parts.hook_dir(os.path.join(tree or module, path))
    return trees


def _module_dirs(directory: str, found: list[str], budget: list[int], *, top: bool = False) -> bool:
    """Adds the git directories at and below `directory`; False when there is too much, a symlink, or a git
    directory in the place of another's innards.

    `budget`: of directories that are no module, and of those in modules' innards. `top`: it is no module
    itself, whatever was planted in it.
    """
    if not stat.S_ISDIR(mode_of(directory)):
        return False
    is_module = not top and os.path.lexists(f"{directory}/HEAD")
    if is_module:
        found.append(directory)
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if is_module and entry.name in GIT_INNARDS:
                    if any(os.path.lexists(f"{entry.path}/{name}") for name in ("config", "commondir")):
                        return False
                    if entry.is_dir(follow_symlinks=False) and _holds_git_dir(entry.path, budget):
                        return False
                    continue
                budget[0] -= not is_module
                if budget[0] < 0 or len(found) > MAX_MODULES:
                    return False
                if entry.is_symlink() and (not is_module or entry.name in ("modules", "worktrees")):
                    return False
                if entry.is_dir(follow_symlinks=False) and not _module_dirs(entry.path, found, budget):
                    return False
    except (OSError, RecursionError):
        return False
    return True


def _holds_git_dir(innards: str, budget: list[int]) -> bool:
    """Whether a git directory lies somewhere below `innards`, or there is too much to tell: a HEAD planted
    above a module that is called, say, vendor/lfs/x would make innards of a directory on the way to it.
    """
    queue = [innards]
    while queue:
        try:
            with os.scandir(queue.pop()) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    budget[1] -= 1
                    if budget[1] < 0:
                        return True
                    # Two links are its own two names: nothing lies below, as in most directories of objects.
                    # A file system that does not count them so says one.
                    if entry.stat(follow_symlinks=False).st_nlink == 2:
                        continue
                    # Not by HEAD alone, which refs/remotes/origin has, nor by config, which a branch may be.
                    names = ("commondir", "objects")
                    if mode_of(f"{entry.path}/HEAD") and any(mode_of(f"{entry.path}/{n}") for n in names):
                        return True
                    queue.append(entry.path)
        except OSError:
            return True
    return False


def _alternates(found: GitLayout, shared: tuple[str, ...]) -> list[str]:
    content = read(f"{found.common_dir}/objects/info/alternates", CONFIG_LIMIT)
    notes = []
    for line in (content or b"").splitlines()[:5]:
        if line and not line.startswith(b"#") and b"\0" not in line:
            path = os.path.realpath(os.path.join(f"{found.common_dir}/objects", os.fsdecode(line)))
            if not any(inside(path, root) for root in (found.project, *found.outside, *shared)):
                notes.append(f"objects are borrowed from {printable(path)}; if that is right, --share it")
    return notes


# -- what has to be there before the start


def make_missing(found: GitLayout) -> None:
    """Makes the empty hooks directories that are to be read-only, and keeps a worktree's pointer young.

    Git rewrites worktrees/X/gitdir once it is a day old, with the path that .git has just then; inside that
    may be /project/.git, and on the host the next gc would prune the worktree. UserError where a symlink is
    in the way.
    """
    roots = (found.project, *found.outside, found.common_dir)
    for path in found.missing_hooks:
        _make(next((r for r in roots if inside(path, r)), os.path.dirname(path)), path)
    if found.git_dir != found.common_dir:
        _touch(f"{found.git_dir}/gitdir")


def _make(root: str, path: str) -> None:
    from launcher.errors import HostError, UserError

    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        what = f"{printable(root)} cannot be opened any more: {error.strerror}"
        raise UserError(what, "look where PROJECT is now, and start again") from error
    try:
        for part in path[len(root) :].strip("/").split("/"):
            if not _there(part, fd):
                _mkdir(part, fd)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = below
    except NotADirectoryError as error:  # what O_NOFOLLOW with O_DIRECTORY says of a symlink, too
        what = f"{printable(path)} cannot be made: something on the way to it is not a directory"
        raise UserError(
            what, "look at it, and remove it if it is not yours; hooks cannot be protected before"
        ) from error
    except OSError as error:
        what = f"{printable(path)}, which is to be read-only, cannot be made: {error.strerror}"
        raise HostError(what, "make that directory yourself, or free some space") from error
    finally:
        os.close(fd)


def _mkdir(name: str, directory: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        return  # another start at the same moment


def _there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _touch(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # missing or not ours to write: then git cannot rewrite it either
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.utime(fd)
    finally:
        os.close(fd)
