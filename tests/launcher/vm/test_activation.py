"""The program that listens, run as what it is: a program of this machine's."""

from __future__ import annotations

import os
import platform
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from launcher.vm.activation import listening

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="a program for x86-64")
ANSWER = """
import os, socket, sys
connection, _ = socket.socket(fileno=3).accept()
connection.send(repr((sys.argv[1:], dict(os.environ))).encode())
"""
PYTHON = "/usr/bin/python3"


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Where it is to listen; short, as a socket's path has to be."""
    return tmp_path / "s"


def started(path: Path, *command: str, umask: int = 0o177, **environment: str) -> int:
    """The status with which the program comes back."""
    program = path.parent / "listening"
    program.write_bytes(listening(os.fsencode(path)))
    program.chmod(0o700)
    return subprocess.run(
        [program, *command], env=environment, umask=umask, timeout=10, check=False
    ).returncode


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(path))
    return client


def test_what_is_started_by_a_connection_has_the_socket_its_words_and_its_environment(
    socket_path: Path,
) -> None:
    assert started(socket_path, PYTHON, "-I", "-S", "-c", ANSWER, "one", "", "a b", LC_ALL="C", X="y") == 0

    with connected(socket_path) as client:
        assert client.recv(1000).decode() == repr((["one", "", "a b"], {"LC_ALL": "C", "X": "y"}))


def test_nothing_is_started_before(socket_path: Path, tmp_path: Path) -> None:
    assert started(socket_path, "/bin/sh", "-c", f"echo >{tmp_path}/begun; exec sleep 0.1") == 0
    before = (tmp_path / "begun").exists()
    connected(socket_path).close()
    while not (tmp_path / "begun").exists():
        pass

    assert not before


def test_the_socket_is_who_makes_its_alone(socket_path: Path) -> None:
    started(socket_path, "/bin/true")

    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    connected(socket_path).close()  # and what waits for one ends


def test_a_path_may_be_as_long_as_a_sockets_can_be(tmp_path: Path) -> None:
    path = tmp_path / "x".ljust(107 - len(os.fsencode(tmp_path)) - 1, "x")
    assert len(os.fsencode(path)) == 107

    assert started(path, PYTHON, "-I", "-S", "-c", ANSWER) == 0
    with connected(path) as client:
        assert client.recv(1000)


def test_a_socket_that_cannot_be_made_is_a_failure(socket_path: Path) -> None:
    socket_path.touch()

    assert started(socket_path, "/bin/true") == 1
