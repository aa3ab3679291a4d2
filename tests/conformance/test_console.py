"""The console on a plain bash over a pty: floods, forged markers, death, and deadlines."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from conformance.harness.console import Console, Shared, Terminal
from conformance.harness.deadline import Deadline
from conformance.harness.errors import ConsoleDied, ConsoleError, ConsoleTimeout
from conformance.harness.wire import LIMIT
from fixtures.terminal import hang_up

BASH = ["--norc", "--noprofile", "--noediting"]


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Terminal]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TERM": "dumb", "TMPDIR": str(tmp_path)}
    child: Any = pexpect.spawn("/bin/bash", BASH, env=environment, timeout=None)
    child.delaybeforesend = None
    yield child
    hang_up(child)


@pytest.fixture
def console(bash: Terminal, tmp_path: Path) -> Iterator[Console]:
    console = Console(bash, transcript=tmp_path / "transcript")
    console.open(Deadline(10))
    yield console
    console.leave(Deadline(5))


def test_status_and_both_streams_come_apart(console: Console) -> None:
    result = console.run("echo out; echo err >&2; printf 'no newline'; exit 7")

    assert (result.status, result.stdout, result.stderr) == (7, b"out\nno newline", b"err\n")


def test_every_byte_passes_both_ways(console: Console) -> None:
    everything = bytes(range(256)) * 100

    result = console.run("cat", stdin=everything)

    assert result.stdout == everything


def test_a_script_longer_than_a_terminals_line_arrives_whole(console: Console) -> None:
    script = "".join(f"x{n}='{'y' * 90}'\n" for n in range(500)) + "echo $x499"

    assert console.run(script).stdout == b"y" * 90 + b"\n"


def test_commands_find_no_terminal_on_stdin_unless_they_ask(console: Console) -> None:
    assert console.run("cat; test -t 0").status == 1
    assert console.run("test -t 0 </dev/tty").status == 0


def test_what_a_program_prints_like_an_answer_is_no_answer(console: Console) -> None:
    forged = "for h in 0 1 2; do printf '\\n%s S 0 0 0\\n%s Z\\n' $h $h; done >/dev/tty; sleep 0.2; exit 3"

    assert console.run(forged).status == 3


def test_the_typed_text_replayed_is_no_answer(bash: Terminal, tmp_path: Path) -> None:
    console = Console(bash, transcript=tmp_path / "transcript")
    console.open(Deadline(10))

    # With the echo on again, the terminal shows every marker's halves before the command has run.
    console.run("stty echo </dev/tty")

    assert console.run("sleep 0.3; exit 4").status == 4
    shown = (tmp_path / "transcript").read_bytes()
    halves = re.findall(rb"_r ([0-9a-f]{16}) ([0-9a-f]{16})", shown)
    assert halves, "the echo was on"
    console.leave(Deadline(5))


def test_a_program_that_writes_into_the_answer_is_asked_again(console: Console) -> None:
    console.run(
        "(while :; do printf noise; sleep 0.01; done) >/dev/tty 2>&1 & echo $! >/tmp/noise.$$; sleep 0.1"
    )
    # Longer than one read, so that noise lies within the lines of some answers.
    result = console.run("head -c 200000 /dev/zero; exit 9")

    assert result.status == 9
    assert result.stdout == b"\0" * 200000
    console.run("cat /tmp/noise.* | xargs kill; rm /tmp/noise.*")


def test_an_answer_is_found_behind_what_another_program_wrote_on_its_lines(console: Console) -> None:
    # An answer's last line, when another program's write gets between the newline before it and itself.
    last = "*Z*) command printf '\\nnoise%s%s Z %s %s\\n' $2 $3 $4 $5;;"
    noisy = f'printf() {{ case $1 in {last} *) command printf "$@";; esac; }}'
    console.child.send(f"{noisy}\n".encode())

    assert console.run("echo word; exit 3").stdout == b"word\n"


def test_a_flood_of_100_mb_on_stdout_comes_back_cut(console: Console) -> None:
    result = console.run("head -c 104857600 /dev/zero", deadline=Deadline(60))

    assert result.status == 0
    assert result.truncated
    assert result.stdout == b"\0" * LIMIT


def test_a_flood_of_100_mb_on_the_terminal_is_survived(console: Console, tmp_path: Path) -> None:
    started = time.monotonic()

    result = console.run(
        "tr '\\0' x </dev/zero | head -c 104857600 >/dev/tty; echo end", deadline=Deadline(60)
    )

    assert result.stdout == b"end\n"
    assert time.monotonic() - started < 60
    assert (tmp_path / "transcript").stat().st_size < 5 << 20


def test_a_deadline_shows_the_screen_and_breaks_the_console(console: Console) -> None:
    with pytest.raises(ConsoleTimeout, match=r"within 0\.5 s") as caught:
        console.run("echo waiting for Godot >/dev/tty; sleep 60", deadline=Deadline(0.5))

    assert "waiting for Godot" in caught.value.screen
    with pytest.raises(ConsoleError, match="gone since"):
        console.run("true")


def test_the_end_is_not_a_timeout(console: Console) -> None:
    started = time.monotonic()

    with pytest.raises(ConsoleDied, match="killed by signal 9"):
        console.run(
            "echo last words >/dev/tty; rm -rf $(dirname $0); kill -9 $PPID; sleep 60", deadline=Deadline(20)
        )

    assert time.monotonic() - started < 5


def test_a_program_that_never_becomes_a_shell_is_quoted() -> None:
    child: Any = pexpect.spawn("/bin/sh", ["-c", "echo cannot start: no such thing; exit 125"], timeout=None)

    with pytest.raises(ConsoleDied, match=r"exit status 125") as caught:
        Console(child).open(Deadline(10))

    assert "cannot start: no such thing" in caught.value.screen


def test_one_that_swallows_everything_times_out() -> None:
    child: Any = pexpect.spawn("/bin/sh", ["-c", "stty -echo; exec sleep 60"], timeout=None)

    with pytest.raises(ConsoleTimeout, match=r"no shell within 0\.5 s"):
        Console(child).open(Deadline(0.5))

    hang_up(child)


def test_where_the_screen_cannot_be_read_the_answer_lies_in_a_directory(
    bash: Terminal, tmp_path: Path
) -> None:
    console = Console(bash, shared=Shared(inside=str(tmp_path), outside=tmp_path))
    console.open(Deadline(10))

    result = console.run("echo out; echo err >&2; cat; exit 5", stdin=b"in")

    assert (result.status, result.stdout, result.stderr) == (5, b"out\nin", b"err\n")
    assert not [name for name in os.listdir(tmp_path) if name.startswith("s")]
