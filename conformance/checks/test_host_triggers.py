"""Row host-triggers."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from conformance.checks.probes import readonly
from conformance.checks.probes.means import mounted
from conformance.harness import as_seen
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.shared import TRIGGERS
from conformance.harness.world import World
from fixtures.project import git_project, with_submodule
from launcher.spec.load import load

Launch = Callable[..., subprocess.CompletedProcess[bytes]]

SPEC = load()
# Without a terminal of its own; what --tmux shows at its end is looked at on the screen.
PIPED = ("default", "no-network", "bare", "off")
# Names on one line of the report; of more than that it gives the number.
AT_ONCE = 8
# Directories of the list, of which any file counts.
# fmt: off
TREES = (
    ".claude/hooks", ".claude/commands", ".claude/agents", ".claude/skills", ".claude/output-styles",
    ".claude/workflows", ".claude/routines", ".codex", ".gemini/commands", ".opencode", ".devcontainer",
    ".husky", ".mvn", ".idea/tools", ".idea/runConfigurations", ".run",
)
# fmt: on


def one_of(pattern: str) -> str:
    """A file that the pattern of the list stands for."""
    name = pattern.replace("**", "deep/er").replace("*", "some")
    return f"{name}/file" if pattern in TREES else name


PLANTED = tuple(dict.fromkeys(one_of(pattern) for pattern, _tool in SPEC.triggers))


def plant(names: Sequence[str], *, base: str = "/project") -> str:
    """A script that writes each file, making what it lies in."""
    quoted = [shlex.quote(f"{base}/{name}") for name in names]
    return "; ".join(f'mkdir -p "$(dirname {name})"; echo planted >> {name}' for name in quoted)


def ways(name: str) -> list[str]:
    """The file itself and the directories that it lies in."""
    return [str(path) for path in (Path(name), *Path(name).parents) if str(path) != "."]


def run(launch: Launch, world: World, script: str, *flags: str) -> str:
    """What the start says on stderr, its end included."""
    done = launch(world, "--quiet", *flags, "--shell", str(world.path), "-c", f"{script}; true")
    assert done.returncode == 0, done.stderr
    return os.fsdecode(done.stderr)


def restore(launch: Launch, world: World) -> str:
    done = launch(world, "--restore", str(world.path))
    assert done.returncode == 0, done.stderr
    return os.fsdecode(done.stdout + done.stderr)


def content(top: Path) -> dict[str, tuple[int, bytes]]:
    """Path below `top` → mode and content of each file there, but git's objects, logs and indexes."""
    return {
        str(path.relative_to(top)): (path.stat().st_mode, path.read_bytes())
        for path in top.rglob("*")
        if path.is_file() and not {"objects", "logs", "index"} & set(path.relative_to(top).parts)
    }


