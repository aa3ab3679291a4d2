"""Row host-triggers: what is seen, said, kept and put back, whatever an agent made of the project."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher import runs, state, watch
from launcher.errors import HostError, UserError
from launcher.git import layout
from launcher.plan.context import Subject
from launcher.spec.table import TRIGGERS
from launcher.triggers import Watching

PATTERNS = (".envrc", ".mcp.json", ".claude/settings*.json", ".claude/hooks", ".vscode/tasks.json")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one of each kind of trigger."""
    made = tmp_path / "project"
    for name in (".claude/hooks", ".vscode"):
        (made / name).mkdir(parents=True)
    (made / ".envrc").write_text("old")
    (made / ".envrc").chmod(0o640)
    (made / ".claude/hooks/one").write_text("1")
    (made / ".claude/settings.json").write_text("{}")
    (made / ".vscode/tasks.json").write_text("tasks")
    return made


@pytest.fixture
def kept(tmp_path: Path, project: Path) -> str:
    return state.project_dir(str(tmp_path / "state"), str(project))


def snap(project: Path) -> watch.Snapshot:
    return watch.snapshot(str(project), PATTERNS)


def seen(before: watch.Snapshot) -> dict[str, str]:
    return {c.name: c.what for c in watch.changes(before)}


def ended(kept: str, before: watch.Snapshot) -> list[watch.Change]:
    run = runs.save(before, kept)
    found = watch.changes(before)
    runs.finish(run, found)
    return found


def test_nothing_touched_is_nothing_said_and_nothing_kept(project: Path, kept: str) -> None:
    assert ended(kept, snap(project)) == []
    assert os.listdir(f"{kept}/runs") == []
    assert watch.report([]) == []


def test_reading_a_file_or_writing_the_same_is_no_change(project: Path) -> None:
    before = snap(project)
    (project / ".envrc").read_text()
    (project / ".envrc").write_text("old")

    assert seen(before) == {}


def test_each_way_of_changing_is_seen_and_put_back(project: Path, kept: str) -> None:
    before = snap(project)
    (project / ".envrc").write_text("evil")
    (project / ".envrc").chmod(0o755)
    (project / ".claude/hooks/one").unlink()
    (project / ".claude/hooks/two").write_text("2")
    (project / ".claude/settings.local.json").write_text("{}")
    (project / ".vscode/tasks.json").unlink()
    (project / ".vscode").rmdir()

    ended(kept, before)

    assert seen(before) == {
        ".envrc": "changed",
        ".claude/hooks/one": "removed",
        ".claude/hooks/two": "appeared",
        ".claude/settings.local.json": "appeared",
        ".vscode/tasks.json": "removed",
    }
    said = runs.restore(kept, str(project))
    assert len(said) == 5
    assert seen(before) == {}
    assert (project / ".envrc").stat().st_mode & 0o777 == 0o640
    again = runs.restore(kept, str(project))
    assert all("already" in line for line in again)


def test_what_appeared_is_moved_not_deleted_and_what_is_replaced_is_kept(project: Path, kept: str) -> None:
    before = snap(project)
    (project / ".mcp.json").write_text("mine after all")
    (project / ".envrc").write_text("new words")
    ended(kept, before)

    runs.restore(kept, str(project))

    (run,) = Path(kept, "runs").iterdir()
    assert sorted(p.read_text() for p in (run / "moved").iterdir()) == ["mine after all", "new words"]
    assert [p.read_text() for p in (run / "old").iterdir()] == ["old"]


def test_a_directory_that_appeared_is_one_change_and_goes_as_a_whole(project: Path, kept: str) -> None:
    (project / ".claude/hooks/one").unlink()
    (project / ".claude/hooks").rmdir()
    before = snap(project)
    (project / ".claude/hooks/deep").mkdir(parents=True)
    (project / ".claude/hooks/deep/x").touch()

    assert {c.name for c in ended(kept, before)} == {".claude/hooks"}
    runs.restore(kept, str(project))
    assert not (project / ".claude/hooks").exists()


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "directory", "socket"])
def test_a_file_that_became_something_else_is_put_back(
    project: Path, kept: str, tmp_path: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    before = snap(project)
    place = project / ".envrc"
    place.unlink()
    if kind == "symlink":
        place.symlink_to(victim)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "nothing")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        (place / "x").mkdir(parents=True)
    else:
        import socket

        here = os.getcwd()
        os.chdir(project)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(".envrc")
        os.chdir(here)

    start = time.monotonic()
    found = ended(kept, before)
    runs.restore(kept, str(project))

    assert time.monotonic() - start < 2
    assert [c.what for c in found if c.name == ".envrc"] == ["changed"]
    assert (place.read_text(), place.is_symlink()) == ("old", False)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()


