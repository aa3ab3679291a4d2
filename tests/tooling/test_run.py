"""`invoke run` and `invoke setup` as typed: what is asked and installed, and what the launcher is given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pexpect
import pytest

from launcher.vm.kernel import find

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.vm.kernel import Kernel
    from tests.tooling.conftest import Desk

AS_ROOT = [] if os.geteuid() == 0 else ["sudo"]
APT = [*AS_ROOT, "apt-get -q update", *AS_ROOT]


def test_a_machine_that_lacks_nothing_is_asked_nothing(desk: Desk) -> None:
    done = desk.invoke("run", "bubblewrap", "proj")

    assert json.loads(done.stdout)["argv"] == ["proj"]
    assert (done.returncode, done.stderr, desk.log) == (7, "", [])


def test_arguments_reach_the_launcher_byte_for_byte(desk: Desk) -> None:
    arguments = [
        b"-p",
        b"two words",
        b'it\'s "quoted" $HOME \\',
        b"",
        b"--",
        b"line\nbreak",
        "grün".encode(),
        b"\xff",
    ]

    done = desk.invoke("run", "bubblewrap", b"my \xff project", "--", *arguments)

    assert [word.encode("latin-1") for word in json.loads(done.stdout)["argv"]] == [
        b"my \xff project",
        *arguments,
    ]


@pytest.mark.parametrize("task", ["test", "matrix", "sabotage"])
@pytest.mark.parametrize("jobs", [["-n", "2"], ["-n2"], ["--jobs", "2"], ["--jobs=2"]], ids=" ".join)
def test_how_many_at_a_time_is_said_by_n_or_jobs(desk: Desk, task: str, jobs: list[str]) -> None:
    done = desk.invoke(task, *jobs, "--backend", "nope")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "claude-sandbox: unknown backend 'nope'"


def test_flags_stand_before_the_project(desk: Desk) -> None:
    done = desk.invoke(
        "run", "bubblewrap", "proj", "--flags=--share '/a b' --quiet", "--shell", "--", "-c", "id"
    )

    assert json.loads(done.stdout)["argv"] == ["--shell", "--share", "/a b", "--quiet", "proj", "-c", "id"]


def test_flags_that_are_not_quoted_right_are_an_error(desk: Desk) -> None:
    done = desk.invoke("run", "bubblewrap", "proj", "--flags=--share '/a b")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "claude-sandbox: --flags: No closing quotation"


@pytest.mark.parametrize("project", ["run", "test", "-dash", "a:b"])
def test_a_project_may_have_any_name(desk: Desk, project: str) -> None:
    done = desk.invoke("run", "--backend=bubblewrap", f"--project={project}")

    assert json.loads(done.stdout)["argv"][-1] == project


def test_the_project_is_relative_to_where_one_stands(desk: Desk, tmp_path: Path) -> None:
    done = desk.invoke("run", "bubblewrap", ".", cwd=tmp_path)

    assert json.loads(done.stdout)["cwd"] == str(tmp_path)


def test_nobody_to_ask_names_the_command_that_installs(desk: Desk) -> None:
    desk.lack("bwrap")

    done = desk.invoke("run", "bubblewrap", "proj")

    assert (done.returncode, done.stdout, desk.log) == (125, "", [])
    lines = done.stderr.splitlines()
    assert lines[0] == "  missing: the bwrap: it is needed"
    assert lines[1] == "claude-sandbox: nobody to ask: stdin is no terminal"
    assert lines[2].endswith(" setup --backend bubblewrap --yes")


def test_yes_installs_and_goes_on(desk: Desk) -> None:
    desk.lack("bwrap", "tmux")

    done = desk.invoke("run", "bubblewrap", "proj", "--yes")

    assert desk.log == [*APT, "apt-get -q install -y --no-install-recommends bubblewrap tmux"]
    assert (done.returncode, json.loads(done.stdout)["argv"]) == (7, ["proj"])


def test_a_kernel_that_is_missing_is_fetched_into_the_cache_without_sudo(desk: Desk, fetched: Kernel) -> None:
    tree, archive = desk.home / "package", desk.programs / "archive.deb"
    shutil.copytree(fetched.modules, tree / "lib/modules" / fetched.release)
    (tree / "boot").mkdir()
    shutil.copy(fetched.image, tree / "boot" / f"vmlinuz-{fetched.release}")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: k\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n"
    )
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, archive], check=True, capture_output=True)
    (desk.programs / "apt-cache").write_text(f"#!/bin/sh\necho Depends: linux-image-{fetched.release}\n")
    (desk.programs / "apt-cache").chmod(0o755)
    (desk.programs / "apt-get").write_text(f"""#!/bin/sh\ncp '{archive}' . && echo '[]' > "$LACKS"\n""")
    desk.lack("kernel")

    done = desk.invoke("run", "bubblewrap", "proj", "--yes")

    assert (done.returncode, desk.log) == (7, [])
    found = find("", {}, str(desk.home), system="/nonexistent")
    assert found.release == fetched.release
    assert found.image.startswith(f"{desk.home}/.cache/claude-sandbox/kernel/")


