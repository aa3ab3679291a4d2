"""Rows claude-settings and claude-settings-write."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

from conformance.checks.probes import readonly, search
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.listeners import canary
from launcher.spec.load import load
from launcher.spec.model import Setting

Launch = Callable[..., subprocess.CompletedProcess[bytes]]

OBEYED: tuple[Setting, ...] = load().claude_settings
# There in every sandbox, whether the host had them before or not.
MADE = tuple(each.name for each in OBEYED if each.create)
# Only protected where the host has them when the sandbox starts; what appears is taken away afterwards.
NOT_MADE = tuple(each for each in OBEYED if not each.create)
INSIDE = "/home/sandbox/.claude"


@covers("claude-settings", "read-only")
def test_the_settings_are_seen(inside: Inside, host: World) -> None:
    """What the host's claude obeys is there inside; each name, with the host's content."""
    here = host.home / ".claude"
    files = [name for name in MADE if (here / name).is_file()]

    there = inside.output(f"ls -A {INSIDE}").split()
    read = {name: inside.sh(f"cat {INSIDE}/{name}").stdout for name in files}

    assert [name for name in MADE if name not in there] == []
    assert [name for name in MADE if not os.path.lexists(here / name)] == []
    for name, content in read.items():
        assert content == (here / name).read_text(), name
    if not host.bare:
        assert host.canaries[".claude/settings.json"] in read["settings.json"]
        assert host.canaries[".claude/commands/fixture.md"] in inside.output(
            f"cat {INSIDE}/commands/fixture.md"
        )


@covers("claude-settings", "read-only")
def test_no_way_of_writing_reaches_the_settings(inside: Inside, host: World) -> None:
    """No way of writing to anything that the host's claude obeys reaches it, by either path of ~/.claude."""
    here = host.home / ".claude"
    names = [
        *MADE,
        "settings.json",
        "commands/fixture.md",
        "hooks/planted.sh",
        "plugins/installed_plugins.json",
    ]
    paths = [f"{base}/{name}" for name in names for base in (INSIDE, str(here))]

    blind = readonly.control(host)
    # Beside them, on the same file system, one may write: what is made there could be moved over them.
    found = readonly.attack(inside, [here / name for name in MADE], paths, out=[INSIDE, "/tmp"])

    with on_the_host():
        assert blind == []
    assert found.tried[f"write {INSIDE}/settings.json"] != "ok"
    assert found.reached == []


@covers("claude-settings", "read-only", variant="default")
def test_what_only_some_hosts_have_is_protected_there(inside: Inside, host: World) -> None:
    """Names that are not made empty (scripts, timed prompts) are read-only where they exist."""
    here = [host.home / ".claude" / each.name for each in NOT_MADE]
    paths = [f"{INSIDE}/{each.name}" for each in NOT_MADE]

    found = readonly.attack(inside, here, paths, out=[INSIDE])

    with on_the_host():
        assert [path for path in here if not path.exists()] == []
    assert found.reached == []


@covers("claude-settings", "read-only", variant="default", alike=True)
@pytest.mark.parametrize("name", [each.name for each in NOT_MADE])
def test_what_appears_there_is_taken_away(new_world: Callable[..., World], launch: Launch, name: str) -> None:
    """A name that the host lacked and its claude would obey is gone after the run, and reported."""
    world = new_world()
    planted = world.home / ".claude" / name

    script = (
        f"mkdir ~/.claude/{name} && echo made" if name == "local" else f"echo made | tee ~/.claude/{name}"
    )
    done = launch(world, "--quiet", "--shell", str(world.path), "-c", script)

    assert done.stdout == b"made\n", "it has to be there while the sandbox runs"
    assert not os.path.lexists(planted)
    assert str(planted) in done.stderr.decode()


