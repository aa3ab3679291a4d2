"""What a container leaves among the cgroups goes with it, however it ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.run import cgroup, limited


@pytest.fixture
def name() -> Iterator[str]:
    made = f"claude-nspawn.{os.getpid()}-{os.urandom(3).hex()}"
    descriptor = cgroup.opened(made)
    if descriptor < 0:
        pytest.skip("no cgroup of version 2 can be made here")
    os.close(descriptor)
    yield made
    cgroup.end(made)


def running(name: str) -> subprocess.Popen[bytes]:
    """A process in a cgroup below that one, where nspawn places what it starts."""
    below = f"{cgroup.path(name)}/payload"
    os.mkdir(below)
    child = subprocess.Popen(["sleep", "100"])
    with open(f"{below}/cgroup.procs", "w") as procs:
        procs.write(str(child.pid))
    return child


@pytest.mark.as_root
def test_what_is_still_about_to_end_is_waited_for(name: str) -> None:
    with running(name) as child:
        cgroup.end(name)

        assert child.wait(10) == -9
    assert not os.path.exists(cgroup.path(name))


@pytest.mark.as_root
def test_so_it_is_in_version_1(name: str) -> None:
    base = cgroup.hierarchy("pids")
    if not base:
        pytest.skip("there is no version 1 here")
    os.mkdir(f"{base}/{name}")
    with subprocess.Popen(["sleep", "0.3"]) as child:
        Path(f"{base}/{name}/cgroup.procs").write_text(str(child.pid))

        limited.remove(name)

        assert not os.path.exists(f"{base}/{name}")
        assert child.wait() == 0


@pytest.mark.as_root
def test_a_sweep_ends_nothing(name: str) -> None:
    with running(name) as child:
        cgroup.remove(name)

        assert child.poll() is None
        assert os.path.exists(cgroup.path(name))
        child.kill()


@pytest.mark.as_root
def test_none_of_that_name_is_no_matter() -> None:
    cgroup.end("claude-nspawn.0-none")
