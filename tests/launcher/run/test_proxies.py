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
    assert list((runtime / "claude-sandbox").iterdir()) == []
    assert gone(f"{runtime}/claude-sandbox")


def test_a_proxy_that_cannot_start_is_an_error_in_its_own_words(runtime: Path) -> None:
    done = launch("true", env={**environment("unix:path=/x", runtime), "PROXY_RULES": "--no-such-rule"})
    assert done.returncode == 125
    assert b"xdg-dbus-proxy did not start" in done.stderr
    assert list((runtime / "claude-sandbox").iterdir()) == []


def test_sigkill_ends_the_proxy_and_the_next_start_sweeps_its_directory(bus: str, runtime: Path) -> None:
    env = environment(bus, runtime)
    with subprocess.Popen(
        [*CHILD, "sh", "-c", "echo up; sleep 100"], stdout=subprocess.PIPE, env=env
    ) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == b"up\n"
            (left,) = (runtime / "claude-sandbox").iterdir()
            assert launch("true", env=env).returncode == 0
            assert left.exists()  # alive: not swept
        finally:
            child.kill()
    assert gone(f"{runtime}/claude-sandbox")
    assert left.exists()
    assert launch("true", env=env).returncode == 0
    assert list((runtime / "claude-sandbox").iterdir()) == []


def test_a_runtime_directory_is_private_locked_and_gone(runtime: Path) -> None:
    directory = RuntimeDirectory(str(runtime))
    assert os.stat(directory.path).st_mode & 0o777 == 0o700
    number = os.open(directory.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(number)
    directory.close()
    assert not Path(directory.path).exists()


def test_a_link_or_a_directory_open_to_others_is_not_used(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (runtime / "claude-sandbox").symlink_to(tmp_path / "elsewhere")
    directory = RuntimeDirectory(str(runtime))
    assert directory.path.startswith(f"/tmp/claude-sandbox-{os.getuid()}")
    assert not list((tmp_path / "elsewhere").iterdir())
    directory.close()
    assert base(str(runtime)) == str(runtime)
    runtime.chmod(0o750)
    assert base(str(runtime)) == ""


def test_a_long_runtime_directory_is_passed_over(tmp_path: Path) -> None:
    directory = RuntimeDirectory(f"{tmp_path}/{'x' * 100}")
    assert len(directory.path) < 90
    directory.close()
