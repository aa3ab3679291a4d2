"""On a terminal: the time for much output and until a first word, and the memory that is held meanwhile."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def output_ms(argv: Sequence[str], environment: Mapping[str, str], *, cwd: str, size: int) -> float:
    """Milliseconds until what `argv` prints, `size` bytes or more, is out of its terminal, and it has ended.

    Raises HostError when less came.
    """
    begin = time.perf_counter_ns()
    pid, terminal = _start(argv, environment, cwd=cwd)
    received = 0
    try:
        while chunk := _read(terminal):
            received += len(chunk)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    spent_ms = (time.perf_counter_ns() - begin) / 1e6
    if received < size:
        raise HostError(f"{argv[0]} printed {received:,} of {size:,} bytes", "run it by hand to see why")
    return spent_ms


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that is there while the agent runs; `rss_mib` includes what it shares with others, and
    `most_mib` is the most that this has been.
    """

    pid: int
    name: str
    rss_mib: float
    most_mib: float


def while_running(
    argv: Sequence[str], environment: Mapping[str, str], *, cwd: str, ready: bytes
) -> list[Process]:
    """The started process and those below it, once `ready` was printed; then its terminal hangs up."""
    return _until(argv, environment, cwd=cwd, ready=ready)[1]


def until_ms(argv: Sequence[str], environment: Mapping[str, str], *, cwd: str, ready: bytes) -> float:
    """Milliseconds until `ready` was printed; then its terminal hangs up."""
    return _until(argv, environment, cwd=cwd, ready=ready)[0]


def _until(
    argv: Sequence[str], environment: Mapping[str, str], *, cwd: str, ready: bytes
) -> tuple[float, list[Process]]:
    begin = time.perf_counter_ns()
    pid, terminal = _start(argv, environment, cwd=cwd)
    try:
        seen = b""
        while ready not in seen:
            chunk = _read(terminal)
            if not chunk:
                raise HostError(f"{argv[0]} ended before it printed {ready!r}", "run it by hand to see why")
            seen += chunk
        spent_ms = (time.perf_counter_ns() - begin) / 1e6
        return spent_ms, [_process(child) for child in _descendants(pid)]
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _start(argv: Sequence[str], environment: Mapping[str, str], *, cwd: str) -> tuple[int, int]:
    pid, terminal = pty.fork()
    if not pid:
        try:
            os.chdir(cwd)
            os.execve(argv[0], list(argv), dict(environment))
        finally:
            os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, terminal


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: nobody has the other end open any more
        return b""


def _descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [pid, *(below for child in children for below in _descendants(child))]


def _process(pid: int) -> Process:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    rss, most = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Process(pid=pid, name=status["Name"].strip(), rss_mib=rss, most_mib=most)
