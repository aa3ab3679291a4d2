"""The suite itself, run on programs that sandbox nothing, never start, or die: each is told apart."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.process import processes_with

ROOT = Path(__file__).parents[2]

# Takes the flags, and gives a shell on the host itself.
NO_SANDBOX = """\
#!/usr/bin/python3
import os, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    if words.pop(0) in ("--with", "--without", "--qmp-socket"):
        words.pop(0)
os.chdir(words[0])
os.execv("/bin/bash", ["bash", *words[1:]])
"""

# Fails at the first start of a test run.
ONCE = """\
try:
    os.mkdir(os.path.expanduser("~/../../once"))
    sys.exit(125)
except FileExistsError:
    pass
"""


class Run:
    """What a run of the suite came to."""

    def __init__(self, done: subprocess.CompletedProcess[str], directory: Path) -> None:
        self.status = done.returncode
        self.text = done.stdout + done.stderr
        self.directory = directory

    @property
    def verdicts(self) -> dict[str, str]:
        matrix: dict[str, Any] = json.loads((self.directory / "matrix.json").read_text())
        return {f"{cell['row']} {cell['variant']}": cell["verdict"] for cell in matrix["cells"]}


Suite = Callable[..., Run]


def command(directory: Path, *arguments: str, of: str = "conformance") -> list[str]:
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--matrix", str(directory))
    return [sys.executable, "-m", "pytest", of, *options, *arguments]


@pytest.fixture
def program() -> Iterator[Path]:
    """Where a program may stand that an ordinary user is to run: pytest's own directories are closed."""
    path = Path("/tmp") / f"graded-{secrets.token_hex(8)}"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def suite(tmp_path: Path, program: Path) -> Suite:
    def run(*arguments: str, graded: str = "", of: str = "conformance") -> Run:
        if graded:
            program.write_text(graded)
            program.chmod(0o755)
            arguments = ("--command", str(program), *arguments)
        done = subprocess.run(
            command(tmp_path, *arguments, of=of),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return Run(done, tmp_path)

    return run


def test_a_row_is_proven_in_every_variant(suite: Suite) -> None:
    run = suite("--row", "project")

    assert run.status == 0, run.text
    assert set(run.verdicts.values()) == {"proven"}
    assert {"project default", "project no-network", "project tmux", "project off"} <= run.verdicts.keys()


def test_what_sandboxes_nothing_is_broken(suite: Suite) -> None:
    run = suite("--row", "environment", "--variant", "default", graded=NO_SANDBOX)

    assert run.status == 1
    assert run.verdicts == {"environment default": "broken"}
    kept = run.directory / "evidence/bubblewrap-environment"
    assert {"failure.txt", "plan.json", "transcript.txt", "processes.txt", "mountinfo.txt"} <= set(
        os.listdir(kept)
    )
    assert "bash --norc" in (kept / "processes.txt").read_text()


def test_a_shared_sandbox_ends_with_the_last_check_that_shares_it(suite: Suite) -> None:
    """One that waits for the end of the run takes time from those that start after it."""
    log = Path("/tmp") / f"starts-{secrets.token_hex(8)}"
    saying = f"""
import subprocess
def say(what):
    if "--explain=json" not in sys.argv:
        open({str(log)!r}, "a").write(what)
say("start ")
subprocess.run(["bash", *words[1:]])
say("end ")
"""
    graded = NO_SANDBOX.replace('os.execv("/bin/bash", ["bash", *words[1:]])', saying)

    suite("--row", "uid", "--variant", "default", "--variant", "bare", graded=graded)
    said = log.read_text().split()
    log.unlink()

    assert said == ["start", "end", "start", "end"]


def test_what_never_starts_is_unproven_and_quoted(suite: Suite) -> None:
    run = suite(
        "--row", "uid", "--variant", "default", graded="#!/bin/sh\necho no namespaces here; exit 125\n"
    )

    assert run.status == 1
    assert run.verdicts == {"uid default": "unproven"}
    assert "came to no shell" in run.text
    assert "exit status 125" in run.text
    assert "no namespaces here" in run.text


def test_a_run_in_a_scripts_background_is_graded_alike(tmp_path: Path) -> None:
    """Where Ctrl-C is ignored (`invoke test &` in a script), controls on the host still die of it."""
    argv = command(tmp_path, "--row", "exit", "--variant", "default", "-k", "status")
    script = "trap '' INT QUIT; exec \"$@\""

    done = subprocess.run(
        ("sh", "-c", script, "sh", *argv), cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )

    assert Run(done, tmp_path).verdicts == {"exit default": "proven"}, done.stdout


def test_until_broken_looks_no_further_at_a_cell(suite: Suite) -> None:
    rows = ("--row", "environment", "--row", "home")

    run = suite(*rows, "--variant", "default", "--until-broken", graded=NO_SANDBOX)

    assert run.verdicts == {"environment default": "broken", "home default": "broken"}
    assert "\n2 failed" in run.text


def test_what_is_slow_is_shown_by_default_alone_where_a_machine_is_emulated(tmp_path: Path) -> None:
    arguments = ("--backend", "vm", "--row", "x11", "--collect-only")
    done = subprocess.run(
        command(tmp_path, *arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.stdout.count("test_a_window_opened_inside_is_on_the_machines_own_screen") == 1
    assert done.stdout.count("test_the_hosts_display_is_not_within_reach") == 4


def test_a_row_without_a_word_is_one_line(tmp_path: Path) -> None:
    """A table that cannot be read is said by its place, without a traceback."""
    for name in ("conformance", "fixtures", "launcher"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    table = tmp_path / "launcher/spec/resources.toml"
    table.write_text(table.read_text().replace('{ word = "shared", means', "{ means", 1))

    done = subprocess.run(command(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 4
    assert "the table cannot be read: resources.toml: rows." in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_one_failed_start_is_not_tried_again_for_each_check(suite: Suite) -> None:
    count = "#!/bin/sh\necho x >>$HOME/../../count-of-starts; exit 125\n"

    run = suite("--row", "ssh-agent", "--variant", "default", graded=count)

    assert run.verdicts == {"ssh-agent default": "unproven"}
    assert run.text.count("came to no shell") > 1


def test_where_starts_are_dear_what_did_not_come_up_is_started_once_more(suite: Suite) -> None:
    rows = ("--row", "environment", "--variant", "default", "-k", "secrets")

    run = suite("--backend", "vm", *rows, graded=NO_SANDBOX.replace("words = ", f"{ONCE}words = "))

    assert run.verdicts == {"environment default": "broken"}
    assert "1 failed" in run.text
    assert "1 rerun" in run.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--row", "projekt"], "there is no row 'projekt'", id="row"),
        pytest.param(["--variant", "of"], "there is no variant 'of'", id="variant"),
        pytest.param(["--backend", "docker"], "there is no backend 'docker'", id="backend"),
    ],
)
def test_an_unknown_name_is_said_with_those_that_there_are(
    suite: Suite, arguments: list[str], said: str
) -> None:
    run = suite(*arguments)

    assert run.status == 4
    assert said in run.text
    assert "there are: " in run.text


OWN = """
import pytest
from pathlib import Path
from conformance.conftest import *
from conformance.conftest import NAME, plugin

def pytest_configure(config):
    config.pluginmanager.register(plugin.Conformance(config, Path(__file__).parent), NAME)
"""
HEAD = """
import pytest
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError
"""


@pytest.fixture
def own(tmp_path: Path, suite: Suite) -> Suite:
    """Runs checks that are given as text, on row uid and its default cell alone."""

    def run(checks: str, *arguments: str) -> Run:
        directory = tmp_path / "own"
        directory.mkdir(exist_ok=True)
        (directory / "conftest.py").write_text(OWN)
        (directory / "test_own.py").write_text(HEAD + checks)
        return suite("--row", "uid", "--variant", "default", *arguments, of=str(directory))

    return run


MISSING = """
@covers("uid", "same")
def test_lacking():
    raise HarnessError("no such device here", "modprobe it")
"""
PROVEN = """
@covers("uid", "same")
def test_proven(inside, host):
    assert inside.check_output("id -u") == str(host.user.uid)
"""
BROKEN = """
@covers("uid", "same")
def test_broken(inside):
    assert inside.check_output("id -u") == "-1"
"""
NOT_LOOKED = """
@covers("uid", "same")
def test_not_looked(inside):
    inside.python("1 / 0")
"""


@pytest.mark.parametrize(
    ("checks", "status", "verdict"),
    [
        pytest.param(PROVEN, 0, "proven", id="proven"),
        pytest.param(PROVEN + BROKEN, 1, "broken", id="broken"),
        pytest.param(PROVEN + NOT_LOOKED, 1, "unproven", id="harness-error"),
        pytest.param(PROVEN + MISSING, 0, "unproven", id="skip"),
        pytest.param(MISSING + BROKEN, 1, "broken", id="broken-and-skip"),
    ],
)
def test_verdicts_never_mix(own: Suite, checks: str, status: int, verdict: str) -> None:
    run = own(checks)

    assert run.status == status, run.text
    assert run.verdicts == {"uid default": verdict}


def test_a_skip_names_its_remedy_and_must_run_makes_a_failure_of_it(own: Suite) -> None:
    loose = own(MISSING)
    strict = own(MISSING, "--must-run")

    assert loose.status == 0
    assert "modprobe it" in loose.text
    assert strict.status == 1
    assert "it must run here (--must-run), but: HarnessError: no such device here" in strict.text
    assert strict.verdicts == {"uid default": "unproven"}


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        pytest.param(
            PROVEN.replace('"uid"', '"home"').replace("same", "own"),
            "cells that nothing proves: bubblewrap-uid-same (default)",
            id="cell",
        ),
        pytest.param(PROVEN + "def test_of_nothing(): pass", "test_of_nothing covers no cell", id="check"),
        pytest.param(PROVEN + PROVEN, "two checks are named test_proven", id="twice"),
    ],
)
@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "xdist"])
def test_a_shut_gate_runs_nothing(own: Suite, checks: str, said: str, workers: list[str]) -> None:
    run = own(checks, *workers)

    assert run.status != 0
    assert said in run.text
    assert "passed" not in run.text


