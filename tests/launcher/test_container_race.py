"""Directories that become symlinks, and back, while containers start: root follows none of them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.launcher.contained import as_root, contained
from tests.launcher.program import Machine

STARTS, SECONDS = 12, 12.0
# Exchanges two names (renameat2(2), RENAME_EXCHANGE) until its stdin ends; counts on stdout.
SWAP = """
import ctypes, os, select, sys
libc, count = ctypes.CDLL(None), 0
one, two = map(os.fsencode, sys.argv[1:])
while not select.select([0], [], [], 0)[0]:
    count += libc.renameat2(-100, one, -100, two, 2) == 0
print(count)
"""
# Root does it naively: looks whether the user may read it, and then binds it.
NAIVE = """
unshare --mount --propagation private sh -c '
    i=0
    while [ $i -lt 300 ]; do
        i=$((i + 1))
        setpriv --reuid="$3" --clear-groups test -r "$1" || continue
        mount --bind "$1" "$2" 2>/dev/null || continue
        cat "$2/canary" 2>/dev/null && exit
        umount "$2"
    done
' sh "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Bait:
    """`closed`: a directory of root's, 0700, with `canary` in a file of that name; `place`: the user's."""

    machine: Machine
    closed: Path
    canary: str


@pytest.fixture
def bait() -> Iterator[Bait]:
    with contained() as here:
        canary, closed = f"canary{uuid.uuid4().hex}", here.home.parent / "closed"
        as_root("mkdir", "-m", "0700", closed)
        for name in ("canary", "hooks/canary", "proj/canary", "settings.json", "skills/canary"):
            as_root("mkdir", "-p", (closed / name).parent)
            as_root("tee", closed / name, stdin=canary.encode())
        try:
            yield Bait(machine=here, closed=closed, canary=canary)
            listed = as_root("find", closed, "!", "-uid", "0").out
            assert listed == "", "nobody else has written there"
        finally:
            as_root("rm", "-rf", closed)


@contextmanager
def swapped(path: Path, target: Path) -> Iterator[None]:
    """The directory at `path` and a symlink to `target` change places, again and again."""
    link = path.with_name("link")
    link.symlink_to(target)
    argv = (sys.executable, "-Ic", SWAP, str(path), str(link))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield
        finally:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            count = int(process.stdout.read())
    if path.is_symlink():
        libc = ctypes.CDLL(None)
        assert libc.renameat2(-100, os.fsencode(path), -100, os.fsencode(link), 2) == 0
    link.unlink()
    assert count > 100


def naive(bait: Bait, path: Path) -> str:
    """What is read when root binds by name."""
    point = bait.machine.home.parent / "point"
    point.mkdir()
    try:
        return as_root("sh", "-c", NAIVE, "sh", path, point, str(os.getuid()), check=False).out
    finally:
        point.rmdir()


@pytest.mark.parametrize("what", ["above", "share", "claude", "hooks", "git", "state"])
def test_what_becomes_a_symlink_to_a_directory_of_roots_is_never_seen_inside(bait: Bait, what: str) -> None:
    here = bait.machine
    above, share = here.directory(here.home / "above"), here.directory(here.home / "share")
    project = here.directory(above / "proj")
    subprocess.run(("git", "init", "-q", project), check=True)
    assert here.run("--shell", project, "-c", "true").status == 0
    path = {
        "above": above,
        "share": share,
        "claude": here.home / ".claude",
        "hooks": project / ".git/hooks",
        "git": project / ".git",
        "state": here.state / "claude-sandbox",
    }[what]
    words = ("--shell", "--share", share, project, "-c")
    look = 'for d in / /project ~ "$PWD" "$0"; do find $d -xdev -name \'*canary*\' -exec cat {} +; done; '
    look += f'grep -rs {bait.canary} /project ~ "$0"; touch /project/made'

    with swapped(path, bait.closed):
        control = naive(bait, path) if what == "share" else bait.canary
        deadline = time.monotonic() + SECONDS
        for _ in range(STARTS):
            ended = here.run(*words, look, share)
            assert bait.canary not in ended.out + ended.err
            if time.monotonic() > deadline:
                break

    assert control == bait.canary, "the race can be won by who binds by name"
    owners = as_root("find", here.home, here.state, "-uid", "0").out
    assert owners == ""
