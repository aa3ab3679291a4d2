"""The bus proxy of a run with a private dbus-daemon, and its directory."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.run.runtime import RuntimeDirectory, base
from tests.launcher.run.harness import CHILD, gone, launch

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """<busconfig><type>session</type><listen>unix:path={}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"""
PING = ("dbus-send", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """Address of a private session bus."""
    (tmp_path / "bus.conf").write_text(CONFIG.format(tmp_path))
    with subprocess.Popen(
        ["dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork", "--nopidfile"]
    ) as daemon:
        while not (tmp_path / "bus").exists():
            assert daemon.poll() is None
            time.sleep(0.005)
        yield f"unix:path={tmp_path}/bus"
        daemon.terminate()


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory fit for XDG_RUNTIME_DIR: short, as a socket's path has to be."""
    with tempfile.TemporaryDirectory(prefix="run-") as path:
        yield Path(path)


def environment(bus: str, runtime: Path) -> dict[str, str]:
    more = "--bind {proxies}/bus /tmp/bus --setenv DBUS_SESSION_BUS_ADDRESS unix:path=/tmp/bus"
    return {
        "PATH": os.environ["PATH"],
        "BUS": bus,
        "XDG_RUNTIME_DIR": str(runtime),
        "BWRAP_MORE": f"--tmpfs /tmp {more}",
    }


def test_the_proxied_bus_answers_inside_and_nothing_is_left(bus: str, runtime: Path) -> None:
    done = launch(*PING, env=environment(bus, runtime))
    assert b"org.freedesktop.DBus" in done.stdout, done.stderr
    assert list(runtime.iterdir()) == []
    assert gone(f"{runtime}/claude-sandbox")


def test_a_proxy_that_cannot_start_is_an_error_in_its_own_words(runtime: Path) -> None:
    done = launch("true", env={**environment("unix:path=/x", runtime), "PROXY_RULES": "--no-such-rule"})
    assert done.returncode == 125
    assert b"xdg-dbus-proxy did not start" in done.stderr
    assert list(runtime.iterdir()) == []


def test_sigkill_leaves_neither_the_proxy_nor_its_directory(bus: str, runtime: Path) -> None:
    script = "echo up; read -r _; " + " ".join(PING)
    argv = [*CHILD, "sh", "-c", script]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(bus, runtime)
    ) as child:
        try:
            assert child.stdout
            assert child.stdin
            assert child.stdout.readline() == b"up\n"
            assert list(runtime.iterdir()) == []
            assert not gone(f"{runtime}/claude-sandbox", 0)
            os.write(child.stdin.fileno(), b"\n")
            assert b"method return" in child.stdout.readline()  # the bus answers all the same
        finally:
            child.kill()
    assert gone(f"{runtime}/claude-sandbox")


def test_what_a_killed_start_left_is_swept_and_what_lives_is_not(runtime: Path) -> None:
    maker = subprocess.Popen(["true"])
    maker.wait()
    names = [
        f"claude-sandbox-{maker.pid}-1",
        f"claude-sandbox-{os.getpid()}-2",
        f"claude-sandbox-{maker.pid}-3",
    ]
    left, living, locked = (runtime / name for name in names)
    for path in (left, living, locked, runtime / "claude-sandbox-x", runtime / "other-1-1"):
        path.mkdir()
    (left / "socket").touch()
    number = os.open(locked, os.O_RDONLY)
    fcntl.flock(number, fcntl.LOCK_EX)

    directory = RuntimeDirectory(str(runtime))
    directory.close()
    os.close(number)

    assert {p.name for p in runtime.iterdir()} == {living.name, locked.name, "claude-sandbox-x", "other-1-1"}


def test_many_at_once_have_each_its_own(runtime: Path) -> None:
    directories = [RuntimeDirectory(str(runtime)) for _ in range(20)]
    assert len({directory.path for directory in directories}) == 20
    for directory in directories:
        directory.close()
        directory.close()
    assert list(runtime.iterdir()) == []


def test_a_runtime_directory_is_private_locked_and_gone(runtime: Path) -> None:
    directory = RuntimeDirectory(str(runtime))
    assert os.stat(directory.path).st_mode & 0o777 == 0o700
    number = os.open(directory.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(number)
    directory.close()
    assert not Path(directory.path).exists()


def test_a_directory_open_to_others_is_not_used(runtime: Path) -> None:
    assert base(str(runtime)) == str(runtime)
    runtime.chmod(0o750)
    assert base(str(runtime)) == ""
    directory = RuntimeDirectory("")
    assert directory.path.startswith(f"/tmp/claude-sandbox-{os.getuid()}-")
    directory.close()


def test_a_long_runtime_directory_is_passed_over(tmp_path: Path) -> None:
    directory = RuntimeDirectory(f"{tmp_path}/{'x' * 100}")
    assert directory.path.startswith("/tmp/claude-sandbox-")
    directory.close()
