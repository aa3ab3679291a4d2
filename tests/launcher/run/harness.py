"""How the tests of run start the launcher in small, and look for what it left."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

CHILD = ("/usr/bin/python3", "-I", str(Path(__file__).with_name("child.py")))


def launch(*command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run COMMAND in a sandbox with pipes for descriptors, within 20 seconds."""
    options = {"stdin": subprocess.DEVNULL, "timeout": 20, "capture_output": True, **options}
    return subprocess.run([*CHILD, *command], **options)  # type: ignore[call-overload, no-any-return]


def alive(marker: str) -> list[str]:
    """Command lines of living processes that mention `marker`; zombies have none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in words:
                found.append(words.decode("utf-8", "replace").replace("\0", " "))
    return found


def gone(marker: str, seconds: float = 20) -> bool:
    """No process mentions `marker` any more, at the latest after `seconds`."""
    deadline = time.monotonic() + seconds
    while alive(marker):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
