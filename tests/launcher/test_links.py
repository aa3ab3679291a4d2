"""Links that an agent leaves below ~/.claude, by their values and by a real run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from launcher import links, state
from launcher.links import Links
from launcher.plan.context import Subject
from launcher.triggers import SHOWN, Watching
from launcher.watch import CLOCK_NS
from tests.launcher.program import Machine, notes


@pytest.fixture
def claude(tmp_path: Path) -> Path:
    """A ~/.claude with links of the user's own, one of them far down."""
    made = tmp_path / "home/.claude"
    (made / "projects/-p/memory").mkdir(parents=True)
    (made / "skills").mkdir()
    (made / "todos").mkdir()
    (made / "CLAUDE.md").symlink_to("../dotfiles/CLAUDE.md")
    (made / "projects/-q").symlink_to("/srv/sessions")
    (made / "projects/-p/memory/notes").symlink_to("../../../../notes")
    time.sleep(CLOCK_NS * 3e-9)
    return made


def noted(claude: Path) -> Links:
    found = Links(str(claude))
    found.note()
    return found


def test_links_of_the_users_own_stay_and_new_ones_are_found_wherever_they_are(claude: Path) -> None:
    before = noted(claude)
    assert before.left() == []

    (claude / "history.jsonl").symlink_to("/home/u/.bashrc")
    (claude / "todos").rmdir()
    (claude / "todos").symlink_to("../.config")
    (claude / "projects/-p/session.jsonl").symlink_to("../../../.profile")
    (claude / "projects/-p/memory/deep").symlink_to("/etc")
    (claude / "CLAUDE.md").unlink()
    (claude / "CLAUDE.md").symlink_to("../.bashrc")

    assert sorted(before.left()) == [
        ("CLAUDE.md", "../.bashrc"),
        ("history.jsonl", "/home/u/.bashrc"),
        ("projects/-p/memory/deep", "/etc"),
        ("projects/-p/session.jsonl", "../../../.profile"),
        ("todos", "../.config"),
    ]


def test_a_link_that_stays_in_claudes_directory_is_its_own_affair(claude: Path) -> None:
    before = noted(claude)
    (claude / "debug").mkdir()
    (claude / "debug/one").symlink_to("../todos")
    (claude / "debug/two").symlink_to(claude / "debug/nothing yet")
    (claude / "debug/latest").symlink_to("/home/sandbox/.claude/debug/1.txt")  # as Claude Code does
    (claude / "debug/by-another").symlink_to("../CLAUDE.md")

    assert before.left() == [("debug/by-another", "../CLAUDE.md")]


def test_a_link_that_is_moved_near_is_new_however_old_it_is(claude: Path) -> None:
    before = noted(claude)
    (claude / "projects/-p/memory").rename(claude / "memory")

    assert before.left() == [("memory/notes", "../../../../notes")]


def test_beyond_what_was_noted_the_change_time_tells(claude: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_NOTED", 1)
    before = noted(claude)
    (claude / "new").symlink_to("/etc")

    assert before.left() == [("new", "/etc")]


def test_what_cannot_be_looked_at_is_known(claude: Path) -> None:
    for number in range(500):
        (claude / f"todos/{number}").touch()
    before = noted(claude)

    before.left(0.0)
    assert before.late


def watching(claude: Path, tmp_path: Path) -> Watching:
    project = tmp_path / "home/proj"
    project.mkdir()
    kept = state.project_dir(str(tmp_path / "state"), str(project))
    made = Watching(Subject(path=str(project), git=None, state=kept), str(claude), protect=False)
    assert made.begin() == []
    return made


def test_many_links_are_all_moved_and_few_of_them_listed(claude: Path, tmp_path: Path) -> None:
    watched = watching(claude, tmp_path)
    for number in range(SHOWN + 3):
        (claude / f"todos/{'x' * 240}{number}").symlink_to("/etc")

    said = watched.finish()

    assert len(said) == SHOWN + 1
    assert said[-1] == "claude-sandbox: and 3 more such links, treated the same"
    assert not list((claude / "todos").iterdir())
    assert len(list((tmp_path / "state").rglob("planted-*"))) == SHOWN + 3


def test_a_closed_directory_is_said(ordinary: Machine) -> None:
    said = notes(ordinary.shell("mkdir ~/.claude/shut; chmod 0 ~/.claude/shut"))

    what = "claude-sandbox: not all of ~/.claude could be looked at for new links"
    assert said == [f"{what}: {ordinary.home}/.claude/shut is closed to you"]


def test_a_link_that_leads_out_is_gone_after_a_run_and_said(here: Machine) -> None:
    here.directory(here.home / ".claude")
    own = here.home / ".claude/themes"
    own.symlink_to("../dotfiles")
    script = (
        f"ln -sfn {here.home}/.bashrc ~/.claude/history.jsonl; rm -rf ~/.claude/todos;"
        " ln -s ~/.config ~/.claude/todos; ln -s settings.json ~/.claude/within"
    )

    said = notes(here.shell(script))

    links = (("history.jsonl", f"{here.home}/.bashrc"), ("todos", "/home/sandbox/.config"))
    assert len(said) == len(links), said
    for line, (name, target) in zip(said, links, strict=True):
        path = here.home / ".claude" / name
        assert line.startswith(
            f"claude-sandbox: {path} is a new link to {target}, and your claude would follow it: moved to"
        )
        assert not os.path.lexists(path)
        assert os.readlink(line.rpartition("moved to ")[2]) == target
    assert own.is_symlink()
    assert (here.home / ".claude/within").is_symlink()