def test_setup_installs_what_is_optional_too(desk: Desk) -> None:
    desk.lack("tmux", required=False)

    done = desk.invoke("setup", "--yes")

    assert desk.log == [*APT, "apt-get -q install -y --no-install-recommends tmux"]
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        0,
        "bubblewrap: this machine has what it needs",
    )


def test_run_starts_without_what_is_optional(desk: Desk) -> None:
    desk.lack("tmux", required=False)

    assert (desk.invoke("run", "bubblewrap", "proj").returncode, desk.log) == (7, [])


def test_a_shell_needs_no_agent(desk: Desk) -> None:
    desk.lack("claude")

    assert (desk.invoke("run", "bubblewrap", "proj", "--shell").returncode, desk.log) == (7, [])


def test_what_no_package_mends_is_said_with_the_launchers_own_fix(desk: Desk) -> None:
    desk.lack("")

    done = desk.invoke("run", "bubblewrap", "proj", "--yes")

    assert done.stderr.splitlines()[-2:] == [
        "claude-sandbox: this machine lacks the : it is needed",
        "  mend it so",
    ]
    assert (done.returncode, done.stdout, desk.log) == (125, "", [])


def test_what_is_still_missing_after_installing_is_an_error(desk: Desk) -> None:
    desk.lack("bwrap")

    done = desk.invoke("run", "bubblewrap", "proj", "--yes", REALLY_INSTALL="no")

    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.splitlines()[-1] == "  mend it so"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("bublewrap", "did you mean bubblewrap?", id="nearest"),
        pytest.param("zzz", "backends: bubblewrap, container, vm", id="all"),
    ],
)
def test_a_backend_that_cannot_be_had_is_a_users_error(desk: Desk, name: str, hint: str) -> None:
    done = desk.invoke("run", name, "proj")

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2)
    assert hint in done.stderr


@pytest.mark.parametrize(("answer", "status"), [("", 7), ("y", 7), ("n", 125)])
def test_one_question_at_a_terminal_decides(desk: Desk, answer: str, status: int) -> None:
    desk.lack("bwrap", "tmux")
    command = desk.command("run", "bubblewrap", "proj")

    with pexpect.spawn(
        command[0], command[1:], env=desk.environment(), encoding="utf-8", timeout=30
    ) as terminal:
        terminal.expect(r"Install bubblewrap, tmux \(with apt.*\)\? \[Y/n\] ")
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        rest = str(terminal.before)
    assert terminal.exitstatus == status
    assert "[Y/n]" not in rest
    assert (status == 7) == ('"tty": true' in rest) == bool(desk.log)


def test_no_launcher_beside_invoke_names_the_command_that_installs_it(desk: Desk) -> None:
    (desk.venv / "bin/claude-sandbox").unlink()

    done = desk.invoke("run", "bubblewrap", "proj")

    assert done.returncode == 125
    assert done.stderr.splitlines()[-1].endswith("-m pip install .")


def test_our_own_claude_is_behind_what_the_user_chose(desk: Desk) -> None:
    own = desk.home / ".local/share/claude-sandbox/npm/node_modules/.bin"
    own.mkdir(parents=True)
    (own / "claude").write_text("")

    path = json.loads(desk.invoke("run", "bubblewrap", "proj").stdout)["path"]

    assert path == f"{desk.environment()['PATH']}:{own}"


@pytest.mark.parametrize("arguments", [["--list"], ["--help", "run"], ["--help", "test"]])
def test_help_fits_a_terminal(desk: Desk, arguments: list[str]) -> None:
    done = desk.invoke(*arguments)

    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines()) <= 110


def test_the_launcher_does_not_get_the_locale_that_python_sets_by_itself(desk: Desk) -> None:
    assert json.loads(desk.invoke("run", "bubblewrap", "proj", LANG="C").stdout)["ctype"] is None
    given = desk.invoke("run", "bubblewrap", "proj", LANG="C", LC_CTYPE="C.UTF-8")
    assert json.loads(given.stdout)["ctype"] == "C.UTF-8"


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["run"], "run lacks a backend, and PROJECT", "as: invoke run bubblewrap ~/proj"),
        (["run", "--", "-p", "hi"], "run lacks a backend, and PROJECT", "as: invoke run bubblewrap ~/proj"),
        (["run", "bubblewrap"], "run bubblewrap lacks PROJECT", "as: invoke run bubblewrap ~/proj"),
        (["run", "bubblewrap", "--flags", "--quiet"], "run bubblewrap lacks", "as: invoke run bubblewrap"),
        (["run", "--backend=bubblewrap", "--shell"], "run bubblewrap lacks", "as: invoke run bubblewrap"),
        (["run", "bublewrap"], "unknown backend 'bublewrap'", "did you mean bubblewrap?"),
    ],
)
def test_what_is_missing_on_the_command_line_is_said_in_two_lines(
    desk: Desk, arguments: list[str], what: str, hint: str
) -> None:
    done = desk.invoke(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"claude-sandbox: {what}")
    assert second.startswith(f"  {hint}")


@pytest.mark.parametrize("arguments", [["bench", "run"], ["run", "--help"], ["--help", "run"]])
def test_a_word_that_means_something_else_lacks_nothing(desk: Desk, arguments: list[str]) -> None:
    assert " lacks " not in desk.invoke(*arguments).stderr
