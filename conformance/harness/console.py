"""Run commands over a terminal: what was typed, what came back, and nothing that only looks like it.

A command goes in as bash's printf writes it, in lines that a terminal takes whole (a line of canonical input
holds 4,095 bytes, termios(3)). Its streams go to files inside, and come back quoted by the same printf, or as
base64 where they are long or binary; each line after a random marker that no program inside can know and that
the typed text holds in two halves, so that an echo is no answer. Where lines on a screen are redrawn (tmux),
the files lie in a directory that both sides have.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pexpect

from conformance.harness import wire
from conformance.harness.deadline import Deadline
from conformance.harness.errors import ConsoleDied, ConsoleError, ConsoleTimeout

LINE = 3000  # bytes of a typed line, well below 4,095
SCREEN = 40  # lines that an error quotes
TRANSCRIPT = 4 << 20  # bytes of transcript that are kept on disk
RESEND_S = 1.0
TRIES = 10

# What a terminal shows as something else than text: CSI and OSC sequences, other escapes, control characters.
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x08\x0b-\x1f\x7f]"
)

# _r: run what was typed, streams in files.
_RUN = """\
_r() { printf -- "$_p" >"$_d/c"; printf -- "$_i" >"$_d/i"; _p= _i=
/bin/sh "$_d/c" <"$_d/i" >"$_d/o" 2>"$_d/e"; _s=$?; _f "$@"; }
"""
# The same where the other side reads the files: the status comes last, by a rename, so never half.
_SHARED = """\
_f() { echo $_s >"$_d/t"; mv "$_d/t" "$_d/s$1$2"; }
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a command ended. `truncated`: a stream was longer than LIMIT, and its end is not here."""

    status: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False

    @property
    def out(self) -> str:
        return os.fsdecode(self.stdout)

    @property
    def err(self) -> str:
        return os.fsdecode(self.stderr)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """One directory by its two names, for a console whose screen cannot be read."""

    inside: str
    outside: Path


class Terminal(Protocol):
    """What a console needs of pexpect's children, whether behind them is a pty, a serial line or a socket."""

    def send(self, data: bytes, /) -> int: ...

    def read_nonblocking(self, size: int, timeout: float) -> bytes: ...


