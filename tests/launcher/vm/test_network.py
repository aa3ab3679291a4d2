"""What passes between a guest and passt; the real passt, for frames that no kernel sends."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.lan import Lan, lan
from fixtures.process import wait_until
from launcher.errors import SandboxError
from launcher.run.nat import Network
from launcher.vm.network import GATEWAY, MOST, Sieve, argv, inward, outward, wall
from tests.launcher.vm.frames import ethernet, packet

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
needs_passt = pytest.mark.skipif(shutil.which("passt") is None, reason="no passt: apt-get install passt")
LOOPBACKS = (
    "127.0.0.1", "127.0.0.53", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::1", "::", "::ffff:127.0.0.1",
    "::127.0.0.1",
)  # fmt: skip
OTHERS = (
    "10.0.2.2",
    "10.0.2.3",
    "198.51.100.2",
    "128.0.0.1",
    "126.1.1.1",
    "1.0.0.0",
    "fd51:f1c7::2",
    "64:ff9b::1",
    "ff02::1",
)
# Elsewhere it would start in another directory.
SEND = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.launcher.vm.frames import main
main(*json.loads(sys.argv[1]))
"""


def passes(judge: Callable[[bytes, int, int], bool], frame: bytes) -> bool:
    """What the judge of one direction says of a frame, wherever in a stream it is."""
    alone = judge(frame, 4, len(frame) - 4)
    assert judge(b"before" + frame + b"after", 10, len(frame) - 4) == alone
    return alone


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_no_frame_for_a_loopback_goes_out(protocol: int) -> None:
    frames = {to: packet(to, protocol, 80, b"", source_port=4000) for to in (*LOOPBACKS, *OTHERS)}

    assert [to for to, frame in frames.items() if passes(outward, frame)] == list(OTHERS)


def test_neighbours_are_asked_for_and_nothing_else_goes_out() -> None:
    assert passes(outward, ethernet(0x0806, bytes(28)))
    assert not passes(outward, ethernet(0x0806, bytes(27)))
    # A VLAN's tag would hide what follows it.
    assert not passes(
        outward, ethernet(0x8100, b"\0\1" + packet("127.0.0.1", TCP, 80, b"", source_port=1)[16:])
    )
    assert not passes(outward, ethernet(0x88CC, bytes(100)))
    for kind, header in ((0x0800, 20), (0x86DD, 40)):
        assert passes(outward, ethernet(kind, b"\x10" * header))
        assert not passes(outward, ethernet(kind, b"\x10" * (header - 1)))
    for length in range(14):
        assert not passes(outward, length.to_bytes(4, "big") + b"\x08\x06".rjust(length, b"\x08")[:length])


def test_what_was_sent_on_the_hosts_loopback_does_not_come_in() -> None:
    from_gateway = packet("10.0.2.15", UDP, 80, b"", source_port=53, source=GATEWAY)
    from_link = packet("fd51:f1c7::5", UDP, 80, b"", source_port=53, source="fe80::1")
    others = [
        packet("10.0.2.15", UDP, 80, b"", source_port=53, source="10.0.2.3"),
        packet("10.0.2.15", TCP, 80, b"", source_port=53, source=GATEWAY),
        packet("fd51:f1c7::5", TCP, 80, b"", source_port=53, source="fe80::1"),
        packet("fd51:f1c7::5", UDP, 80, b"", source_port=53, source="fd51:f1c7::2"),
        ethernet(0x0806, bytes(28)),
    ]

    assert [passes(inward, frame) for frame in (from_gateway, from_link)] == [False, False]
    assert [passes(inward, frame) for frame in others] == [True] * len(others)


FRAMES = st.lists(st.binary(max_size=200))


@settings(deadline=None)
@given(FRAMES, st.lists(st.integers(1, 300), min_size=1))
def test_frames_are_told_apart_however_they_come(frames: list[bytes], steps: list[int]) -> None:
    """Those that begin with an odd byte pass."""
    whole = [len(frame).to_bytes(4, "big") + frame for frame in frames]
    stream, found, at, turn = b"".join(whole), [], 0, 0
    sieve = Sieve(lambda data, at, length: length > 0 and data[at] % 2 == 1)
    while at < len(stream):
        step = steps[turn % len(steps)]
        found += sieve.taken(stream[at : at + step])
        at, turn = at + step, turn + 1

    assert found == [one for one in whole if len(one) > 4 and one[4] % 2 == 1]