def test_xdist_starts_each_variant_once_and_merges(suite: Suite) -> None:
    run = suite("--row", "uid", "--row", "ssh-agent", "-n2")

    assert run.status == 0, run.text
    assert set(run.verdicts.values()) == {"proven"}
    starts = [line for line in run.text.splitlines() if line.startswith("started bubblewrap ")]
    assert len(starts) == len({line.split(":")[0] for line in starts}) == 5


def test_two_runs_at_once_do_not_meet(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            command(tmp_path / str(number), "--row", "uid", "--row", "ssh-agent"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]

    for run in runs:
        out, _ = run.communicate(timeout=100)
        assert run.returncode == 0, out


@pytest.fixture
def killed(tmp_path: Path, program: Path) -> Callable[..., str]:
    """Runs the suite on a shell that never answers, and sends it and its worker a signal; the directory that
    was worked in.
    """

    def kill(number: signal.Signals, *arguments: str) -> str:
        told = program.with_suffix(".told")
        program.write_text(f"#!/bin/sh\nstty -echo\necho $XDG_RUNTIME_DIR $PPID >{told}\nexec sleep 600\n")
        program.chmod(0o755)
        told.touch()
        told.chmod(0o666)
        child = subprocess.Popen(
            command(tmp_path, "--command", str(program), "--variant", "default", *arguments),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + 60
            while not told.read_text().endswith("\n"):
                assert time.monotonic() < end, "the sandbox was not started"
                time.sleep(0.02)
            for process in {child.pid, int(told.read_text().split()[1])}:
                os.kill(process, number)
            child.wait(30)
        finally:
            child.kill()
            child.wait()
            runtime = told.read_text().split()[0]
            told.unlink()
        return str(Path(runtime).parent)

    return kill


# Of what lies at a host's fixed paths, as /nix does, some is root's; a worker puts it there.
@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (signal.SIGINT, ("--row", "ssh-agent")),
        (signal.SIGKILL, ("--row", "ssh-agent")),
        (signal.SIGKILL, ("--row", "nix-store", "-n1")),
    ],
    ids=["ctrl-c", "sigkill", "sigkill-of-one-with-a-store"],
)
def test_whatever_ends_a_run_nothing_is_left(
    killed: Callable[..., str], number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    directory = killed(number, *arguments)

    end = time.monotonic() + 30
    while (Path(directory).exists() or processes_with(directory)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(directory).exists()
    assert processes_with(directory) == []
