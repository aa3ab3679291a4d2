"""The matrix, rendered from what checks came to."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import matrix
from conformance.harness.cells import selected
from conformance.harness.matrix_html import page
from conformance.harness.verdict import Outcome
from launcher.spec.load import load

SPEC = load()
CELLS = selected(SPEC, ["bubblewrap"], ["default", "gh-token", "off"], ["uid", "gh-token", "ssh-agent"])
BOOT = {"backend": "bubblewrap", "variant": "default", "seconds": 0.07, "preparing": 0.4}


def outcome(row: str, verdict: str, *, variant: str = "default", **more: Any) -> Outcome:  # noqa: ANN401
    told = {"check": f"test_{row}", "sentence": f"{row} holds <b>.", "means": False, "seconds": 0.1}
    return Outcome(backend="bubblewrap", variant=variant, row=row, verdict=verdict, **{**told, **more})


@pytest.fixture
def made() -> dict[str, Any]:
    return matrix.build(
        SPEC,
        CELLS,
        [
            outcome("uid", "proven"),
            outcome("gh-token", "proven", variant="gh-token"),
            outcome(
                "ssh-agent", "broken", reason='assert "<key>" == ""', evidence="evidence/bubblewrap-ssh-agent"
            ),
            outcome(
                "ssh-agent", "unproven", variant="off", reason="no sshd\n  apt-get install openssh-server"
            ),
        ],
        [BOOT],
        about={"revision": "abc123", "machine": "a machine"},
        sabotage={"spoiled": 4, "caught": 3, "survivors": ["uid: wrong target"]},
    )


def test_a_cell_has_what_the_design_says(made: dict[str, Any]) -> None:
    cell = matrix.by_place(made)["ssh-agent", "bubblewrap", "default"]

    named = {"row", "backend", "variant", "testbed", "promise", "verdict", "reason", "checks", "evidence"}
    assert named <= cell.keys()
    assert (cell["testbed"], cell["verdict"], cell["word"]) == ("here", "broken", "forwarded")
    assert made["sabotage"]["survivors"] == ["uid: wrong target"]
    assert made["boots"] == [BOOT]


def test_what_no_check_looked_at_is_unproven(made: dict[str, Any]) -> None:
    assert matrix.by_place(made)["gh-token", "bubblewrap", "default"]["verdict"] == "unproven"
    assert matrix.counts(made) == {"proven": 2, "broken": 1, "unproven": 4}


def test_the_terminals_table_has_rows_columns_and_the_rare_flags_at_the_end(made: dict[str, Any]) -> None:
    assert matrix.terminal(SPEC, made) == [
        "           default       off",
        "Project and identity",
        "uid        ✓ same        ○ same",
        "Credentials",
        "ssh-agent  ✗ forwarded   ○ absent",
        "gh-token   ○ absent      ○ absent      ✓ same (gh-token)",
    ]


def test_colour_comes_on_top_of_shape_and_word(made: dict[str, Any]) -> None:
    assert "\x1b[31;1m✗ forwarded" in "\n".join(matrix.terminal(SPEC, made, colour=True))


def test_the_summary_says_what_was_not_proven_and_why(made: dict[str, Any]) -> None:
    lines = matrix.summary(made)

    assert '✗ bubblewrap-ssh-agent-forwarded: broken: assert "<key>" == ""' in lines
    at = lines.index("○ bubblewrap-ssh-agent-absent[off]: unproven: no sshd")
    assert lines[at + 1] == "    apt-get install openssh-server"
    assert lines[0].startswith("○ unproven, as no check looked at them: bubblewrap-gh-token-absent, ")
    assert "7 cells: 2 proven, 1 broken, 4 unproven" in lines
    assert "started bubblewrap default: 0.07 s (its host: 0.40 s)" in lines


def test_markdown_has_a_table_for_each_group(made: dict[str, Any]) -> None:
    text = matrix.markdown(SPEC, made)

    assert "| row | default | off | other flags |" in text
    assert "| gh-token | ○ absent | ○ absent | ✓ same (gh-token) |" in text
    assert "- **bubblewrap-ssh-agent-forwarded** broken: " in text


def test_junit_skips_what_is_unproven(made: dict[str, Any], tmp_path: Path) -> None:
    matrix.write(tmp_path, SPEC, made)
    root = ET.parse(tmp_path / "junit.xml").getroot()

    suite = root.find("testsuite[@name='bubblewrap default']")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    broken = root.find(".//testcase[@name='bubblewrap-ssh-agent-forwarded']/failure")
    assert broken is not None
    assert broken.get("message") == 'assert "<key>" == ""'


def test_the_data_is_written_as_it_is(made: dict[str, Any], tmp_path: Path) -> None:
    matrix.write(tmp_path, SPEC, made)

    assert json.loads((tmp_path / "matrix.json").read_text()) == made


class Page(HTMLParser):
    """What a browser would see: open tags, and every reference to something outside."""

    VOID = ("meta", "col", "path", "circle", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.links: list[str] = []
        self.buttons: list[dict[str, str | None]] = []
        self.templates: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.outside += [str(given[name]) for name in ("src", "srcset", "action") if name in given]
        if tag == "a":
            self.links.append(str(given.get("href")))
        if tag == "link":
            self.outside.append(str(given))
        if "data-cell" in given:
            self.buttons.append(given)
        if tag == "template":
            self.templates.append(given.get("id"))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def seen(made: dict[str, Any], tmp_path: Path) -> Page:
    evidence = tmp_path / "evidence/bubblewrap-ssh-agent"
    evidence.mkdir(parents=True)
    (evidence / "failure.txt").write_text("it failed")
    matrix.write(tmp_path, SPEC, made)
    return Page((tmp_path / "index.html").read_text())


def test_the_page_is_whole_and_needs_nothing_else(seen: Page, tmp_path: Path) -> None:
    assert seen.open == []
    assert seen.outside == []
    assert "url(" not in (tmp_path / "index.html").read_text()
    assert "@import" not in (tmp_path / "index.html").read_text()


def test_every_cell_opens_something(seen: Page, made: dict[str, Any]) -> None:
    assert len(seen.buttons) == len(made["cells"])
    assert {button["data-cell"] for button in seen.buttons} == set(seen.templates)


def test_evidence_is_a_link_to_a_file_that_is_there(seen: Page) -> None:
    assert seen.links == ["evidence/bubblewrap-ssh-agent/failure.txt"]


def test_a_cell_says_its_state_in_words(seen: Page) -> None:
    labels = [button["aria-label"] for button in seen.buttons]

    assert "ssh-agent, bubblewrap default: forwarded, broken" in labels


def test_what_checks_say_is_text_and_never_markup(made: dict[str, Any], tmp_path: Path) -> None:
    made["cells"][0]["reason"] = "<script>alert(1)</script>"
    matrix.write(tmp_path, SPEC, made)

    text = page(SPEC, made)

    assert "<script>alert(1)" not in text
    assert "holds <b>" not in text
    assert "holds &lt;b&gt;" in text


def test_both_schemes_and_phones_are_thought_of(made: dict[str, Any], tmp_path: Path) -> None:
    matrix.write(tmp_path, SPEC, made)
    text = (tmp_path / "index.html").read_text()

    assert "prefers-color-scheme: dark" in text
    assert re.search(r"@media \(max-width: \d+px\)", text)
    assert 'name="viewport"' in text


def test_a_run_that_was_not_whole_says_so(made: dict[str, Any], tmp_path: Path) -> None:
    made["problems"] = ["cells that nothing proves: bubblewrap-home-own (default)"]
    matrix.write(tmp_path, SPEC, made)

    assert "cells that nothing proves" in page(SPEC, made)
