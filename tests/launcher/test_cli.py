"""The command line as a program: what it prints, how it ends, and what its flags really do."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher import __version__
from launcher.flags import known
from launcher.spec.table import ROWS
from tests.launcher.program import BANNER, PROGRAM, TIMEOUT_S, Ended, Machine, assert_refused, notes

NAMES = [
    "plain",
    "with space",
    " space at both ends ",
    "ünï ✓",
    "quo'te\"",
    "com,ma",
    "new\nline",
    "tab\tand\x1b[31mcolour",
    "co:lon",
    "-dash",
    "--shell",
    "$(touch x)`touch y`",
    "back\\slash",
    "*",
    "~",
    "a=b",
    "{seccomp}",
    os.fsdecode(b"not \xff\xfe UTF-8"),
    "l" * 255,
]
OPTIONAL = [row for row, (_, _, without, *_) in ROWS.items() if without]
EXTRA = [row for row, (_, _, _, default, *_) in ROWS.items() if not default]


def in_shell(machine: Machine, script: str, *arguments: str | Path) -> Ended:
    """A bash script on the host in which "$@" is the launcher with these arguments; pipes may fail."""
    done = subprocess.run(
        ["bash", "-c", script, "bash", *PROGRAM, *arguments],
        env=machine.environ,
        cwd=machine.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        **machine.identity,
    )
    return Ended(status=done.returncode, out=os.fsdecode(done.stdout), err=os.fsdecode(done.stderr))


# -- help, version


def test_the_help_is_short_enough_to_read_and_names_every_flag(here: Machine) -> None:
    ended = here.run("--help")

    assert (ended.status, ended.err) == (0, "")
    assert ended.out == here.run("-h").out, ended
    assert all(flag.name in ended.out for flag in known("bubblewrap"))
    assert not here.state.exists()


def test_the_version_is_the_distributions(here: Machine) -> None:
    assert here.run("--version").out == f"claude-sandbox {__version__}\n"


# -- output that cannot be written

PRINTING = [
    ["--help"],
    ["--version"],
    ["--completion", "bash"],
    ["--explain"],
    ["--explain=json"],
    ["--check"],
]


def with_project(machine: Machine, words: list[str]) -> list[str]:
    return [*words, str(machine.project)] if words[0].startswith("--explain") else words


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_reader_that_leaves_ends_it_without_a_word(here: Machine, words: list[str]) -> None:
    """`:` reads nothing: most of the time it is gone before the first byte is written."""
    for reader in ("head -1", ":"):
        ended = in_shell(here, f'"$@" | {reader}; echo "${{PIPESTATUS[0]}}" >&2', *with_project(here, words))

        assert ended.said in (["0"], ["141"], ["125"] if words == ["--check"] else ["141"])


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_full_disk_behind_stdout_is_an_error_in_two_lines(here: Machine, words: list[str]) -> None:
    ended = in_shell(here, '"$@" >/dev/full', *with_project(here, words))

    assert_refused(ended, 125, "stdout cannot be written: No space left on device", "free some space")


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_who_closes_stdout_gets_the_status_alone(here: Machine, words: list[str]) -> None:
    plain = here.run(*with_project(here, words))
    closed = in_shell(here, '"$@" >&-', *with_project(here, words))

    assert closed == Ended(status=plain.status, out="", err="")


def test_a_locale_without_arrows_gets_escapes(here: Machine) -> None:
    project = here.directory(here.home / "ünï")
    # -I keeps PYTHONIOENCODING out, so the encoding is the locale's; the C locale's would be UTF-8.
    code = PROGRAM[-1].replace("from launcher", "sys.stdout.reconfigure(encoding='ascii'); from launcher")

    ended = in_shell(here, '"${@:1:4}" "$code" "${@:6}"'.replace("$code", code), "--explain", project)

    assert ended.status == 0, ended
    assert ended.out.isascii()
    assert r"/\xfcn\xef" in ended.out


# -- explain


def test_explain_says_every_row_once_and_why_not(here: Machine) -> None:
    ended = here.run("--explain", here.project, env={"DISPLAY": None})

    lines = [line.split(maxsplit=1) for line in ended.out.splitlines() if line.startswith("  ")]
    assert ended.status == 0
    assert ended.err == ""
    assert sorted(name for name, _ in lines) == sorted(ROWS)
    assert dict(lines)["x11"].split(maxsplit=2)[:2] == ["not", "granted"]
    assert "DISPLAY is not set" in dict(lines)["x11"]
    assert f"{here.project} and /project" in dict(lines)["project"]


def test_explain_writes_nothing_anywhere(here: Machine) -> None:
    before = here.files()

    assert here.run("--explain", here.project).status == 0
    assert here.run("--explain=json", here.project).status == 0
    assert here.files() == before


SECRETS = {
    "ANTHROPIC_API_KEY": "canary-key",
    "GH_TOKEN": "canary-gh",
    "MINE": "canary-mine",
    "http_proxy": "http://user:canary-proxy@proxy.test:1",
    "UNLISTED": "canary-unlisted",
}


@pytest.mark.parametrize("form", ["--explain", "--explain=json"])
def test_explain_names_secrets_and_shows_none(here: Machine, form: str) -> None:
    ended = here.run(form, "--gh-token", "--env", "MINE", here.project, env=SECRETS)

    assert all(name in ended.out for name in ("ANTHROPIC_API_KEY", "GH_TOKEN", "MINE"))
    assert "UNLISTED" not in ended.out
    assert "canary" not in ended.out + ended.err


def explained(machine: Machine, *words: str | Path, **how: Any) -> Any:  # noqa: ANN401  (JSON)
    ended = machine.run("--explain=json", *words, **how)
    assert ended.status == 0, ended
    return json.loads(ended.out)


def test_explain_as_json_is_the_plan_that_would_run(here: Machine) -> None:
    plan = explained(
        here, "--no-network", "--env", "MINE", "--without", "git-config", here.project, env=SECRETS
    )

    assert plan["project"] == plan["cwd"] == str(here.project)
    assert plan["network"] is False
    assert plan["identity"]["uid"] == os.getuid()
    assert plan["environment"]["HOME"] == "/home/sandbox"
    assert plan["environment"]["MINE"] == "(secret)"
    rows = {row["row"]: row for row in plan["rows"]}
    assert list(rows) == list(ROWS)
    assert (rows["network"]["word"], rows["network"]["granted"]) == ("absent", False)
    assert rows["git-config"]["reason"] == "left out by --without"
    assert rows["project"]["mounts"][0] == {
        "kind": "bind",
        "target": str(here.project),
        "source": str(here.project),
        "mode": "rw",
    }


# -- check


def test_check_finds_nothing_missing_for_a_shell(here: Machine) -> None:
    assert here.run("--check", "--shell").out == "nothing is missing here\n"
    assert json.loads(here.run("--check=json", "--shell").out) == []
    assert not here.state.exists()


def test_check_names_what_is_missing_with_the_command_that_mends_it(here: Machine) -> None:
    bare = {"PATH": str(here.directory(here.home / "empty"))}

    ended = here.run("--check", env=bare)
    found = json.loads(here.run("--check=json", env=bare).out)

    assert (ended.status, ended.err) == (125, "")
    assert [m["program"] for m in found if m["required"]] == ["bwrap", "bash", "setsid", "claude"]
    assert {m["program"] for m in found if not m["required"]} == {"git", "xdg-dbus-proxy", "tmux"}
    for item in found:
        word = "missing" if item["required"] else "optional"
        assert f"{word}: {item['what']}: {item['why']}\n  {item['fix']}\n" in ended.out


def test_what_is_optional_alone_is_no_failure(here: Machine) -> None:
    path = here.directory(here.home / "bin")
    for program in ("bwrap", "bash", "setsid"):
        found = shutil.which(program, path=here.environ["PATH"])
        assert found, program
        (path / program).symlink_to(found)

    ended = here.run("--check", "--shell", env={"PATH": str(path)})

    assert ended.status == 0
    assert {line.split(":")[0] for line in ended.out.splitlines()[::2]} == {"optional"}


# -- the shell and its arguments


def test_a_start_says_one_line_and_passes_the_status_on(here: Machine) -> None:
    ended = here.shell("exit 7")

    assert ended.status == 7
    assert ended.said == [BANNER]
    assert here.shell("true", "--no-network").said[0].split(" · ")[1] == "network off"


def test_quiet_says_nothing(here: Machine) -> None:
    assert here.shell("exit 7", "--quiet") == Ended(status=7, out="", err="")


def test_all_after_the_project_is_the_shells(here: Machine) -> None:
    words = ["--", "--explain", "-p", "", "two words", "{control}", "-h"]

    ended = here.run("--shell", here.project, "-c", 'printf "%s|" "$0" "$@"', *words)

    assert ended.out == "|".join(words) + "|", ended


def test_two_dashes_end_the_flags_and_what_follows_is_the_project(here: Machine) -> None:
    here.directory(here.home / "--shell")

    ended = here.run("--shell", "--", "--shell", "-c", "pwd -P")

    assert ended.out == f"{here.home}/--shell\n", ended


def test_input_and_output_are_pipes_all_the_way(here: Machine) -> None:
    process = here.start("--shell", here.project, "-c", "tr a-z A-Z", stdin=subprocess.PIPE)
    out, _ = process.communicate(b"through\0and through\n" * 50_000, timeout=TIMEOUT_S)

    assert out == b"THROUGH\0AND THROUGH\n" * 50_000


def test_a_failing_command_and_a_signal_end_it_as_a_shell_would(here: Machine) -> None:
    assert here.shell("kill -9 $$").status == 128 + 9
    assert here.run("--shell", here.project, "-c", "nonexistent-command").status == 127


# -- projects of every name


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_project_of_any_name_is_the_working_directory_and_written_to(here: Machine, name: str) -> None:
    project = here.directory(here.project / name)
    script = 'pwd -P; cd /project; pwd; echo "from inside" > file; cat "$OLDPWD/file"'

    absolute = here.run("--shell", "--", project, "-c", script)
    relative = here.run("--shell", "--", name, "-c", "cat file; echo again > file", cwd=here.project)

    assert absolute.out == f"{project}\n/project\nfrom inside\n", absolute
    assert relative.out == "from inside\n", relative
    assert (project / "file").read_text() == "again\n"
    assert os.listdir(here.project) == [name]
    # One line, whatever the name would do to a terminal.
    assert len(absolute.said) == len(relative.said) == 1
    assert all(line.isprintable() for line in absolute.said)
    assert explained(here, "--", project)["project"] == str(project)


def test_a_project_is_reached_by_a_symlink_a_dot_and_a_slash(here: Machine) -> None:
    (here.home / "link").symlink_to("proj")
    for typed, cwd in (
        ("link", here.home),
        ("link/", here.home),
        (".", here.project),
        ("../proj", here.project),
    ):
        assert here.run("--shell", typed, "-c", "pwd -P", cwd=cwd).out == f"{here.project}\n"


# -- flags that change the sandbox


@pytest.mark.parametrize("row", OPTIONAL)
def test_every_row_that_may_be_left_out_leaves_a_sandbox_that_runs(here: Machine, row: str) -> None:
    script = "cd /project && echo written > file && cat file"

    ended = here.shell(script, "--without", row)

    assert ended.out == "written\n", ended
    assert notes(ended) == []
    cell = {r["row"]: r for r in explained(here, "--without", row, here.project)["rows"]}[row]
    assert (cell["granted"], cell["reason"]) == (False, "left out by --without")


def test_without_every_optional_row_it_still_runs(here: Machine) -> None:
    flags = [word for row in OPTIONAL for word in ("--without", row)]

    ended = here.shell("ls -A ~; echo $?", *flags)

    assert (ended.status, ended.out) == (0, "0\n"), ended


@pytest.mark.parametrize("row", EXTRA)
def test_every_row_that_is_off_by_default_is_had_or_said_to_be_missing(here: Machine, row: str) -> None:
    ended = here.shell("true", "--with", row)

    assert ended.status == 0, ended
    usable = row != "kvm" or os.access("/dev/kvm", os.R_OK | os.W_OK)
    assert notes(ended) == [] if usable else notes(ended)[0].startswith("claude-sandbox: kvm is off: ")


def test_a_variable_is_forwarded_by_name_and_no_other(here: Machine) -> None:
    env = {"MINE": "a value\nof two lines ✓", "b c": "odd", "OTHER": "not asked for"}

    ended = here.shell(
        "printenv MINE 'b c' OTHER UNSET", "--env", "MINE", "--env=b c", "--env", "UNSET", env=env
    )

    assert ended.out == "a value\nof two lines ✓\nodd\n", ended
    assert notes(ended) == ["claude-sandbox: --env: UNSET is not set here"]


def test_a_share_is_read_only_unless_asked_otherwise(here: Machine) -> None:
    data = here.directory(here.home / "with:colon, and space")
    file = here.write(here.home / "file", "before\n")
    write = f"echo inside > {shlex.quote(str(data))}/new; cat {file}; echo after > {file}"

    read_only = here.shell(write, "--share", data, "--share", file)
    assert (read_only.out, os.listdir(data), file.read_text()) == ("before\n", [], "before\n")
    assert read_only.err.count("Read-only file system") == 2

    writable = here.shell(write, "--share", f"{data}:rw", "--share", f"{file}:rw")
    assert (writable.out, os.listdir(data), file.read_text()) == ("before\n", ["new"], "after\n")
    assert len(writable.said) == 1


def test_a_share_below_another_share_keeps_its_own_mode(here: Machine) -> None:
    below = here.directory(here.directory(here.home / "data") / "below")
    script = f"touch {below}/new; touch {below.parent}/new 2>/dev/null || echo refused"

    ended = here.shell(script, "--share", f"{below}:rw", "--share", below.parent)

    assert ended.out == "refused\n", ended
    assert os.listdir(below) == ["new"]


def test_a_part_of_the_project_is_made_read_only_by_both_its_names(here: Machine) -> None:
    vendor = here.directory(here.project / "vendor")
    script = "touch vendor/a 2>/dev/null || echo 1; touch /project/vendor/b 2>/dev/null || echo 2; touch here"

    ended = here.shell(script, "--share", vendor)

    assert (ended.out, os.listdir(vendor)) == ("1\n2\n", [])


def test_a_share_by_a_symlink_is_said_to_be_elsewhere(here: Machine) -> None:
    here.write(here.home / "real", "content\n")
    (here.home / "link").symlink_to("real")

    ended = here.shell(f"cat {here.home}/real", "--share", here.home / "link")

    assert ended.out == "content\n", ended
    said = f"claude-sandbox: --share {here.home}/link is a symlink: inside it is {here.home}/real"
    assert notes(ended) == [said]


def test_two_hundred_shares_are_mounted(here: Machine) -> None:
    top = here.directory(here.home / "shares")
    flags: list[str] = []
    for number in range(200):
        here.directory(top / str(number))
        flags += ["--share", f"{top}/{number}:{'rw' if number % 2 else 'ro'}"]

    ended = here.shell(f"cd {top}; for d in *; do touch $d/x 2>/dev/null && echo $d; done | wc -l", *flags)

    assert ended.out == "100\n", ended


def test_a_restored_file_is_named_on_stdout(here: Machine) -> None:
    here.write(here.project / ".envrc", "before\n")
    here.shell("echo after > .envrc")

    ended = here.run("--restore", here.project)

    assert ended.status == 0
    assert ended.out.startswith(".envrc: as before")
    assert (here.project / ".envrc").read_text() == "before\n"


# -- completion


@pytest.fixture
def completions(here: Machine) -> Path:
    """A file with the script for bash, in a directory with something to complete."""
    for name in ("proj two", "other"):
        here.directory(here.home / name)
    here.write(here.home / "a file", "")
    return here.write(here.home / "completions", here.run("--completion", "bash").out)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--wit"], {"--with", "--without"}),
        (["--shell", "--qu"], {"--quiet"}),
        (["--without", "dbus"], {"dbus-session", "dbus-system"}),
        (["--without", "=", "x"], {"x11"}),
        (["--without", "="], set(OPTIONAL)),
        (["--with", "k"], {"kvm"}),
        (["--without", "x11", "--with", "u"], {"userns"}),
        (["--explain", "="], {"json"}),
        (["--completion", ""], {"bash", "zsh", "fish"}),
        (["--env", "XDG_STATE"], {"XDG_STATE_HOME"}),
        (["--share", "a"], {"a file"}),
        (["pro"], {"proj", "proj two"}),
        (["--env", "HOME", "--without", "=", "x11", "o"], {"other"}),
        (["--", "o"], {"other"}),
        # What stands behind PROJECT is the agent's: files, and none of our flags.
        (["proj", "--sh"], set()),
        (["proj", "a"], {"a file"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes(here: Machine, completions: Path, words: list[str], expected: set[str]) -> None:
    script = (
        'source "$1"; shift; complete -p claude-sandbox >/dev/null || exit 9;'
        ' COMP_WORDS=(claude-sandbox "$@"); COMP_CWORD=$#; _claude_sandbox;'
        ' ((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; exit 0'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", completions, *words],
        cwd=here.home,
        env=here.environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(done.stdout.splitlines()) == expected
    assert done.stderr == ""


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish: sudo apt-get install fish")
def test_fish_completes(here: Machine) -> None:
    here.directory(here.home / "other")
    file = here.write(here.home / "completions", here.run("--completion", "fish").out)

    def completed(line: str) -> set[str]:
        script = f"source {shlex.quote(str(file))}; complete -C {shlex.quote(line)}"
        done = subprocess.run(
            ["fish", "-c", script],
            cwd=here.home,
            env=here.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return {line.split("\t")[0] for line in done.stdout.splitlines()}

    assert completed("claude-sandbox --wit") == {"--with", "--without"}
    assert completed("claude-sandbox --without x") == {"x11"}
    assert completed("claude-sandbox --completion ") == {"bash", "zsh", "fish"}
    assert completed("claude-sandbox o") == {"other/"}


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh: sudo apt-get install zsh")
def test_zsh_takes_its_script(here: Machine) -> None:
    file = here.write(here.home / "completions", here.run("--completion", "zsh").out)
    script = f"autoload -U compinit; compinit -u -D; source {file}; print $_comps[claude-sandbox]"

    done = subprocess.run(
        ["zsh", "-f", "-c", script], env=here.environ, capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("_claude_sandbox\n", "")


def test_a_shell_without_a_script_is_told_those_with_one(here: Machine) -> None:
    ended = here.run("--completion", "tcsh")

    assert_refused(ended, 2, "--completion tcsh: there is none for it", "shells: bash, zsh, fish")


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ({"LANG": "C"}, ["LANG=C"]),
        ({"LANG": None}, ["LANG=C.UTF-8"]),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, ["LANG=C", "LC_CTYPE=C.UTF-8"]),
    ],
    ids=["C", "none", "the user's own"],
)
def test_the_locale_inside_is_the_hosts_and_not_what_python_adds_to_it(
    here: Machine, outside: dict[str, str | None], inside: list[str]
) -> None:
    """PEP 538: in the C locale Python sets LC_CTYPE in its own environment."""
    ended = here.shell("env | grep -E '^(LANG|LC_)' | sort", env=outside)

    assert ended.out.splitlines() == inside, ended
