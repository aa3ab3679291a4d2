"""What the book and the other pages say about the command line and about each other holds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.errors import UserError
from launcher.flags import FLAGS, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])

FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/invoke run bubblewrap ~/proj",
    ".venv/bin/pip install '.[test]' && .venv/bin/invoke test",
)


def prose(page: Path) -> str:
    """The page without its blocks and spans of code: what looks like a link there is none."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """What `#…` may name in a page: its headings, as Python-Markdown's toc spells them."""
    plain = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in HEADING.findall(page.read_text()))
    return {re.sub(r"[-\s]+", "-", title) for title in plain}


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    broken = []
    for target, anchor in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{target}#{anchor}" if anchor else target)
    return broken


def shown(page: Path) -> Iterator[tuple[str, str]]:
    """Each line in a page's blocks that starts claude-sandbox, with what is shown below it in its block."""
    for _, language, block in FENCED.findall(page.read_text()):
        if language in ("sh", "console"):
            lines = block.splitlines()
            for number, line in enumerate(lines):
                if "claude-sandbox" in (words := line.split("$ ", 1)[-1]):
                    yield words, "\n".join(lines[number + 1 :])


def arguments(line: str) -> Iterator[list[str]]:
    """The arguments of each claude-sandbox in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    command: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&"):
            programs = [n for n, w in enumerate(command) if w.rpartition("/")[2] == "claude-sandbox"]
            if programs and all("=" in w or w == "$" for w in command[: programs[0]]):
                yield command[programs[0] + 1 :]
            command = []
        else:
            command.append(word)


def told(line: str) -> str:
    """What the launcher says against the commands in a line, or ""."""
    for words in arguments(line):
        try:
            parse(words, backend="bubblewrap", program="claude-sandbox")
        except UserError as error:
            return f"claude-sandbox: {error.what}\n  {error.hint}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `--two` three\n"
        "[a](page.md) [b](gone.md) [c](#one-two-three) [d](page.md#four)\n"
        "[e](https://x.invalid/) `[f](code.md)`\n"
        "```\n[g](block.md)\n```\n"
    )

    assert broken_links(page) == ["gone.md", "page.md#four"]


@pytest.mark.parametrize("flag", [flag.name for flag in FLAGS])
def test_every_flag_has_a_section_in_usage(flag: str) -> None:
    titles = HEADING.findall((DOCS / "usage.md").read_text())

    assert any(re.search(rf"`{flag}[^\w-]", title) for title in titles)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_is_taken_or_shown_to_be_refused(page: Path) -> None:
    """A flag or a row that went away would stay in an example for long."""
    wrong = [said for line, below in shown(page) if (said := told(line)) and not below.startswith(said)]

    assert wrong == []


def test_commands_are_found_in_lines_of_shell() -> None:
    line = "$ A=1 .venv/bin/claude-sandbox --quiet P -c 'a; b' | head -1; echo; claude-sandbox --gone  # why"

    assert list(arguments(line)) == [["--quiet", "P", "-c", "a; b"], ["--gone"]]
    assert told(line).startswith("claude-sandbox: unknown flag --gone\n")


def test_usage_and_readme_show_commands_at_all() -> None:
    assert sum(1 for _ in shown(DOCS / "usage.md")) > 20
    assert sum(1 for _ in shown(ROOT / "README.md")) > 5


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_command_that_does_all_the_set_up_is_shown(page: str) -> None:
    assert COMMANDS[0] in (ROOT / page).read_text()


def test_the_readme_shows_how_to_start_and_how_to_test_in_its_first_block() -> None:
    _, _, block = FENCED.findall((ROOT / "README.md").read_text())[0]

    assert tuple(line.partition(" #")[0].rstrip() for line in block.splitlines()) == COMMANDS


def test_the_books_contents_are_its_pages() -> None:
    contents = re.findall(r"^  - [^:\n]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)

    assert sorted(contents) == sorted(page.name for page in DOCS.glob("*.md"))


def test_the_architecture_names_every_file_of_the_launcher() -> None:
    text = (DOCS / "architecture.md").read_text()
    files = [path.name for path in (ROOT / "launcher").glob("*.py") if path.name != "__init__.py"]

    assert [name for name in files if f"`{name}`" not in text and f"`launcher/{name}`" not in text] == []
