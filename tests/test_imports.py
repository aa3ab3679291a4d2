"""Who may import whom, and that a daily start of the launcher stays with the few cheap modules it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tooling import arrows

ROOT = Path(__file__).parent.parent

# Each costs 2 to 11 ms of a start that takes some 25 ms in all (CONTRIBUTING.md).
EXPENSIVE = {
    *(
        "argparse",
        "asyncio",
        "collections",
        "contextlib",
        "dataclasses",
        "enum",
        "functools",
        "inspect",
        "json",
    ),
    *(
        "logging",
        "pathlib",
        "re",
        "shutil",
        "signal",
        "subprocess",
        "tempfile",
        "threading",
        "tomllib",
        "typing",
    ),
}


def test_imports_follow_the_arrows() -> None:
    found = arrows.violations(ROOT)

    if found:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        pytest.param("launcher/spec/a.py", "import launcher.run", "launcher.run", id="spec-to-launcher"),
        pytest.param(
            "launcher/a.py", "from conformance import cells", "conformance.cells", id="launcher-to-suite"
        ),
        pytest.param("launcher/a.py", "def f():\n    import yaml", "yaml", id="to-third-party-late"),
        pytest.param("launcher/plan/a.py", "from ...tests import a", "tests.a", id="relative"),
        pytest.param("manager_min/a.py", "import launcher.cli", "launcher.cli", id="manager-to-launcher"),
        pytest.param("fixtures/a.py", "import launcher", "launcher", id="fixtures-to-launcher"),
        pytest.param("conformance/a.py", "from launcher import plan", "launcher.plan", id="suite-to-plan"),
    ],
)
def test_an_arrow_against_the_rules_is_found(tmp_path: Path, file: str, source: str, expected: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)

    (found,) = arrows.violations(tmp_path)

    assert found.endswith(f" imports {expected}")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("launcher/spec/a.py", "import launcher.record, tomllib", id="spec-to-record"),
        pytest.param("launcher/plan/a.py", "from launcher.spec.table import ROWS", id="launcher-to-spec"),
        pytest.param("conformance/a.py", "import launcher.spec.table, fixtures.git", id="suite-to-spec"),
        pytest.param("tests/a.py", "import launcher, conformance, yaml", id="tests-to-everything"),
    ],
)
def test_an_arrow_along_the_rules_is_not(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)

    assert arrows.violations(tmp_path) == []


def test_a_daily_start_imports_nothing_expensive(tmp_path: Path) -> None:
    """What is loaded when the first process is started; what comes while the sandbox starts costs no time."""
    (tmp_path / "project").mkdir()
    (tmp_path / "home").mkdir(mode=0o700)
    report = tmp_path / "modules"

    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c", START, str(ROOT), str(report)),
            "--shell",
            "project",
            "-c",
            "exit 7",
        ],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 7, f"this start did not reach the inside:\n{done.stderr[-2000:]}"
    assert sorted(EXPENSIVE & set(report.read_text().split())) == []


def test_the_parts_of_a_vm_import_nothing_expensive() -> None:
    names = [
        f"launcher.vm.{path.stem}" for path in (ROOT / "launcher/vm").glob("*.py") if path.stem[0] != "_"
    ]
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(names)}; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )

    assert sorted(EXPENSIVE & set(done.stdout.split())) == []
    assert set(names) <= set(done.stdout.split())


@pytest.mark.skipif(os.geteuid() == 0, reason="root needs no sudo")
def test_on_the_way_to_sudo_nothing_is_imported_that_only_a_sandbox_needs(tmp_path: Path) -> None:
    """All of it would be imported once more by what sudo starts."""
    report = tmp_path / "modules"
    (tmp_path / "project").mkdir()
    start = START.replace("claude-sandbox", "claude-sandbox-container").replace("bubblewrap", "container")

    subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, str(ROOT), str(report), "--shell", "project", "-c", "true"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,  # a sudo that wants a password has nobody to ask
    )

    loaded = set(report.read_text().split())
    assert "launcher.elevate" in loaded
    assert sorted(loaded & {"launcher.launch", "launcher.host.probe", "launcher.plan.resolve"}) == []


# As bin/claude-sandbox, without the site-packages in between: an editable install imports a lot.
START = """
import sys
root, report, *arguments = sys.argv[1:]
sys.path.insert(0, root)
loaded = []

def note(event, _):
    if not loaded and event in ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen"):
        loaded.extend(sys.modules)
        with open(report, "w") as file:
            file.write(" ".join(loaded))

sys.addaudithook(note)
from launcher.cli import main
sys.exit(main(["claude-sandbox", *arguments], "bubblewrap"))
"""


def test_the_tasks_need_nothing_that_the_tests_need() -> None:
    """`pip install .` brings invoke alone, and `invoke run` is the README's first command."""
    script = (
        "import sys\n"
        "for name in ('pytest', 'pexpect', 'qemu', 'testinfra', 'xdist', 'requests', 'hypothesis'):\n"
        "    sys.modules[name] = None\n"
        "import tasks\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
