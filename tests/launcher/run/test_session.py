"""Real sandboxes without a terminal: status, streams, signals, what is inherited, what is left."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.launcher.run.harness import CHILD, alive, gone, launch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("status", [0, 7, 125, 133, 255])
def test_the_agents_exit_status_is_the_launchers(status: int) -> None:
    assert launch("sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_death_by_a_signal_is_128_and_its_number_without_a_word(number: signal.Signals) -> None:
    done = launch("sh", "-c", f"kill -{int(number)} $$")
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")


def test_streams_stay_apart_and_every_byte_arrives() -> None:
    data = random.Random(7).randbytes(50_000_000)
    done = launch("sh", "-c", "echo err >&2; exec cat", input=data, stdin=None)
    assert done.stdout == data
    assert done.stderr == b"err\n"


def test_a_sandbox_that_cannot_be_built_is_quoted_with_a_line_to_replay() -> None:
    done = launch("true", env={"BWRAP_MORE": "--bind /nowhere-at-all /x"})
    what, hint = done.stderr.decode().splitlines()
    assert done.returncode == 125
    assert "status 1" in what
    assert "/nowhere-at-all" in what
    assert "--bind /nowhere-at-all /x -- true" in hint


def test_words_of_the_agent_are_never_taken_for_placeholders() -> None:
    done = launch("printf", "%s,", "{control}", "{words}", "{terminal}", "{proxies}/x")
    assert done.stdout == b"{control},{words},{terminal},{proxies}/x,"


def test_nothing_of_the_caller_is_inherited(tmp_path: Path) -> None:
    def spoil() -> None:
        os.umask(0o077)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        resource.setrlimit(resource.RLIMIT_CPU, (1000, resource.getrlimit(resource.RLIMIT_CPU)[1]))

    script = "umask; grep SigIgn /proc/self/status; ulimit -Sn; ulimit -St; pwd; ls /proc/self/fd; env"
    with (tmp_path / "secret").open("w") as secret:
        done = launch(
            "sh",
            "-c",
            script,
            pass_fds=(secret.fileno(),),
            preexec_fn=spoil,
            env={"SECRET": "1"},
            cwd=tmp_path,
        )
    umask, ignored, files, cpu, cwd, *rest = done.stdout.decode().split("\n")
    assert umask == "0022"
    assert ignored.split()[1].strip("0") == ""
    assert (files, cpu, cwd) == ("1024", "unlimited", "/")
    assert rest[:4] == ["0", "1", "2", "3"]  # 3: the directory that ls reads
    assert sorted(rest[4:]) == ["", "PATH=/usr/bin:/bin", "PWD=/", "TERM=xterm"]  # PWD by sh itself


def test_the_session_keyring_is_another() -> None:
    show = "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))"
    ctypes.CDLL(None).syscall(250, 1, None)
    host = subprocess.run([sys.executable, "-c", show], capture_output=True, check=True).stdout
    inside = launch("/usr/bin/python3", "-c", show).stdout
    assert int(host) > 0
    assert int(inside) != int(host)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_descriptors_become_dev_null(closed: tuple[int, ...]) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    done = launch(
        "sh", "-c", "x=$(readlink /proc/$$/fd/0 /proc/$$/fd/1); echo $x >&2; exit 4", preexec_fn=close
    )
    assert done.returncode == 4
    if 2 not in closed:
        assert done.stderr.count(b"/dev/null") == len({0, *closed})


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1]
)
def test_a_signal_reaches_the_agent_and_its_status_comes_back(number: signal.Signals) -> None:
    script = f"trap 'echo caught; exit 9' {int(number)}; echo up; while :; do sleep 0.01; done"
    with subprocess.Popen([*CHILD, "sh", "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        child.send_signal(number)
        assert child.stdout.read() == b"caught\n"
        assert child.wait(10) == 9


def test_a_failure_before_the_agent_runs_leaves_nothing() -> None:
    marker = uuid.uuid4().hex
    done = launch("sleep", "100", marker, env={"RAISE": "1"})
    assert b"on_ready failed" in done.stderr
    assert not alive(marker)


def test_nothing_outlives_the_agent() -> None:
    marker = uuid.uuid4().hex
    assert launch(
        "sh", "-c", f"(exec -a {marker} sleep 100) >&- 2>&- & setsid sleep 100 {marker} & exit 3"
    ).returncode
    assert not alive(marker)


def test_sigkill_at_any_moment_takes_everything_along() -> None:
    marker = uuid.uuid4().hex
    moments = random.Random(3)
    for _ in range(30):
        with subprocess.Popen(
            [*CHILD, "sh", "-c", f"sleep 100; : {marker}"], stdin=subprocess.DEVNULL
        ) as child:
            time.sleep(moments.uniform(0.005, 0.045))
            child.kill()
    assert gone(marker), alive(marker)


def test_twenty_at_once() -> None:
    children = [
        subprocess.Popen([*CHILD, "sh", "-c", f"exit {n}"], stdin=subprocess.DEVNULL) for n in range(20)
    ]
    assert [child.wait(30) for child in children] == list(range(20))
