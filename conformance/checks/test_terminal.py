"""Row terminal. On a terminal of the check's own, because the shared one is busy with its console."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import signal
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pexpect
import pytest

from conformance.harness import as_seen
from conformance.harness.boot import kind
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.inside import Inside
from conformance.harness.sandbox import descendants, spawn
from conformance.harness.world import World

PLAIN = ("default", "no-network", "bare", "off")
WAIT_S = 90  # a start, too
PASTED = 1 << 20

# Says its size when it starts and at each SIGWINCH. What is said stands in «», and ends up on one line.
SIZES = r"""
import fcntl, os, signal, struct, termios
def say(*_):
    rows, columns = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2]
    os.write(1, f"<{rows}x{columns}>\n".encode())
signal.signal(signal.SIGWINCH, say)
say()
while True:
    signal.pause()
"""
# Hears what the keyboard sends, and goes on. By sigwait(3): a handler of Python's does not run when its
# signal comes just before a system call that waits, which where all is emulated is not rare.
KEYS = r"""
import os, signal, sys, threading
heard = {signal.SIGINT, signal.SIGQUIT, signal.SIGCONT}
def say(text):
    os.write(1, f"<{text}>\n".encode())
def listen():
    count = 0
    while True:
        number = signal.sigwait(heard)
        if number == signal.SIGCONT:
            say("continued")
        else:
            count += 1
            say(f"caught {signal.Signals(number).name} {count}")
signal.pthread_sigmask(signal.SIG_BLOCK, heard)
threading.Thread(target=listen, daemon=True).start()
say("ready")
for line in iter(sys.stdin.readline, "end\n"):
    say(f"heard {line.strip()}")
os._exit(7)
"""
# A terminal in raw mode, from which so many bytes are read, whatever they are.
PASTE = r"""
import hashlib, os, sys, tty
tty.setraw(0)
print("<ready>", flush=True)
data = b""
while len(data) < int(sys.argv[1]):
    data += os.read(0, 65536)
print(f"<{hashlib.sha256(data).hexdigest()}>", flush=True)
"""
Type = Callable[..., Any]


@pytest.fixture
def run(command: Sequence[str], new_world: Callable[..., World]) -> Iterator[Type]:
    """Starts a script inside, on a new terminal: `run("tput colors", environ={…}, rows=30)` → a child.

    `by`: words that start a shell on the host, which finds the command line in its $1.
    """
    children: list[Any] = []

    def start(
        text: str,
        *words: str,
        environ: dict[str, str] | None = None,
        by: Sequence[str] = (),
        **size: Any,  # noqa: ANN401  (spawn's)
    ) -> Any:  # noqa: ANN401  (pexpect's)
        world = new_world()
        world.write(world.path / "script", text)
        inner = shlex.join(("python3", "-I", "/project/script", *words)) if "import" in text else text
        whole = (*command, "--quiet", "--shell", str(world.path), "-c", inner)
        argv = (*by, shlex.join(whole)) if by else whole
        child = spawn(argv, world.user, {**world.environ, **(environ or {})}, cwd=world.home, **size)
        children.append(child)
        return child

    yield start
    for child in children:
        below = descendants(child.pid) if child.isalive() else []
        for pid in below:
            with suppress(ProcessLookupError):
                as_seen.send(pid, signal.SIGKILL)
        if below:
            child.wait()
        child.close()


def said(child: Any) -> str:  # noqa: ANN401  (pexpect's)
    """The next thing that a script says in <>."""
    child.expect(rb"<([^<>\x1b]+)>", timeout=WAIT_S)
    return str(child.match[1].decode())


def hear(child: Any, text: str) -> None:  # noqa: ANN401
    """Wait until a script says this; in a session other lines may be drawn again before."""
    child.expect_exact(f"<{text}>".encode(), timeout=WAIT_S)


def status(child: Any) -> int:  # noqa: ANN401
    """How it ends."""
    child.expect_exact(pexpect.EOF, timeout=WAIT_S)
    child.wait()
    return int(child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus)


@covers("terminal", "same", variant=PLAIN, alike=True)
@pytest.mark.parametrize("term", ["vt100", "xterm-256color", "linux"])
def test_term_and_colours_are_equal(run: Type, new_world: Callable[..., World], term: str) -> None:
    """TERM, COLORTERM and what they say of colours are equal inside and outside."""
    environ = {"TERM": term, "COLORTERM": "truecolor"}
    script = 'echo "<$TERM $COLORTERM $(tput colors)>"'
    colours = new_world().output(("tput", "-T", term, "colors"))

    child = run(script, environ=environ)

    assert said(child) == f"{term} truecolor {colours}"
    assert status(child) == 0


@covers("terminal", "same", variant=PLAIN)
def test_the_terminal_has_the_callers_name(inside: Inside, host: World) -> None:
    """TERM and COLORTERM are the caller's, and what they name is known."""
    names = "TERM", "COLORTERM"
    colours = host.output(("tput", "colors"))

    found = inside.output("echo $TERM $COLORTERM $(tput colors)").split()

    assert found == [*(host.environ[name] for name in names), colours]


