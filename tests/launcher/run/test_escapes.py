"""Of what a terminal would answer, or write for, nothing passes; of all else everything does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.run.escapes import HELD, Filter

ST = b"\x1b\\"
ASKING = {
    "answerback": b"\x05",
    "DECID": b"\x1bZ",
    "primary attributes": b"\x1b[c",
    "secondary attributes": b"\x1b[>0c",
    "tertiary attributes": b"\x1b[=c",
    "cursor position": b"\x1b[6n",
    "extended cursor position": b"\x1b[?6n",
    "a control within": b"\x1b[\n6\rn",
    "a control behind ESC": b"\x1b\n[6n",
    "terminal parameters": b"\x1b[1x",
    "mode": b"\x1b[?2026$p",
    "version": b"\x1b[>0q",
    "title": b"\x1b[21t",
    "title, with a zero": b"\x1b[021t",
    "size of the window": b"\x1b[14;2t",
    "keyboard": b"\x1b[?u",
    "modifiers": b"\x1b[?4m",
    "graphics": b"\x1b[?1;1S",
    "checksum": b"\x1b[1;1;1;1;1;1*y",
    "print": b"\x1b[5i",
    "clipboard": b"\x1b]52;c;Y3VybA==\x07",
    "clipboard, asked": b"\x1b]52;c;?" + ST,
    "colour, asked": b"\x1b]11;?" + ST,
    "one of many colours, asked": b"\x1b]4;1;#fff;2;?\x07",
    "font, asked": b"\x1b]50;?\x07",
    "a file": b"\x1b]1337;File=name=eA==:eA==\x07",
    "DECRQSS": b"\x1bP$qm" + ST,
    "XTGETTCAP": b"\x1bP+q544e" + ST,
    "keys that type": b"\x1bP0;1|17/6c73" + ST,
    "tmux's way out": b"\x1bPtmux;\x1b\x1b[c" + ST,
    "kitty's graphics": b"\x1b_Gi=1,a=q;AAAA" + ST,
    "another character set": b"\x1b%@",
    "CSI of one byte": b"\x9b6n",
    "CSI as UTF-8": "\x9b6n".encode(),
    "OSC as UTF-8": "\x9d52;c;eA==\x9c".encode(),
    "CSI, overlong": b"\xe0\x82\x9b6n",
}
LEFT = {"tmux's way out": ST}  # an end without a beginning; nothing of others
HARMLESS = {
    "text": "plain, ünï, 漢字, 😀\r\n\tend".encode(),
    "colours": b"\x1b[1;38;2;255;0;10mred\x1b[0m",
    "cursor": b"\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b7\x1b8\x1b[s\x1b[u",
    "modes": b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[>4;1m\x1b[>1u",
    "window": b"\x1b[22;0t\x1b[23;0t\x1b[8;24;80t\x1b[2 q\x1b[!p",
    "character sets": b"\x1b(0lqk\x1b(B",
    "title": b"\x1b]0;sandbox: a; b?\x07",
    "link": b"\x1b]8;;https://example.org/?a=b\x1b\\here\x1b]8;;\x1b\\",
    "colour, set": b"\x1b]11;#101010\x07\x1b]111\x07\x1b]4;1;rgb:ff/00/00\x07\x1b]104;1\x07",
    "marks": b"\x1b]133;A\x07\x1b]7;file://host/home\x07",
    "sixel": b"\x1bP0;0;0q#0;2;0;0;0#0~~@@vv@@~~$-\x1b\\",
}


def filtered(*pieces: bytes) -> bytes:
    stream = Filter()
    return b"".join(stream.passed(piece) for piece in pieces)


@pytest.mark.parametrize("name", ASKING)
def test_what_asks_or_writes_is_left_out(name: str) -> None:
    left = filtered(b"before" + ASKING[name] + b"behind")

    assert left.startswith(b"before")
    assert left.endswith(b"behind")
    assert left.removeprefix(b"before").removesuffix(b"behind") == LEFT.get(name, b"")


@pytest.mark.parametrize("name", HARMLESS)
def test_all_else_passes_unchanged(name: str) -> None:
    assert filtered(HARMLESS[name]) == HARMLESS[name]


PARTS = st.sampled_from([*ASKING.values(), *HARMLESS.values(), b"\x1b", b"\x1b]", b"\x1bP", b"\xc2", b"\x18"])


@given(st.lists(PARTS | st.binary(max_size=6), max_size=12), st.lists(st.integers(1, 9), min_size=1))
def test_the_same_however_it_comes(parts: list[bytes], steps: list[int]) -> None:
    data = b"".join(parts)
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + steps[turn % len(steps)]])
        at, turn = at + steps[turn % len(steps)], turn + 1

    assert filtered(*pieces) == filtered(data)


@given(st.lists(PARTS | st.binary(max_size=8), max_size=12))
def test_what_has_passed_once_passes_again(parts: list[bytes]) -> None:
    """So nothing that is left out has stood between the halves of another."""
    once = filtered(*parts)

    assert filtered(once) == once


def test_what_never_ends_is_not_kept_for_ever() -> None:
    stream = Filter()
    assert stream.passed(b"\x1b]52;c;") == b""
    for _ in range(100):
        assert stream.passed(b"A" * HELD) == b""
    assert stream.passed(b"\x07on") == b"on"
    for _ in range(HELD):
        stream.passed(b"\x1b[1;1")
    assert stream.passed(b"mtext\n").endswith(b"text\n")


def test_a_string_that_another_sequence_cuts_is_ended_before_it() -> None:
    assert filtered(b"\x1b]0;title\x1b[6nx\x07y") == b"\x1b]0;title\x1b\\x\x07y"
