"""What systemd-machined is asked. In a guest a real one is: tests/launcher/test_container_systemd.py."""

from __future__ import annotations

import os
import subprocess

import pytest

from launcher.run.machined import leader_of, machine_call


def test_the_call_is_the_one_that_a_person_has_read() -> None:
    call = machine_call("/usr/bin/busctl", "claude-sandbox-1-a", 4711)

    assert " ".join(call) == (
        "/usr/bin/busctl --system --quiet call org.freedesktop.machine1 /org/freedesktop/machine1"
        " org.freedesktop.machine1.Manager RegisterMachine sayssus"
        " claude-sandbox-1-a 0 claude-sandbox container 4711 "
    )


def test_the_leader_is_the_containers_child() -> None:
    container = subprocess.Popen(("sh", "-c", "sleep 60 & echo $!; wait"), stdout=subprocess.PIPE)
    assert container.stdout is not None
    child = int(container.stdout.readline())
    try:
        assert leader_of(container.pid) == child
    finally:
        os.kill(child, 9)
        container.communicate()


def test_a_container_that_has_ended_has_none() -> None:
    container = subprocess.Popen(("true",))
    os.waitid(os.P_PID, container.pid, os.WEXITED | os.WNOWAIT)  # it is not reaped yet
    try:
        with pytest.raises(OSError, match="ended"):
            leader_of(container.pid)
    finally:
        container.wait()
