"""Row git-hooks."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.checks.probes import readonly
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures import users
from fixtures.project import git_project, with_submodule, worktree

# What the host's git runs on `git commit`.
HOOK = "pre-commit"
# Plants the hook in every way that does not begin with writing into the hooks: another directory
# in the place of its own. given: git (by either path), work (where one may write), hook (its text).
SWAP = r"""
import ctypes, os, shutil
libc = ctypes.CDLL(None, use_errno=True)
tried = {}


def attempt(name, act, *arguments):
    try:
        act(*arguments)
        tried[name] = "ok"
    except OSError as error:
        tried[name] = error.errno


def exchange(one, other):
    if libc.renameat2(-100, one.encode(), -100, other.encode(), 2) < 0:
        raise OSError(ctypes.get_errno(), "")


for number, git in enumerate(given["git"]):
    # A repository with the hook, as it would stand in the place of the true one.
    mine = f'{given["work"]}/planted-{number}'
    os.makedirs(f"{mine}/hooks")
    hook = f"{mine}/hooks/pre-commit"
    with open(hook, "w") as file:
        file.write(given["hook"])
    os.chmod(hook, 0o755)
    pointer = f'{given["work"]}/pointer-{number}'
    with open(pointer, "w") as file:
        file.write(f"gitdir: {mine}\n")
    attempt(f"rename {git}", os.rename, git, git + ".gone")
    attempt(f"exchange {git}", exchange, mine, git)
    attempt(f"pointer over {git}", os.rename, pointer, git)
    attempt(f"unlink {git}", os.unlink, git)
    attempt(f"rmdir {git}", os.rmdir, git)
    if os.path.isdir(git):
        attempt(f"rename hooks of {git}", os.rename, git + "/hooks", git + "/gone")
        attempt(f"exchange hooks of {git}", exchange, mine + "/hooks", git + "/hooks")
        attempt(f"hooks a link in {git}", os.symlink, mine + "/hooks", git + "/hooks")
        attempt(f"hook of {git}", shutil.copy, hook, git + "/hooks/pre-commit")
    else:
        def point():
            with open(git, "w") as file:
                file.write(f"gitdir: {mine}\n")

        attempt(f"write {git}", point)