def test_a_symlink_swapped_in_on_the_way_makes_nothing_be_written_elsewhere(
    project: Path, kept: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "tasks.json").write_text("the user's own")
    (outside / "hooks").mkdir()
    before = snap(project)
    (project / ".vscode/tasks.json").write_text("evil")
    found = ended(kept, before)
    assert [c.what for c in found] == ["changed"]
    (project / ".vscode").rename(project / "away")
    (project / ".vscode").symlink_to(outside)

    (line,) = runs.restore(kept, str(project))

    assert "not put back" in line
    assert (outside / "tasks.json").read_text() == "the user's own"
    assert sorted(os.listdir(outside)) == ["hooks", "tasks.json"]


def test_a_parent_that_became_a_symlink_is_itself_the_change(
    project: Path, kept: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "tasks.json").write_text("evil")
    before = snap(project)
    (project / ".vscode").rename(project / "away")
    (project / ".vscode").symlink_to(outside)

    ended(kept, before)
    assert seen(before) == {".vscode": "appeared", ".vscode/tasks.json": "removed"}
    runs.restore(kept, str(project))

    assert not (project / ".vscode").is_symlink()
    assert (project / ".vscode/tasks.json").read_text() == "tasks"
    assert (outside / "tasks.json").read_text() == "evil"


def test_links_are_recorded_as_links_and_their_targets_in_the_project_watched(
    project: Path, tmp_path: Path
) -> None:
    (project / "envs").mkdir()
    (project / "envs/dev").write_text("dev")
    (tmp_path / "far").write_text("far")
    (project / ".envrc").unlink()
    (project / ".envrc").symlink_to("envs/dev")
    (project / ".mcp.json").symlink_to(tmp_path / "far")
    before = snap(project)

    (project / "envs/dev").write_text("evil")
    (tmp_path / "far").write_text("not the project's")
    assert seen(before) == {"envs/dev": "changed"}

    (project / ".mcp.json").unlink()
    (project / ".mcp.json").symlink_to("envs/dev")
    assert seen(before) == {"envs/dev": "changed", ".mcp.json": "changed"}


def test_a_file_too_large_to_keep_is_compared_by_its_times(project: Path, kept: str) -> None:
    big = project / ".mcp.json"
    big.write_bytes(b"x" * (watch.MAX_CONTENT + 1))
    before = snap(project)
    assert seen(before) == {}
    times = big.stat()
    time.sleep(0.02)  # the clock of change times ticks
    with open(big, "r+b") as file:
        file.write(b"y")
    os.utime(big, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert [c.what for c in ended(kept, before)] == ["changed"]
    (line,) = runs.restore(kept, str(project))
    assert "too large" in line


def test_a_directory_with_too_much_in_it_is_bounded(project: Path) -> None:
    for number in range(watch.MAX_ENTRIES + 50):
        (project / f".claude/hooks/{number}").touch()

    start = time.monotonic()
    before = snap(project)

    assert time.monotonic() - start < 2
    assert len(before.entries) <= watch.MAX_ENTRIES + 20


def test_filling_a_watched_directory_hides_nothing_else(project: Path) -> None:
    before = snap(project)
    for number in range(watch.MAX_ENTRIES + 50):
        (project / f".claude/hooks/{number}").touch()
    (project / ".vscode/tasks.json").write_text("evil")

    found = seen(before)

    assert found[".vscode/tasks.json"] == "changed"
    assert "removed" not in found.values()


def test_git_directories_are_watched_by_the_layouts_pairs(project: Path, kept: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(project)], check=True, timeout=10)
    found = layout(str(project), home=str(tmp_path), patterns=("config",))
    assert found is not None
    before = watch.snapshot(str(project), PATTERNS, found.watched)
    subprocess.run(["git", "-C", str(project), "config", "core.fsmonitor", "evil"], check=True, timeout=10)
    (project / ".git/commondir").write_text("../evil")

    changed = ended(kept, before)

    assert {(c.name, c.what, c.detail) for c in changed} == {
        (".git/config", "changed", "core.fsmonitor"),
        (".git/commondir", "appeared", ""),
    }
    runs.restore(kept, str(project))
    assert watch.changes(before) == []


