"""Processes that may be root's, as those of a container are, seen from the host: by sudo where need be."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from conformance.harness.errors import HarnessError


def read(pid: int, name: str) -> bytes:
    """A file of /proc/PID; raises HarnessError where not even root can read it."""
    path = f"/proc/{pid}/{name}"
    try:
        return Path(path).read_bytes()
    except PermissionError:
        return root("cat", path)


def link(pid: int, name: str) -> str:
    """Where a link of /proc/PID leads."""
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except PermissionError:
        return os.fsdecode(root("readlink", f"/proc/{pid}/{name}")).strip()


def send(pid: int, number: int) -> None:
    """A signal, to a process that is the user's or root's; one that has ended is fine."""
    try:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    except PermissionError:
        subprocess.run(("sudo", "-n", "kill", f"-{int(number)}", str(pid)), capture_output=True, check=False)


def root(*command: str) -> bytes:
    """What a command prints that root runs."""
    done = subprocess.run(("sudo", "-n", *command), capture_output=True, check=False)
    if done.returncode:
        raise HarnessError(f"as root, {' '.join(command)} ended with {done.returncode}: {done.stderr!r}")
    return done.stdout


def inner(pids: list[int]) -> dict[int, int]:
    """Those of the processes that lie in the innermost PID namespace, by their numbers there.

    NSpid in proc_pid_status(5) has a number for each namespace, the host's first.
    """
    numbers = {}
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
            numbers[pid] = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
    depth = max((len(found) for found in numbers.values()), default=0)
    return {int(found[-1]): pid for pid, found in numbers.items() if len(found) == depth > 1}
