"""Starts of a container: by root beside raw systemd-nspawn, and by the user, through sudo, one and a crowd.

As a program of root's, `python -m bench.container PROGRAM PROJECT RUNS`, it prints {"kind": [milliseconds,
…]}; the kinds are a bare Python, systemd-nspawn as a person would call it for this (its own filter, setpriv
to the user), and PROGRAM, in turns.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bench.timing import Times, in_turns, start_to_end_ms
from launcher.errors import HostError

ROOT = Path(__file__).parent.parent
CROWD = 8
PYTHON = "/usr/bin/python3"
BARE, RAW, OURS = "root: python3 -I -c pass", "root: raw nspawn", "root: ours"
ONE, CROWDED = "sudo: ours", f"sudo: {CROWD} of ours at once"
EMPTY = f"{CROWD} of python3 -I -c pass at once"
LINKS = ("bin", "sbin", "lib", "lib64")


def raw_nspawn(root: Path, uid: int, gid: int) -> list[str]:
    """systemd-nspawn(1) in a root of nothing but /usr, and setpriv(1) to the user in it."""
    root.chmod(0o755)
    for name in ("usr", "etc", "proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir()
    for name in LINKS:
        if Path("/", name).is_symlink():
            (root / name).symlink_to(os.readlink(f"/{name}"))
    (root / "etc/os-release").write_text("ID=bench\n")
    return [
        shutil.which("systemd-nspawn") or "/usr/bin/systemd-nspawn",
        *("--quiet", f"--directory={root}", "--as-pid2", "--register=no", "--keep-unit", "--settings=no"),
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe", "--bind-ro=/usr"),
        *("--", "/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--", "/bin/true"),
    ]


def crowd_ms(argv: list[str], environment: Mapping[str, str], *, count: int) -> float:
    """Until `count` of them, started together, have all ended. Raises HostError when one fails."""
    begin = time.perf_counter_ns()
    all_of_them = [
        subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(count)
    ]
    ended = [one.wait() for one in all_of_them]
    if any(ended):
        raise HostError(f"of {count} at once some ended with {ended}", "their own words are above")
    return (time.perf_counter_ns() - begin) / 1e6


def ours(program: str, project: str) -> list[str]:
    """The command line that is measured."""
    return [program, "--quiet", "--shell", project, "-c", "true"]


def main(program: str, project: str, runs: int) -> dict[str, list[float]]:
    """The times of `runs` rounds."""
    uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        raw = raw_nspawn(Path(directory), uid, gid)
        times = in_turns(
            {
                BARE: lambda: start_to_end_ms([PYTHON, "-I", "-c", "pass"], environment),
                RAW: lambda: start_to_end_ms(raw, environment),
                OURS: lambda: start_to_end_ms(ours(program, project), environment),
            },
            rounds=runs,
        )
    return {name: list(asdict(taken)["all_ms"]) for name, taken in times.items()}


def through_sudo(program: str, project: str, runs: int, environment: Mapping[str, str]) -> dict[str, Times]:
    """One start as users have it, and CROWD together, in turns; and as many Pythons that do nothing."""
    argv, empty = ours(program, project), [PYTHON, "-I", "-c", "pass"]
    return in_turns(
        {
            ONE: lambda: start_to_end_ms(argv, environment),
            CROWDED: lambda: crowd_ms(argv, environment, count=CROWD),
            EMPTY: lambda: crowd_ms(empty, environment, count=CROWD),
        },
        rounds=runs,
    )


def by_root(program: str, project: str, runs: int, environment: Mapping[str, str]) -> dict[str, Times]:
    """What `main` gives, for an ordinary user who may use sudo. Raises HostError when it fails."""
    done = subprocess.run(
        command(program, project, runs), env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise HostError(f"the container's starts ended with {done.returncode}", "its own words are above")
    return {name: Times(all_ms=tuple(taken)) for name, taken in json.loads(done.stdout).items()}


def command(program: str, project: str, runs: int) -> list[str]:
    """The command line of who is to measure that, as root; in a mount namespace in which nspawn can tidy up:
    on a disk it refuses to remove its own directory.
    """
    hidden = 'mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn && exec "$@"'
    return [
        *("sudo", "-n", "unshare", "--mount", "sh", "-c", hidden, "bench"),
        *(sys.executable, "-m", "bench.container", program, project, str(runs)),
    ]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
