from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a child: cover() leaves the process in namespaces of its own.
PROBE = """
import os, sys
from launcher.run.cover import cover
cover(((sys.argv[1], sys.argv[2]),))
print(open(sys.argv[2]).read(), os.path.islink(sys.argv[2]))
for attempt in (lambda: os.unlink(sys.argv[2]), lambda: os.rename(sys.argv[2], sys.argv[2] + ".moved")):
    try:
        attempt()
        print("done")
    except OSError as error:
        print(os.strerror(error.errno))
"""


def probe(source: str, link: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, source, link], capture_output=True, text=True, check=False
    )


def test_a_covered_link_is_a_file_that_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles/settings").write_text("content")
    link = tmp_path / "settings.json"
    link.symlink_to("dotfiles/settings")

    said = probe(f"{tmp_path}/dotfiles/settings", str(link))

    assert said.stdout.splitlines() == ["content False", os.strerror(16), os.strerror(16)], said.stderr
    assert link.is_symlink()


def test_what_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    said = probe(f"{tmp_path}/none", f"{tmp_path}/link")

    assert said.returncode
    assert f"{tmp_path}/none" in said.stderr


@pytest.mark.parametrize("depth", [2])
def test_a_chain_of_links_is_covered_at_its_first(tmp_path: Path, depth: int) -> None:
    (tmp_path / "file").write_text("end")
    before = "file"
    for number in range(depth):
        (tmp_path / f"link{number}").symlink_to(before)
        before = f"link{number}"

    said = probe(f"{tmp_path}/file", f"{tmp_path}/{before}")

    assert said.stdout.startswith("end False")
