"""Row claude-json."""

from __future__ import annotations

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

# In place, and as Claude Code writes: a new file renamed over what the link leads to.
WRITE = """
import json, os
path = os.path.expanduser("~/.claude.json")
before = {}
if os.path.exists(path):
    with open(path) as file:
        before = json.load(file)
path = os.path.realpath(path) if given["by"] == "rename" else path
with open(path + ".new" if given["by"] == "rename" else path, "w") as file:
    json.dump({**before, given["key"]: given["value"]}, file)
if given["by"] == "rename":
    os.rename(path + ".new", path)
print(ascii(before))
"""
# What tries to reach the host's own file, whichever way it is called there.
OVERWRITE = """
import os
done = []
for path in given["paths"]:
    for mode in ("w", "a"):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, mode) as file:
                file.write(given["value"])
            done.append(path)
        except OSError:
            pass
print(ascii(done))
"""


@covers("claude-json", "copied")
@pytest.mark.parametrize("by", ["writing", "rename"])
def test_what_is_written_stays_inside(inside: Inside, host: World, by: str) -> None:
    """What is written to ~/.claude.json is there inside, and the host's is byte for byte the same."""
    path, value = host.home / ".claude.json", canary()
    before = readonly.seen(path)

    seen = inside.python(WRITE, by=by, key="written", value=value)
    later = inside.sh("cat ~/.claude.json").stdout
    inside.python(OVERWRITE, paths=[str(path)], value=value)

    if not host.bare:
        assert seen.get("userID") == host.canaries[".claude.json"]
    assert value in later
    assert readonly.seen(path) == before


@covers("claude-json", "copied")
def test_it_is_kept_for_this_project_alone(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """The next sandbox of the same project has what the last one wrote; that of another project has not."""
    world, value = new_world(), canary()
    before = readonly.seen(world.home / ".claude.json")

    first = fresh(world=world)
    first.inside.python(WRITE, by="rename", key="written", value=value)
    first.close()
    again = fresh(world=world)
    same = again.inside.sh("cat ~/.claude.json").stdout
    again.close()
    world.project = type(world.project)(
        path=world.write("other/README", "").parent, git_dir=world.home / "none", user=world.user
    )
    other = fresh(world=world).inside.sh("cat ~/.claude.json").stdout

    assert value in same
    assert value not in other
    assert readonly.seen(world.home / ".claude.json") == before


@covers("claude-json", "copied", means=True)
def test_it_is_a_mount_of_a_copy(inside: Inside, host: World, cell: Cell) -> None:
    """What ~/.claude.json leads to is mounted by itself, and is another file than the host's."""
    leads_to = inside.output("realpath ~/.claude.json")
    inode = int(inside.output("stat -L -c %i ~/.claude.json"))

    assert mounted(inside, leads_to, cell.means, above=True) == []
    if not host.bare:
        assert inode != (host.home / ".claude.json").stat().st_ino


@covers("claude-json", "absent")
def test_nothing_of_it_is_inside(inside: Inside, host: World) -> None:
    """With --without claude-json no file inside has what stands in the host's, and nothing reaches it."""
    path, secret = host.home / ".claude.json", host.canaries[".claude.json"]
    before = readonly.seen(path)

    control = search.on_host(host, [secret], [str(host.home)])
    found = search.inside(inside, [secret])
    listed = inside.sh("ls ~/.claude.json")
    inside.python(OVERWRITE, paths=["/home/sandbox/.claude.json", str(path)], value="x")

    with on_the_host():
        assert str(path) in control.get(secret, ())
    assert found == {}
    assert listed.rc != 0
    assert readonly.seen(path) == before
    inside.sh("rm -f ~/.claude.json")
