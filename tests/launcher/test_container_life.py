"""Statuses, crowds, streams, and what is left of containers whatever is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.run import cgroup
from tests.launcher.contained import PREFIX, as_root, contained, left, parts, there
from tests.launcher.program import Machine

PATIENCE_S = 20.0
# A word in the command line of all that a test starts, below its home.
ODD = [
    "a:b",
    "a,b",
    "a\nb",
    "a 'b\" c",
    " blank ",
    "grün",
    os.fsdecode(b"a\xff\xfeb"),
    "-dash",
    "back\\slash",
    "$(id)",
]


@pytest.fixture
def here() -> Iterator[Machine]:
    with contained() as made:
        yield made


def until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)


def mounts() -> list[str]:
    return sorted(line.partition(" - ")[0] for line in Path("/proc/self/mountinfo").read_text().splitlines())


@pytest.mark.parametrize("status", [0, 1, 7, 125, 130, 133, 137, 143, 255])
def test_the_agents_status_is_the_launchers(here: Machine, status: int) -> None:
    assert here.shell(f"exit {status}").status == status


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "TRAP", "PIPE"])
def test_a_signal_that_ends_the_agent_is_told_as_shells_do(here: Machine, name: str) -> None:
    assert here.shell(f"kill -{name} $$").status == 128 + getattr(signal, f"SIG{name}")


def test_ten_megabytes_pass_byte_for_byte_and_apart(here: Machine) -> None:
    given = random.Random(0).randbytes(10 << 20)
    process = here.start("--quiet", "--shell", here.project, "-c", "tee /dev/stderr", stdin=subprocess.PIPE)

    out, err = process.communicate(given, timeout=60)

    assert process.returncode == 0
    assert out == given
    assert err == given


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_project_may_have_any_name(here: Machine, name: str) -> None:
    project = here.directory(here.home / name)

    ended = here.run("--shell", project, "-c", 'pwd -P; echo made >"$PWD/one"; cat /project/one')

    assert (ended.status, ended.out) == (0, f"{project}\nmade\n"), ended
    assert (project / "one").read_text() == "made\n"
    assert [path.name for path in project.iterdir()] == ["one"]


def test_eight_at_once_all_work_and_leave_nothing(here: Machine) -> None:
    before, mounted = there(), mounts()
    crowd = [here.start("--quiet", "--shell", here.project, "-c", f"echo {n}; exit {n}") for n in range(8)]

    said = [process.communicate(timeout=60) for process in crowd]

    assert [process.returncode for process in crowd] == list(range(8)), said
    assert [out for out, _ in said] == [b"%d\n" % n for n in range(8)]
    until(lambda: left() <= before, f"tidy end: {left() - before}")
    assert mounts() == mounted


def test_what_a_killed_run_has_left_goes_with_the_next_and_what_is_alive_stays(here: Machine) -> None:
    gone = subprocess.Popen(("true",))
    gone.wait()
    stale, alive = (cgroup.path(f"{PREFIX}{pid}-abcdef") for pid in (gone.pid, os.getpid()))
    as_root("mkdir", stale, alive)
    try:
        assert here.shell("true").status == 0
        assert [os.path.exists(path) for path in (stale, alive)] == [False, True]
    finally:
        as_root("rmdir", stale, alive, check=False)


def test_thirty_killed_at_any_moment_leave_nothing(here: Machine) -> None:
    """sudo, the launcher, the keeper, nspawn: one of them by turns, at a moment of the start or after it."""
    assert here.shell("true").status == 0
    before, mounted = there(), mounts()
    begun = time.monotonic()
    assert here.shell("true").status == 0
    takes = time.monotonic() - begun
    chance = random.Random(5)
    killed = []

    for turn in range(30):
        process = here.start("--shell", here.project, "-c", f"exec -a {here.home}/agent sleep 1000")
        end = time.monotonic() + chance.uniform(0, 1.5 * takes)
        victim = ("sudo", "launcher", "keeper", "nspawn")[turn % 4]
        while time.monotonic() < end:
            time.sleep(0.002)
        until(lambda: victim in parts(process.pid) or process.poll() is not None, victim)  # noqa: B023
        pid = parts(process.pid).get(victim, 0)
        if pid:
            as_root("kill", "-KILL", str(pid), check=False)
            killed.append(victim)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode != 0

    until(lambda: not here.processes(), "end of all processes")
    assert here.shell("true").status == 0
    until(lambda: left() <= before, f"tidy end: {left() - before}")
    assert mounts() == mounted
    assert set(killed) == {"sudo", "launcher", "keeper", "nspawn"}
