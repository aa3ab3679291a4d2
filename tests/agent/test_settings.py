"""~/.claude and the real agent: what the user set holds inside, what is planted never runs outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.messages_api import Text, bash, messages_api
from fixtures.users import directory, write
from tests.agent.desk import Desk, files, results

pytestmark = pytest.mark.timeout(360)


def hook(event: str, command: str) -> dict[str, object]:
    """Settings by which claude runs the command."""
    return {"hooks": {event: [{"matcher": "", "hooks": [{"type": "command", "command": command}]}]}}


def servers(command: str) -> dict[str, object]:
    """A ~/.claude.json by which claude starts an MCP server."""
    return {"mcpServers": {"planted": {"command": "sh", "args": ["-c", command]}}}


def test_the_users_settings_hold_inside_and_their_hooks_run_there(desk: Desk) -> None:
    script = desk.home / ".claude/hooks/note.sh"  # named as settings name it: by the host's path
    write(script, 'echo "$HOME $CLAUDE_SANDBOX $FROM_SETTINGS" > "$CLAUDE_PROJECT_DIR/hooked"\n', desk.user)
    settings = {
        "env": {"FROM_SETTINGS": "set"},
        "model": "claude-fixture-9",
        **hook("PreToolUse", f"sh {script}"),
    }
    write(desk.home / ".claude/settings.json", json.dumps(settings), desk.user)
    write(desk.home / ".claude/CLAUDE.md", "Call me Ada.", desk.user)

    with messages_api([bash('echo "<$FROM_SETTINGS>"'), Text("Done.")]) as api:
        desk.run(desk.sandboxed("-p", "go"), desk.environment(api))

    assert results(api) == ["<set>"]
    assert (desk.project / "hooked").read_text() == "/home/sandbox 1 set\n"
    assert api.scripted[0].body["model"] == "claude-fixture-9"
    assert "Call me Ada." in api.scripted[0].said


# A line each: the file to be planted. What comes of it inside: refused, lost (private inside), or taken away.
PLANTS = {
    "settings.json": "refused",
    "settings.local.json": "refused",
    "remote-settings.json": "refused",
    "CLAUDE.md": "refused",
    "hooks/note.sh": "refused",
    "commands/planted.md": "refused",
    "agents/planted.md": "refused",
    "skills/planted/hooks/hooks.json": "refused",
    "plugins/installed_plugins.json": "refused",
    "rules/planted.md": "refused",
    "shell-snapshots/snapshot-bash-1-a.sh": "lost",
    "session-env/planted/setup-hook-0.sh": "lost",
    "sessions/1.json": "lost",
    ".config.json": "taken away",
    "statusline.sh": "taken away",
    "local/claude": "taken away",
}
PLANT = """\
plant() {
    mkdir -p "$(dirname "$1")" && echo "$2" > "$1" && echo "wrote $1"
}
%s
for name in settings.json hooks; do
    mv ~/.claude/$name ~/.claude/away && echo "wrote away"
    rm -rf ~/.claude/$name && echo "wrote nothing"
done
mv ~/.claude ~/away && echo "wrote all"
true
"""


def test_what_is_planted_under_the_settings_never_runs_on_the_host(desk: Desk) -> None:
    claude = directory(desk.home / ".claude", desk.user)
    marks = directory(desk.home / "marks", desk.user)
    content = {
        "settings.json": hook("SessionStart", f"touch {marks}/settings"),
        ".config.json": servers(f"touch {marks}/config"),
    }
    lines = [f"plant ~/.claude/{name} '{json.dumps(content.get(name, name))}'" for name in PLANTS]

    wait = f"for i in $(seq 100); do [ -e {marks}/config ] && break; sleep 0.05; done"

    with messages_api([bash(PLANT % "\n".join(lines)), Text("Done."), Text("Hi."), bash(wait)]) as api:
        env = desk.environment(api)
        done = desk.attempt(desk.sandboxed("-p", "plant it all"), env)
        (given,) = results(api)
        left = {name: content for name, (_, _, content) in files(claude).items()}
        desk.run(desk.bare("-p", "nothing of it is there"), env)
        untouched = [path.name for path in marks.iterdir()]
        for name in content:
            write(claude / name, json.dumps(content[name]), desk.user)
        desk.run(desk.bare("-p", "planted by hand it is"), env)

    assert done.returncode == 0, done
    written = {line.partition(".claude/")[2] for line in given.splitlines() if line.startswith("wrote")}
    assert written == {name for name, outcome in PLANTS.items() if outcome != "refused"}, given
    taken = [name.partition("/")[0] for name, outcome in PLANTS.items() if outcome == "taken away"]
    for name in taken:
        (line,) = [line for line in done.stderr.splitlines() if f"{claude}/{name} appeared" in line]
        kept = Path(line.rpartition("moved to ")[2])
        assert kept.parent == desk.state()
        assert kept.exists()
    assert len(done.stderr.splitlines()) == 1 + len(taken), done.stderr
    there = {name: left[name] for name in PLANTS if name in left}
    empty = dict.fromkeys(("settings.json", "settings.local.json", "remote-settings.json"), b"{}\n")
    assert there == {**empty, "CLAUDE.md": b""}
    assert untouched == []
    assert sorted(path.name for path in marks.iterdir()) == ["config", "settings"], "the control"