@covers("terminal", "same", variant="tmux")
def test_a_session_has_colours(run: Type) -> None:
    """In a session TERM is tmux's own, with all of its colours."""
    child = run('echo "<$TERM $(tput colors)>"; sleep 1')

    assert re.fullmatch(r"(tmux|screen)-256color 256", said(child))


@covers("terminal", "same", variant=PLAIN)
def test_what_programs_write_arrives_unchanged(run: Type) -> None:
    """Colours, UTF-8 and control sequences arrive byte by byte as the agent wrote them."""
    script = (
        r"printf '<begin>\033[38;5;196mré\033[48;2;1;2;3md\033[0m\t\a\033]0;title\a\033[?1049h\033[6n<end>'"
    )

    child = run(script)
    child.expect_exact(b"<begin>", timeout=WAIT_S)
    child.expect_exact(b"<end>", timeout=WAIT_S)

    sent = "\033[38;5;196mré\033[48;2;1;2;3md\033[0m\t\a\033]0;title\a\033[?1049h\033[6n"
    assert child.before == sent.encode()


@covers("terminal", "same")
def test_size_at_boot_and_at_each_resize(run: Type, cell: Cell) -> None:
    """The size is the terminal's from the start, and the agent hears of each change."""
    between = ""
    # A session's last line is its status bar.
    bar = 1 if cell.variant == "tmux" else 0
    child = run(SIZES, rows=33, columns=111)

    for rows, columns in ((33, 111), (50, 180), (12, 81), (40, 100)):
        child.setwinsize(rows, columns)
        while (came := said(child)) != f"{rows - bar}x{columns}":
            # A session has a size of its own until its terminal has come, and draws lines again.
            assert bar or came == f"{rows}x{between}", came
        between = str(columns) if "rows, then columns" in cell.means else ""


@covers("terminal", "same")
def test_the_keyboards_signals_reach_the_agent(run: Type) -> None:
    """Ctrl-C and Ctrl-\\ reach the agent, which catches them and goes on; so does the launcher."""
    child = run(KEYS)
    hear(child, "ready")

    keys = ((b"\x03", "SIGINT"), (b"\x1c", "SIGQUIT"), (b"\x03", "SIGINT"))
    for number, (key, name) in enumerate(keys, 1):
        child.send(key)
        hear(child, f"caught {name} {number}")
    child.send(b"hello\r")
    hear(child, "heard hello")
    child.send(b"end\r")

    assert status(child) == 7


