"""Who may run claude-sandbox-container as root, and no more, must not become root by it; nor an agent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.contained import contained
from tests.launcher.program import Machine

# Loaded into a program that root runs: a file of root's, with the setuid bit, where everybody may write.
TAKEN = r"""
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((constructor)) static void take(void) {
    int file = open("/project/by-whom", O_CREAT | O_RDWR | O_CLOEXEC, 04755);
    if (file >= 0) fchmod(file, 04755);
}
"""

VARIABLES = """/usr/bin/python3 -Ic '
import json, os
print(json.dumps({n: v for n, v in os.environ.items() if n in os.environ["WANTED"].split(",")}))
'"""


@pytest.fixture
def here() -> Iterator[Machine]:
    with contained() as made:
        yield made


def preload(directory: Path) -> Path:
    """The library in a directory that everybody may write to."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler: apt-get install gcc")
    directory.chmod(0o777)
    (directory / "taken.c").write_text(TAKEN)
    command = (compiler, "-shared", "-fPIC", "-o", directory / "taken.so", directory / "taken.c")
    subprocess.run(command, check=True)
    return directory / "taken.so"


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_AUDIT"])
def test_no_program_that_root_runs_loads_a_library_of_the_users(here: Machine, name: str) -> None:
    library = preload(here.project)
    env = {name: "/project/taken.so"}
    made = here.project / "by-whom"

    inside = here.shell("true", "--env", name, env=env)

    assert inside.status == 0, inside
    # The control: the agent's own programs did load it.
    assert made.exists(), library
    assert made.stat().st_uid == os.getuid()


def test_variables_arrive_as_they_are(here: Machine) -> None:
    values = {
        "PLAIN": "a",
        "EMPTY": "",
        "LINES": "1\n2\n",
        "ODD": "$(id) `id` \"'\\ ü\t",
        "BYTES": "\udcff\udcfe",
        "not.bash's": "b",
    }
    flags = [word for name in (*values, "WANTED") for word in ("--env", name)]

    ended = here.shell(VARIABLES, *flags, env={**values, "WANTED": ",".join(values)})

    assert ended.status == 0, ended
    assert json.loads(ended.out) == values
