"""Raw bwrap with the very argv that the launcher renders: what nobody who wants that sandbox can go below."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.timing import start_to_end_ms
from launcher.errors import HostError
from launcher.run.inner import CONTROL, ENVIRONMENT, ORDERS, STDERR, TERMINAL
from launcher.run.session import substituted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A launch as `python -m launcher.replay` prints it: whole arguments `{NAME}` stand for descriptors."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    data: dict[str, bytes]


def rendered(
    python: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str], *, cwd: str
) -> Rendered:
    """What the launcher makes of `arguments`. Raises HostError when it cannot be asked."""
    command = [*python, "-m", "launcher.replay", *arguments]
    done = subprocess.run(command, env=dict(environment), cwd=cwd, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise HostError(f"launcher.replay ended with {done.returncode}", "its own words are above")
    value = json.loads(done.stdout)
    data = {name: base64.b64decode(content) for name, content in dict(value["data"]).items()}
    return Rendered(argv=tuple(value["argv"]), environment=dict(value["environment"]), data=data)


def bwrap_ms(launch: Rendered) -> float:
    """Milliseconds of one start. The socket and the staged data are there before the clock starts."""
    with ExitStack() as stack:
        numbers: dict[str, int] = {}
        for name, content in launch.data.items():
            descriptor = os.memfd_create(name, 0)
            stack.callback(os.close, descriptor)
            os.write(descriptor, content)
            os.lseek(descriptor, 0, os.SEEK_SET)
            numbers[f"{{{name}}}"] = descriptor
        ours, inside = socket.socketpair()
        stack.enter_context(ours)
        stack.enter_context(inside)
        ours.send(b"go\n")  # the launcher's answer to the inner stage, there before it asks
        stderr = os.dup(2)
        stack.callback(os.close, stderr)
        for descriptor in (inside.fileno(), stderr):
            os.set_inheritable(descriptor, True)
        # No terminal, and no variables but those that bwrap is started with.
        ends = {CONTROL: inside.fileno(), STDERR: stderr, TERMINAL: -1, ENVIRONMENT: -1, ORDERS: -1}
        return start_to_end_ms(substituted(launch.argv, numbers, ends), launch.environment)