@covers("host-triggers", "watched", variant="default", alike=True)
@pytest.mark.parametrize("number", range(-(-len(PLANTED) // AT_ONCE)))
def test_each_name_of_the_list_is_reported(
    new_world: Callable[..., World], launch: Launch, number: int
) -> None:
    """Each file of the list that appears in the project is named at exit, and gone after --restore."""
    world, names = new_world(), PLANTED[number * AT_ONCE : (number + 1) * AT_ONCE]
    before = content(world.path)

    said = run(launch, world, plant(names))
    there = [name for name in names if (world.path / name).exists()]
    restore(launch, world)

    # Of a directory that appeared as a whole, its own name is enough.
    unsaid = [name for name in names if not any(f"{top} (appeared)" in said for top in ways(name))]
    assert there == list(names), "planting has to work: the row is watched, not read-only"
    assert unsaid == []
    assert content(world.path) == before


@covers("host-triggers", "watched", variant=PIPED)
def test_what_appeared_changed_or_went_is_reported_and_put_back(
    new_world: Callable[..., World], launch: Launch
) -> None:
    """Appeared, changed, removed: each is said with its name, and --restore puts back content and mode."""
    world = new_world()
    world.write(world.path / ".envrc", "export A=1\n", mode=0o640)
    world.write(world.path / ".vscode/tasks.json", "{}\n", mode=0o644)
    world.write(world.path / ".pre-commit-config.yaml", "repos: []\n", mode=0o644)
    before = content(world.path)

    script = (
        "cd /project; echo evil >> .envrc; rm .vscode/tasks.json; echo '{}' > .mcp.json; "
        "git config core.fsmonitor /project/evil; chmod 777 .pre-commit-config.yaml"
    )
    said = run(launch, world, script)
    changed = content(world.path)
    restore(launch, world)

    for name, what in (
        (".envrc", "changed"),
        (".vscode/tasks.json", "removed"),
        (".mcp.json", "appeared"),
        (".git/config", "changed"),
        (".pre-commit-config.yaml", "changed"),
    ):
        assert f"{name} ({what}" in said
    assert "core.fsmonitor" in said
    assert changed != before
    assert content(world.path) == before


@covers("host-triggers", "watched", variant=PIPED)
def test_a_run_that_changes_nothing_of_it_says_nothing(
    new_world: Callable[..., World], launch: Launch
) -> None:
    """Files of the list that are only read, and work on others with commits, are not reported."""
    world = new_world()
    world.write(world.path / ".envrc", "export A=1\n")

    said = run(launch, world, "cd /project; cat .envrc .git/config; echo x > a; git add a; git commit -qm a")

    assert "changed" not in said
    assert ".envrc" not in said
    assert ".git/config" not in said


@covers("host-triggers", "watched", variant="default", alike=True)
@pytest.mark.parametrize(
    "script",
    [
        "ln -s /project/evil .envrc",
        "mkdir .vscode; ln -s ../README .vscode/tasks.json",
        "mkdir -p evil; echo x > evil/tasks.json; ln -s evil .vscode",
        "mkdir sub; echo x > sub/.envrc",
        "mkdir sub; echo '{}' > sub/.mcp.json",
        "mkdir -p sub/.claude; echo '{}' > sub/.claude/settings.json",
        "git init -q nested; echo x > nested/.git/hooks/pre-commit",
        "git config --file .git/config core.hooksPath /project/evil",
        "echo '* filter=x' > .git/info/attributes",
        "git worktree add -q w; echo x > .git/worktrees/w/config.worktree",
    ],
)
def test_detours_are_reported_too(new_world: Callable[..., World], launch: Launch, script: str) -> None:
    """A link in the place of a file, one on the way to it, a nested repository: each is reported."""
    world = new_world()

    said = run(launch, world, f"cd /project; {script}")

    assert [line for line in said.splitlines() if "changed" in line and "claude-sandbox" in line]


@covers("host-triggers", "watched", variant="default")
def test_a_pipe_is_reported_where_one_can_be_made(
    new_world: Callable[..., World], launch: Launch, cell: Cell
) -> None:
    """A fifo in the place of a file, which would keep who reads it waiting, is reported."""
    world = new_world()

    said = run(launch, world, "cd /project; mkfifo .envrc")

    if "no fifo" in SPEC.rows["uid"].cell(cell.backend, cell.variant).means:
        assert not (world.path / ".envrc").exists()
    else:
        assert ".envrc (appeared" in said


@covers("host-triggers", "watched", variant="default")
def test_a_submodules_pointer_is_reported(new_world: Callable[..., World], launch: Launch) -> None:
    """A submodule whose .git is another repository now, and one whose configuration changed, is said."""
    world = new_world()
    library = git_project(world.home / "library", as_user=world.user)
    world.project = with_submodule(world.home / "super", library, "swapped", "configured")

    evil = "git config core.fsmonitor evil"
    script = f"cd /project/configured; {evil}; cd ../swapped; rm .git; git init -q .; {evil}"
    said = run(launch, world, script)

    assert "swapped/.git" in said
    assert ".git/modules/configured/config" in said
    assert ".git/modules/swapped/config" not in said, "nobody has changed it"


@covers("host-triggers", "watched", variant="default")
def test_what_a_killed_run_has_changed_is_said_by_the_next(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World], launch: Launch
) -> None:
    """When the launcher is killed, the next start in the project says what had changed, for --restore."""
    world = new_world()
    before = content(world.path)

    sandbox = fresh(world=world)
    sandbox.inside.output("echo x > /project/.envrc")
    as_seen.send(sandbox.pid, 9)
    sandbox.close()
    said = run(launch, world, "true")

    assert ".envrc" in said
    restore(launch, world)
    assert content(world.path) == before


@covers("host-triggers", "watched", variant="tmux")
def test_the_end_of_a_session_reports_it(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World], tmp_path: Path
) -> None:
    """At the end of a tmux session, too, what was planted is said, on the terminal that it ran in."""
    world, transcript = new_world(), tmp_path / "transcript"

    sandbox = fresh(world=world, transcript=transcript)
    sandbox.inside.output("echo x > /project/.envrc")
    sandbox.close()

    assert (world.path / ".envrc").exists()
    assert b".envrc" in transcript.read_bytes().partition(b"claude-sandbox: ")[2]


@covers("host-triggers", "watched", means=True, variant=PIPED)
def test_old_copies_are_kept_outside(new_world: Callable[..., World], launch: Launch, cell: Cell) -> None:
    """The old copies lie on the host, for the user alone, and nowhere that the next agent could reach."""
    assert "old copies kept" in cell.means
    world = new_world()
    world.write(world.path / ".envrc", "export OLD_COPY=1\n")

    run(launch, world, "echo evil > /project/.envrc")
    kept = [p for p in world.home.rglob("*") if p.is_file() and world.path not in p.parents
            and b"OLD_COPY" in p.read_bytes()]  # fmt: skip
    found = launch(world, "--quiet", "--shell", str(world.path), "-c", "grep -rl OLD_COPY ~ /project /tmp")

    assert kept
    assert {p.stat().st_mode & 0o077 for p in kept} == {0}
    assert found.stdout == b""


@covers("host-triggers", "read-only")
def test_protected_files_cannot_be_written(inside: Inside, host: World) -> None:
    """With --protect no way of writing reaches what is there of the list, by either path."""
    names = (*TRIGGERS, ".claude/hooks", ".git/config")
    hosts = [host.path / name for name in names]

    read = inside.output("cat /project/.envrc")
    blind = readonly.control(host)
    paths = [f"{base}/{name}" for base in ("/project", host.path) for name in names]
    found = readonly.attack(inside, hosts, paths, out=["/project", "/project/.vscode", "/tmp"])

    assert read == "of the host"
    with on_the_host():
        assert blind == []
    assert found.reached == []


@covers("host-triggers", "read-only")
def test_what_appears_is_taken_away(new_world: Callable[..., World], launch: Launch) -> None:
    """With --protect what of the list appears is reported, and is gone after the run; the rest stays."""
    world = new_world()
    world.write(world.path / ".envrc", "of the host\n")
    names = (".mcp.json", ".claude/settings.local.json", ".devcontainer/devcontainer.json")
    before = content(world.path)

    script = f"{plant(names)}; echo kept > /project/ordinary; ls -d /project/.mcp.json >&2"
    said = run(launch, world, script)
    after = content(world.path)

    assert said.splitlines().count("/project/.mcp.json") == 1, "it has to be there while the sandbox runs"
    assert [name for name in names if not any(f" {top}: moved" in said for top in ways(name))] == [], said
    assert after.pop("ordinary")[1] == b"kept\n"
    assert after == before


@covers("host-triggers", "read-only")
def test_commits_work_under_protection(inside: Inside, host: World) -> None:
    """With --protect a commit made inside is in the host's repository."""
    done = inside.sh("cd /project; echo x > a; git add a; git commit -q -m protected")

    assert done.rc == 0, done.stderr
    assert host.project.authors()[0] == "Ada Fixture <ada@fixture.test> protected"


@covers("host-triggers", "read-only", means=True)
def test_protected_files_are_read_only_mounts(inside: Inside, host: World, cell: Cell) -> None:
    """With --protect each file of the list that is there is a read-only mount, by either path."""
    paths = [f"{base}/{name}" for base in ("/project", host.path) for name in TRIGGERS]

    assert mounted(inside, paths, cell.means, above=True) == []
