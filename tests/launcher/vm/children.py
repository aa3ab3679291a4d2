"""Real small processes that use the launcher's code, to be started many at once."""

from __future__ import annotations

import subprocess
import sys

from tests.launcher.program import ROOT


def child(script: str, *arguments: str, user: int | None = None) -> subprocess.Popen[bytes]:
    """A Python that runs `script`, with `arguments` in sys.argv[1:], once its stdin has ended."""
    before = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.stdin.read()\n"
    return subprocess.Popen(
        # An ordinary user may not reach the interpreter of a root's.
        ["/usr/bin/python3" if user else sys.executable, "-B", "-c", before + script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def together(children: list[subprocess.Popen[bytes]]) -> list[bytes]:
    """What each wrote, all let go at the same moment. AssertionError when one fails."""
    for one in children:
        assert one.stdin is not None
        one.stdin.close()
    written = []
    for one in children:
        assert one.stdout is not None
        assert one.stderr is not None
        written.append(one.stdout.read())
        complaint = one.stderr.read()
        one.stdout.close()
        one.stderr.close()
        assert one.wait(60) == 0, complaint.decode(errors="replace")
    return written
