"""What a guest's session decides by itself; booted ones are in tests/launcher/test_vm.py."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from launcher.run.clock import Clock
from launcher.run.guest import streams_of
from launcher.run.guest_stage import GuestLine
from launcher.run.streams import Tail


def test_a_clock_that_was_set_or_slept_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    assert not clock.jumped()

    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)

    assert clock.jumped()
    assert not clock.jumped()


def test_descriptors_that_are_nothing_or_the_same_need_no_stream_of_their_own(tmp_path: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    one = os.open(tmp_path / "one", os.O_RDWR | os.O_CREAT)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    try:
        assert streams_of((nothing, one, other)).names == ("null", "out", "err")
        assert streams_of((one, one, one)).names == ("in", "out", "out")
        assert streams_of((nothing, nothing, other)).names == ("null", "null", "err")
    finally:
        for number in (nothing, one, other):
            os.close(number)


def test_a_terminal_behind_a_socket_is_told_its_size_by_words() -> None:
    told: list[str] = []
    line = GuestLine(-1, told.append, Tail(b"token"))

    line.size((33).to_bytes(2, "little") + (111).to_bytes(2, "little") + bytes(4))

    assert told == ["size 33 111"]
