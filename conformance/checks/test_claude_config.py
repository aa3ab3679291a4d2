"""Row claude-config."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable

import pytest

from conformance.checks.probes import search
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.listeners import canary
from launcher.spec.load import load

Launch = Callable[..., subprocess.CompletedProcess[bytes]]

# As Claude Code keeps a login: a new file beside it, then renamed over it.
LOG_IN = """
import json, os
path = os.path.expanduser("~/.claude/.credentials.json")
with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
    json.dump({"claudeAiOauth": {"accessToken": given["token"]}}, file)
os.rename(path + ".new", path)
print(ascii(None))
"""


@covers("claude-config", "read-write")
def test_a_login_is_seen_by_both_sides(inside: Inside, host: World) -> None:
    """A login written inside is in the host's ~/.claude, readable by the user alone; and the reverse."""
    path = host.home / ".claude/.credentials.json"
    from_inside, from_host = canary(), canary()

    inside.python(LOG_IN, token=from_inside)
    outside = path.read_text()
    mode = stat.S_IMODE(path.stat().st_mode)
    host.write(path, json.dumps({"claudeAiOauth": {"accessToken": from_host}}))
    read = inside.output("cat ~/.claude/.credentials.json")

    assert from_inside in outside
    assert mode == 0o600
    assert path.stat().st_uid == host.user.uid
    assert from_host in read


@covers("claude-config", "read-write")
def test_sessions_and_memory_are_kept(inside: Inside, host: World) -> None:
    """Directories that Claude Code makes for its sessions are the host's, with what is in them."""
    content = canary()

    done = inside.sh(f"mkdir -p ~/.claude/projects/a && echo {content} > ~/.claude/projects/a/s.jsonl")

    assert done.rc == 0, done.stderr
    assert (host.home / ".claude/projects/a/s.jsonl").read_text().strip() == content


@covers("claude-config", "read-write")
def test_the_next_sandbox_is_logged_in(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """What one sandbox has written is there in the next one, also where the host had no ~/.claude before."""
    world, token = new_world(), canary()
    had = (world.home / ".claude").exists()

    first = fresh(world=world)
    first.inside.python(LOG_IN, token=token)
    first.close()
    read = fresh(world=world).inside.sh("cat ~/.claude/.credentials.json").stdout

    with on_the_host():
        assert had is not world.bare
    assert token in read
    assert stat.S_IMODE((world.home / ".claude").stat().st_mode) == 0o700


@covers("claude-config", "read-write", variant="default", alike=True)
@pytest.mark.parametrize("where", ["elsewhere", "symlink"])
def test_a_directory_elsewhere_is_taken(new_world: Callable[..., World], launch: Launch, where: str) -> None:
    """CLAUDE_CONFIG_DIR, and a ~/.claude that is a symlink: the login is read and written where it is."""
    world, token = new_world(), canary()
    real = world.home / "elsewhere"
    os.rename(world.home / ".claude", real)
    if where == "symlink":
        (world.home / ".claude").symlink_to(real)
    extra = {"CLAUDE_CONFIG_DIR": str(real)} if where == "elsewhere" else {}

    script = f"cat ~/.claude/.credentials.json; echo {token} > ~/.claude/written"
    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script, environ=extra)

    assert world.canaries[".claude/.credentials.json"].encode() in done.stdout, done.stderr
    assert (real / "written").read_text().strip() == token


@covers("claude-config", "read-write")
def test_what_running_sessions_obey_is_private(inside: Inside, host: World) -> None:
    """What the host's running sessions source or trust (snapshots, tokens) is neither seen nor reached."""
    names = [each.name for each in load().claude_private]
    secret = [host.plant(f".claude/{name}/of-the-host") for name in names]

    control = search.on_host(host, secret, [str(host.home / ".claude")])
    found = search.inside(inside, secret)
    written = [inside.sh(f"mkdir -p ~/.claude/{n}; echo x > ~/.claude/{n}/planted").rc for n in names]

    with on_the_host():
        assert sorted(control) == sorted(secret)
    assert found == {}
    assert written == [0] * len(names)
    assert [n for n in names if os.listdir(host.home / ".claude" / n) != ["of-the-host"]] == []


@covers("claude-config", "read-write", variant="default", alike=True)
@pytest.mark.parametrize("name", [each.name for each in load().claude_planted])
def test_what_the_hosts_claude_would_obey_is_taken_away(
    new_world: Callable[..., World], launch: Launch, name: str
) -> None:
    """A file that the host's own claude would obey once it exists is reported after the run, and gone."""
    world, token = new_world(), canary()
    planted = world.home / ".claude" / name

    script = f'echo \'{{"mcpServers": "{token}"}}\' > ~/.claude/{name}; cat ~/.claude/{name}'
    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script)

    assert token.encode() in done.stdout, "it has to be there while the sandbox runs"
    assert not os.path.lexists(planted)
    assert str(planted) in done.stderr.decode()


@covers("claude-config", "read-write", variant="default", alike=True)
@pytest.mark.parametrize("name", ["history.jsonl", "todos", "projects/-x/session.jsonl"])
def test_no_link_leads_the_hosts_claude_out_of_its_directory(
    new_world: Callable[..., World], launch: Launch, name: str
) -> None:
    """A link that leads out of ~/.claude is reported after the run, and gone; one that was there stays."""
    world, token = new_world(), canary()
    own, planted = world.home / ".claude/own", world.home / ".claude" / name
    own.symlink_to(f"{world.home}/mine")

    script = (
        f'cd ~/.claude; mkdir -p "$(dirname {name})"; rm -rf {name}; ln -s /{token} {name}; readlink {name}'
    )
    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script)

    assert token.encode() in done.stdout, "it has to be there while the sandbox runs"
    assert not os.path.lexists(planted)
    assert own.is_symlink()
    assert f"{planted} is a new link to /{token}" in done.stderr.decode()


@covers("claude-config", "read-write", means=True)
def test_claudes_directory_is_a_mount(inside: Inside, cell: Cell) -> None:
    """~/.claude is mounted by itself, writable."""
    assert mounted(inside, "/home/sandbox/.claude", cell.means) == []


@covers("claude-config", "absent")
def test_nothing_of_claudes_directory_is_inside(inside: Inside, host: World) -> None:
    """With --without claude-config nothing of ~/.claude is inside, and what is written there stays there."""
    names = [".claude/.credentials.json", ".claude/CLAUDE.md", ".claude/commands/fixture.md"]
    secrets, token = [host.canaries[name] for name in names], canary()

    control = search.on_host(host, secrets, [str(host.home / ".claude")])
    found = search.inside(inside, secrets)
    inside.sh(
        f"mkdir -p ~/.claude '{host.home}/.claude'; echo {token} | tee ~/.claude/x '{host.home}/.claude/x'"
    )

    with on_the_host():
        assert sorted(control) == sorted(secrets), "the same search has to find them on the host"
    assert found == {}
    assert not (host.home / ".claude/x").exists()
