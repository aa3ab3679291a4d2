"""Row gh-config."""

from __future__ import annotations

from conformance.checks.probes import readonly, search
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World

NAME = ".config/gh/hosts.yml"


@covers("gh-config", "read-only")
def test_the_login_of_gh_is_seen(inside: Inside, host: World, cell: Cell) -> None:
    """The login of GitHub's CLI is inside as it is outside; what changes it, too, unless it is a copy."""
    path = host.home / NAME

    before = inside.sh(f"cat ~/{NAME}").stdout
    with open(path, "a") as file:
        file.write("# added\n")
    later = inside.sh(f"cat ~/{NAME}").stdout

    assert host.canaries[NAME] in before
    assert path.read_text() == before + "# added\n"
    assert later == (before if "of a copy" in cell.means else path.read_text())


@covers("gh-config", "read-only")
def test_no_way_of_writing_reaches_the_login_of_gh(inside: Inside, host: World) -> None:
    """No way of writing to ~/.config/gh reaches the host."""
    names = (".config/gh", NAME)
    both = [f"{base}/{name}" for name in names for base in ("/home/sandbox", str(host.home))]

    blind = readonly.control(host)
    found = readonly.attack(inside, host.home / ".config/gh", both, out=["/tmp", "/project", "/home/sandbox"])

    with on_the_host():
        assert blind == []
    assert found.reached == []


@covers("gh-config", "read-only", means=True)
def test_the_login_of_gh_is_a_read_only_mount(inside: Inside, cell: Cell) -> None:
    """What of ~/.config/gh is there is mounted read-only."""
    assert mounted(inside, f"/home/sandbox/{NAME}", cell.means, above=True) == []


@covers("gh-config", "absent", variant=("bare", "off"))
def test_no_login_of_gh_is_anywhere_inside(inside: Inside, host: World) -> None:
    """Where the host has none, or with --without gh-config, the login is in no file inside."""
    needles = [] if host.bare else [host.canaries[NAME]]

    control = search.on_host(host, needles, [str(host.home / ".config/gh")])
    found = search.inside(inside, needles)
    listed = inside.sh(f"ls -A ~/.config/gh '{host.home}/.config/gh'")

    with on_the_host():
        assert sorted(control) == needles, "the same search has to find it on the host"
    assert found == {}
    assert listed.stdout == ""
    assert listed.rc != 0
