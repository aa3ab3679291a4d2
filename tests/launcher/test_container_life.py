"""Statuses, crowds, streams, and what is left of containers whatever is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.run import cgroup
from tests.launcher.contained import PREFIX, SUDO, as_root, contained, left, parts, there, user_of_tests
from tests.launcher.program import Machine

PATIENCE_S = 20.0
# Starts a command line, which leaves an orphan behind, and ends as that does (PR_SET_CHILD_SUBREAPER).
ADOPTER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.waitpid(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
# Starts a command line, of which it stays the parent, by a thread, when its first thread has ended.
ENDING = """
import ctypes, os, sys, threading
child = os.fork()
if child == 0:
    while os.path.exists(f"/proc/{os.getppid()}/exe"):
        pass
    os.execv(sys.argv[1], sys.argv[1:])
wait = lambda: os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
threading.Thread(target=wait).start()
libc = ctypes.CDLL(None)
libc.syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)  # exit(2), of this thread alone
"""
# What no input of a test's brings about: its root cannot be built, long before its limits are set.
FULL = """
import os, time
from launcher.run import keeper, limited
place = limited.place
limited.place = lambda *given: (time.sleep(0.5), place(*given))
def build(self): raise OSError(28, os.strerror(28))
keeper.Builder.build = build
"""
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


@pytest.mark.parametrize(
    ("adopter", "status", "said"), [("systemd", 125, b"in the foreground"), ("tmux", 0, b"")]
)
def test_one_whose_sudo_has_ended_before_it_looked_ends(
    here: Machine, adopter: str, status: int, said: bytes
) -> None:
    """A session's systemd takes its orphans. By anything else it may have been started in the background."""
    copy = here.home.parent / adopter
    shutil.copy("/usr/bin/python3", copy)
    orphan = ("setsid", "--fork", *here.program, "--quiet", "--shell", str(here.project), "-c", "true")

    ended = subprocess.run(
        (copy, "-I", "-S", "-c", ADOPTER, *SUDO, *orphan), env=here.environ, capture_output=True, check=False
    )

    assert ended.returncode == status, ended
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == (2 if said else 0)


def test_one_that_is_not_told_of_its_sudo_ends_with_it(here: Machine) -> None:
    """Without sudo's variables it is by its parent's file alone that it knows."""
    hidden = (*SUDO, "env", "-u", "SUDO_UID", "-u", "SUDO_USER")
    user = ("--user", user_of_tests().name)
    script = f"echo up; exec -a {here.home}/agent sleep 1000"
    process = here.start("--quiet", *user, "--shell", here.project, "-c", script, prefix=hidden)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"

    as_root("kill", "-KILL", str(parts(process.pid)["sudo"]))

    process.communicate(timeout=PATIENCE_S)
    until(lambda: not here.processes(), "end of all processes")


def test_sudo_may_be_process_1_and_is_not_taken_for_who_has_adopted_an_orphan(here: Machine) -> None:
    """As where an image of Docker's has this program for its ENTRYPOINT."""
    user = user_of_tests()
    back = ("setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups", "--", "env")
    environ = (f"{name}={value}" for name, value in here.environ.items())
    alone = (*SUDO, "unshare", "--pid", "--fork", "--mount-proc", "--", *back, *environ)

    ended = here.shell("echo started", prefix=alone)

    assert (ended.status, ended.out) == (0, "started\n"), ended


def test_one_that_ends_before_its_limits_are_set_says_why(here: Machine) -> None:
    """The keeper outlives that its word has no reader any more."""
    before = there()
    program = Path(*here.program)
    program.write_text(program.read_text().replace("from launcher.cli", f"exec({FULL!r}); from launcher.cli"))

    ended = here.shell("true")

    assert ended.status == 125, ended
    assert "ended with status 125 before the sandbox was built: No space left on device" in ended.err
    until(lambda: left() <= before, f"tidy end: {left() - before}")


def test_one_whose_parent_is_about_to_end_and_has_another_sudo_above_it_ends(here: Machine) -> None:
    """What is killed gives its memory up before its children, and between the two it may have to wait."""
    argv = (*here.program, "--quiet", "--shell", str(here.project), "-c", "echo started")

    ended = as_root(sys.executable, "-I", "-c", ENDING, *argv, check=False)

    assert (ended.status, ended.out) == (125, ""), ended
    assert "the sudo that has started this is gone" in ended.said[0]


@pytest.mark.timeout(600)  # its moments are parts of what a start takes here and now
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
        found: dict[str, int] = {}
        while victim not in found and process.poll() is None:
            assert time.monotonic() < end + PATIENCE_S, f"no {victim}: {found}"
            found = parts(process.pid)
        how = f"there was no {victim}"
        if victim in found:
            how = f"{victim} was killed, {as_root('kill', '-KILL', str(found[victim]), check=False)}"
            killed.append(victim)
        try:
            process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            going = as_root("ps", "-eo", "pid,ppid,user,stat,args", "--forest").out
            pytest.fail(f"turn {turn}: {how}; of {found} some go on:\n{going}")
        assert process.returncode != 0

    until(lambda: not here.processes(), "end of all processes")
    assert here.shell("true").status == 0
    until(lambda: left() <= before, f"tidy end: {left() - before}")
    assert mounts() == mounted
    assert set(killed) == {"sudo", "launcher", "keeper", "nspawn"}
