"""A project on a file system that its user alone can look at: FUSE is closed to root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.launcher.contained import as_root, contained

# $1: what to mount, $2: where; then a command line of the user's. All of it goes with the namespace.
MOUNTED = """
mount -t tmpfs none /mnt
mknod -m 666 /mnt/fuse c 10 229
mount --bind /mnt/fuse /dev/fuse
us="setpriv --reuid=$3 --regid=$4 --init-groups --inh-caps=-all"
$us bindfs --no-allow-other "$1" "$2" || exit 99
ls "$2" 2>/dev/null && exit 98
at=$2
shift 4
$us "$@"
status=$?
umount "$at"
exit $status
"""


def test_a_project_that_root_cannot_look_at_works() -> None:
    if not shutil.which("bindfs") or not Path("/dev/fuse").exists():
        pytest.skip("no bindfs, or no /dev/fuse: apt-get install bindfs")
    with contained() as here:
        below = here.directory(here.project / ".git")
        for name in ("hooks", "objects", "refs"):
            here.directory(below / name)
        here.write(below / "HEAD", "ref: refs/heads/main\n")
        at = here.directory(here.home / "at")
        pairs = [f"{name}={value}" for name, value in here.environ.items()]
        words = (
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            MOUNTED,
            "sh",
            here.project,
            at,
        )
        ids = (str(os.getuid()), str(os.getgid()))
        script = "touch made; touch .git/hooks/planted; ls /project"

        ended = as_root(*words, *ids, "env", "-i", *pairs, *here.program, "--shell", at, "-c", script)

        assert ended.out == "made\n", ended
        assert "Read-only file system" in ended.err
        assert (here.project / "made").stat().st_uid == os.getuid()