@covers("terminal", "same", variant=PLAIN)
def test_ctrl_z_and_fg(run: Type) -> None:
    """Ctrl-Z gives the host's shell its prompt and its terminal back, as it was; fg goes on."""
    shell = ("bash", "--norc", "--noprofile", "--noediting", "-i", "-c")
    host = (
        'stty -g; eval "$1"; echo "<stopped $?>"; stty -g; echo "<again>"; fg >/dev/null; echo "<ended $?>"'
    )
    child = run(KEYS, by=(*shell, host, "host"))
    before = _modes(child)
    assert said(child) == "ready"
    attended = termios.tcgetattr(child.child_fd)

    child.send(b"\x1a")

    assert said(child) == "stopped 148"
    assert _modes(child) == before, "while it is stopped the terminal is the shell's"
    while (came := said(child)) != "continued":
        assert came == "again"
    child.send(b"hello\r")
    assert said(child) == "heard hello"
    assert termios.tcgetattr(child.child_fd)[:4] == attended[:4]
    child.send(b"end\r")
    assert said(child) == "ended 7"


def _modes(child: Any) -> str:  # noqa: ANN401  (pexpect's)
    """The next line of `stty -g`."""
    child.expect(rb"([0-9a-f]+(?::[0-9a-f]+){10,})\r?\n", timeout=WAIT_S)
    return str(child.match[1].decode())


@covers("terminal", "same")
@pytest.mark.parametrize("end", ["exit", "TERM", "KILL inside"])
def test_the_terminal_is_as_before_at_the_end(run: Type, cell: Cell, end: str) -> None:
    """When it ends, by itself or killed, the terminal's modes are those of before, odd ones too."""
    odd = "stty -g; stty -ixon -echoctl erase ^H kill ^X intr ^G tostop; stty -g"
    # The shell in between becomes the command line, so that its number is the launcher's.
    host = f'{odd}; sh -c "echo \\"<pid \\$\\$>\\"; exec $1"; stty -g; echo "<over>"'
    child = run(KEYS, by=("sh", "-c", host, "host"))
    plain, before = _modes(child), _modes(child)
    pid = int(said(child).removeprefix("pid "))
    assert said(child) == "ready"
    attended = termios.tcgetattr(child.child_fd)

    if end == "exit":
        child.send(b"end\r")
    else:
        below = kind(cell.backend).victim
        victim, number = (pid, signal.SIGTERM) if end == "TERM" else (below(pid), signal.SIGKILL)
        as_seen.send(victim, number)
    after = _modes(child)

    assert plain != before
    assert not attended[3] & termios.ECHO, "while it runs the terminal is raw: the control"
    assert after == before


@covers("terminal", "same", variant=PLAIN)
def test_a_pasted_megabyte_arrives(run: Type) -> None:
    """A megabyte of any bytes that is pasted at once arrives whole."""
    data = secrets.token_bytes(PASTED)
    child = run(PASTE, str(PASTED))
    assert said(child) == "ready"

    sent = 0
    end = time.monotonic() + 60
    while sent < PASTED:
        sent += os.write(child.child_fd, data[sent : sent + 4096])
        assert time.monotonic() < end, f"{sent} bytes were taken"

    assert said(child) == hashlib.sha256(data).hexdigest()


@covers("terminal", "same", variant=PLAIN, means=True, by="virtio console")
def test_the_terminal_is_a_virtio_console(inside: Inside) -> None:
    """The agent's terminal is the virtio console, on which neither kernel nor init writes."""
    found = inside.output("stat -Lc %t:%T /proc/$PPID/fd/0")  # the shell's, that the console is typed to

    assert found == "e5:0"  # hvc0 (Documentation/admin-guide/devices.txt)


@covers("terminal", "same", variant=PLAIN, means=True, by="pseudo-terminal")
def test_the_pseudo_terminal_is_another(run: Type) -> None:
    """The terminal inside is a pseudo-terminal of the sandbox's own, and not the caller's."""
    child = run('echo "<$(stat -Lc %t:%T,%i,%d /proc/self/fd/0) $(tty)>"; sleep 1')

    inside = said(child)
    outside = os.stat(as_seen.link(child.pid, "fd/0"))

    major, minor = os.major(outside.st_rdev), os.minor(outside.st_rdev)
    assert not inside.startswith(f"{major:x}:{minor:x},{outside.st_ino},{outside.st_dev} ")