def test_a_git_directory_that_became_a_symlink_elsewhere_is_seen_and_not_written_through(
    project: Path, kept: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for where in (project, other):
        subprocess.run(["git", "init", "-q", str(where)], check=True, timeout=10)
    found = layout(str(project), home=str(tmp_path / "h"), patterns=("config",))
    assert found is not None
    before = watch.snapshot(str(project), PATTERNS, found.watched)
    (project / ".git").rename(project / "gone")
    (project / ".git").symlink_to(other / ".git")
    config = (other / ".git/config").read_bytes()
    (other / ".git/config").write_bytes(config + b"# theirs\n")

    ended(kept, before)
    runs.restore(kept, str(project))

    assert (other / ".git/config").read_bytes() == config + b"# theirs\n"
    assert not (project / ".git").is_symlink()
    assert (project / ".git/config").read_bytes() == config


def test_a_repository_made_during_the_run_is_said(project: Path) -> None:
    before = snap(project)
    subprocess.run(["git", "init", "-q", str(project)], check=True, timeout=10)

    assert seen(before) == {".git": "appeared"}


# -- planted below


def test_what_is_planted_in_subdirectories_is_found_and_what_was_there_is_not(project: Path) -> None:
    for name in ("a/.envrc", "a/b/.vscode/tasks.json", "plain.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("old")
    subprocess.run(["git", "init", "-q", str(project / "old")], check=True, timeout=10)
    time.sleep(0.03)
    since = time.time_ns()
    assert watch.planted(str(project), since) == []

    for name in ("c/.envrc", "c/d/.vscode/tasks.json", "file/.git"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("new")
    (project / "a/.envrc").write_text("old, too")
    os.utime(project / "a/.envrc", (0, 0))
    subprocess.run(["git", "init", "-q", str(project / "new")], check=True, timeout=10)
    subprocess.run(["git", "init", "-q", "--bare", str(project / "bare")], check=True, timeout=10)
    (project / "old/.git/hooks/post-checkout").write_text("evil")
    (project / "link").symlink_to("/")

    found = watch.planted(str(project), since)

    assert [c.name for c in found] == [
        "a/.envrc",
        "bare/config",
        "c/.envrc",
        "c/d/.vscode/tasks.json",
        "file/.git",
        "new/.git/config",
        "old/.git/hooks/post-checkout",
    ]


def test_what_tools_run_is_looked_for_below_as_in_the_project_itself(project: Path, kept: str) -> None:
    names = [
        *(".mcp.json", ".claude/settings.json", ".claude/settings.local.json", "mise.toml", ".mise.toml"),
        *(".vscode/settings.json", ".npmrc", ".cargo/config.toml", "any.code-workspace", ".gitmodules"),
    ]
    whole = [".claude/hooks", ".idea/runConfigurations", ".devcontainer"]
    files = [*names, *(f"{directory}/of it" for directory in whole), ".claude/commands/deep/one"]
    for name in files:
        for place in ("old", "packages/new", "node_modules/a"):
            (project / place / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "old" / name).write_text("the user's")
    (project / "old/.claude/agents").mkdir()
    time.sleep(watch.CLOCK_NS * 3e-9)
    watching = Watching(Subject(path=str(project), git=None, state=kept), "", protect=False)
    watching.begin()
    since = time.time_ns()
    for name in files:
        (project / "packages/new" / name).write_text("evil")
        (project / "node_modules/a" / name).write_text("a package's own")
    (project / "node_modules/a/.envrc").write_text("evil")
    (project / "packages/new/.claude/skills").mkdir()  # empty: nothing to run

    patterns = tuple(pattern for pattern, _tool in TRIGGERS)
    found = watch.planted(str(project), since, patterns=patterns)

    expected = {f"packages/new/{name}" for name in (*names, *whole, ".claude/commands")}
    assert {c.name for c in found} == {*expected, "node_modules/a/.envrc"}
    assert "packages/new/.claude/commands, " in "\n".join(watching.finish())


def test_a_directory_of_settings_that_is_moved_into_place_below_is_planted(project: Path) -> None:
    (project / "data/hooks").mkdir(parents=True)
    (project / "data/hooks/one").write_text("evil")
    (project / "sub/.claude").mkdir(parents=True)
    time.sleep(watch.CLOCK_NS * 3e-9)
    since = time.time_ns()
    time.sleep(watch.CLOCK_NS * 3e-9)
    (project / "data/hooks").rename(project / "sub/.claude/hooks")

    assert [c.name for c in watch.planted(str(project), since, patterns=(".claude/hooks",))] == [
        "sub/.claude/hooks"
    ]


def test_what_is_moved_into_place_is_planted_however_old_it_is(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in (
        "data",
        "later",
        "git/hooks",
        "git/objects",
        "git/refs",
        "a",
        "b",
        "c",
        "d/.git/hooks",
        "e/.git",
    ):
        (project / name).mkdir(parents=True)
    for name in ("data/tasks.json", "later/tasks.json", "git/HEAD", "git/hooks/pre-commit", "c/githook"):
        (project / name).write_text("evil")
    (project / "d/.git/hooks/mine").write_text("the user's")
    (project / "e/.git/config").write_text("the user's")
    time.sleep(watch.CLOCK_NS * 3e-9)
    before = snap(project)
    time.sleep(watch.CLOCK_NS * 3e-9)
    (project / "a/.vscode").symlink_to("../data")
    (project / "later").rename(project / "b/.vscode")
    (project / "git").rename(project / "c/.git")
    (project / "e/.git/index").write_text("a commit changes what is in .git, and is no news")
    found = {c.name for c in watch.planted(str(project), before.taken_ns)}
    assert found == {"a/.vscode/tasks.json", "b/.vscode/tasks.json", "c/.git/hooks/pre-commit"}


def test_a_link_to_nowhere_in_the_place_of_a_directory_is_a_change(project: Path, kept: str) -> None:
    (project / ".idea").symlink_to("nowhere")  # the user's own
    patterns = (*PATTERNS, ".idea/workspace.xml", ".zed/tasks.json")
    before = watch.snapshot(str(project), patterns)
    run = runs.save(before, kept)
    (project / ".zed").symlink_to("/nowhere/yet")
    (project / ".vscode/tasks.json").unlink()
    (project / ".vscode").rmdir()
    (project / ".vscode").symlink_to("/etc")
    found = watch.changes(before)
    assert {c.name: c.what for c in found} == {
        ".zed": "appeared",
        ".vscode": "appeared",
        ".vscode/tasks.json": "removed",
    }
    runs.finish(run, found)
    runs.restore(kept, str(project))
    assert not os.path.lexists(project / ".zed")
    assert (project / ".vscode/tasks.json").read_text() == "tasks"


def test_a_directory_too_full_to_be_listed_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_SCANNED", 20)
    (project / ".git/modules/sub").mkdir(parents=True)
    (project / ".git/modules/sub/config").write_text("")
    git = f"{project}/.git"
    before = watch.snapshot(
        str(project), PATTERNS, ((git, "modules/**/config"), (git, "modules/**/commondir"))
    )
    assert watch.changes(before) == []
    for number in range(20):
        (project / f".git/modules/{number}").mkdir()
    (project / ".git/modules/sub/commondir").write_text("../../evil")
    found = watch.changes(before)
    assert [(c.root, c.name, c.what) for c in found] == [
        (str(project), ".git/modules/sub/commondir", "appeared"),
        (git, "modules", "unexamined"),
    ]
    said = watch.report(found, str(project))
    assert said[-1].endswith(f"{git}/modules holds more than can be looked at")


def test_a_head_planted_among_modules_hides_none_that_is_called_like_innards(project: Path) -> None:
    module = project / ".git/modules/info"
    module.mkdir(parents=True)
    (module.parent / "HEAD").write_text("")
    pairs = ((f"{project}/.git", "modules/**/commondir"),)
    before = watch.snapshot(str(project), PATTERNS, pairs)
    (module / "commondir").write_text("../../evil")
    assert seen(before) == {".git/modules/info/commondir": "appeared"}


def test_protect_says_what_it_cannot_put_back_beside_what_it_has(project: Path, kept: str) -> None:
    watching = Watching(Subject(path=str(project), git=None, state=kept), "", protect=True)
    assert watching.begin() == []
    (project / ".npmrc").write_text("evil")
    (project / "below").mkdir()
    (project / "below/.envrc").write_text("evil")
    said = "\n".join(watching.finish())
    assert "--protect: .npmrc: moved to" in said
    assert "new or changed below: below/.envrc" in said
    assert not (project / ".npmrc").exists()


def test_a_walk_that_takes_too_long_stops_and_says_so(project: Path) -> None:
    for number in range(50):
        (project / f"{number}").mkdir()

    found = watch.planted(str(project), time.time_ns(), deadline_s=0.0)

    assert [c.what for c in found] == ["unexamined"]
    assert "not all of the project" in watch.report(found)[-1]


# -- what is said


def test_the_report_names_what_changed_and_how_to_undo_it(project: Path) -> None:
    before = snap(project)
    (project / ".envrc").write_text("evil")
    (project / ".mcp.json").touch()

    assert watch.report(watch.changes(before), str(project)) == [
        "claude-sandbox: 2 files that your tools run changed: .envrc (changed), .mcp.json (appeared)",
        "  put back as before: the same command with --restore",
    ]


def test_many_changes_are_counted_not_listed(project: Path) -> None:
    before = snap(project)
    for number in range(30):
        (project / f".claude/settings.{number}.json").touch()

    line = watch.report(watch.changes(before))[0]

    assert line.startswith("claude-sandbox: 30 files")
    assert line.endswith("and 22 more")


name = st.binary(min_size=1, max_size=254).filter(lambda b: b"\0" not in b and b"/" not in b)


@settings(max_examples=60, deadline=None)
@given(
    name=st.one_of(
        name, st.sampled_from([b"\n", b"\x1b[2J", b"\r", b"\x9b31m", "\u202egnp".encode(), b"\xff"])
    )
)
def test_any_name_is_seen_said_on_one_line_and_put_back(
    name: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = tmp_path_factory.mktemp("names")
    kept = state.project_dir(str(project / "state"), str(project))
    (project / ".claude/hooks").mkdir(parents=True)
    planted = os.fsencode(project) + b"/.claude/hooks/" + name + b"!"
    before = snap(project)
    with open(planted, "wb"):
        pass

    (change,) = ended(kept, before)
    line, _ = watch.report([change])
    (restored,) = runs.restore(kept, str(project))

    assert os.fsencode(change.name) == b".claude/hooks/" + name + b"!"
    assert all(text.isprintable() and text.encode() for text in (line, restored))
    assert not os.path.lexists(planted)


# -- runs


def test_restoring_with_nothing_kept_is_refused(project: Path, kept: str) -> None:
    with pytest.raises(UserError) as caught:
        runs.restore(kept, str(project))

    assert caught.value.hint


def test_restore_takes_the_last_run(project: Path, kept: str) -> None:
    for number in range(3):
        before = snap(project)
        (project / ".envrc").write_text(str(number))
        ended(kept, before)

    runs.restore(kept, str(project))

    assert (project / ".envrc").read_text() == "1"


def test_only_the_last_ended_runs_are_kept(project: Path, kept: str) -> None:
    for number in range(runs.KEEP + 3):
        before = snap(project)
        (project / ".envrc").write_text(str(number))
        ended(kept, before)

    assert len(os.listdir(f"{kept}/runs")) == runs.KEEP


CHILD = """
import os, sys
from launcher import runs, watch
run = runs.save(watch.snapshot(sys.argv[1], (".envrc",)), sys.argv[2])
print(run.directory, flush=True)
sys.stdin.read()
"""


def start_run(project: Path, kept: str) -> subprocess.Popen[str]:
    """A real process that holds a run until its stdin closes or it is killed."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(project), kept],
        env={"PYTHONPATH": str(Path(runs.__file__).parents[1]), "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_is_compared_at_the_next_start_and_a_live_one_is_not(project: Path, kept: str) -> None:
    with start_run(project, kept) as killed, start_run(project, kept) as living:
        try:
            for child in (killed, living):
                assert child.stdout is not None
                assert child.stdout.readline()
            (project / ".envrc").write_text("evil")
            assert runs.leftovers(kept) == [], "both live"

            killed.kill()
            killed.wait(10)
            found = runs.leftovers(kept)

            assert [(c.name, c.what) for c in found] == [(".envrc", "changed")]
            assert runs.leftovers(kept) == [], "said once"
            runs.restore(kept, str(project))
            assert (project / ".envrc").read_text() == "old"
        finally:
            for child in (killed, living):
                child.kill()


def test_a_killed_run_that_changed_nothing_or_was_half_written_leaves_nothing(
    project: Path, kept: str
) -> None:
    runs.save(snap(project), kept).close()
    torn = runs.save(snap(project), kept, "20000101T000000.000000Z-1")
    torn.close()
    path = f"{torn.directory}/snapshot"
    os.truncate(path, os.stat(path).st_size - 3)
    (Path(kept) / "runs/.half").mkdir()
    os.utime(Path(kept) / "runs/.half", (0, 0))

    assert runs.leftovers(kept) == []
    assert os.listdir(f"{kept}/runs") == []


def test_many_runs_that_start_and_end_at_once_leave_nothing(project: Path, kept: str) -> None:
    program = (
        "import sys\nfrom launcher import runs, watch\n"
        "for _ in range(40):\n"
        "    run = runs.save(watch.snapshot(sys.argv[1], ('.envrc',)), sys.argv[2])\n"
        "    assert runs.leftovers(sys.argv[2]) == []\n"
        "    runs.finish(run, watch.changes(run.snapshot))\n"
    )
    environment = {"PYTHONPATH": str(Path(runs.__file__).parents[1]), "PATH": os.environ["PATH"]}
    argv = [sys.executable, "-c", program, str(project), kept]
    children = [subprocess.Popen(argv, env=environment) for _ in range(6)]

    assert [c.wait(60) for c in children] == [0] * 6
    assert os.listdir(f"{kept}/runs") == []


def test_runs_at_once_on_one_project_do_not_disturb_each_other(project: Path, kept: str) -> None:
    first, second = snap(project), snap(project)
    one, two = runs.save(first, kept, runs.new_name(1.0)), runs.save(second, kept, runs.new_name(2.0))
    (project / ".envrc").write_text("evil")

    runs.finish(one, [])
    assert os.path.isdir(two.directory)
    runs.finish(two, watch.changes(second))
    runs.restore(kept, str(project))

    assert (project / ".envrc").read_text() == "old"


def test_a_snapshot_that_cannot_be_written_leaves_nothing(
    project: Path, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(runs, "_write", full)
    with pytest.raises(HostError, match="No space left"):
        runs.save(snap(project), kept)
    assert os.listdir(f"{kept}/runs") == []


def test_a_snapshot_read_back_is_the_one_that_was_written(project: Path, kept: str) -> None:
    (project / ".mcp.json").symlink_to(os.fsdecode(b"to\xff\n"))
    before = snap(project)
    run = runs.save(before, kept)

    assert runs._load(f"{run.directory}/snapshot") == before

    run.close()


def test_put_away_across_file_systems_keeps_everything(project: Path, tmp_path: Path) -> None:
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system that is writable here")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as far:
        kept = state.project_dir(far, str(project))
        before = snap(project)
        (project / ".mcp.json").write_text("new")
        (project / ".claude/hooks/d").mkdir()
        (project / ".claude/hooks/d/e").write_text("e")
        (project / ".claude/settings.local.json").symlink_to("x")
        (project / ".envrc").write_text("evil")
        ended(kept, before)

        runs.restore(kept, str(project))

        moved = Path(kept, "runs", os.listdir(f"{kept}/runs")[0], "moved")
        assert sorted(p.name for p in moved.iterdir()) == ["0-.envrc", "0-.mcp.json", "0-settings.local.json"]
        (beside,) = (p for p in (project / ".claude/hooks").iterdir() if p.name != "one")
        assert beside.name.startswith("d.moved-by-claude-sandbox-")
        assert (beside / "e").read_text() == "e"
        assert (project / ".envrc").read_text() == "old"


def test_looking_and_keeping_is_quick(project: Path, kept: str) -> None:
    took = []
    for _ in range(20):
        start = time.perf_counter()
        run = runs.save(snap(project), kept)
        took.append(time.perf_counter() - start)
        runs.finish(run, [])

    assert min(took) < 0.002