print(ascii(tried))
"""


def commits(world: World, path: Path) -> tuple[list[str], bool]:
    """What `git commit` says on the host, and whether a planted hook has run."""
    mark = world.home / f"hook-ran-{uuid.uuid4().hex[:8]}"
    world.environ["HOOK_MARK"] = str(mark)
    done = world.run(("git", "-C", str(path), "commit", "--allow-empty", "-q", "-m", "by the host"))
    del world.environ["HOOK_MARK"]
    ran = mark.exists()
    mark.unlink(missing_ok=True)
    return [*(["failed"] if done.returncode else []), *done.stderr.splitlines()], ran


TEXT = '#!/bin/sh\n[ -z "$HOOK_MARK" ] || echo ran > "$HOOK_MARK"\n'


def control(host: World) -> bool:
    """Whether .git can be swapped in the same way on the host, in a project of its own."""
    twin = git_project(host.home / f"twin-{uuid.uuid4().hex[:8]}", as_user=host.user)
    work = users.directory(host.home / f"work-{uuid.uuid4().hex[:8]}", host.user)
    tried = host.python(SWAP, git=[f"{twin.path}/.git"], work=str(work), hook=TEXT)
    return bool(tried[f"rename {twin.path}/.git"] == "ok")


@covers("git-hooks", "read-only")
@pytest.mark.parametrize("by", ["host path", "/project"])
def test_no_way_of_writing_reaches_the_hooks(inside: Inside, host: World, by: str) -> None:
    """No way of writing to .git/hooks, or to a hook that is there, reaches the host, by either path."""
    there = str(host.path) if by == "host path" else "/project"
    hooks = host.path / ".git/hooks"
    host.write(hooks / "post-checkout", "#!/bin/sh\nexit 0\n", mode=0o755)

    blind = readonly.control(host)
    read = inside.sh(f"cat '{there}/.git/hooks/post-checkout'").stdout
    paths = [f"{there}/.git/hooks", f"{there}/.git/hooks/post-checkout", f"{there}/.git/hooks/{HOOK}"]
    found = readonly.attack(inside, hooks, paths, out=[f"{there}/.git", there, "/tmp"])

    with on_the_host():
        assert blind == []
    assert read == "#!/bin/sh\nexit 0\n"
    assert found.reached == []


@covers("git-hooks", "read-only")
def test_git_cannot_be_swapped(inside: Inside, host: World) -> None:
    """.git can be neither renamed, exchanged, removed nor pointed elsewhere: no planted hook ever runs."""
    before = (host.path / ".git").lstat().st_ino
    work = f"/project/.work-{uuid.uuid4().hex[:8]}"

    works = control(host)
    inside.python(SWAP, git=["/project/.git", f"{host.path}/.git"], work=work, hook=TEXT)
    said, ran = commits(host, host.path)

    with on_the_host():
        assert works, "the same has to work on the host"
    assert (host.path / ".git").lstat().st_ino == before
    assert said == []
    assert not ran


@covers("git-hooks", "read-only")
def test_a_planted_hook_would_run(inside: Inside, host: World) -> None:
    """On the host a hook that is planted does run: so it is the sandbox that keeps it away."""
    twin = git_project(host.home / f"twin-{uuid.uuid4().hex[:8]}", as_user=host.user)
    planted = f"printf %s '{TEXT}' > .git/hooks/{HOOK}; chmod +x .git/hooks/{HOOK}"

    host.output(("sh", "-c", f"cd '{twin.path}'; mkdir -p .git/hooks; {planted}"))
    inside.sh(f"cd /project; {planted}")
    inside.sh(f"cd '{host.path}'; {planted}")

    with on_the_host():
        assert commits(host, twin.path)[1]
    assert not commits(host, host.path)[1]


@covers("git-hooks", "read-only")
def test_commits_still_work(inside: Inside, host: World) -> None:
    """A commit made inside is in the host's repository, with the user's name and mail address."""
    subject = uuid.uuid4().hex

    done = inside.sh(f"cd '{host.path}' && git commit --allow-empty -q -m {subject} && git gc -q && git fsck")

    assert done.rc == 0, done.stderr
    assert f"Ada Fixture <ada@fixture.test> {subject}" in host.project.authors()


@covers("git-hooks", "read-only", variant="default")
def test_the_name_is_the_users(inside: Inside, host: World) -> None:
    """In a repository without a name of its own, commits made inside have that of ~/.gitconfig."""
    nameless = git_project(host.path / "nameless", as_user=host.user, identity=False)

    done = inside.sh(f"cd '{nameless.path}' && git commit --allow-empty -q -m inside")

    assert done.rc == 0, done.stderr
    assert nameless.authors()[0] == "Ada Fixture <ada@fixture.test> inside"


@covers("git-hooks", "read-only", variant="default")
def test_hooks_elsewhere_in_the_project_are_protected(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """A core.hooksPath inside the project, and the hooks of a submodule, are as read-only as .git/hooks."""
    world = new_world()
    library = git_project(world.home / "library", as_user=world.user)
    world.project = with_submodule(world.home / "super", library)
    world.write(world.path / "tools/hooks/post-commit", "#!/bin/sh\n", mode=0o755)
    world.project.git("config", "core.hooksPath", "tools/hooks")
    hosts = [world.path / "tools/hooks", world.path / ".git/modules/lib/hooks"]

    inside = fresh(world=world).inside
    paths = [f"{base}/{name}" for base in ("/project", world.path) for name in
             ("tools/hooks", "tools/hooks/post-commit", ".git/modules/lib/hooks")]  # fmt: skip
    found = readonly.attack(inside, hosts, paths, out=["/project/.git", "/project", "/project/tools"])

    assert found.reached == []
    assert commits(world, world.path) == ([], False)
    assert commits(world, world.path / "lib") == ([], False)


@covers("git-hooks", "read-only", variant="default")
def test_a_worktrees_pointer_is_pinned(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """In a linked worktree neither its pointer nor the hooks of its repository can be changed."""
    world = new_world()
    main = world.project
    world.project = worktree(main, world.home / "side")
    pointer = readonly.seen(world.path / ".git")

    inside = fresh(world=world).inside
    hooks = f"{main.path}/.git/hooks"
    out = ["/project", f"{main.path}/.git"]
    found = readonly.attack(inside, main.path / ".git/hooks", [hooks, f"{hooks}/{HOOK}"], out=out)
    both = ["/project/.git", f"{world.path}/.git"]
    inside.python(SWAP, git=both, work="/project/.work", hook=TEXT)

    assert found.reached == []
    assert readonly.seen(world.path / ".git") == pointer
    assert commits(world, world.path) == ([], False)
    assert commits(world, main.path) == ([], False)


@covers("git-hooks", "read-only", means=True)
def test_hooks_are_mounted_read_only(inside: Inside, host: World, cell: Cell) -> None:
    """.git/hooks is a read-only mount and .git a mount of its own, by either path."""
    both = ("/project", str(host.path))

    assert mounted(inside, [f"{base}/.git/hooks" for base in both], cell.means) == []
    assert mounted(inside, [f"{base}/.git" for base in both], cell.means.replace("read-only ", "")) == []
