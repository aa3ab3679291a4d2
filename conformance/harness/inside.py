"""What checks ask a sandbox: testinfra's whole vocabulary, over nothing but a console."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testinfra.backend.base import BaseBackend, CommandResult  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]

from conformance.harness.deadline import Deadline
from conformance.harness.errors import HarnessError

if TYPE_CHECKING:
    from conformance.harness.console import Console

PYTHON = "/usr/bin/python3 -I -S -"


class ConsoleBackend(BaseBackend):  # type: ignore[misc]
    """testinfra needs `run` alone."""

    NAME = "console"

    def __init__(self, console: Console) -> None:
        super().__init__("sandbox")
        self.console = console

    def run(self, command: str, *args: str, **_kwargs: Any) -> CommandResult:  # noqa: ANN401
        quoted = self.get_command(command, *args)
        result = self.console.run(quoted)
        return self.result(result.status, self.encode(quoted), result.stdout, result.stderr)


class Inside(Host):  # type: ignore[misc]
    """The sandbox, from inside: `inside.file("/project/x").user`, `inside.run("id -u")`, …"""

    def __init__(self, console: Console) -> None:
        super().__init__(ConsoleBackend(console))
        self.console = console

    def sh(self, script: str, *, stdin: bytes = b"", timeout_s: float = 30) -> CommandResult:
        """As `run`, without quoting, with a stdin and a time limit."""
        result = self.console.run(script, stdin=stdin, deadline=Deadline(timeout_s))
        return self.backend.result(result.status, script.encode(), result.stdout, result.stderr)

    def output(self, script: str, *, stdin: bytes = b"", timeout_s: float = 30) -> str:
        """What a command that has to work prints on stdout, stripped. Raises HarnessError when it fails."""
        done = self.sh(script, stdin=stdin, timeout_s=timeout_s)
        if done.rc != 0:
            raise HarnessError(f"inside, `{script}` ended with {done.rc}: {done.stderr.strip()[-1000:]}")
        return str(done.stdout).strip()

    def python(self, source: str, *, timeout_s: float = 30, **given: Any) -> Any:  # noqa: ANN401  (JSON)
        """What a program prints by `print(ascii(…))`, run by the sandbox's Python; it finds the dict `given`.

        Raises HarnessError when it fails or prints anything else: a probe that broke has proven nothing.
        """
        program = probe(source, given)
        result = self.console.run(PYTHON, stdin=program, deadline=Deadline(timeout_s))
        return answer(result.status, result.out, result.err, "inside")

    def write(self, path: str | Path, content: str | bytes) -> CommandResult:
        """Try to write a file inside; the result says whether that went well."""
        data = content.encode() if isinstance(content, str) else content
        return self.sh(f"cat > {self.backend.quote('%s', str(path))}", stdin=data)


def probe(source: str, given: dict[str, Any]) -> bytes:
    """A program as it is run: with `given` at hand.

    Both ways go as Python's own literals: the module json takes an emulated processor longer to import than
    all that most probes do.
    """
    return f"given = {plain(given)!a}\n{source}\n".encode(errors="surrogateescape")


def answer(status: int, out: str, err: str, where: str) -> Any:  # noqa: ANN401  (JSON)
    """What a probe printed."""
    if status != 0:
        raise HarnessError(f"{where}, the probe ended with {status}: {err.strip()[-2000:]}")
    try:
        return literal(out)
    except (ValueError, TypeError, SyntaxError):
        raise HarnessError(
            f"{where}, the probe printed no literal: {out[:500]!r} {err.strip()[-500:]}"
        ) from None


def literal(text: str) -> Any:  # noqa: ANN401  (JSON)
    """What `ascii(value)` has made, with what JSON has: lists, and strings for keys.

    Raises ValueError, TypeError or SyntaxError when it is not that.
    """
    return plain(ast.literal_eval(text.strip()))


def plain(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """A value as JSON gives it back."""
    return json.loads(json.dumps(value))
