"""The services that only root can run, for a test run of an ordinary user's: this module, through sudo.

    sudo -n python -m conformance.harness.as_root nix DIRECTORY USER

prints what the fixture gives, as JSON, and ends (and tidies up) with its stdin.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from fixtures.errors import Failed, NeedsRoot
from fixtures.nixdaemon import NixDaemon, nix_daemon
from fixtures.users import User, user_named

ROOT = Path(__file__).parents[2]
START_S = 60


@contextmanager
def nix_as_root(directory: Path, user: User) -> Iterator[NixDaemon]:
    """fixtures' nix_daemon, in a process that tidies up when we are killed. Raises NeedsRoot without sudo."""
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    if subprocess.run((*sudo, "true"), capture_output=True, check=False).returncode != 0:
        raise NeedsRoot("a Nix daemon with build users")
    argv = (*sudo, sys.executable, "-m", __name__, "nix", f"{directory}/", user.name)
    log = directory / "as-root.log"
    with (
        open(log, "wb") as errors,
        subprocess.Popen(
            argv,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            select.select([child.stdout], [], [], START_S)
            line = child.stdout.readline() if select.select([child.stdout], [], [], 0)[0] else b""
            if not line:
                raise Failed(f"no Nix daemon through sudo: {log.read_text(errors='replace')[-2000:]}")
            given = json.loads(line)
            yield NixDaemon(
                socket_directory=Path(given["socket_directory"]),
                socket=Path(given["socket"]),
                configuration=Path(given["configuration"]),
                database=Path(given["database"]),
                builder=given["builder"],
            )
        finally:
            child.stdin.close()
            child.wait()


def main(arguments: list[str]) -> None:
    """Serve until stdin ends, which it also does when whoever started us is killed."""
    _nix, directory, name = arguments
    os.umask(0o022)
    with nix_daemon(Path(directory), as_user=user_named(name)) as daemon:
        print(json.dumps({key: str(value) for key, value in asdict(daemon).items()}), flush=True)
        sys.stdin.read()
    # Root's own files; whoever called could not remove them.
    for left in Path(directory).iterdir():
        if left.stat().st_uid == 0:
            shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
