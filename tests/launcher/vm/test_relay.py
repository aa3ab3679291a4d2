"""Both ends of the relay with a real agent, and against peers that keep to nothing; without a machine."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.process import wait_until
from fixtures.ssh_agent import SshAgent, ssh_agent
from fixtures.users import scratch
from launcher.vm.relay import CLOSE, DATA, GRANT, MOST, OPEN, WINDOW, Broken, Frames, Relay, frame

AT_ONCE_S = 5.0
QUIET_S = 0.5  # in which nothing more is taken, once nothing is
BOUND = 8 * WINDOW  # bytes of one connection, in all windows, buffers and sockets on the way
KINDS = st.integers(OPEN, CLOSE)
NUMBERS = st.integers(0, 3) | st.integers(0, (1 << 32) - 1)
AMOUNTS = st.integers(0, 10) | st.integers(0, WINDOW)


def sent(kind: int, connection: int, number: int = 0) -> bytes:
    """A frame as it is sent, with as much data as it says."""
    return frame(kind, connection, number, bytes(number) if kind == DATA else b"")


@contextmanager
def running(relay: Relay) -> Iterator[None]:
    """It has to end by itself."""
    thread = threading.Thread(target=relay.run)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


@contextmanager
def relayed(place: Path, agent: Path) -> Iterator[Callable[[], socket.socket]]:
    """Both ends; gives what connects to the guest's. They have ended when the port has."""
    path = place / "relayed.sock"
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        stack.callback(path.unlink)
        listener.bind(str(path))
        listener.listen(MOST)
        listener.setblocking(False)
        guest, host = (stack.enter_context(end) for end in socket.socketpair())
        for end in (guest, host):
            end.setblocking(False)
        stack.enter_context(running(Relay(guest.fileno(), listener=listener)))
        stack.enter_context(running(Relay(host.fileno(), agent=str(agent))))
        stack.callback(guest.shutdown, socket.SHUT_RDWR)

        def connect() -> socket.socket:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(path))  # waits, while a queue is full
            client.settimeout(20)
            return client

        yield connect


@contextmanager
def serving(path: Path, serve: Callable[[socket.socket], object]) -> Iterator[list[socket.socket]]:
    """An agent of the test's own, a thread for each connection; gives those that were made."""
    made: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(2 * MOST)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    made.append(connection)
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in made:
                connection.close()


def echo(connection: socket.socket) -> None:
    """Say again what was heard."""
    with suppress(OSError):
        while data := connection.recv(1 << 16):
            connection.sendall(data)
        connection.close()


def nothing(_connection: socket.socket) -> None:
    """Neither read nor close."""


def filled(client: socket.socket) -> int:
    """How much it takes until nothing more is taken."""
    client.settimeout(QUIET_S)
    taken = 0
    with suppress(TimeoutError):
        while taken < 1 << 26:
            taken += client.send(bytes(1 << 16))
    return taken


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short, as a socket's has to be."""
    with scratch() as made:
        yield made


@pytest.fixture
def agent(place: Path) -> Iterator[SshAgent]:
    with ssh_agent(place) as started:
        yield started


