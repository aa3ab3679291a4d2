"""Row ssh-keys."""

from __future__ import annotations

from collections.abc import Callable

from conformance.checks.probes import network, readonly, search
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

FILES = ("config", "known_hosts", "id_ed25519", "id_ed25519.pub")


@covers("ssh-keys", "read-only")
def test_the_users_keys_are_seen(inside: Inside, host: World, cell: Cell) -> None:
    """Every file of ~/.ssh is inside as it is outside; what changes it, too, unless it is a copy."""
    before = {name: (host.home / ".ssh" / name).read_text() for name in FILES}

    read = {name: inside.sh(f"cat ~/.ssh/{name}").stdout for name in FILES}
    with open(host.home / ".ssh/known_hosts", "a") as file:
        file.write("# added\n")
    later = inside.sh("cat ~/.ssh/known_hosts").stdout

    assert read == before
    assert later == before["known_hosts"] + ("" if "of a copy" in cell.means else "# added\n")


@covers("ssh-keys", "read-only")
def test_ssh_accepts_owner_and_modes(inside: Inside, host: World) -> None:
    """ssh reads the configuration without a complaint, and the modes are those of the host."""
    asked = inside.sh("ssh -v -G fixture.test")
    public = inside.sh("ssh-keygen -y -f ~/.ssh/id_ed25519")
    modes = inside.output("cd ~/.ssh; stat -c '%n %a %u' . " + " ".join(FILES)).splitlines()

    assert asked.rc == 0, asked.stderr
    assert "serveraliveinterval 60" in asked.stdout
    assert "Bad owner" not in asked.stderr
    assert public.stdout.split()[:2] == (host.home / ".ssh/id_ed25519.pub").read_text().split()[:2]
    assert "id_ed25519 600 " + str(host.user.uid) in modes


@covers("ssh-keys", "read-only", variant=("default", "tmux"), needs=("ssh-agent",))
def test_a_login_with_the_key_works(fresh: Callable[..., Sandbox], new_world: Callable[..., World]) -> None:
    """A server on the host's network lets in who holds the key of ~/.ssh, with no agent's help."""
    world = new_world()
    key = (world.home / ".ssh/id_ed25519.pub").read_text().strip()

    with network.sshd_on_lan(world, key) as (there, server):
        world.write(".ssh/known_hosts", server.known_hosts.read_text(), mode=0o644)
        listed = fresh(world=world, within=there.prefix).inside.sh(
            f"SSH_AUTH_SOCK= GIT_SSH_COMMAND='ssh -oBatchMode=yes' git ls-remote '{server.url}'"
        )
        accepted = f"Accepted publickey for {world.user.name}" in server.log.read_text()

    assert listed.rc == 0, listed.stderr
    assert accepted


@covers("ssh-keys", "read-only")
def test_no_way_of_writing_reaches_the_keys(inside: Inside, host: World) -> None:
    """No way of writing to ~/.ssh reaches the host: no key is added, changed or taken away."""
    names = [".ssh", *(f".ssh/{name}" for name in FILES), ".ssh/authorized_keys"]
    both = [f"{base}/{name}" for name in names for base in ("/home/sandbox", str(host.home))]

    blind = readonly.control(host)
    found = readonly.attack(inside, host.home / ".ssh", both, out=["/tmp", "/project", "/home/sandbox"])

    with on_the_host():
        assert blind == []
    assert found.reached == []
    assert not (host.home / ".ssh/authorized_keys").exists()


@covers("ssh-keys", "read-only", means=True)
def test_the_keys_are_a_read_only_mount(inside: Inside, cell: Cell) -> None:
    """What of ~/.ssh is there as a mount is mounted read-only."""
    assert mounted(inside, "/home/sandbox/.ssh/id_ed25519", cell.means, above=True) == []


@covers("ssh-keys", "absent", variant=("bare", "off"))
def test_no_key_is_anywhere_inside(inside: Inside, host: World) -> None:
    """Where the host has none, or with --without ssh-keys, nothing of ~/.ssh is in any file inside."""
    needles = []
    if not host.bare:
        lines = (host.home / ".ssh/id_ed25519").read_text().splitlines()
        needles = [lines[2], host.canaries[".ssh/config"], host.canaries[".ssh/known_hosts"]]

    control = search.on_host(host, needles, [str(host.home / ".ssh")])
    found = search.inside(inside, needles)
    listed = inside.sh(f"ls -A ~/.ssh '{host.home}/.ssh'")

    with on_the_host():
        assert sorted(control) == sorted(needles), "the same search has to find them on the host"
    assert found == {}
    assert listed.stdout == ""
    assert listed.rc != 0
