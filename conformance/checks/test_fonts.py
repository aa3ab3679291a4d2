"""Row fonts."""

from __future__ import annotations

from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.provide import FACE, NO_FACE
from conformance.harness.world import World

PATTERNS = (
    "sans",
    "serif",
    "monospace",
    "emoji",
    "Helvetica",
    "sans:bold:italic",
    "sans:lang=ja",
    FACE,
    NO_FACE,
)
ASK = r"""
import subprocess
def ask(*words):
    return subprocess.run(words, capture_output=True, text=True).stdout
form = "--format=%{file} %{family} %{style}"
print(ascii({
    "match": [ask("fc-match", form, pattern) for pattern in given["patterns"]],
    "list": sorted(ask("fc-list", "--format=%{file}|%{family}|%{style}\\n").splitlines()),
}))
"""
SUMS = "cd /etc/fonts && find . -type f | sort | xargs sha256sum"


@covers("fonts", "same", slow=True)
def test_fontconfig_answers_as_on_the_host(inside: Inside, host: World) -> None:
    """fc-match names the host's files for every pattern, by its own rules too, and fc-list lists them all."""
    outside = host.python(ASK, patterns=PATTERNS)

    found = inside.python(ASK, patterns=PATTERNS)

    with on_the_host():
        assert outside["match"][-2] != outside["match"][-1], "the host has to know its own rule"
        assert outside["list"]
    assert found == outside


@covers("fonts", "same")
def test_the_hosts_rules_are_there(inside: Inside, host: World) -> None:
    """/etc/fonts is the host's, file by file."""
    outside = host.output(("sh", "-c", SUMS))

    with on_the_host():
        assert "00-fixture.conf" in outside
    assert inside.output(SUMS) == outside


@covers("fonts", "same", slow=True)
def test_the_files_can_be_read(inside: Inside, host: World) -> None:
    """The file that the host's own rule names is there inside, with the host's content."""
    name = f"fc-match --format='%{{file}}\\n' '{FACE}'"
    outside, other = (host.output(("sh", "-c", line)) for line in (name, name.replace(FACE, NO_FACE)))
    content = host.output(("sha256sum", outside))

    found = inside.output(name)

    with on_the_host():
        assert outside != other, "the host has to know its own rule"
    assert found == outside
    assert inside.output(f"sha256sum '{found}'") == content


@covers("fonts", "same", means=True)
def test_etc_fonts_is_read_only(inside: Inside) -> None:
    """/etc/fonts cannot be written, nor can a file be added."""
    assert inside.sh("touch /etc/fonts/conf.d/attack").rc != 0
    assert inside.sh(": >>/etc/fonts/fonts.conf").rc != 0


@covers("fonts", "absent", variant="off")
def test_without_it_the_hosts_rules_do_not_hold(inside: Inside, host: World) -> None:
    """With --without fonts nothing of /etc/fonts is there, and a name of the host's own is nobody's."""
    outside = host.python(ASK, patterns=[FACE, NO_FACE])["match"]

    found = inside.python(ASK, patterns=[FACE, NO_FACE])["match"]

    with on_the_host():
        assert outside[0] != outside[1]
    assert found[0] == found[1]
    assert not inside.file("/etc/fonts").exists
