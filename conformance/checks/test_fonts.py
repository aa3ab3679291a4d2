"""Row fonts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures import packages, users

FACE = "Fixture Face"
NOBODYS = "A Face That Nobody Has"
PATTERNS = (
    "sans",
    "serif",
    "monospace",
    "emoji",
    "Helvetica",
    "sans:bold:italic",
    "sans:lang=ja",
    FACE,
    NOBODYS,
)
ASK = r"""
import subprocess
def ask(*words):
    return subprocess.run(words, capture_output=True, text=True).stdout
form = "--format=%{file} %{family} %{style}"
print(json.dumps({
    "match": [ask("fc-match", form, pattern) for pattern in given["patterns"]],
    "list": sorted(ask("fc-list", "--format=%{file}|%{family}|%{style}\\n").splitlines()),
}))
"""
ALIAS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <match target="pattern">
    <test name="family"><string>{face}</string></test>
    <edit name="family" mode="assign" binding="strong"><string>{family}</string></edit>
  </match>
</fontconfig>
"""


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    """A host whose /etc/fonts knows a name that no other machine does."""
    packages.find("fc-match")
    found = new_world()
    common = found.output(("fc-match", "--format=%{family[0]}", NOBODYS))
    families = found.output(("fc-list", "--format=%{family[0]}\\n")).splitlines()
    others = sorted(family for family in set(families) if family != common)
    if not others:
        raise HarnessError("this machine has fonts of one family alone", packages.remedy("fc-match"))
    fonts = found.services.scratch("fonts") / "fonts"
    shutil.copytree("/etc/fonts", fonts, symlinks=True)
    (fonts / "conf.d/00-fixture.conf").write_text(ALIAS.format(face=FACE, family=others[0]))
    users.own(fonts, found.user)
    found.mounts.bind(fonts, Path("/etc/fonts"))
    return found


@covers("fonts", "same")
def test_fontconfig_answers_as_on_the_host(fresh: Callable[..., Sandbox], world: World) -> None:
    """fc-match names the host's files for every pattern, by its own rules too, and fc-list lists them all."""
    outside = world.python(ASK, patterns=PATTERNS)

    found = fresh(world=world).inside.python(ASK, patterns=PATTERNS)

    with on_the_host():
        assert outside["match"][-2] != outside["match"][-1], "the host has to know its own rule"
        assert outside["list"]
    assert found == outside


@covers("fonts", "same")
def test_the_files_can_be_read(fresh: Callable[..., Sandbox], world: World) -> None:
    """The files that fc-match names are there inside, with the host's content."""
    sums = "fc-match --format='%{file}\\n' sans; fc-match --format='%{file}\\n' serif"
    outside = world.output(("sh", "-c", f"({sums}) | xargs -d '\\n' sha256sum"))

    assert fresh(world=world).inside.output(f"({sums}) | xargs -d '\\n' sha256sum") == outside


@covers("fonts", "same", means=True)
def test_etc_fonts_is_read_only(fresh: Callable[..., Sandbox], world: World) -> None:
    """/etc/fonts is the host's, file by file, and cannot be written."""
    sums = "cd /etc/fonts && find . -type f | sort | xargs sha256sum"
    outside = world.output(("sh", "-c", sums))

    inside = fresh(world=world).inside

    assert inside.output(sums) == outside
    assert inside.sh("touch /etc/fonts/conf.d/attack").rc != 0
    assert inside.sh(": >>/etc/fonts/fonts.conf").rc != 0


@covers("fonts", "absent", variant="off")
def test_without_it_the_hosts_rules_do_not_hold(fresh: Callable[..., Sandbox], world: World) -> None:
    """With --without fonts nothing of /etc/fonts is there, and a name of the host's own is nobody's."""
    outside = world.python(ASK, patterns=[FACE, NOBODYS])["match"]

    inside = fresh(world=world).inside
    found = inside.python(ASK, patterns=[FACE, NOBODYS])["match"]

    with on_the_host():
        assert outside[0] != outside[1]
    assert found[0] == found[1]
    assert not inside.file("/etc/fonts").exists
