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
from fixtures import users
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


@covers("project", "read-write")
def test_git_inside_goes_by_the_index_that_was_written_outside(inside: Inside, host: World) -> None:
    """What git on the host knows to be unchanged git inside does not read again: with many files that takes
    minutes in a VM.
    """
    looks = "git -C /project diff-files --name-only"
    host.project.git("status")  # which looks at each file, and writes what it saw to the index

    unread = inside.output(looks)
    host.write(host.path / "README", "changed\n")
    changed = inside.output(looks)
    host.project.git("checkout", "-q", "README")

    assert (unread, changed) == ("", "README")


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
    path = world.home / PATHS[number]
    for parent in reversed([parent for parent in path.parents if not parent.exists()]):
        users.directory(parent, world.user)
    world.project = git_project(path, as_user=world.user)
    script = 'cp "$1/README" a; echo $0 > "$1/b"; git add a b; git commit -q -m odd; cat /project/b'

    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script, content, str(world.path))

    assert done.stdout.decode().split() == [content], done.stderr
    assert (world.path / "a").read_text() == "A project.\n"
    assert world.project.authors()[0].endswith("odd")


@covers("project", "read-write", variant="default", alike=True)
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


# What databases, package managers and watchers ask of a file system: locks that exclude others, memory that
# two share, a write-ahead log, and word of changes. Who is the other is a process of its own.
WORKED = """
import ctypes, fcntl, mmap, os, select, sqlite3, struct, sys
here = given["directory"]
os.makedirs(here)

def in_child(work):
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if work() else 1)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def refused(lock):
    def work():
        with open(f"{here}/locked", "r+b") as file:
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
    return work

found = {}
for name, lock in (("flock", fcntl.flock), ("posix lock", fcntl.lockf)):
    with open(f"{here}/locked", "w+b") as file:
        lock(file, fcntl.LOCK_EX)
        found[name] = in_child(refused(lock))
        lock(file, fcntl.LOCK_UN)
        found[name] = found[name] and not in_child(refused(lock))

with open(f"{here}/mapped", "w+b") as file:
    file.truncate(8192)
    with mmap.mmap(file.fileno(), 8192) as memory:
        memory[4090:4100] = b"0123456789"
        memory.flush()
        def seen():
            with open(f"{here}/mapped", "r+b") as other, mmap.mmap(other.fileno(), 8192) as theirs:
                was = theirs[4090:4100]
                theirs[0:5] = b"child"
                theirs.flush()
                return was == b"0123456789"
        found["mmap"] = in_child(seen) and memory[0:5] == b"child"

def inserted():
    with sqlite3.connect(f"{here}/base", timeout=20) as other:
        other.execute("insert into numbers values (2)")
        return True
base = sqlite3.connect(f"{here}/base", timeout=20)
found["sqlite"] = base.execute(f"pragma journal_mode={given['journal']}").fetchone()[0]
base.execute("create table numbers (number)")
base.execute("insert into numbers values (1)")
base.commit()
wrote = in_child(inserted)
found["sqlite rows"] = wrote and base.execute("select sum(number) from numbers").fetchone()[0]
base.close()

libc = ctypes.CDLL(None, use_errno=True)
watch = libc.inotify_init1(0)
libc.inotify_add_watch(watch, here.encode(), 0x100 | 0x8)  # IN_CREATE, IN_CLOSE_WRITE
with open(f"{here}/new", "w") as file:
    file.write("x")
heard = select.select([watch], [], [], given["wait_s"])[0] and os.read(watch, 4096)
found["inotify"] = bool(heard) and b"new" in heard
print(ascii(found))
"""
ROWS = """
import sqlite3
print(ascii(sqlite3.connect(given["path"]).execute("select * from numbers").fetchall()))
"""


@covers("project", "read-write", variant="default")
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_programs_work_on_its_files(inside: Inside, host: World, cell: Cell, journal: str) -> None:
    """File locks, shared mappings and sqlite, by either journal, work in it; inotify, if it is said to."""
    there = host.path / f"work-{canary()}"
    hears = "no inotify" not in cell.means

    control = host.python(WORKED, journal=journal, directory=f"{there}-host", wait_s=10)
    found = inside.python(WORKED, journal=journal, directory=str(there), wait_s=10 if hears else 1)
    outside = host.python(ROWS, path=str(there / "base"))

    works = dict.fromkeys(("flock", "posix lock", "mmap", "inotify"), True)
    with on_the_host():
        assert control == {**works, "sqlite": journal, "sqlite rows": 3}
    assert found == {**control, "inotify": hears}
    assert outside == [[1], [2]]
