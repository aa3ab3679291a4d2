"""What bash's printf writes and quotes is what went in, whatever bytes it is."""

from __future__ import annotations

import subprocess

import pytest

from conformance.harness import wire

ODD = [
    b"",
    b"%s %% \\n \\\\",
    b"it's",
    b"$'x'",
    b"-n",
    b"''",
    b"a b|c;d&e~#!",
    "ä€".encode(),
    b"\xff\xfe\x1b[0m\t\r\n\x07",
    bytes(range(1, 256)),
]


@pytest.mark.parametrize("data", [*ODD, bytes(range(256)) + b"0123"])
def test_what_is_typed_is_written(data: bytes) -> None:
    script = f"printf -- '{wire.typed(data)}'"

    assert subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True).stdout == data


@pytest.mark.parametrize("data", ODD)
def test_what_is_quoted_is_read_back(data: bytes) -> None:
    quoted = subprocess.run(
        ["bash", "-c", 'LC_ALL=C; printf %q "$1"', "bash", data], stdout=subprocess.PIPE, check=True
    )

    assert wire.unquoted(quoted.stdout) == data


def test_an_answer_is_read() -> None:
    assert wire.answered([b"S 3", b"O=word", b"E=''", b"Z 4 0"]) == (3, b"word", b"", [4, 0])
    assert wire.answered([b"S 0", b"O AAA=", b"E=x", b"Z 2 1"]) == (0, b"\0\0", b"x", [2, 1])


@pytest.mark.parametrize(
    "lines",
    [
        [b"Z 4 0"],
        [b"S 3", b"O=word", b"Z 4 1"],
        [b"S 3", b"O=wordnoise", b"E=''", b"Z 4 0"],
        [b"S 3", b"O=word", b"E=''", b"Z 4"],
        [b"S 3", b"O AAA", b"E=''", b"Z 2 0"],
        [b"S", b"O=word", b"E=''", b"Z 4 0"],
        [b"S 3", b"O=word", b"E=''", b"Znoise 4 0"],
    ],
)
def test_an_answer_that_something_wrote_into_is_none(lines: list[bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (whichever)
        wire.answered(lines)
