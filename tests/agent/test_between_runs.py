"""What the next run of the real agent finds of the one before: login, sessions, ~/.claude.json."""

from __future__ import annotations

import json
import time

import pytest

from fixtures.messages_api import Text, bash, messages_api
from fixtures.project import git_project
from fixtures.users import directory, write
from tests.agent.desk import BANNER, Desk, files, results, sender

pytestmark = pytest.mark.timeout(360)

TOKEN = "sk-ant-oat01-fixture-token"
ACCOUNT = "6a9c5d8e-0000-4000-8000-c1a0de5a4d00"
# As `/login` leaves it: the token beside the settings, the account in ~/.claude.json.
LOGIN = """\
cat > ~/.claude/.credentials.json <<'END'
%s
END
chmod 600 ~/.claude/.credentials.json
python3 - <<'END'
import json, os
path = os.path.expanduser("~/.claude.json")
known = json.load(open(path))
known["oauthAccount"] = %s
json.dump(known, open(path, "w"))
END
"""


def login() -> str:
    oauth = {
        "accessToken": TOKEN,
        "refreshToken": "sk-ant-ort01-fixture",
        "expiresAt": int((time.time() + 86400) * 1000),
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
    }
    account = {"accountUuid": ACCOUNT, "emailAddress": "grace@home.test", "organizationUuid": ACCOUNT}
    return LOGIN % (json.dumps({"claudeAiOauth": oauth}), account)


def test_a_login_made_inside_is_there_in_the_next_run(desk: Desk) -> None:
    other = git_project(desk.home / "other", as_user=desk.user).path

    with messages_api([bash(login()), Text("Logged in."), Text("Known.")]) as api:
        with_key = desk.environment(api)
        without = {name: value for name, value in with_key.items() if name != "ANTHROPIC_API_KEY"}
        stranger = desk.attempt(desk.sandboxed("-p", "who am I?"), without)
        desk.run(desk.sandboxed("-p", "log in"), with_key)
        known = desk.attempt(desk.sandboxed("-p", "and now?"), without)
        elsewhere = desk.attempt(desk.sandboxed("-p", "and there?", project=other), without)

    assert stranger.returncode == 1, stranger
    assert "Not logged in" in stranger.stdout
    assert (known.returncode, elsewhere.returncode) == (0, 0), (known, elsewhere)
    for request in api.scripted[2:]:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert "x-api-key" not in request.headers
    # The token is the user's, who is named in a file that each project has for itself.
    assert [sender(request)["account_uuid"] for request in api.scripted[2:]] == [ACCOUNT, ""]
    assert (desk.home / ".claude/.credentials.json").stat().st_mode & 0o777 == 0o600


def test_each_project_keeps_its_claude_json_and_the_hosts_is_never_written(desk: Desk) -> None:
    other = git_project(desk.home / "other", as_user=desk.user).path
    theirs = write(desk.home / ".claude.json", json.dumps({"numStartups": 7, "theme": "light"}), desk.user)
    before = theirs.stat()

    with messages_api([Text("Hi.")] * 3) as api:
        for prompt, project in (("one", desk.project), ("two", desk.project), ("three", other)):
            desk.run(desk.sandboxed("-p", prompt, project=project), desk.environment(api))

    first, second, elsewhere = (sender(request)["device_id"] for request in api.scripted)
    assert first == second != elsewhere
    assert theirs.read_text() == '{"numStartups": 7, "theme": "light"}'
    after = theirs.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for project, number in ((desk.project, first), (other, elsewhere)):
        kept = json.loads((desk.state(project) / "claude/claude.json").read_text())
        assert (kept["userID"], kept["numStartups"], kept["theme"]) == (number, 7, "light")


def test_a_session_made_inside_is_resumed_inside_and_outside(desk: Desk) -> None:
    with messages_api([Text("The word is heron."), Text("Yes."), Text("Yes.")]) as api:
        env = desk.environment(api)
        desk.run(desk.sandboxed("-p", "a word, please"), env)
        desk.run(desk.sandboxed("--continue", "-p", "still there?"), env)
        desk.run(desk.bare("--continue", "-p", "and out here?"), env)

    _, resumed, outside = api.scripted
    assert "The word is heron." in resumed.said
    assert "still there?" in outside.said
    assert list(files(desk.home / ".claude/projects"))


def test_a_configuration_directory_of_another_name_is_taken(desk: Desk) -> None:
    """CLAUDE_CONFIG_DIR: ~/.claude.json lies in it then, and there, too, is only read."""
    elsewhere = directory(desk.home / "elsewhere", desk.user)
    theirs = write(elsewhere / ".claude.json", '{"userID": "d3v1ce"}', desk.user)

    with messages_api([bash("echo mine > ~/.claude/.claude.json"), Text("Hi.")]) as api:
        env = desk.environment(api, CLAUDE_CONFIG_DIR=str(elsewhere))
        done = desk.attempt(desk.sandboxed("-p", "go"), env)

    assert (done.returncode, done.stdout, done.stderr) == (0, "Hi.\n", f"{BANNER}proj\n")
    assert [sender(request)["device_id"] for request in api.scripted] == ["d3v1ce"] * 2
    assert "Read-only file system" in results(api)[0]
    assert theirs.read_text() == '{"userID": "d3v1ce"}'
    assert list((elsewhere / "projects").rglob("*.jsonl"))
    assert not (desk.home / ".claude").exists()
