"""The real Claude Code in a container: as in bubblewrap, by way of root and back."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fixtures.messages_api import Text, bash, messages_api
from fixtures.project import Project
from tests.agent.desk import BANNER, Desk, results
from tests.launcher.contained import needs_sudo

pytestmark = pytest.mark.timeout(360)  # the first may have to install it

EDIT = """\
set -e
echo edited >> README
git commit -qam 'Edited inside'
! echo 'touch hooked' > .git/hooks/pre-commit
id -u
! ls /root /sys /run/host 2>/dev/null
"""


@pytest.fixture
def contained(desk: Desk) -> Desk:
    """The same desk with the container's program."""
    needs_sudo()
    return replace(desk, program=(*desk.program[:-1], f"{desk.program[-1]}-container"))


def test_it_edits_a_file_and_commits_as_the_user_and_is_known_the_next_time(contained: Desk) -> None:
    user = contained.user
    assert user is not None
    with messages_api([bash(EDIT), Text("All done.")]) as api:
        first = contained.attempt(contained.sandboxed("-p", "edit and commit"), contained.environment(api))
    with messages_api([Text("Once more.")]) as again:
        second = contained.attempt(contained.sandboxed("-p", "hello"), contained.environment(again))

    assert (first.returncode, first.stdout) == (0, "All done.\n"), first
    said = re.sub(r", [0-9.]+[GM] memory", "", first.stderr)  # of this machine's
    assert said == BANNER.replace("bubblewrap", "container") + "proj\n"
    project = Project(path=contained.project, git_dir=contained.project / ".git", user=user)
    assert project.authors()[0] == "Grace Home <grace@home.test> Edited inside"
    assert {path.lstat().st_uid for path in contained.home.rglob("*")} == {user.uid}
    assert results(api)[0].splitlines()[-1] == str(user.uid)
    assert "You run inside claude-sandbox (container)." in api.scripted[0].system
    assert (second.returncode, second.stdout) == (0, "Once more.\n"), second
    assert contained.state().is_dir()
