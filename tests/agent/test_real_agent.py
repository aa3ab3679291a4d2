"""The real Claude Code in the sandbox, told by a script to do what agents do, and what they must not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest

from fixtures.home import Bait, bait_home
from fixtures.messages_api import Api, Block, Text, bash, messages_api
from fixtures.process import output
from fixtures.project import Project
from fixtures.users import User, directory, scratch, write
from tests.agent.conftest import MakeDesk
from tests.agent.desk import BANNER, Desk, files, results

pytestmark = pytest.mark.timeout(360)  # the first may have to install it

EDIT = """\
set -e
echo edited >> README
git commit -qam 'Edited inside'
! echo 'touch hooked' > .git/hooks/pre-commit
! mv .git/hooks .git/away
id -u
"""
# A canary is this word and 32 hexadecimal digits; the transcript of the search has the word alone.
SEARCH = r"""
for top in /*; do case $top in /proc|/sys|/usr) ;; *) [ -L "$top" ] || echo "$top"; esac; done |
xargs grep -rsohaE -D skip 'canary[0-9a-f]{32}' | sort -u
"""
ENVIRONMENTS = r"""
for process in /proc/[0-9]*; do
    [ -r $process/environ ] && echo "${process#/proc/}: $(tr '\0' ' ' < $process/environ 2>&1)"
done; true
"""
SECRETS = ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "DATABASE_URL", "CLAUDE_CODE_SSE_PORT")


@dataclass(frozen=True, kw_only=True)
class Day:
    """One run that edits, commits and looks around, and how things were before."""

    desk: Desk
    bait: Bait
    own: str
    secret: str
    api: Api
    hooks: object
    done: CompletedProcess[str]


@pytest.fixture(scope="module")
def day(user: User, make_desk: MakeDesk) -> Iterator[Day]:
    with scratch(user) as work:
        desk = make_desk(directory(work / "home", user))
        bait = bait_home(desk.home, as_user=user)
        own = f"canary{os.urandom(16).hex()}"
        write(desk.project / "notes", own, user)
        hooks = files(desk.project / ".git/hooks")
        secret = f"secret{os.urandom(16).hex()}"
        script: list[Block] = [
            bash(EDIT),
            bash(SEARCH),
            bash(ENVIRONMENTS),
            Text("All done, said the script."),
        ]
        with messages_api(script) as api:
            env = desk.environment(api, **dict.fromkeys(SECRETS, secret))
            done = desk.attempt(desk.sandboxed("-p", "edit and commit"), env)
        yield Day(desk=desk, bait=bait, own=own, secret=secret, api=api, hooks=hooks, done=done)


def test_it_edits_a_file_and_commits_as_the_user(day: Day, user: User) -> None:
    assert (day.done.returncode, day.done.stdout) == (0, "All done, said the script.\n"), day.done
    project = Project(path=day.desk.project, git_dir=day.desk.project / ".git", user=user)
    assert project.authors()[0] == "Grace Home <grace@home.test> Edited inside"
    assert (day.desk.project / "README").read_text() == "A project.\nedited\n"
    assert {path.lstat().st_uid for path in day.desk.project.rglob("*")} == {user.uid}
    assert results(day.api)[0].splitlines()[-1] == str(user.uid)


def test_it_cannot_touch_the_hooks_of_git(day: Day) -> None:
    assert results(day.api)[0].count("Read-only file system") == 1, "the hook"
    assert results(day.api)[0].count("Device or resource busy") == 1, "the directory"
    assert files(day.desk.project / ".git/hooks") == day.hooks


def test_it_finds_no_secret_file_of_the_home(day: Day, user: User) -> None:
    found = results(day.api)[1]

    assert found.split() == [day.own]
    outside = SEARCH.replace("/*", f"{day.desk.home}/* {day.desk.home}/.[a-z]*")
    seen_outside = output(("bash", "-c", outside), user=user)
    assert day.bait.found_in(seen_outside) == sorted(day.bait.canaries)
    assert day.own in seen_outside


def test_no_process_inside_has_a_secret_variable(day: Day, user: User) -> None:
    found = results(day.api)[2]

    assert day.secret not in found
    assert [name for name in SECRETS if f"{name}=" in found] == []
    assert len(re.findall(r"^\d+: .*HOME=/home/sandbox", found, re.M)) >= 2, "claude and the shell were read"
    script = ENVIRONMENTS.replace("/proc/[0-9]*", "/proc/$$")
    assert day.secret in output(("bash", "-c", script), env={SECRETS[0]: day.secret}, user=user)


def test_all_it_says_at_start_is_the_banner(day: Day) -> None:
    assert day.done.stderr == f"{BANNER}proj\n"


def test_its_system_prompt_says_where_it_is(day: Day) -> None:
    system = day.api.scripted[0].system

    assert "You run inside claude-sandbox (bubblewrap)." in system
    assert f"the project directory {day.desk.project} (also at /project)" in system
    assert "The network is the host's." in system


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param("--append-system-prompt", "Speak like a sailor.", id="text"),
        pytest.param("--append-system-prompt-file", "notes", id="file"),  # claude takes one of the two
    ],
)
def test_the_users_own_addition_to_the_system_prompt_wins(desk: Desk, option: str, value: str) -> None:
    write(desk.project / "notes", "Speak like a sailor.\n", desk.user)

    with messages_api([Text("Hi.")]) as api:
        desk.run(desk.sandboxed(option, value, "-p", "hello"), desk.environment(api))

    assert "Speak like a sailor." in api.scripted[0].system
    assert "claude-sandbox" not in api.scripted[0].system


def test_a_new_home_with_old_backups_makes_it_complain_of_nothing(desk: Desk) -> None:
    """Without a ~/.claude.json it takes its own backups for what is left of a lost one."""
    write(desk.home / ".claude/backups/.claude.json.backup.1700000000000", "{}", desk.user)
    log = desk.project / "debug.log"

    with messages_api([Text("Hi.")]) as api:
        done = desk.attempt(desk.sandboxed("--debug-file", str(log), "-p", "hello"), desk.environment(api))

    assert (done.returncode, done.stdout, done.stderr) == (0, "Hi.\n", f"{BANNER}proj\n")
    errors = [line for line in log.read_text().splitlines() if "[ERROR]" in line]
    # Its rename of a file that never was, in a directory that it may not change.
    assert [line for line in errors if "Failed to migrate plugin files: EROFS" not in line] == []
    assert "[API REQUEST]" in log.read_text()
    assert not (desk.home / ".claude.json").exists()