class Console:
    """A bash at the other end of a terminal.

    Once a command has not come back, the console is `broken` and every further use says so. `pace`: how many
    times as long as a deadline says a command may take.
    """

    def __init__(
        self,
        child: Terminal,
        *,
        transcript: Path | None = None,
        shared: Shared | None = None,
        pace: float = 1.0,
    ) -> None:
        self.child = child
        self.broken: ConsoleError | None = None
        self._shared = shared
        self._pace = pace
        self._screen: deque[bytes] = deque([b""], maxlen=SCREEN + 1)
        self.transcript = transcript
        self._written = 0
        self._directory = ""
        if transcript:
            transcript.parent.mkdir(parents=True, exist_ok=True)
            # All that has been typed and answered, secrets among it.
            transcript.touch(mode=0o600)
            transcript.write_bytes(b"")

    def open(self, deadline: Deadline) -> None:
        """Wait until the shell answers, and teach it what it needs.

        Raises ConsoleTimeout, or ConsoleDied when it ends first, with what it has said.
        """
        with self._breaking():
            self._greet(deadline)
            made = '"$(mktemp -d "${TMPDIR:-/tmp}/console-XXXXXXXX")"'
            directory = shlex.quote(self._shared.inside) if self._shared else made
            functions = _RUN + (_SHARED if self._shared else wire.ANSWER)
            # No history, no prompt, no report of background jobs: fewer lines that are not an answer.
            self._type("set +o history +o monitor; PS1= PS2= PROMPT_COMMAND= HISTFILE=; unset HISTFILE")
            self._type(f'_d={directory}; mkdir -p "$_d"; : >"$_d/i"')
            for line in functions.splitlines():
                self._type(line)
            if not self._shared:
                self._type("stty -echo")
            self._run(b"true", b"", "the first command", deadline)

    def run(self, script: str | bytes, *, stdin: bytes = b"", deadline: Deadline | None = None) -> Result:
        """What /bin/sh makes of the script.

        Raises ConsoleTimeout with what was on the screen when the deadline passed, ConsoleDied.
        """
        if self.broken is not None:
            raise ConsoleError(f"the console is gone since: {self.broken.what}", self.broken.screen)
        with self._breaking():
            code = script.encode(errors="surrogateescape") if isinstance(script, str) else script
            shown = os.fsdecode(code) if len(code) < 200 else os.fsdecode(code[:200]) + " …"
            seconds = (deadline or Deadline(30)).seconds
            return self._run(code, stdin, f"end of `{shown}`", Deadline(self._pace * seconds))

    def leave(self, deadline: Deadline) -> bool:
        """Tidy up inside, and end the shell; whether that was the end within the deadline."""
        if self.broken is None:
            with suppress(ConsoleError):
                self._type('rm -rf "$_d"; exit 0')
                while not deadline.passed:
                    self._read(deadline, "end of the shell")
        self.broken = ConsoleError("it was left")
        return not deadline.passed

    def screen(self) -> str:
        """The last lines that came, as a person would have read them."""
        text = b"\n".join(self._screen).decode(errors="replace")
        lines = [_CONTROLS.sub("", line.replace("\r", "")).rstrip() for line in text.split("\n")]
        return "\n".join(line[:300] for line in lines if line)[-4000:]

    def _greet(self, deadline: Deadline) -> None:
        """Type a question until it is answered: what is typed before the shell reads may be thrown away."""
        first, second = _halves()
        # An answer, and not the echo of the question, has both halves together.
        whole = (first + second).encode()
        seen = b""
        while True:
            self._type(f" printf '%s%s\\n' {first} {second}")
            again = Deadline(min(RESEND_S, deadline.remaining_s))
            while not again.passed:
                seen = (seen + self._read(again, "its shell"))[-65536:]
                if whole in seen:
                    return
            if deadline.passed:
                raise ConsoleTimeout(f"no shell within {deadline.seconds:g} s", self.screen())

    def _run(self, code: bytes, stdin: bytes, awaited: str, deadline: Deadline) -> Result:
        halves = _halves()
        for name, payload in (("_p", code), ("_i", stdin)):
            text = wire.typed(payload)
            for at in range(0, len(text), LINE):
                self._type(f"{name}+='{text[at : at + LINE]}'")
        self._type(f"_r {halves[0]} {halves[1]}")
        if self._shared:
            return self._shared_result(self._shared.outside, "".join(halves), awaited, deadline)
        for _ in range(TRIES):
            result = self._answer("".join(halves), awaited, deadline)
            if result is not None:
                return result
            # Something else wrote into the lines of the answer. The files are still there.
            halves = _halves()
            self._type(f"_f {halves[0]} {halves[1]}")
        raise ConsoleError(f"{awaited}: something inside keeps writing over the answer", self.screen())

    def _answer(self, marker: str, awaited: str, deadline: Deadline) -> Result | None:
        """None when what came is not all that was announced."""
        lines = []
        for line in self._lines(marker.encode() + b" ", awaited, deadline):
            lines.append(line)
            if line.startswith(b"Z"):
                break
        try:
            status, out, err, sizes = wire.answered(lines)
        except ValueError:
            return None
        return Result(status=status, stdout=out, stderr=err, truncated=max(sizes) > wire.LIMIT)

    def _shared_result(self, directory: Path, marker: str, awaited: str, deadline: Deadline) -> Result:
        status = directory / f"s{marker}"
        while not status.exists():
            if deadline.passed:
                raise ConsoleTimeout(f"no {awaited} within {deadline.seconds:g} s", self.screen())
            self._read(Deadline(min(0.01, deadline.remaining_s)), awaited)
        streams = [directory / name for name in ("o", "e")]
        out, err = (_first(path) for path in streams)
        truncated = any(path.stat().st_size > wire.LIMIT for path in streams)
        number = int(status.read_text())
        status.unlink()
        return Result(status=number, stdout=out, stderr=err, truncated=truncated)

    def _lines(self, prefix: bytes, awaited: str, deadline: Deadline) -> Iterator[bytes]:
        """What stands after the prefix, of every line that has it, until the caller has enough.

        Not only at its beginning: what a program in the background writes may stand before it.
        """
        rest = b""
        while True:
            chunk = self._read(deadline, awaited)
            if not chunk and deadline.passed:
                raise ConsoleTimeout(f"no {awaited} within {deadline.seconds:g} s", self.screen())
            *lines, rest = (rest + chunk).split(b"\n")
            # A flood without a newline must not be kept: an answer's line is never that long.
            rest = rest[-wire.LONGEST :]
            for line in lines:
                _before, found, after = line.rstrip(b"\r").partition(prefix)
                if found:
                    yield after

    def _read(self, deadline: Deadline, awaited: str) -> bytes:
        """What has come, b"" when nothing did. Raises ConsoleDied at the end of file."""
        try:
            chunk = self.child.read_nonblocking(65536, timeout=min(0.5, deadline.remaining_s))
        except pexpect.TIMEOUT:
            return b""
        except (pexpect.EOF, OSError) as error:
            raise ConsoleDied(
                f"no {awaited}: the sandbox ended ({_ending(self.child)})", self.screen()
            ) from error
        self._remember(chunk)
        return chunk

    def _type(self, line: str) -> None:
        try:
            self.child.send(line.encode() + b"\n")
        except OSError as error:
            raise ConsoleDied(f"the sandbox ended ({_ending(self.child)})", self.screen()) from error

    def _remember(self, chunk: bytes) -> None:
        lines = chunk[-32768:].split(b"\n")
        self._screen[-1] = (self._screen[-1] + lines[0])[-4096:]
        self._screen.extend(line[-4096:] for line in lines[1:])
        if self.transcript and self._written < TRANSCRIPT:
            with open(self.transcript, "ab") as file:
                file.write(chunk[: TRANSCRIPT - self._written])
            self._written += len(chunk)

    def _breaking(self) -> _Breaking:
        return _Breaking(self)


class _Breaking:
    """Whatever ends a command before its answer has come leaves the console unusable."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ConsoleError):
            self._console.broken = error
        elif error is not None:
            self._console.broken = ConsoleError(f"interrupted: {error!r}", self._console.screen())


def _halves() -> tuple[str, str]:
    return secrets.token_hex(8), secrets.token_hex(8)


def _first(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(wire.LIMIT)


def _ending(child: Any) -> str:  # noqa: ANN401  (what pexpect's children have in common is not typed)
    """How the child ended, when it is a process of ours."""
    with suppress(pexpect.ExceptionPexpect, OSError, AttributeError):
        child.wait()
        if child.signalstatus is not None:
            return f"killed by signal {child.signalstatus}"
        return f"exit status {child.exitstatus}"
    return "end of file"
