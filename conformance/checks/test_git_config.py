"""Row git-config."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import cast

import pytest

from conformance.checks.probes import readonly
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

Launch = Callable[..., subprocess.CompletedProcess[bytes]]
FILES = (".gitconfig", ".config/git/ignore")


@covers("git-config", "read-only")
def test_git_inside_knows_the_user(inside: Inside, host: World) -> None:
    """`git config --global` says inside what it says outside; what the host changes is seen at once."""
    outside = host.output(("git", "config", "--global", "--list"))

    listed = inside.output("git config --global --list")
    read = {name: inside.output(f"cat ~/{name}") for name in FILES}

    with on_the_host():
        assert "user.email=ada@fixture.test" in outside
    assert listed == outside
    for name in FILES:
        assert host.canaries[name] in read[name]


@covers("git-config", "read-only")
def test_no_way_of_writing_reaches_it(inside: Inside, host: World) -> None:
    """No way of writing to ~/.gitconfig or ~/.config/git reaches the host."""
    names = (*FILES, ".config/git")
    hosts = [host.home / ".gitconfig", host.home / ".config/git"]
    both = [f"{base}/{name}" for name in names for base in ("/home/sandbox", str(host.home))]

    blind = readonly.control(host)
    found = readonly.attack(inside, hosts, both, out=["/tmp", "/project", "/home/sandbox"])

    with on_the_host():
        assert blind == []
    assert found.reached == [], found.tried


@covers("git-config", "read-only", means=True)
def test_git_config_is_a_read_only_mount(inside: Inside, cell: Cell) -> None:
    """Both are mounts of their own, read-only."""
    assert mounted(inside, [f"/home/sandbox/{name}" for name in FILES], cell.means) == []


@covers("git-config", "read-only", variant="default")
@pytest.mark.parametrize("layout", ["symlink", "directory only", "included file"])
def test_each_layout_works(new_world: Callable[..., World], launch: Launch, layout: str) -> None:
    """A ~/.gitconfig that is a symlink, none beside ~/.config/git/config, one that includes: each works."""
    world = new_world()
    path = world.home / ".gitconfig"
    content = path.read_text()
    path.unlink()
    if layout == "symlink":
        path.symlink_to(world.write("dotfiles/gitconfig", content))
    elif layout == "directory only":
        world.write(".config/git/config", content)
    else:
        world.write("dotfiles/who", content)
        world.write(".gitconfig", "[include]\n\tpath = ~/dotfiles/who\n")

    asked = "git config --global --includes user.email; echo '[x]' >> ~/.gitconfig"
    done = launch(world, "--quiet", "--shell", str(world.path), "-c", asked)

    assert done.stdout.decode().split() == ["ada@fixture.test"], done.stderr
    assert b"[x]" not in b"".join(p.read_bytes() for p in world.home.rglob("*git*") if p.is_file())


@covers("git-config", "read-only", means=True, by="9p share")
def test_files_come_by_a_directory_of_the_users_alone(fresh: Callable[..., Sandbox]) -> None:
    """What is read-only is so by QEMU, whoever is root in the guest; single files come from a directory that
    is the user's alone (0700), and gone afterwards.
    """
    sandbox = cast("Machine", fresh())
    shares = sandbox.shares
    directory, _ = shares["git_config"]
    modes = [path.stat().st_mode & 0o777 for path in (directory, directory.parent)]
    names = sorted(path.name for path in directory.iterdir())
    sandbox.close()

    assert directory.is_relative_to(sandbox.world.runtime)
    assert modes == [0o700, 0o700]
    assert names
    assert not directory.exists()
    writable = [path for path, readonly in shares.values() if not readonly]
    assert {sandbox.world.path, sandbox.world.home / ".claude"} <= set(writable)
    assert [p for p in writable if not p.is_relative_to(sandbox.world.home)] == []
    assert len(writable) == 3  # the third one: the launcher's copy of ~/.claude.json


@covers("git-config", "absent", variant=("bare", "off"))
def test_git_inside_knows_nobody(inside: Inside, host: World) -> None:
    """Where the host has none, or with --without git-config, git has no global configuration at all."""
    listed = inside.sh("git config --global --list")
    found = inside.sh(
        f"cat ~/.gitconfig ~/.config/git/* '{host.home}/.gitconfig' '{host.home}'/.config/git/*"
    )

    control = host.run(("sh", "-c", "cat ~/.gitconfig ~/.config/git/*")).stdout
    if not host.bare:
        with on_the_host():
            assert host.found_in(control) == [".config/git/ignore", ".gitconfig"]
    assert listed.stdout == ""
    assert host.found_in(found.stdout) == []
    assert found.stdout == ""
