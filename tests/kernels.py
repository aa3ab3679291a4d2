"""A real kernel, got once for all runs by the code that fetches it for users."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.vm import kernel as kernels
from launcher.vm.cache import made
from launcher.vm.kernel import Kernel
from tooling.kernel import fetch


@pytest.fixture(scope="session")
def fetched() -> Kernel:
    """The user's own, or else one that outlives the run in ~/.cache/claude-sandbox/tests."""
    home = str(Path.home())
    tests = made(f"{home}/.cache/claude-sandbox/tests")
    nowhere = f"{tests}/nowhere"  # what is installed is not looked at
    with open(f"{tests}/kernel.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of one run, or two runs, want it at once
        for environ in (dict(os.environ), {"XDG_CACHE_HOME": tests}):
            try:
                return kernels.find("", environ, home, system=nowhere)
            except HostError:
                continue
        for needed in ("apt-get", "dpkg-deb"):
            if shutil.which(needed) is None:
                pytest.skip(f"unproven: a kernel is fetched by {needed}, which is not here")
        fetch(Path(kernels.fetched({"XDG_CACHE_HOME": tests}, home)))
        return kernels.find("", {"XDG_CACHE_HOME": tests}, home, system=nowhere)
