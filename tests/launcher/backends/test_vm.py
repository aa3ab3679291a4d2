from __future__ import annotations

from typing import Any

import pytest

from launcher.backends import vm
from launcher.backends.base import Guest, Share
from launcher.errors import UserError
from launcher.host.model import Entry, Limiters, Offer
from launcher.plan.resolve import resolve
from launcher.request import Share as Asked
from tests.launcher.subjects import HOME, PROJECT, context, host, layout

FILES = (f"{HOME}/dotfiles/gitconfig", f"{HOME}/.ssh/id_ed25519", "/srv/one")


def render(offers: dict[str, Offer] | None = None, **request: Any) -> Guest:  # noqa: ANN401
    on = host(limiters=Limiters(memory=1 << 34))
    on = on.replace(offers={**on.offers, **(offers or {})})
    plan = resolve(context(on, layout(), backend="vm", **request))
    guest = vm.render(plan, on, tty=False, is_file=FILES.__contains__).guest
    assert guest is not None
    return guest


def by_tag(guest: Guest) -> dict[str, Share]:
    return {share.tag: share for share in guest.shares}


def bound(guest: Guest, target: str) -> tuple[str, str]:
    """(option, source) of what bwrap mounts there last."""
    options = guest.options
    at = max(n for n, word in enumerate(options) if word == target and n > 1 and options[n - 1] != "--chdir")
    return guest.options[at - 2], guest.options[at - 1]


def test_rendering_is_pure() -> None:
    assert render() == render()


def test_the_project_and_the_login_are_writable_shares_by_the_tags_of_the_seeds() -> None:
    shares = by_tag(render())

    assert (shares["project_share"].source, shares["project_share"].writable) == (PROJECT, True)
    assert (shares["claude_auth"].source, shares["claude_auth"].writable) == (f"{HOME}/.claude", True)


def test_all_else_is_read_only_to_qemu_itself() -> None:
    writable = {share.tag for share in render().shares if share.writable}

    # The last one is the launcher's own copy of ~/.claude.json.
    assert writable - {"project_share", "claude_auth"} == {
        share.tag for share in render().shares if share.source == "/state/p/claude"
    }


def test_single_files_are_staged_by_the_tags_of_the_seeds() -> None:
    shares = by_tag(render(shares=(Asked(path="/srv/one"),)))

    assert shares["git_config"].files == (("0", f"{HOME}/dotfiles/gitconfig"),)
    assert shares["ssh_dir"].files == (("0", f"{HOME}/.ssh/id_ed25519"),)
    assert shares["claude_meta"].files == (("0", "/srv/one"),)


def test_the_project_is_one_share_under_both_names() -> None:
    guest = render()

    assert bound(guest, PROJECT) == bound(guest, "/project") == ("--bind", "/shares/project_share")


def test_what_lies_in_a_share_is_no_other_one() -> None:
    guest = render()
    sources = [share.source for share in guest.shares]

    assert bound(guest, f"{PROJECT}/.git/hooks") == ("--ro-bind", "/shares/project_share/.git/hooks")
    assert f"{PROJECT}/.git/hooks" not in sources


def test_nothing_of_the_host_but_what_is_granted_is_shared() -> None:
    for share in render().shares:
        assert share.source not in ("/", "/root", "/home", HOME, "/var", "/etc")


def test_a_file_cannot_be_shared_to_be_written() -> None:
    with pytest.raises(UserError, match="9p shares directories alone"):
        render(shares=(Asked(path="/srv/one", mode="rw"),))


def test_no_secret_stands_in_a_command_line() -> None:
    guest = render(also=frozenset({"gh-token"}))

    assert "sk-secret" in dict(guest.environment).values()
    assert not any("secret" in word for word in (*guest.command, *guest.options))


def test_the_agents_socket_is_the_relays_and_only_with_an_agent() -> None:
    guest = render()
    target = dict(guest.environment)["SSH_AUTH_SOCK"]

    assert guest.agent == "/tmp/ssh-x/agent.1"
    assert not any("/tmp/ssh-x" in word for word in guest.options)
    assert bound(guest, target) == ("--bind", "/relay/agent.sock")
    assert render(without=frozenset({"ssh-agent"})).agent == ""


def test_the_resolver_is_the_nats_own_and_there_once() -> None:
    contents = [m.content for m in render().tree if m.target == "/sandbox/etc/resolv.conf"]

    assert len(contents) == 1
    assert b"nameserver 10.0.2.3\n" in contents[0]


@pytest.mark.parametrize("network", [True, False])
def test_the_network_is_a_device_or_none(network: bool) -> None:
    assert render(network=network).network is network


def test_the_store_is_a_read_only_share_under_an_overlay_and_its_database_a_copy() -> None:
    store = Entry(name="/nix/store", kind="dir", source="/nix/store")
    database = Entry(name="/nix/var/nix/db", kind="dir", source="/nix/var/nix/db")
    nix = {"nix-store": Offer(entries=(store,)), "nix-commands": Offer(entries=(store, database))}
    guest = render(offers=nix, shares=(Asked(path="/nix/var/nix/db/more"),))
    shares = by_tag(guest)
    overlays = {at: lower for lower, at in guest.overlays}

    assert not shares["nix_store"].writable
    assert [share.source for share in guest.shares].count("/nix/store") == 1
    assert shares["nix_db"].snapshot
    assert bound(guest, "/nix/var/nix/db/more")[1] != f"{shares['nix_db'].at}/more"
    for target, tag in (("/nix/store", "nix_store"), ("/nix/var/nix/db", "nix_db")):
        option, at = bound(guest, target)
        assert (option, overlays[at]) == ("--bind", shares[tag].at)


def test_an_overlay_grants_nothing_by_itself() -> None:
    store = Entry(name="/nix/store", kind="dir", source="/nix/store")
    on = host(limiters=Limiters(memory=1 << 34))
    on = on.replace(offers={**on.offers, "nix-commands": Offer(entries=(store,))})
    plan = resolve(context(on, layout(), backend="vm"))
    guest = vm.render(plan, on, tty=False, is_file=FILES.__contains__).guest

    assert any(mount.kind == "overlay" for mount in plan.mounts)
    assert guest is not None
    assert "/nix/store" not in guest.options
    assert "/nix/store" not in {share.source for share in guest.shares}


def test_without_nix_there_is_no_overlay() -> None:
    assert render().overlays == ()