def test_a_length_that_no_frame_has_is_an_error() -> None:
    sieve = Sieve(lambda *_: True)
    assert sieve.taken((MOST).to_bytes(4, "big")) == []
    with pytest.raises(ValueError, match=str(MOST + 1)):
        Sieve(lambda *_: True).taken((MOST + 1).to_bytes(4, "big"))


@settings(deadline=None)
@given(st.binary(max_size=400) | st.binary(max_size=400).map(lambda data: b"\0\0\0" + data))
def test_no_bytes_are_more_than_an_error(data: bytes) -> None:
    for judge in (inward, outward):
        with suppress(ValueError):
            Sieve(judge).taken(data)


@contextmanager
def standing(kind: socket.SocketKind) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A wall between what QEMU has and what passt has, by a socket of that kind."""
    guest, inner = socket.socketpair()
    passt, outer = socket.socketpair(socket.AF_UNIX, kind)
    with guest, inner, passt, outer:
        for end in (inner, outer):
            end.setblocking(False)
        for end in (guest, passt):
            end.settimeout(20)
        thread = threading.Thread(target=wall, args=(inner.fileno(), outer.fileno()))
        thread.start()
        yield guest, passt
        guest.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        assert not thread.is_alive()


def test_passt_gets_each_frame_by_itself_and_whole() -> None:
    """It takes what comes at once for whole frames; such a socket tells one write(2) from the next."""
    frames = [ethernet(0x0800, b"\x10" * size) for size in (65520, 20, 40, 65520, 1500)]
    stream = b"".join(frames)
    with standing(socket.SOCK_SEQPACKET) as (guest, passt):
        for at in range(0, len(stream), 50000):
            guest.sendall(stream[at : at + 50000])
        assert [passt.recv(1 << 17) for _ in frames] == frames


def test_the_guest_gets_all_however_slowly_it_reads() -> None:
    data = ethernet(0x86DD, bytes(1) * 1400) * 1000
    with standing(socket.SOCK_STREAM) as (guest, passt):
        writer = threading.Thread(target=passt.sendall, args=(data,))
        writer.start()
        heard = b""
        while len(heard) < len(data):
            heard += guest.recv(10000)
        writer.join()

    assert heard == data


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Lan]:
    with lan(tmp_path) as made:
        yield made


@needs_passt
def test_whatever_frames_a_guest_sends_nothing_on_the_hosts_loopback_hears_them(network: Lan) -> None:
    own = list(network.own)

    def heard(addresses: Sequence[str], servers: Sequence[str]) -> set[tuple[str, str]]:
        words = json.dumps([list(addresses), list(servers)])
        command = (*network.prefix, sys.executable, "-c", SEND, words)
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return {(address, kind) for address, kind in json.loads(done.stdout)}

    reached = heard((*own, *LOOPBACKS), own)
    loopback = heard((*LOOPBACKS, *OTHERS, *own), ("127.0.0.1", "::1"))

    assert reached == {(address, kind) for address in own for kind in ("tcp", "udp")}
    assert loopback == set()


@needs_passt
def test_passt_that_ends_at_once_is_an_error_in_its_own_words() -> None:
    network = Network("/usr/bin/passt", "nowhere0")
    guest = socket.socket(fileno=network.guest)

    def failed() -> str | None:
        try:
            network.check()
        except SandboxError as error:
            said.append(error)
        return None if said else "nothing"

    said: list[SandboxError] = []
    with guest:
        wait_until(failed, "error of passt's")
        network.check()  # it has been said
        network.close()

    assert "nowhere0" in said[0].what
    assert "syslog" not in said[0].log
    assert "--no-network" in said[0].hint


@needs_passt
def test_passt_ends_with_the_guest_and_that_is_no_error() -> None:
    before = children()
    network = Network("/usr/bin/passt", "")
    pidfds = [os.pidfd_open(pid) for pid in children() if pid not in before]
    socket.socket(fileno=network.guest).close()
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 20)[0]
        os.close(pidfd)

    assert len(pidfds) == 2
    network.check()
    network.close()


def test_passt_is_told_to_forward_nothing_and_to_map_no_address() -> None:
    words = argv("/usr/bin/passt", 7, "")
    told = " ".join(words)

    assert "--fd 7" in told
    assert "--tcp-ports none --udp-ports none" in told
    assert "--no-map-gw" in words
    assert "--interface" not in words
    assert argv("/usr/bin/passt", 7, "wg0")[-2:] == ("--interface", "wg0")


def children() -> list[int]:
    """Processes of ours."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