@covers("claude-settings", "read-only", variant="default")
def test_settings_that_are_links_are_protected_too(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """A settings file that a dotfile manager keeps elsewhere is read through its link; neither is written."""
    world = new_world()
    link, target = world.home / ".claude/settings.json", world.home / "dotfiles/settings.json"
    world.write(target, link.read_text())
    link.unlink()
    link.symlink_to(target)
    os.chown(link, world.user.uid, world.user.gid, follow_symlinks=False)

    inside = fresh(world=world).inside
    read = inside.sh(f"cat {INSIDE}/settings.json").stdout
    found = readonly.attack(inside, [link, target.parent], [f"{INSIDE}/settings.json"], out=[INSIDE])

    assert world.canaries[".claude/settings.json"] in read
    assert found.reached == []


@covers("claude-settings", "read-only", variant="default")
def test_what_cannot_be_protected_is_said(new_world: Callable[..., World], launch: Launch) -> None:
    """Where a whole directory of settings is a link, and is not protected, the start says so by its name."""
    world = new_world()
    link, target = world.home / ".claude/commands", world.home / "dotfiles/commands"
    world.write(target / "fixture.md", "text")
    shutil.rmtree(link)
    link.symlink_to(target)

    swap = "rm ~/.claude/commands && mkdir ~/.claude/commands && echo x > ~/.claude/commands/planted.md"
    done = launch(world, "--shell", str(world.path), "-c", swap)
    swapped = not link.is_symlink()

    assert (target / "fixture.md").read_text() == "text"
    if swapped:
        assert "commands" in done.stderr.decode()
        assert "not protected" in done.stderr.decode()


@covers("claude-settings", "read-only", means=True)
def test_each_setting_is_a_read_only_mount(inside: Inside, cell: Cell) -> None:
    """Each name is a mount of its own, read-only, in the writable ~/.claude."""
    assert mounted(inside, [f"{INSIDE}/{name}" for name in MADE], cell.means) == []


@covers("claude-settings", "absent", variant="off")
def test_no_setting_is_inside(inside: Inside, host: World) -> None:
    """Without ~/.claude none of the settings is inside, and none can be written."""
    here = host.home / ".claude"
    names = [".claude/settings.json", ".claude/CLAUDE.md", ".claude/commands/fixture.md"]
    secrets = [host.canaries[name] for name in names]
    paths = [f"{base}/{name}" for name in ("settings.json", "hooks") for base in (INSIDE, str(here))]

    control = search.on_host(host, secrets, [str(here)])
    found = search.inside(inside, secrets)
    attacked = readonly.attack(inside, here, paths)

    with on_the_host():
        assert sorted(control) == sorted(secrets), "the same search has to find them on the host"
    assert found == {}
    assert attacked.reached == []


@covers("claude-settings", "read-write")
@covers("claude-settings-write", "read-write")
def test_settings_are_written_by_both_sides_when_asked_for(inside: Inside, host: World) -> None:
    """With --with claude-settings-write what either side writes, the other reads."""
    here, from_inside, from_host = host.home / ".claude", canary(), canary()
    before = (here / "settings.json").read_text()

    seen = inside.sh(f"cat {INSIDE}/settings.json").stdout
    inside.check_output(f"echo {from_inside} > {INSIDE}/settings.json.new")
    inside.check_output(f"mv {INSIDE}/settings.json.new {INSIDE}/settings.json")
    inside.check_output(f"echo {from_inside} > {INSIDE}/commands/of-inside.md")
    outside = [(here / name).read_text().strip() for name in ("settings.json", "commands/of-inside.md")]
    host.write(here / "settings.json", from_host)

    assert seen == before
    assert outside == [from_inside] * 2
    assert inside.output(f"cat {INSIDE}/settings.json") == from_host
    host.write(here / "settings.json", before, mode=0o644)


@covers("claude-settings-write", "absent")
def test_nobody_is_given_leave_unasked(inside: Inside, host: World) -> None:
    """Without the flag nothing gives leave: not a name in the environment, not a file of the project."""
    here = host.home / ".claude"
    before = readonly.seen(here / "settings.json"), readonly.seen(here / "hooks")
    asked = (
        "export CLAUDE_SETTINGS_WRITE=1; echo '{\"claude-settings-write\": true}' > /project/.claude-sandbox"
    )

    wrote = [
        inside.sh(f"{asked}; mkdir -p {INSIDE}; echo x > {base}/settings.json; echo x > {base}/hooks/x").rc
        for base in (INSIDE, str(here))
    ]

    after = readonly.seen(here / "settings.json"), readonly.seen(here / "hooks")
    assert before == after, wrote
