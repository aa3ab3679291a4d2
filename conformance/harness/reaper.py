"""Tidies up after a test run, and does so too when the run was killed: it waits for the end of its stdin.

    python -I reaper.py DIRECTORY…

What a run has made lies below the directories, and what it has started names them in its environment (the
runtime directory, the home), as a process that went its own way still does, a tmux server's attendant say.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

AS_ROOT = b"conformance.harness.as_root"
POLITE_S, KILLED_S = 10.0, 2.0


class Reaper:
    """A process that outlives us for long enough. Ctrl-C and a closed terminal do not reach it."""

    def __init__(self, *directories: Path) -> None:
        self._child = subprocess.Popen(
            (sys.executable, "-I", __file__, *map(str, directories)),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def close(self) -> None:
        """Let it do its work now, and wait for that."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()


def reap(directories: list[str]) -> None:
    """Kill what names the directories, and remove them; what root serves tidies up by itself first."""
    words = [os.fsencode(directory) + b"/" for directory in directories]
    _until(lambda: not [pid for pid in _naming(words) if AS_ROOT in _read(pid, "cmdline")], POLITE_S)

    def kill() -> bool:
        left = _naming(words)
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return not left

    _until(kill, KILLED_S)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
        if os.path.lexists(directory):
            _remove_as_root(directory)


def _remove_as_root(directory: str) -> None:
    """A killed run leaves root's directories, too: mount points below a /nix of the run's own, which nobody
    can remove before what lies over them is taken away, here.
    """
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[3:5] for line in file]  # what of its file system, and where: proc(5)
    name = f"/{os.path.basename(directory)}/"
    over = [target for root, target in mounts if name in root or name in target]
    unmounts = [("umount", "--lazy", target) for target in reversed(over)]
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    for command in (*unmounts, ("rm", "-rf", "--one-file-system", directory)):
        with suppress(OSError):  # there is no sudo
            subprocess.run((*sudo, *command), capture_output=True, check=False)


def _until(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)


def _naming(words: list[bytes]) -> list[int]:
    """The live processes in whose arguments or environment a word stands; an agent may hide the latter."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    return [
        pid
        for pid in pids
        if any(word in _read(pid, "environ") or word in _read(pid, "cmdline") for word in words)
        and _read(pid, "stat").rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"], [])
    ]


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


if __name__ == "__main__":
    sys.stdin.read()
    reap(sys.argv[1:])
