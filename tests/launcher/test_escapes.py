"""`--filter-escapes`, on a terminal."""

from __future__ import annotations

from typing import Any

import pexpect
import pytest

from fixtures.users import scratch
from tests.launcher.program import machine

SCRIPT = r"printf 'a\033[1mb\033[0m\033]52;c;Y3VybA==\007c\033P$qm\033\\d\033[6ne\n'"


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        pytest.param(("--filter-escapes",), b"a\x1b[1mb\x1b[0mcde", id="filtered"),
        pytest.param((), b"a\x1b[1mb\x1b[0m\x1b]52;c;Y3VybA==\x07c\x1bP$qm\x1b\\d\x1b[6ne", id="all"),
    ],
)
def test_what_makes_a_terminal_answer_is_left_out_when_that_is_asked(
    flags: tuple[str, ...], shown: bytes
) -> None:
    with scratch() as place:
        made = machine(place)
        argv = [*made.program, "--quiet", *flags, "--shell", str(made.project), "-c", SCRIPT]
        child: Any = pexpect.spawn(argv[0], argv[1:], env=dict(made.environ), cwd=str(made.home), timeout=60)
        child.expect(pexpect.EOF)
        child.close()

        assert child.before == shown + b"\r\n"
        assert child.exitstatus == 0