def test_the_agents_key_is_listed_and_signs_by_many_at_once(agent: SshAgent, place: Path) -> None:
    public = place / "key.pub"
    public.write_text(agent.public_key)
    environment = {**os.environ, "SSH_AUTH_SOCK": str(place / "relayed.sock")}

    def run(*command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    with relayed(place, agent.socket):
        at_once = [run("ssh-add", "-l") for _ in range(8)]
        listed = [one.communicate(timeout=30)[0] for one in at_once]
        listed += [run("ssh-add", "-l").communicate(timeout=30)[0] for _ in range(50)]
        sign = run("ssh-keygen", "-Y", "sign", "-q", "-f", str(public), "-n", "file")
        signature = sign.communicate(b"to be signed", timeout=30)[0]

    assert [one for one in listed if agent.fingerprint.encode() not in one] == []
    assert signature.startswith(b"-----BEGIN SSH SIGNATURE-----")


def test_bytes_pass_unharmed_both_ways(place: Path) -> None:
    data = os.urandom(1 << 16) * 64
    with serving(place / "agent", echo), relayed(place, place / "agent") as connect:
        client = connect()
        writer = threading.Thread(target=client.sendall, args=(data,))
        writer.start()
        heard = b""
        while len(heard) < len(data) and (more := client.recv(1 << 16)):
            heard += more
        writer.join()

    assert heard == data


def test_who_hangs_holds_nobody_up_and_takes_bounded_memory(place: Path) -> None:
    """One whose agent does not read, one who does not read its agent; and a third."""
    with serving(place / "deaf", nothing), relayed(place, place / "deaf") as connect:
        unheard = filled(connect())
        assert filled(connect()) > 0
    with serving(place / "agent", echo), relayed(place, place / "agent") as connect:
        unread = filled(connect())
        client = connect()
        client.settimeout(AT_ONCE_S)
        client.sendall(b"still")
        answer = client.recv(100)

    assert unheard < BOUND
    assert unread < 2 * BOUND
    assert answer == b"still"


def test_an_agent_that_is_not_there_is_an_error_at_once(place: Path) -> None:
    with relayed(place, place / "nowhere") as connect:
        client = connect()
        client.settimeout(AT_ONCE_S)
        with suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(b"\0\0\0\1\13")
            assert client.recv(100) == b""


def test_an_agent_that_goes_away_closes_its_connections_and_the_next_ones_are_others(place: Path) -> None:
    with relayed(place, place / "agent") as connect:
        with serving(place / "agent", echo) as made:
            client = connect()
            client.sendall(b"here")
            heard = client.recv(100)
            for connection in made:
                connection.shutdown(socket.SHUT_RDWR)
            end = client.recv(100)
        (place / "agent").unlink()
        with serving(place / "agent", echo):
            client = connect()
            client.sendall(b"again")
            again = client.recv(100)

    assert (heard, end, again) == (b"here", b"", b"again")


def test_what_was_said_before_the_end_arrives(place: Path) -> None:
    def last_words(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(bytes(4 * WINDOW))
        connection.close()

    with serving(place / "agent", last_words), relayed(place, place / "agent") as connect:
        client = connect()
        client.sendall(bytes(WINDOW))  # not all of it is heard
        heard = 0
        with suppress(ConnectionResetError):
            while data := client.recv(1000):
                heard += len(data)

    assert heard == 4 * WINDOW


def test_who_leaves_leaves_the_agent_too(place: Path) -> None:
    left = threading.Event()

    def wait(connection: socket.socket) -> None:
        while connection.recv(100):
            pass
        left.set()

    with serving(place / "agent", wait), relayed(place, place / "agent") as connect:
        connect().close()

        assert left.wait(AT_ONCE_S)


def test_more_than_can_be_at_a_time_wait_for_their_turn(place: Path) -> None:
    with serving(place / "agent", echo) as made, relayed(place, place / "agent") as connect:
        clients = [connect() for _ in range(MOST + 6)]
        for client in clients:
            client.sendall(b"hello")
        answered = [client.recv(5) for client in clients[:MOST]]
        clients[-1].settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            clients[-1].recv(5)
        at_a_time = len(made)
        for client in clients[:6]:
            client.close()
        clients[-1].settimeout(20)
        answered += [client.recv(5) for client in clients[MOST:]]

    assert answered == [b"hello"] * (MOST + 6)
    assert at_a_time == MOST


def test_the_end_of_the_port_is_the_end_of_all(place: Path) -> None:
    with serving(place / "agent", echo) as made:
        with relayed(place, place / "agent") as connect:
            client = connect()
            client.sendall(b"here")
            assert client.recv(10) == b"here"
            copy = client.dup()
        with copy:
            assert copy.recv(10) == b""
        wait_until(lambda: None if made[0].fileno() < 0 else "open", "the end of the agent's side")


@settings(deadline=None)
@given(st.lists(st.tuples(KINDS, NUMBERS, AMOUNTS)), st.lists(st.integers(1, 3 * WINDOW), min_size=1))
def test_frames_are_the_same_however_they_come(words: list[tuple[int, int, int]], steps: list[int]) -> None:
    stream = b"".join(sent(*word) for word in words)
    frames, at = Frames(), 0
    found: list[tuple[int, int, int, bytes]] = []
    while at < len(stream):
        step = steps[len(found) % len(steps)]
        found += list(frames.taken(stream[at : at + step]))
        at += step

    assert [one[:3] for one in found] == words
    assert [len(data) for *_, data in found] == [n if kind == DATA else 0 for kind, _, n in words]


@pytest.mark.parametrize(
    "words",
    [bytes(9), b"\5" + bytes(8), sent(GRANT, 1, 0)[:5] + (WINDOW + 1).to_bytes(4, "big"), b"\xff" * 9],
)
def test_a_frame_that_is_none_is_the_end(words: bytes) -> None:
    with pytest.raises(Broken):
        list(Frames().taken(words))


def answered(words: bytes, place: Path, *, host: bool) -> bytes:
    """What one end says to a peer that says `words` and then nothing more; it has to end by that."""
    heard = bytearray()
    ours, theirs = socket.socketpair()
    with ours, socket.socket(socket.AF_UNIX) as listener:
        theirs.setblocking(False)
        relay = (
            Relay(theirs.fileno(), agent=str(place / "agent"))
            if host
            else Relay(theirs.fileno(), listener=listener)
        )

        def read() -> None:
            with suppress(ConnectionResetError):  # it has not read all
                while data := ours.recv(1 << 16):
                    heard.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
        with running(relay):
            with suppress(OSError):
                ours.sendall(words)
            ours.shutdown(socket.SHUT_WR)
        theirs.close()
        reader.join()
    return bytes(heard)


@pytest.mark.parametrize("host", [pytest.param(True, id="host"), pytest.param(False, id="guest")])
def test_whatever_bytes_come_are_at_most_the_end_of_it(host: bool, place: Path) -> None:
    frames = st.lists(st.tuples(KINDS, NUMBERS, AMOUNTS)).map(lambda w: b"".join(sent(*one) for one in w))

    @settings(deadline=None, max_examples=200)
    @given(st.binary() | frames)
    def attack(words: bytes) -> None:
        list(Frames().taken(answered(words, place, host=host)))

    with serving(place / "agent", echo):
        attack()


def test_a_guest_has_no_more_connections_to_the_agent_than_it_may(place: Path) -> None:
    with serving(place / "agent", nothing) as made:
        words = b"".join(sent(OPEN, number) for number in range(3 * MOST))
        refused = [(kind, number) for kind, number, *_ in Frames().taken(answered(words, place, host=True))]

        wait_until(lambda: None if len(made) == MOST else f"{len(made)}", "connections")

    assert refused == [(CLOSE, number) for number in range(MOST, 3 * MOST)]


@pytest.mark.parametrize(
    ("words", "broken"),
    [
        pytest.param([(OPEN, 1, 0), (OPEN, 1, 0)], True, id="twice the same"),
        pytest.param([(OPEN, 1, 0), *[(DATA, 1, WINDOW)] * 9], True, id="more than its window"),
        pytest.param([(OPEN, 1, 0), (GRANT, 1, 1)], True, id="more than it was sent"),
        pytest.param(
            [(OPEN, 1, 0), *[(DATA, 1, WINDOW)] * 4, (CLOSE, 1, 0), (DATA, 1, 1)],
            True,
            id="after the last word",
        ),
        pytest.param([(OPEN, 1, 0), (DATA, 1, WINDOW), (OPEN, 2, 0), (CLOSE, 1, 0)], False, id="nothing"),
        pytest.param([(DATA, 3, 7), (GRANT, 3, 7), (CLOSE, 3, 0)], False, id="words for one that has gone"),
    ],
)
def test_a_guest_that_breaks_what_is_agreed_is_heard_no_more(
    place: Path, words: list[tuple[int, int, int]], broken: bool
) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with serving(place / "agent", nothing), ours, theirs:
        thread = threading.Thread(target=Relay(theirs.fileno(), agent=str(place / "agent")).run)
        thread.start()
        ours.settimeout(QUIET_S)
        with suppress(TimeoutError):
            ours.sendall(b"".join(sent(*word) for word in words))
        thread.join(20 if broken else QUIET_S)
        ended = not thread.is_alive()
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(20)

    assert ended == broken


def test_a_guest_that_reads_no_answer_is_not_answered_without_end(place: Path) -> None:
    """There is no agent, so each OPEN is answered; what waits for the guest to read it has a bound."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        with running(Relay(theirs.fileno(), agent=str(place / "agent"))):
            ours.settimeout(QUIET_S)
            taken = 0
            with suppress(TimeoutError):
                while taken < 1 << 26:
                    taken += ours.send(b"".join(sent(OPEN, number) for number in range(1000)))
            ours.close()

    assert taken < 1 << 21
