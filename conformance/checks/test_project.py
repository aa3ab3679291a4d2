"""Row project."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.listeners import canary
from fixtures.project import git_project, with_submodule, worktree

Launch = Callable[..., subprocess.CompletedProcess[bytes]]

# What a directory may be called on Linux, and what a shell, a command line or a mount option would trip over.
ODD = (
    "two words",
    "Größe",
    "it's",
    'a "quote"',
    "a,b:c=d",
    "line\nbreak",
    "back\\slash",
    "$HOME `id` #{x}",
    "-rf",
    "\udcff\udcfe",  # no UTF-8
)
# Each as the project's own name; first of all, each above a project.
PATHS = ("/".join(ODD), *ODD)


@covers("project", "read-write")
@pytest.mark.parametrize("by", ["host path", "/project"])
def test_project_is_written_by_both_sides(inside: Inside, host: World, by: str) -> None:
    """What either side writes, the other reads; at the project's host path and at /project."""
    there = str(host.path) if by == "host path" else "/project"
    from_host, from_inside = canary(), canary()
    host.write(host.path / "from-host", from_host)

    read = inside.run("cat %s", f"{there}/from-host")
    done = inside.write(f"{there}/from-inside", from_inside)

    assert read.stdout == from_host, read.stderr
    assert done.rc == 0, done.stderr
    assert (host.path / "from-inside").read_text() == from_inside


@covers("project", "read-write")
def test_changes_of_either_side_are_seen_at_once(inside: Inside, host: World) -> None:
    """Renames, new modes, new directories and removals of either side are seen by the other."""
    host.write(host.path / "tree/a/file", "content")

    inside.output("cd /project/tree && mv a b && chmod 700 b/file && mkdir c && ln -s b/file link")
    outside = sorted(os.listdir(host.path / "tree"))
    mode = (host.path / "tree/b/file").stat().st_mode & 0o777
    os.unlink(host.path / "tree/link")
    os.rename(host.path / "tree/b", host.path / "tree/d")
    within = inside.output(f"ls '{host.path}/tree'").split()
    inside.output("rm -r /project/tree")

    assert outside == ["b", "c", "link"]
    assert mode == 0o700
    assert within == ["c", "d"]
    assert not (host.path / "tree").exists()


@covers("project", "read-write")
def test_git_works_on_both_sides(inside: Inside, host: World) -> None:
    """A branch and a commit made inside are in the host's repository, and the reverse."""
    name = f"branch-{canary()}"

    done = inside.sh(
        f"cd /project && git checkout -q -b {name} && echo x > {name} && git add {name} && "
        f"git commit -q -m {name} && git checkout -q main"
    )
    outside = host.project.git("log", "-1", "--format=%s", name)
    host.project.git("tag", f"tag-{name}", "main")
    tags = inside.output("git -C /project tag").split()

    assert done.rc == 0, done.stderr
    assert outside.strip() == name
    assert f"tag-{name}" in tags


@covers("project", "read-write", variant=("default", "no-network", "bare", "off"))
def test_the_start_is_in_the_project(new_world: Callable[..., World], launch: Launch) -> None:
    """The working directory is the project, by its host path, wherever the command line was typed."""
    world = new_world()

    done = launch(world, "--quiet", "--shell", str(world.path), "-c", "pwd; echo x > in-the-directory")

    assert done.stdout.decode().strip() in (str(world.path), "/project"), done.stderr
    assert (world.path / "in-the-directory").exists()


@covers("project", "read-write", variant="default", alike=True)
@pytest.mark.parametrize("number", range(len(PATHS)))
def test_odd_names_work(new_world: Callable[..., World], launch: Launch, number: int) -> None:
    """A project of any name that Linux allows is written at its host path and at /project."""
    world, content = new_world(), canary()
    world.project = git_project(world.home / PATHS[number], as_user=world.user)
    script = 'cp "$1/README" a; echo $0 > "$1/b"; git add a b; git commit -q -m odd; cat /project/b'

    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script, content, str(world.path))

    assert done.stdout.decode().split() == [content], done.stderr
    assert (world.path / "a").read_text() == "A project.\n"
    assert world.project.authors()[0].endswith("odd")


@covers("project", "read-write", variant="default")
@pytest.mark.parametrize("layout", ["worktree", "submodule", "separate git directory"])
def test_git_directories_come_along(new_world: Callable[..., World], launch: Launch, layout: str) -> None:
    """In a worktree, a submodule, a work tree whose .git is a file: a commit made inside is there outside."""
    world = new_world()
    project = world.project
    if layout == "worktree":
        project = worktree(project, world.home / "side")
    elif layout == "submodule":
        library = git_project(world.home / "library", as_user=world.user)
        super_ = with_submodule(world.home / "super", library)
        project = replace(super_, path=super_.path / "lib")
    else:
        project.git("init", "-q", "--separate-git-dir", str(world.home / "apart.git"))
        # It comes along because it says where its work tree is.
        project.git("config", "core.worktree", str(project.path))
    world.project = project

    script = "echo x > new && git add new && git commit -q -m of-inside && git log -1 --format=%s"
    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script)

    assert done.stdout.decode().split() == ["of-inside"], done.stderr
    assert project.authors()[0] == "Ada Fixture <ada@fixture.test> of-inside"


@covers("project", "read-write", variant="default")
def test_a_pointer_that_leads_elsewhere_brings_nothing(
    new_world: Callable[..., World], launch: Launch
) -> None:
    """A .git that an agent has pointed at somebody else's repository does not bring that repository in."""
    world, secret = new_world(), canary()
    theirs = git_project(world.home / "theirs", as_user=world.user)
    world.write(theirs.path / ".git/description", secret)
    world.project.git("rev-parse", "HEAD")
    os.rename(world.path / ".git", world.home / "moved.git")
    world.write(world.path / ".git", f"gitdir: {theirs.path}/.git\n")

    script = f"cat '{theirs.path}/.git/description'; echo x > '{theirs.path}/.git/hooks/post-commit'"
    control = world.run(("cat", f"{theirs.path}/.git/description")).stdout
    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script)

    with on_the_host():
        assert secret in control
    assert secret.encode() not in done.stdout + done.stderr
    assert not (theirs.path / ".git/hooks/post-commit").exists()


@covers("project", "read-write", means=True)
def test_the_project_is_a_mount(inside: Inside, host: World, cell: Cell) -> None:
    """The project is mounted at its host path and at /project, writable."""
    assert mounted(inside, ["/project", str(host.path)], cell.means) == []
