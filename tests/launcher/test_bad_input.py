"""What people give that cannot be meant, and homes that are not as they should be.

Refused in two lines with the documented status, or it starts without and says so in one; nothing is left
behind, and nothing of the user's is changed.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launcher.program import BANNER, NOBODY, PROGRAM, TIMEOUT_S, Ended, Machine, assert_refused, notes

# -- PROJECT


def missing(m: Machine) -> Path:
    return m.home / "no such"


def a_file(m: Machine) -> Path:
    return m.write(m.home / "file", "content")


def below_a_file(m: Machine) -> Path:
    return a_file(m) / "below"


def a_fifo(m: Machine) -> Path:
    os.mkfifo(m.home / "fifo")
    return m.home / "fifo"


def unreadable(m: Machine) -> Path:
    return m.directory(m.home / "unreadable", 0o300)


def in_a_closed_directory(m: Machine) -> Path:
    closed = m.directory(m.home / "closed")
    project = m.directory(closed / "project")
    closed.chmod(0o600)
    return project


def dangling(m: Machine) -> Path:
    (m.home / "dangling").symlink_to("nowhere")
    return m.home / "dangling"


def a_loop(m: Machine) -> Path:
    (m.home / "loop").symlink_to("loop")
    return m.home / "loop"


def linked_home(m: Machine) -> Path:
    (m.home / "link").symlink_to(".")
    return m.home / "link"


PROJECTS: list[tuple[Callable[[Machine], Path], str, str]] = [
    (missing, "does not exist", "make it first: mkdir -p '"),
    (a_file, "is a file", "the directory that it is in"),
    (below_a_file, "should be a directory on the way is a file", "check the path"),
    (a_fifo, "is no directory", "the directory that it is in"),
    (unreadable, "is not readable by you", "ls -ld"),
    (in_a_closed_directory, "a directory on the way is closed to you", "check the path"),
    (dangling, "is a dangling symlink to ", "mend the link"),
    (a_loop, "is a symlink that leads to itself", "mend the link"),
    (lambda _: Path("/"), "is the whole machine", "a directory below it"),
    (lambda m: m.home, "is your home", "a directory below it"),
    (linked_home, "is your home", "a directory below it"),
    (lambda m: m.home.parent, "is a parent of your home", "a directory below it"),
    (lambda m: m.directory(m.home / ".ssh", 0o700), "lies in ~/.ssh", "a directory elsewhere"),
    (lambda m: m.directory(m.home / ".local"), "claude-sandbox's own state", "a directory below it"),
    (lambda _: Path("/etc"), "/etc belongs to the system", "a directory below it"),
    (lambda _: Path("/proc"), "/proc belongs to the system", "a directory below it"),
    (lambda _: Path("/" + "n" * 300), "is longer than a path can be", "check the path"),
    (lambda _: Path("/" + "n/" * 2500), "is longer than a path can be", "check the path"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "what", "hint"), PROJECTS, ids=[what for _, what, _ in PROJECTS])
def test_a_project_that_cannot_be_meant_is_refused(
    ordinary: Machine, make: Callable[[Machine], Path], what: str, hint: str
) -> None:
    project = make(ordinary)
    before = ordinary.files()

    # XDG_STATE_HOME in the home, where it is for most people.
    ended = ordinary.run("--shell", project, "-c", "true", env={"XDG_STATE_HOME": None})

    assert_refused(ended, 2, what, hint)
    assert ordinary.files() == before


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ([], "PROJECT is missing", "claude-sandbox ~/proj"),
        (["--"], "PROJECT is missing", "claude-sandbox ~/proj"),
        ([""], "PROJECT is an empty string", "say which directory"),
        (["--shel", "proj"], "unknown flag --shel", "did you mean --shell?"),
        (["--no-net", "proj"], "unknown flag --no-net", "did you mean --no-network?"),
        (["--dangerously-skip-permissions", "proj"], "unknown flag", "see claude-sandbox --help"),
        (["-x", "proj"], "unknown flag -x", "see claude-sandbox --help"),
        (["--\x1b[2Jflag\n", "proj"], r"unknown flag --\x1b[2Jflag\x0a", "see claude-sandbox --help"),
        (["--without", "x12", "proj"], "--without x12: there is no such row", "did you mean x11?"),
        (["--without", "ssh-key", "proj"], "there is no such row", "did you mean ssh-keys?"),
        (["--with", "usrns", "proj"], "there is no such row", "did you mean userns?"),
        (["--without", "qqq", "proj"], "there is no such row", "rows: claude-config, "),
        (["--without", "processes", "proj"], "is part of what a sandbox is", "--without takes: "),
        (["--without", "network", "proj"], "is part of what a sandbox is", "--no-network switches"),
        (["--without"], "--without needs a value", "write --without ROW"),
        (["--with", "audio", "proj"], "is on by default", "--with takes: "),
        (["--shell=yes", "proj"], "--shell takes no value", "write --shell alone"),
        (["--explain=yaml", "proj"], "--explain=yaml is not a form of output", "--explain=json"),
        (["--env", "A=B", "proj"], "--env A=B is not a variable's name", "give the name alone"),
        (["--env", "", "proj"], "--env '' is not a variable's name", "give the name alone"),
        (["--env", "HOME", "proj"], "the sandbox has one of its own", "leave it out"),
        (["--share", "no such", "proj"], "--share no such does not exist", "the mode comes after it"),
        (["--share", "", "proj"], "--share '' does not exist", "the mode comes after it"),
        (["--share", "proj:wr", "proj"], "--share proj:wr does not exist", "PATH:rw"),
        (["--share", "/", "proj"], "is the whole machine", "a directory or a file below"),
        (["--share", ".", "proj"], "is your home", "a directory or a file below"),
        (["--share", "proj", "proj"], "is PROJECT, and would undo the protections", "below it"),
        (["--share", "proj/.git:rw", "proj"], "lies in PROJECT, which is writable", "below it"),
        (["--share", "/dev/null", "proj"], "belongs to the system", "a directory or a file below"),
        (["--tmux", "proj"], "--tmux needs a terminal", "leave --tmux out"),
        (["--restore", "proj"], "nothing to put back", "say so when they end"),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_a_command_line_that_cannot_be_meant_is_refused(
    here: Machine, words: list[str], what: str, hint: str
) -> None:
    here.directory(here.project / ".git")
    before = here.files()

    ended = here.run(*words)

    assert_refused(ended, 2, what, hint)
    kept = {path: found for path, found in here.files().items() if not path.startswith(str(here.state))}
    assert kept == before


def test_a_part_of_a_share_or_project_that_is_another_users_stays_closed(ordinary: Machine) -> None:
    closed = ordinary.directory(ordinary.project / "closed")
    if ordinary.uid is not None:
        os.chown(closed, 0, 0)
    closed.chmod(0o700 if ordinary.uid is not None else 0)

    ended = ordinary.shell("ls closed || echo closed")

    assert ended.out == "closed\n", ended
    # Ours can be opened again by the agent; another's, no agent of ours has written in.
    said = [line for line in notes(ended) if line.startswith("claude-sandbox")]
    ours = (
        "claude-sandbox: not all of the project could be looked at for planted files: closed is closed to you"
    )
    assert said == ([] if ordinary.uid is not None else [ours])
    closed.chmod(0o700)


# -- a project that goes away meanwhile


def test_a_project_that_goes_away_before_it_is_mounted_is_said_to_have_gone(here: Machine) -> None:
    here.write(here.project / ".envrc", "content")
    real = shutil.which("bwrap", path=here.environ["PATH"])
    directory = here.directory(here.home / "bin")
    move = f'[ "$1" = --help ] || mv "{here.project}" "{here.home}/away"'
    here.write(directory / "bwrap", f'#!/bin/sh\n{move}\nexec {real} "$@"\n', 0o755)

    ended = here.shell("true", env={"PATH": f"{directory}:{here.environ['PATH']}"})

    gone = f"{here.project} went away while the sandbox was being built"
    assert_refused(ended, 2, gone, "look where PROJECT is now")
    assert os.listdir(here.home / "away") == [".envrc"]
    assert not here.project.exists()


@pytest.mark.parametrize("git", [False, True], ids=["plain", "git"])
def test_a_project_that_goes_away_at_any_moment_is_an_error_or_a_run(here: Machine, git: bool) -> None:
    """Renamed after 0 to 75 ms: a start takes some 50."""
    here.write(here.project / ".envrc", "content")
    if git:
        subprocess.run(["git", "init", "-q", here.project], env=here.environ, check=True, **here.identity)
    away = here.home / "away"
    statuses = set()
    for step in range(26):
        process = here.start("--shell", here.project, "-c", "exit 7")
        time.sleep(step * 0.003)
        here.project.rename(away)
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert not here.project.exists()  # nobody has made it again
        away.rename(here.project)
        ended = Ended(status=process.returncode, out="", err=os.fsdecode(err))
        statuses.add(ended.status)
        if ended.status == 7:
            last = "is not there any more: what changed in it was not looked at"
            assert len(ended.said) == 1 or (len(ended.said) == 2 and last in ended.err), ended
        else:
            assert ended.status == 2, ended
            assert len(ended.said) == 2, ended
            gone = ("does not exist", " went away ", "cannot be opened any more")
            assert any(words in ended.err for words in gone), ended
    assert 2 in statuses  # the first is renamed before the interpreter runs
    assert here.shell("cat .envrc").out == "content"


def test_a_project_that_goes_away_under_the_agent_is_said_at_the_end(here: Machine) -> None:
    here.write(here.project / ".envrc", "content")
    process = here.start("--shell", here.project, "-c", "echo up; read -r line", stdin=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    here.project.rename(here.home / "away")

    _, err = process.communicate(b"on\n", timeout=TIMEOUT_S)

    said = f"claude-sandbox: {here.project} is not there any more: what changed in it was not looked at"
    assert (process.returncode, os.fsdecode(err).splitlines()[1:]) == (0, [said])


# -- projects that are odd inside


def test_a_git_directory_that_is_a_fifo_holds_nobody_up(here: Machine) -> None:
    os.mkfifo(here.project / ".git")

    ended = here.shell("echo ran")

    assert ended.out == "ran\n", ended
    assert "neither a directory, a file nor a symlink" in notes(ended)[0]


def test_a_hundred_thousand_editor_files_hold_nobody_up_and_hide_nothing(here: Machine) -> None:
    editor = here.directory(here.project / ".vscode")
    for number in range(100_000):
        os.close(os.open(editor / str(number), os.O_CREAT | os.O_WRONLY, 0o644))
    started = time.monotonic()

    ended = here.shell("ls .vscode | wc -l; echo '{}' > .vscode/tasks.json")

    assert time.monotonic() - started < 10
    assert ended.out == "100000\n", ended
    assert ".vscode/tasks.json (appeared)" in ended.err


def test_a_project_path_as_long_as_paths_can_be_works(here: Machine) -> None:
    project = str(here.project)
    while len(project) < 4000:
        project += "/" + "n" * min(200, 3999 - len(project))
    at = os.open(here.project, os.O_RDONLY)
    for part in project[len(str(here.project)) + 1 :].split("/"):
        os.mkdir(part, dir_fd=at)
        below = os.open(part, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)

    ended = here.run("--shell", project, "-c", 'pwd -P; echo inside > "$PWD/file"; ls /project')

    assert len(project) == 4000
    assert ended.out == f"{project}\nfile\n", ended
    assert Path(project, "file").read_text() == "inside\n"


# -- HOME and XDG_RUNTIME_DIR


@pytest.mark.parametrize(
    ("home", "what"),
    [
        ("/no such", "HOME=/no such is not a directory"),
        ("/etc/passwd", "HOME=/etc/passwd is not a directory"),
        ("relative", "HOME=relative is not a directory"),
        ("/usr", "HOME=/usr belongs to uid 0, you are uid "),
        ("/no\nsuch", "HOME=/no?such is not a directory"),
    ],
)
def test_a_home_that_is_not_the_users_is_refused(ordinary: Machine, home: str, what: str) -> None:
    before = ordinary.files()

    ended = ordinary.shell("true", env={"HOME": home})

    assert_refused(ended, 2, what, "set HOME to your")
    assert ordinary.files() == before


@pytest.mark.parametrize("unset", [None, ""])
def test_without_HOME_that_of_the_passwd_entry_is_taken_and_said(here: Machine, unset: str | None) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir

    ended = here.run("--explain=json", here.project, env={"HOME": unset})

    assert ended.status == 0, ended
    assert f"HOME is not set: {home} is taken, from the passwd entry" in ended.out


@pytest.mark.parametrize("unset", [None, ""])
def test_without_HOME_and_a_passwd_entry_it_is_refused(here: Machine, unset: str | None) -> None:
    nobody = ["unshare", "-U", "--map-user=54321", "--map-group=54321"]

    ended = here.run("--explain", here.project, env={"HOME": unset}, prefix=nobody)

    assert_refused(ended, 2, "HOME is not set and uid 54321 has no passwd entry", "set HOME to your home")


@pytest.mark.parametrize("value", ["/no such", "/etc", "/etc/passwd", "relative", "/"])
def test_a_runtime_directory_that_is_not_ours_is_left_alone_and_said(ordinary: Machine, value: str) -> None:
    ended = ordinary.shell("echo $XDG_RUNTIME_DIR", env={"XDG_RUNTIME_DIR": value, "WAYLAND_DISPLAY": None})

    inside = f"/run/user/{ordinary.uid if ordinary.uid is not None else os.getuid()}"
    assert ended.out == f"{inside}\n", ended
    said = f"claude-sandbox: XDG_RUNTIME_DIR={value} is not a directory of yours: nothing is taken from it"
    assert notes(ended) == [said]


def test_without_a_runtime_directory_nothing_is_said(here: Machine) -> None:
    ended = here.shell("true", env={"XDG_RUNTIME_DIR": None})

    assert (ended.status, notes(ended)) == (0, [])


# -- variables that point at nothing

SOCKETS = {
    "SSH_AUTH_SOCK": ("{}", "ssh-agent is off: $SSH_AUTH_SOCK points at {}, which {}"),
    "WAYLAND_DISPLAY": ("{}", "wayland is off: WAYLAND_DISPLAY={} points at {}, which {}"),
    "DBUS_SESSION_BUS_ADDRESS": (
        "unix:path={}",
        "dbus-session is off: DBUS_SESSION_BUS_ADDRESS points at {}, where nobody listens",
    ),
    "PULSE_SERVER": ("unix:{}", "audio: PULSE_SERVER points at {}, where nobody listens"),
}


@pytest.mark.parametrize("variable", SOCKETS)
@pytest.mark.parametrize("what", ["absent", "dead", "a file"])
def test_a_socket_variable_that_points_at_nothing_is_said_in_one_line(
    here: Machine, variable: str, what: str
) -> None:
    path = here.home / "socket"
    if what == "dead":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    elif what == "a file":
        here.write(path, "")
    value, said = SOCKETS[variable]
    why = {"absent": "does not exist", "dead": "has nobody listening", "a file": "is not a socket"}[what]

    ended = here.shell(f"echo ran; echo ${variable}", env={variable: value.format(path)})

    fields = [str(path)] * (said.count("{}") - ("which {}" in said)) + [why]
    assert notes(ended) == [f"claude-sandbox: {said.format(*fields)}"]
    assert ended.out == "ran\n\n", ended


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "DISPLAY",
            ":4242",
            "x11 is off: DISPLAY=:4242 points at /tmp/.X11-unix/X4242, which does not exist",
        ),
        ("DISPLAY", "nonsense", "x11 is off: DISPLAY=nonsense has no display number"),
        ("WAYLAND_DISPLAY", "wayland-0", "wayland is off: there is no XDG_RUNTIME_DIR"),
        (
            "DBUS_SESSION_BUS_ADDRESS",
            "autolaunch:",
            "dbus-session is off: DBUS_SESSION_BUS_ADDRESS=autolaunch: is not a unix address",
        ),
        (
            "PULSE_SERVER",
            "tcp:host",
            "audio: PULSE_SERVER=tcp:host is not a unix socket and is not forwarded",
        ),
    ],
)
def test_a_desktop_variable_that_points_at_nothing_is_said_in_one_line(
    ordinary: Machine, variable: str, value: str, said: str
) -> None:
    ended = ordinary.shell(f"echo ran ${variable}", env={variable: value})

    assert notes(ended) == [f"claude-sandbox: {said}"]
    assert ended.out == "ran\n", ended


# -- dotfiles


def as_directory(m: Machine, name: str) -> None:
    m.directory(m.home / name)


def as_file(m: Machine, name: str) -> None:
    m.write(m.home / name, "not what is expected here")


def as_dangling(m: Machine, name: str) -> None:
    (m.home / name).symlink_to("nowhere")


def as_closed(m: Machine, name: str) -> None:
    m.write(m.home / name, "content", 0)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        (".gitconfig", as_dangling, "git-config: ~/.gitconfig is a dangling symlink"),
        (".gitconfig", as_directory, "git-config: ~/.gitconfig is not a file"),
        (".gitconfig", as_closed, "git-config: ~/.gitconfig is not readable"),
        (".ssh", as_file, "ssh-keys: ~/.ssh is not a directory"),
        (".ssh", as_dangling, "ssh-keys: ~/.ssh is a dangling symlink"),
        (".claude.json", as_dangling, "claude-json: ~/.claude.json is a dangling symlink"),
        (".claude", as_file, "the login is not forwarded: {}/.claude is not a directory"),
        (".claude", as_dangling, "the login is not forwarded: {}/.claude is a dangling symlink"),
    ],
)
def test_a_dotfile_that_cannot_be_used_is_said_and_left_as_it_is(
    ordinary: Machine, name: str, make: Callable[[Machine, str], None], said: str
) -> None:
    make(ordinary, name)
    before = (ordinary.home / name).lstat()

    ended = ordinary.shell("git config --list --global; echo ran")

    assert notes(ended)[0] == f"claude-sandbox: {said.format(ordinary.home)}", ended
    assert ended.out == "ran\n", ended
    after = (ordinary.home / name).lstat()
    assert (after.st_mode, after.st_size, after.st_ino) == (before.st_mode, before.st_size, before.st_ino)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{not json", "is not JSON: "),
        ("", "is not JSON: "),
        ("[]", "is JSON, but not an object"),
        ("[" * 100_000, "is not JSON: "),
        ('{"a": "\udcff"}', "is not JSON: "),
    ],
)
def test_a_claude_json_that_is_none_is_refused(here: Machine, content: str, what: str) -> None:
    file = here.home / ".claude.json"
    file.write_bytes(os.fsencode(content))

    assert_refused(here.shell("true"), 2, f"{file} {what}", "--without claude-json")
    assert file.read_bytes() == os.fsencode(content)
    assert here.shell("echo ran", "--without", "claude-json").out == "ran\n"


@pytest.mark.as_root
@pytest.mark.as_root
def test_a_claude_directory_of_another_users_is_not_taken(here: Machine) -> None:
    claude = here.directory(here.home / ".claude")
    os.chown(claude, NOBODY, NOBODY)

    ended = here.shell("ls -A ~")

    assert notes(ended) == [f"claude-sandbox: the login is not forwarded: {claude} belongs to another user"]
    assert os.listdir(claude) == []


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_claude_directory_that_cannot_be_written_is_refused(ordinary: Machine, mode: int) -> None:
    claude = ordinary.directory(ordinary.home / ".claude", mode)

    assert_refused(
        ordinary.shell("true"), 125, f"{claude}", "start without the login: --without claude-config"
    )
    assert ordinary.shell("echo ran", "--without", "claude-config").out == "ran\n"
    assert stat.S_IMODE(claude.stat().st_mode) == mode
    claude.chmod(0o700)
    assert os.listdir(claude) == []


def test_a_read_only_home_is_refused_or_done_without(ordinary: Machine) -> None:
    ordinary.home.chmod(0o500)

    assert_refused(
        ordinary.shell("true"), 125, f"{ordinary.home}/.claude cannot be made", "--without claude-config"
    )
    ended = ordinary.shell("echo ran > file; cat file", "--without", "claude-config")

    assert ended.out == "ran\n", ended
    assert os.listdir(ordinary.home) == ["proj"]


# -- standard streams


def redirected(machine: Machine, redirections: str, *arguments: str | Path) -> Ended:
    """The program with shell redirections; what reaches stdout and stderr."""
    files = [machine.home / name for name in ("stdout", "stderr")]
    with files[0].open("wb") as out, files[1].open("wb") as err:
        status = subprocess.run(
            ["sh", "-c", f'"$@" {redirections}', "sh", *PROGRAM, *arguments],
            env=machine.environ,
            cwd=machine.home,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=TIMEOUT_S,
            check=False,
        ).returncode
    return Ended(status=status, out=files[0].read_text(), err=files[1].read_text())


CLOSED = [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)]


@pytest.mark.parametrize("closed", CLOSED, ids=lambda c: "".join(map(str, c)))
def test_closed_streams_keep_nobody_from_working(here: Machine, closed: tuple[int, ...]) -> None:
    script = "readlink /proc/self/fd/0 > streams; cat; echo out; echo err >&2; exit 3"

    ended = redirected(here, " ".join(f"{n}<&-" for n in closed), "--shell", here.project, "-c", script)

    assert ended.status == 3
    assert ended.out == ("" if 1 in closed else "out\n"), ended
    assert ended.err == ("" if 2 in closed else f"{BANNER}\nerr\n")
    # Nothing that the launcher opened has landed on a number that means something.
    assert (here.project / "streams").read_text() == "/dev/null\n"


@pytest.mark.parametrize("closed", CLOSED, ids=lambda c: "".join(map(str, c)))
def test_closed_streams_hide_no_status(here: Machine, closed: tuple[int, ...]) -> None:
    ended = redirected(here, " ".join(f"{n}<&-" for n in closed), "--shel", here.project)

    assert (ended.status, ended.out, len(ended.said)) == (2, "", 0 if 2 in closed else 2)


def test_a_full_disk_behind_the_streams_is_the_agents_to_notice(here: Machine) -> None:
    script = "echo out || echo refused > seen; exit 3"

    assert redirected(here, ">/dev/full 2>&1", "--shell", here.project, "-c", script).status == 3
    assert (here.project / "seen").read_text() == "refused\n"


def test_a_stdin_that_cannot_be_read_is_the_agents_to_notice(here: Machine) -> None:
    ended = redirected(here, "0>file", "--shell", here.project, "-c", "cat; exit 3")

    assert ended.status == 3
    assert "Bad file descriptor" in ended.err


# -- where one stands, and what variables name


@pytest.mark.parametrize("words", [["."], ["name"], ["--share", "name", "{}"]], ids=" ".join)
def test_a_relative_path_in_a_directory_that_is_gone_is_refused(here: Machine, words: list[str]) -> None:
    gone = here.home / "gone"
    prefix = ["sh", "-c", f'mkdir {gone}; cd {gone}; rmdir {gone}; exec "$@"', "sh"]

    ended = here.run("--shell", *(w.format(here.project) for w in words), "-c", "true", prefix=prefix)

    assert_refused(ended, 2, "the current directory is gone", "change to a directory that is there")
    # An absolute one needs none.
    assert here.shell("pwd", prefix=prefix).out == f"{here.project}\n"


def test_a_program_from_the_current_directory_is_never_run(here: Machine) -> None:
    """An empty or relative entry of PATH; that is where an agent can write."""
    planted = f"#!/bin/sh\ntouch {here.home}/planted\n"
    here.write(here.project / "bwrap", planted, 0o755)
    here.write(here.directory(here.project / "bin") / "bwrap", planted, 0o755)

    for path in (f":{here.environ['PATH']}", f".:{here.environ['PATH']}", f"bin:{here.environ['PATH']}"):
        ended = here.shell("echo ran", cwd=here.project, env={"PATH": path})
        assert ended.out == "ran\n", ended
    assert not (here.home / "planted").exists()


@pytest.mark.parametrize("how", ["project", "share"])
def test_a_sandbox_is_not_built_by_what_an_agent_can_write(here: Machine, how: str) -> None:
    place = here.project if how == "project" else here.directory(here.home / "share")
    planted = here.write(place / "bwrap", f"#!/bin/sh\ntouch {here.home}/planted\n", 0o755)
    flags = [] if how == "project" else ["--share", f"{place}:rw"]

    ended = here.shell("true", *flags, env={"PATH": f"{place}:{here.environ['PATH']}"})

    what = f"{planted}, which is to build the sandbox, lies where an agent can write"
    assert_refused(ended, 2, what, "take directories of PROJECT off your PATH")
    assert not (here.home / "planted").exists()

    checked = here.run("--check", *flags, place, env={"PATH": f"{place}:{here.environ['PATH']}"})

    said = f"missing: a bubblewrap of your own: {planted} lies where an agent can write, so it is not run"
    assert checked.out.splitlines()[:2] == [
        said,
        "  take directories of PROJECT and of --share off your PATH",
    ]
    assert not (here.home / "planted").exists()


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("CLAUDE_CONFIG_DIR", "the login is not forwarded: {} is your home"),
        ("SSL_CERT_DIR", "tls: SSL_CERT_DIR={} is not shown, it is your home"),
        ("NODE_EXTRA_CA_CERTS", "tls: NODE_EXTRA_CA_CERTS={} is not shown, it is your home"),
        ("GH_CONFIG_DIR", "gh-config: {} holds your home"),
    ],
)
def test_no_variable_brings_the_whole_home_along(here: Machine, variable: str, said: str) -> None:
    here.write(here.home / "secret", "canary")

    script = f"find / -name secret -path '*home*' 2>/dev/null; cat {here.home}/secret"
    ended = here.shell(script, env={variable: str(here.home)})

    assert ended.out == "", ended
    assert notes(ended)[0].startswith(f"claude-sandbox: {said.format(here.home)}")


def test_a_login_that_holds_the_project_or_lies_in_it_is_said(here: Machine) -> None:
    around = here.shell("ls -A ~/.claude", env={"CLAUDE_CONFIG_DIR": str(here.project)})
    within = here.shell("ls ~/.claude/hooks", env={"CLAUDE_CONFIG_DIR": f"{here.project}/claude"})

    assert notes(around)[0] == f"claude-sandbox: the login is not forwarded: {here.project} holds PROJECT"
    assert "/proj/claude lies in PROJECT, where nothing of it is protected" in notes(within)[0]
    assert (around.status, within.status) == (2, 0)


@pytest.mark.parametrize("name", [".Xauthority", ".gitconfig", ".claude.json"])
def test_a_fifo_for_a_dotfile_holds_nobody_up(here: Machine, name: str) -> None:
    os.mkfifo(here.home / name)

    ended = here.shell("echo ran", "--without", "claude-json", env={"DISPLAY": "nowhere:1"})

    assert ended.out == "ran\n", ended
