"""The real agent as a person uses it: on a terminal, inside the sandbox."""

from __future__ import annotations

import json
import re

import pytest

from fixtures.messages_api import Block, Text, bash, claude_json, messages_api
from fixtures.users import write
from tests.agent.desk import Desk
from tests.agent.terminal import COLUMNS, fresh_modes

pytestmark = pytest.mark.timeout(360)


def rule(columns: int) -> bytes:
    """The line above and below the prompt, as wide as the window."""
    dash = "─".encode()
    return b"[^%c]%s\x1b" % (dash[-1], dash * columns)


def test_a_person_types_is_answered_resizes_and_leaves(desk: Desk) -> None:
    write(desk.home / ".claude.json", json.dumps(claude_json(desk.project)), desk.user)
    script: list[Block] = [bash("hostname > where"), Text("Finished-by-script")]

    with messages_api(script) as api:
        with desk.terminal(desk.sandboxed(), desk.environment(api)) as terminal:
            terminal.sees_pattern(rule(COLUMNS))
            # Not its warning, to which the answer cannot be kept: settings.json is read-only.
            terminal.sees("bypass permissions on")
            assert terminal.modes() != fresh_modes(), "raw"
            terminal.types("please-run-it")
            terminal.sees("Finished-by-script")
            terminal.sees_pattern(rule(COLUMNS))
            terminal.resizes(30, 90)
            terminal.sees_pattern(rule(90))
            terminal.interrupts()
            terminal.sees("Press Ctrl-C again to exit")
            terminal.interrupts()
            status = terminal.ends()
            modes = terminal.modes()

    assert status == 0
    assert "please-run-it" in api.scripted[0].said
    assert (desk.project / "where").read_text() == "sandbox\n"
    assert modes == fresh_modes()
    assert terminal.left_on() == {"25"}, "the cursor alone"
    assert b"WARNING" not in terminal.written
    assert not re.search(rb"missing|read-only|EROFS|rror", terminal.written)
