"""--must-run: a skip is a failure that gives the skip's reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

SKIPPED_TEST = "import pytest\ndef test_a():\n    pytest.skip('no such thing here')\n"
SKIPPED_FILE = "import pytest\npytest.skip('no such thing here', allow_module_level=True)\n"
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_a():\n    assert False\n"


def run(directory: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_one.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", *arguments]
    return subprocess.run([*command, str(directory)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("source", [SKIPPED_TEST, SKIPPED_FILE], ids=["test", "file"])
@pytest.mark.parametrize("jobs", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_skip_fails_with_its_reason(tmp_path: Path, source: str, jobs: list[str]) -> None:
    lenient = run(tmp_path, source, *jobs)
    strict = run(tmp_path, source, "-p", "tooling.must_run", *jobs)

    assert "1 skipped" in lenient.stdout
    assert strict.returncode not in (0, lenient.returncode)
    assert "it must run here (--must-run), but: Skipped: no such thing here" in strict.stdout


def test_an_expected_failure_stays_one(tmp_path: Path) -> None:
    done = run(tmp_path, EXPECTED_FAILURE, "-p", "tooling.must_run")

    assert (done.returncode, "1 xfailed" in done.stdout) == (0, True)
