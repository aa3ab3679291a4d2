"""Streams of a guest: whole, and no longer than what was written before the token."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.run.streams import Inward, Outward, Tail

TOKEN = b"abcabd"
Line = tuple[socket.socket, socket.socket]


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the guest's of one port."""
    ours, guests = socket.socketpair()
    ours.setblocking(False)
    with ours, guests:
        yield ours, guests


def pump(one: Inward | Outward, *, rounds: int = 1000) -> None:
    """Do what it asks for until it asks for nothing that can be done at once."""
    for _ in range(rounds):
        poll = select.poll()
        one.interests(poll.register)
        ready = poll.poll(0)
        if not ready:
            return
        for descriptor, events in ready:
            one.relay(descriptor, events)


@given(
    st.lists(st.sampled_from([b"a", b"ab", b"abc", b"abcab", b"abd", b"x", b"cab", b"\0\xff"])),
    st.lists(st.integers(1, 7)),
)
def test_a_token_is_found_however_the_bytes_come(words: list[bytes], sizes: list[int]) -> None:
    text = b"".join(words)
    whole = text + TOKEN
    expected = whole[: whole.index(TOKEN)]
    tail, found, ended, at = Tail(TOKEN), b"", False, 0
    for size in (*sizes, len(whole) + 1):
        output, ended = tail.taken(whole[at : at + size])
        found += output
        at += size
        if ended:
            break

    assert ended
    assert found == expected


def test_what_can_be_no_token_is_not_held_back() -> None:
    assert Tail(TOKEN).taken(b"prompt$ ") == (b"prompt$ ", False)


def test_input_goes_to_the_guest_and_ends_there(line: Line) -> None:
    ours, guests = line
    source, typed = os.pipe()
    os.write(typed, b"all of it\0\xff")
    os.close(typed)

    pump(Inward(source, ours.fileno()))

    assert guests.recv(100) == b"all of it\0\xff"
    assert guests.recv(100) == b""


def test_output_comes_up_to_the_token(line: Line) -> None:
    ours, guests = line
    read, target = os.pipe()
    outward = Outward(ours.fileno(), target, Tail(TOKEN), lambda: None)
    guests.send(b"\r\n\0\xffend" + TOKEN)

    pump(outward)

    assert os.read(read, 100) == b"\r\n\0\xffend"
    assert outward.done()


def test_a_reader_who_has_gone_is_told_of_once(line: Line) -> None:
    ours, guests = line
    read, target = os.pipe()
    told: list[int] = []
    outward = Outward(ours.fileno(), target, Tail(TOKEN), lambda: told.append(1))
    os.close(read)
    guests.send(b"y\n" * 100)
    pump(outward, rounds=10)
    guests.send(b"y\n" + TOKEN)
    pump(outward, rounds=10)

    assert told == [1]
    assert outward.done()


def test_a_slow_reader_holds_the_guest_up_and_loses_nothing(line: Line) -> None:
    ours, guests = line
    read, target = os.pipe()
    guests.setblocking(False)
    outward = Outward(ours.fileno(), target, Tail(TOKEN), lambda: None)
    data = os.urandom(1 << 16) * 64
    sent, got = 0, b""
    for _ in range(200_000):
        if sent < len(data):
            try:
                sent += guests.send(data[sent : sent + 4096])
            except BlockingIOError:
                pump(outward, rounds=200)
                got += os.read(read, 1 << 16)
        else:
            break
    assert sent == len(data)
    guests.setblocking(True)
    pump(outward)
    while len(got) < len(data):
        got += os.read(read, 1 << 16)
        pump(outward)

    assert got == data
