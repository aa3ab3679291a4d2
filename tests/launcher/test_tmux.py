"""`--tmux` as its users meet it: the real launcher and tmux, seen on a terminal."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fixtures.process import environment, identity, output, wait_until
from fixtures.project import git_project, with_submodule, worktree
from fixtures.users import User, current_user, directory, own, scratch, write
from tests.launcher.program import MAIN, NOBODY, PROGRAM, Ended, Machine, machine
from tests.launcher.run.harness import alive, gone
from tests.launcher.terminal import Terminal, Terminals, terminals

# The name of the test's directory, by which its processes are found, is in the agent's command line.
STAY = "echo here; exec -a $(basename ${PWD%/home*}) sleep 1000"
HERE = "here"


@dataclass(frozen=True, kw_only=True)
class Desk:
    """An ordinary user's machine, with terminals."""

    machine: Machine
    terminals: Terminals
    user: User

    def open(
        self, *words: str | Path, project: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Terminal:
        """`claude-sandbox --tmux FLAGS PROJECT ARGS` on a new terminal; flags are the words up to `--`."""
        flags, arguments = split(words)
        return self.terminals.open(
            [*PROGRAM, "--tmux", *flags, str(project or self.machine.project), *arguments],
            {**self.machine.environ, **(env or {})},
        )

    def shell(self, script: str, *flags: str | Path, project: Path | None = None) -> Terminal:
        """The same with bash for an agent."""
        return self.open("--shell", *flags, "--", "-c", script, project=project)

    def piped(self, *words: str, env: Mapping[str, str | None] | None = None) -> Ended:
        """The same without a terminal."""
        return self.machine.run("--tmux", *words, self.machine.project, env=env)

    def end(self) -> None:
        """End what still runs."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for holder in (left := self.holders()):
                os.kill(holder, number)
            deadline = time.monotonic() + 20
            while self.holders() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert number == signal.SIGTERM or not left, "SIGTERM did not end a session"

    def launchers(self) -> list[int]:
        """Processes of the launcher."""
        return [pid for pid, words, *_ in processes() if self.mine(words)]

    def holders(self) -> list[int]:
        """Those that lead a session without a terminal."""
        found = processes()
        return [pid for pid, words, session, tty in found if self.mine(words) and session == pid and not tty]

    def mine(self, words: str) -> bool:
        return words.startswith(PROGRAM[0]) and MAIN in words and str(self.machine.home) in words

    def clients(self) -> list[int]:
        """Processes of tmux that are attached, by any launcher of the machine's."""
        place = str(self.machine.home)
        attached = [
            pid for pid, words, *_ in processes() if "attach-session -E" in words and "exec" not in words
        ]
        return [pid for pid in attached if any(place in cmdline(p) for p in ancestors(pid))]

    def agents(self) -> list[str]:
        """Those that STAY."""
        return [words for words in alive(self.terminals.place.name) if words.startswith("cs-")]

    def tmux(self, *words: str, project: Path | None = None) -> str:
        """What a client on the host prints, which only a test may start."""
        return output(
            ("tmux", "-S", str((project or self.machine.project) / ".tmux/socket"), *words), user=self.user
        )

    def made(self, name: str | bytes) -> Path:
        """Another project."""
        return directory(self.machine.home / os.fsdecode(name), self.user)


def split(words: tuple[str | Path, ...]) -> tuple[list[str], list[str]]:
    texts = [str(word) for word in words]
    at = texts.index("--") if "--" in texts else len(texts)
    return texts[:at], texts[at + 1 :]


def processes() -> list[tuple[int, str, int, int]]:
    """Number, command line, session and terminal of all that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = os.fsdecode((entry / "cmdline").read_bytes()).replace("\0", " ")
                stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            found.append((int(entry.name), words, int(stat[3]), int(stat[4])))
    return found


def parent(pid: int) -> int:
    """0 once it has ended: another test's may at any moment."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = parent(pid)
        found.append(pid)
    return found


def until(happened: Callable[[], object], what: str) -> None:
    wait_until(lambda: None if happened() else "not yet", what)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """No test leaves a process: sessions that still run are ended by SIGTERM."""
    user = current_user()
    if user.uid == 0:
        user = replace(user, name="ordinary", uid=NOBODY, gid=NOBODY)
    with scratch(user) as place:
        user = replace(user, home=place / "home")
        with terminals(place, user) as shown:
            made = Desk(
                machine=machine(place, user.uid if os.geteuid() == 0 else None), terminals=shown, user=user
            )
            try:
                yield made
            finally:
                made.end()
        assert gone(str(place)), alive(str(place))


# -- what is seen


NAMES = [
    pytest.param("a.b:c d", "a.b:c d", id="dots-colons-blanks"),
    pytest.param("x#y##z#{pid}#(id)", "x#y##z#{pid}#(id)", id="formats"),
    pytest.param("a#[fg=red]##[b", "a#[fg=red]##[b", id="styles"),
    pytest.param("q\"'`$HOME\\t", "q\"'`$HOME\\t", id="quotes"),
    pytest.param("end;", "end;", id="semicolon"),
    pytest.param("-t", "-t", id="dash"),
    pytest.param("grün ☃", "grün ☃", id="utf-8"),
    pytest.param("new\nline\x1b[2J", "new?line?[2J", id="control"),
    pytest.param(b"no\xfftext", "no?text", id="bytes"),
    pytest.param("long" * 60, "long" * 10, id="long"),
]


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_what_is_seen_and_attached_to_reads_sandbox_name(desk: Desk, name: str | bytes, shown: str) -> None:
    project = desk.made(name)
    full = shown * 6 if shown.startswith("long") else shown

    terminal = desk.shell(f"tmux list-windows -F '<#S:#W>'; {STAY}", project=project)
    screen = terminal.wait(HERE)

    assert f"[sandbox:{shown}" in screen.splitlines()[-1]
    assert f"<sandbox:{full}>" in screen.replace("\n", "")


def test_the_status_bar_is_orange_and_the_terminal_has_the_title(desk: Desk) -> None:
    terminal = desk.shell(STAY)
    terminal.wait(HERE)

    bar = terminal.screen("-e").splitlines()[-1]
    title = desk.terminals.tmux("display-message", "-p", "-t", terminal.pane, "#{pane_title}")

    assert "48;5;208" in bar
    assert title == "sandbox:proj\n"


def test_colours_and_text_arrive_as_without_tmux(desk: Desk) -> None:
    shown = r"\033[38;2;1;2;3mtrue\033[0m ☃ ü"

    terminal = desk.open(
        "--shell", "--", "-c", f"printf '{shown}\\n'; {STAY}", env={"LANG": "C", "COLORTERM": "truecolor"}
    )
    terminal.wait(HERE)

    assert "38;2;1;2;3mtrue" in terminal.screen("-e")
    assert "☃ ü" in terminal.screen()


# -- detaching, attaching, ending


def test_a_session_outlives_its_terminal_and_shows_the_same_again(desk: Desk) -> None:
    first = desk.shell("echo once; exec cat")
    first.wait("once")
    first.keys("typed", "Enter")
    before = first.wait("typed\ntyped")
    first.keys("C-b", "d")

    assert first.status() == 0
    assert "sandbox:proj goes on; the same command attaches to it again" in first.screen()
    assert desk.holders()

    second = desk.open()
    after = second.wait("typed\ntyped")
    second.keys("C-d")

    assert after.splitlines()[:-1] == before.splitlines()[:-1]
    assert second.status() == 0
    assert not desk.holders()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -TERM $$", 143),
        ("kill -SEGV $$", 139),
        ("kill -INT $$", 130),
        ("exit 130", 130),
    ],
)
def test_the_agents_end_ends_all_and_its_status_is_the_launchers(desk: Desk, end: str, status: int) -> None:
    terminal = desk.shell(f"read -r _; tmux new-window sleep 1000; echo last words; {end}")
    terminal.wait("[sandbox:proj]")
    terminal.keys("Enter")

    assert terminal.status() == status
    assert ("last words" in terminal.screen()) == (status != 0)
    assert not desk.holders()


def test_an_agent_that_ends_at_once_has_its_status_every_time(desk: Desk) -> None:
    ended = [desk.shell(f"exit {number}").status() for number in range(3, 7)]

    assert ended == list(range(3, 7))


def test_an_agent_that_stops_itself_goes_on(desk: Desk) -> None:
    terminal = desk.shell("kill -STOP $$; echo on; kill -TSTP $$; echo and on; exec sleep 1000")

    terminal.wait("and on")


def test_a_killed_session_gives_its_agent_time_to_tidy_up(desk: Desk) -> None:
    trap = "trap 'sleep 0.4; echo tidy >tidied; exit' HUP; echo here; while :; do sleep 0.05; done"
    terminal = desk.shell(trap)
    terminal.wait(HERE)

    desk.tmux("kill-session")

    assert terminal.status() == 129
    assert (desk.machine.project / "tidied").read_text() == "tidy\n"


def test_a_terminated_holder_has_its_agent_hung_up(desk: Desk) -> None:
    terminal = desk.shell("trap 'echo >hung-up; exit' HUP; echo here; while :; do sleep 0.05; done")
    terminal.wait(HERE)
    (holder,) = desk.holders()

    os.kill(holder, signal.SIGTERM)

    assert terminal.status() == 129
    assert (desk.machine.project / "hung-up").exists()


def test_what_changed_among_the_host_triggers_is_said_at_the_end(desk: Desk) -> None:
    terminal = desk.shell("echo >.envrc")

    assert terminal.status() == 0
    assert ".envrc" in terminal.screen()


def test_what_nobody_was_there_to_hear_is_said_at_the_next_start_and_once(desk: Desk) -> None:
    first = desk.shell("echo here; read -r; echo >.envrc; exit 5")
    first.wait(HERE)
    first.keys("C-b", "d")
    first.status()
    desk.tmux("send-keys", "Enter")
    until(lambda: not desk.holders(), "its end")

    second, third = desk.shell("exit 0"), None
    second.status()
    third = desk.shell("exit 0")
    third.status()

    assert "the session before this one ended with status 5" in second.screen()
    assert ".envrc" in second.screen()
    assert ".envrc" not in third.screen()


def test_two_at_the_end_are_both_told(desk: Desk) -> None:
    first = desk.shell("read -r; echo >.envrc; exit 5")
    first.wait("[sandbox:proj]")
    second = desk.open()
    second.wait("[sandbox:proj]")

    first.keys("Enter")

    assert (first.status(), second.status()) == (5, 5)
    assert ".envrc" in first.screen()
    assert ".envrc" in second.screen()


def test_a_client_can_be_suspended_and_continued(desk: Desk) -> None:
    argv = [*PROGRAM, "--tmux", "--shell", str(desk.machine.project), "-c", STAY]
    terminal = desk.terminals.open(
        ["bash", "--norc", "-c", 'set -m; "$@"; echo stopped; read -r; fg', "bash", *argv],
        desk.machine.environ,
    )
    terminal.wait(HERE)

    terminal.keys("C-b", "C-z")
    terminal.wait("stopped")
    terminal.keys("Enter")
    terminal.wait("[sandbox:proj]")
    terminal.keys("C-b", "d")

    assert terminal.status() == 0


# -- starting


def test_two_starts_at_the_same_moment_give_one_session_with_two_clients(desk: Desk) -> None:
    pair = [desk.shell(f"echo >>started; {STAY}") for _ in range(4)]
    for terminal in pair:
        terminal.wait(HERE)

    assert (desk.machine.project / "started").read_text() == "\n"
    assert len(desk.tmux("list-clients").splitlines()) == 4
    assert len(desk.holders()) == 1


def test_a_start_while_the_former_session_unwinds_is_a_new_one(desk: Desk) -> None:
    """The holder compares after the agent's end, which takes as long as it takes."""
    first = desk.shell("echo one >>started; read -r")
    first.wait("[sandbox:proj]")
    (holder,) = desk.holders()
    (inner,) = [pid for pid, words, *_ in processes() if "--args" in words and parent(pid) == holder]

    os.kill(holder, signal.SIGSTOP)
    try:
        os.kill(inner, signal.SIGKILL)
        until(lambda: not desk.clients(), "end of the client")
        second = desk.shell("echo two >>started; read -r")
        time.sleep(0.3)
    finally:
        os.kill(holder, signal.SIGCONT)
    second.wait("[sandbox:proj]")

    assert first.status() == 137
    assert (desk.machine.project / "started").read_text() == "one\ntwo\n"


def test_other_flags_than_the_sessions_are_refused(desk: Desk) -> None:
    desk.shell(STAY, "--without", "gpu").wait(HERE)

    other, same, none = desk.shell(STAY, "--no-network"), desk.shell(STAY, "--without", "gpu"), desk.open()

    assert other.status() == 2
    assert "runs already, with --shell --without gpu" in other.screen()
    same.wait("[sandbox:proj]")
    none.wait("[sandbox:proj]")


def test_arguments_for_a_running_agent_are_said_not_to_reach_it(desk: Desk) -> None:
    desk.shell("echo here; read -r").wait(HERE)

    second = desk.open("--", "do something else")
    second.wait("[sandbox:proj]")
    second.keys("Enter")
    second.status()

    assert "its agent keeps the arguments that it was started with" in second.screen()


ODD = ["two words", "", "q\"'`$(id)", "a\nb\\", ";", "end;", "\\;", "#{pid}", "-x", "☃", "x" * 100_000]


def test_the_agents_arguments_arrive_untouched_however_long(desk: Desk) -> None:
    agents = directory(desk.machine.home / "agents", desk.user)
    claude = '#!/bin/bash\nprintf "%s\\0" "$@" >got; pwd -P >>got; echo here; exec sleep 1000\n'
    write(agents / "claude", claude, desk.user, mode=0o755)
    path = {"PATH": f"{agents}:{desk.machine.environ['PATH']}"}

    desk.open("--", *ODD, env=path).wait(HERE)

    *got, cwd = (desk.machine.project / "got").read_text().split("\0")
    assert got[-len(ODD) :] == ODD
    assert got[0] == "--append-system-prompt"
    assert cwd == f"{desk.machine.project}\n"


def test_the_environment_in_a_pane_is_the_rows(desk: Desk) -> None:
    script = "env -0 >pane; tmux new-window 'env -0 >window'; sleep 0.3; echo here; exec sleep 1000"
    env = {"SECRET_OF_MINE": "bait", "EDITOR": "ed", "DISPLAY": ":77", "NO_COLOR": "1"}

    desk.open("--shell", "--", "-c", script, env=env).wait(HERE)

    for name in ("pane", "window"):
        text = (desk.machine.project / name).read_text()
        found = dict(line.split("=", 1) for line in text.split("\0")[:-1])
        assert "bait" not in text
        assert found["EDITOR"] == "ed"
        assert found["TERM"] == "tmux-256color"
        assert found["CLAUDE_SANDBOX"] == "1"
        assert "_" not in found or found["_"] != "bait"
        assert not set(found) & {"STY", "SUDO_USER", "XDG_STATE_HOME", "PYTHONPATH"}
        assert found["TMUX"].startswith("/project/.tmux/socket,")


def test_the_agent_has_its_terminal_and_no_other_descriptor(desk: Desk) -> None:
    desk.shell(f"ls /proc/$$/fd >descriptors; {STAY}").wait(HERE)

    assert (desk.machine.project / "descriptors").read_text().split() == ["0", "1", "2"]


def test_network_off_is_off_in_panes(desk: Desk) -> None:
    terminal = desk.shell(f"ls /sys/class/net /proc/net/dev; grep -c : /proc/net/dev; {STAY}", "--no-network")

    screen = terminal.wait(HERE)

    assert "\n1\nhere" in screen


def test_quiet_keeps_to_the_agents_own_words(desk: Desk) -> None:
    terminal = desk.shell("echo here; read -r; echo >.envrc", "--quiet")
    terminal.wait(HERE)
    terminal.keys("C-b", "d")
    terminal.status()
    assert "claude-sandbox" not in terminal.screen()

    second = desk.open("--quiet")
    second.wait("[sandbox:proj]")
    second.keys("Enter")
    second.status()

    assert "runs already" not in second.screen()
    assert ".envrc" in second.screen()


def test_a_project_path_of_four_thousand_bytes_has_its_socket(desk: Desk) -> None:
    place = os.open(desk.machine.home, os.O_RDONLY | os.O_DIRECTORY)
    path = str(desk.machine.home)
    while len(path) < 3700:
        place = below(place, "d" * 200, desk.user)
        path += "/" + "d" * 200
    path += "/" + "e" * (3999 - len(path))
    os.close(below(place, path.rpartition("/")[2], desk.user))

    terminal = desk.shell(f"echo ${{#PWD}}; {STAY}", project=Path(path))

    assert "\n4000\n" in "\n" + terminal.wait(HERE)


def below(place: int, name: str, user: User) -> int:
    os.mkdir(name, 0o700, dir_fd=place)
    if os.geteuid() == 0:
        os.chown(name, user.uid, user.gid, dir_fd=place)
    opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
    os.close(place)
    return opened


# -- terminals


def test_no_terminal_is_an_error_of_two_lines(desk: Desk) -> None:
    ended = desk.piped("--shell")

    assert (ended.status, ended.out) == (2, "")
    assert ended.said == [
        "claude-sandbox: --tmux needs a terminal",
        "  leave --tmux out in scripts and pipes",
    ]
    assert not (desk.machine.project / ".tmux").exists()


def test_no_tmux_is_an_error_with_the_command_that_mends_it(desk: Desk) -> None:
    programs = directory(desk.machine.home / "programs", desk.user)
    for name in ("bwrap", "bash", "git", "env"):
        (programs / name).symlink_to(f"/usr/bin/{name}")

    terminal = desk.open("--shell", env={"PATH": str(programs)})

    assert terminal.status() == 125
    assert "--tmux: tmux is not installed" in terminal.screen()
    assert "install" in terminal.screen().splitlines()[1]


@pytest.mark.parametrize("term", ["xterm-nobody-knows", ""])
def test_a_terminal_without_description_is_taken_for_an_xterm(desk: Desk, term: str) -> None:
    terminal = desk.open("--shell", "--", "-c", STAY, env={"TERM": term})
    terminal.wait(HERE)

    assert desk.tmux("list-clients", "-F", "#{client_termname}") == "xterm-256color\n"


def test_a_dumb_terminal_is_refused(desk: Desk) -> None:
    terminal = desk.open("--shell", env={"TERM": "dumb"})

    assert terminal.status() == 2
    assert not (desk.machine.project / ".tmux").exists()


# -- what kills


def test_a_closed_terminal_leaves_the_session(desk: Desk) -> None:
    first = desk.shell("echo here; exec cat")
    first.wait(HERE)

    first.close()
    until(lambda: not desk.clients(), "end of the client")
    second = desk.open()

    second.wait(HERE)


def test_a_killed_client_leaves_the_session_and_nothing_of_its_own(desk: Desk) -> None:
    desk.shell(STAY).wait(HERE)
    second = desk.open()
    second.wait(HERE)
    (holder,) = desk.holders()
    starters = [pid for pid, words, *_ in processes() if words.startswith(PROGRAM[0]) and pid != holder]
    ours = [pid for pid in starters if str(desk.machine.project) in cmdline(pid)]
    assert len(ours) == 2

    for pid in ours:
        os.kill(pid, signal.SIGKILL)

    until(lambda: not desk.clients(), "end of the clients")
    assert desk.holders() == [holder]
    desk.open().wait(HERE)


def cmdline(pid: int) -> str:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return ""


def test_a_killed_holder_takes_all_along_and_the_next_start_works(desk: Desk) -> None:
    first = desk.shell("echo >.envrc; echo here; exec sleep 1000")
    first.wait(HERE)
    (holder,) = desk.holders()

    os.kill(holder, signal.SIGKILL)

    assert first.status() == 137
    assert "was killed" in first.screen()
    until(lambda: not desk.agents(), "end of the agent")
    assert (desk.machine.project / ".tmux/socket").exists()  # stale
    second = desk.shell(STAY)
    second.wait(HERE)
    second.keys("C-b", "d")
    second.status()
    assert ".envrc" in second.screen("-S", "-")


def test_a_killed_start_leaves_no_session(desk: Desk) -> None:
    """The launcher is gone before it has seen the session: tmux waits for a configuration that never ends."""
    directory(desk.machine.project / ".tmux", desk.user)
    write(desk.machine.project / ".tmux/tmux.conf", f"if-shell 'sleep 9{os.getpid()}.5' ''\n", desk.user)
    terminal = desk.shell(STAY)
    until(lambda: alive(f"sleep 9{os.getpid()}.5"), "the configuration")
    (holder,) = desk.holders()

    os.kill(parent(holder), signal.SIGKILL)

    assert terminal.status() == 137
    until(lambda: not desk.holders(), "end of the holder")
    assert gone(f"sleep 9{os.getpid()}.5")


def test_a_start_killed_at_any_moment_is_in_nobodys_way(desk: Desk) -> None:
    """It leaves nothing, or, when the session was up, that session."""
    random.seed(0)
    for _ in range(8):
        desk.shell(STAY)
        until(desk.launchers, "the launcher")
        time.sleep(random.uniform(0, 0.3))
        for pid in set(desk.launchers()) - set(desk.holders()):
            os.kill(pid, signal.SIGKILL)
        until(lambda: desk.launchers() == desk.holders(), "its end")
        until(lambda: not desk.holders() or desk.agents(), "end or session")

        following = desk.shell(STAY)
        following.wait(HERE)
        assert len(desk.holders()) == 1
        assert len(desk.agents()) == 1
        desk.end()
        following.status()


def test_ctrl_c_ends_a_start_that_hangs(desk: Desk) -> None:
    directory(desk.machine.project / ".tmux", desk.user)
    write(desk.machine.project / ".tmux/tmux.conf", f"if-shell 'sleep 9{os.getpid()}.6' ''\n", desk.user)
    terminal = desk.shell(STAY)
    until(lambda: alive(f"sleep 9{os.getpid()}.6"), "the configuration")

    terminal.keys("C-c")

    assert terminal.status() == 130
    assert gone(f"sleep 9{os.getpid()}.6")


# -- the agent's word


ATTACKS = [
    pytest.param(
        "tmux detach-client -a -E 'touch {bait}'; tmux detach-client -E 'touch {bait}'", id="detach"
    ),
    pytest.param("tmux set -g lock-command 'touch {bait}'; tmux lock-client; tmux lock-server", id="lock"),
    pytest.param("tmux run-shell 'touch {bait}'; tmux if-shell 'touch {bait}' ''", id="run-shell"),
    pytest.param("tmux pipe-pane 'touch {bait}'; echo; tmux display-popup -E 'touch {bait}'", id="popup"),
    pytest.param(
        "tmux detach-client -E 'touch /project/planted {project}/planted; touch {bait}'", id="project"
    ),
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_the_server_tells_the_client_to_do_happens_inside(desk: Desk, attack: str) -> None:
    bait = desk.machine.home / "bait"
    words = attack.format(bait=bait, project=desk.machine.project)
    terminal = desk.shell(f"sleep 0.3; {words}; echo done >>attacked; exec sleep 1000")

    until((desk.machine.project / "attacked").exists, "the attack")
    time.sleep(0.3)

    assert not bait.exists()
    assert not (desk.machine.project / "planted").exists()
    terminal.close()


def test_the_same_reaches_the_host_by_a_client_of_the_hosts(desk: Desk) -> None:
    """The control: it is no fault of the attack that it fails above."""
    bait = desk.machine.home / "bait"
    desk.shell(STAY).wait(HERE)
    socket = str(desk.machine.project / ".tmux/socket")
    outside = desk.terminals.open(["tmux", "-S", socket, "attach-session"], desk.machine.environ)
    outside.wait(HERE)

    desk.tmux("detach-client", "-s", "sandbox", "-E", f"touch {bait}")

    outside.status()
    assert bait.exists()


def test_the_clients_sandbox_has_no_network_no_credentials_and_no_writable_project(desk: Desk) -> None:
    write(desk.machine.home / ".ssh/key", "secret", desk.user)
    look = "ls -a /home/sandbox {home}; cat {home}/.ssh/key; touch /project/x; grep -c : /proc/net/dev; env"
    terminal = desk.open(
        *("--shell", "--", "-c", "echo here; read -r; tmux detach-client -E 'sh /project/look'; sleep 1000"),
        env={"ANTHROPIC_API_KEY": "secret"},
    )
    terminal.wait(HERE)
    script = f"exec 2>&1; {look.format(home=desk.machine.home)}; echo end of it; read -r _"
    write(desk.machine.project / "look", script, desk.user)
    terminal.keys("Enter")

    screen = terminal.wait("end of it")
    seen = terminal.screen("-S", "-")
    terminal.keys("Enter")

    assert "secret" not in seen
    assert "Read-only file system" in seen
    assert "\n1\n" in seen, screen


PLANTED = ["directory", "elsewhere", "dangling", "file", "conf-link", "conf-dangling", "conf-fifo"]


@pytest.mark.parametrize("what", PLANTED)
def test_what_a_former_agent_left_in_place_of_tmux_is_refused(desk: Desk, what: str) -> None:
    project, home = desk.machine.project, desk.machine.home
    private = directory(home / "private", desk.user)
    write(private / "tmux.conf", "mine", desk.user)
    dot = project / ".tmux"
    targets = {"directory": project / "sub", "elsewhere": private, "dangling": home / "nowhere"}
    directory(project / "sub", desk.user)
    if what in targets:
        dot.symlink_to(targets[what])
    elif what == "file":
        write(dot, "", desk.user)
    else:
        directory(dot, desk.user)
        if what == "conf-fifo":
            os.mkfifo(dot / "tmux.conf", 0o666)
        else:
            (dot / "tmux.conf").symlink_to(private / ("tmux.conf" if what == "conf-link" else "new"))
    before = sorted(home.rglob("*"))

    terminal = desk.shell(STAY)

    assert terminal.status() == 2
    assert f"{dot}" in terminal.screen().replace("\n", "")
    assert [p for p in sorted(home.rglob("*")) if p not in before] == []
    assert (private / "tmux.conf").read_text() == "mine"
    assert not desk.holders()


def test_a_socket_swapped_while_it_runs_leads_nobody_out(desk: Desk) -> None:
    """The agent puts a link to a server of the host's in place of its own socket."""
    victim = desk.machine.home / "victim"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(victim))
        listening.listen()
        listening.setblocking(False)
        swap = f"echo here; rm .tmux/socket; ln -s {victim} .tmux/socket; echo >swapped; exec sleep 1000"
        desk.shell(swap)
        until((desk.machine.project / "swapped").exists, "the swap")

        second = desk.open()

        assert second.status() == 125
        assert "does not answer" in second.screen()
        with pytest.raises(BlockingIOError):
            listening.accept()


# -- PROJECT/.tmux


def test_the_configuration_is_made_once_and_edits_survive(desk: Desk) -> None:
    conf = desk.machine.project / ".tmux/tmux.conf"
    desk.shell("exit 0").status()
    made = conf.read_text()
    write(conf, made + 'set -g status-right "edited"\n', desk.user)

    desk.shell(STAY).wait("edited")

    assert conf.read_text() == made + 'set -g status-right "edited"\n'
    assert (conf.parent.stat().st_mode & 0o777, conf.parent.stat().st_uid) == (0o700, desk.user.uid)


def test_a_configuration_that_keeps_servers_and_panes_does_not_keep_the_session(desk: Desk) -> None:
    directory(desk.machine.project / ".tmux", desk.user)
    stubborn = "set -s exit-empty off\nset -g remain-on-exit on\nset -g destroy-unattached off\n"
    write(desk.machine.project / ".tmux/tmux.conf", stubborn, desk.user)

    assert desk.shell("exit 4").status() == 4


def test_a_configuration_with_a_mistake_is_shown(desk: Desk) -> None:
    directory(desk.machine.project / ".tmux", desk.user)
    write(desk.machine.project / ".tmux/tmux.conf", "no-such-command\n", desk.user)

    desk.shell(STAY).wait("unknown command: no-such-command")


def test_a_server_that_cannot_start_is_an_error_that_says_why(desk: Desk) -> None:
    directory(desk.machine.project / ".tmux", desk.user)
    for name in ("tmux.conf", ".gitignore"):
        write(desk.machine.project / ".tmux" / name, "", desk.user)
    (desk.machine.project / ".tmux").chmod(0o500)

    terminal = desk.shell(STAY)

    assert terminal.status() == 125
    assert "the tmux session did not start: " in terminal.screen()
    assert "/project/.tmux/socket (Permission denied)" in terminal.screen().replace("\n", "")
    (desk.machine.project / ".tmux").chmod(0o700)
    assert not desk.holders()


def test_what_stands_where_the_socket_will_be_is_taken_away(desk: Desk) -> None:
    write(desk.machine.project / ".tmux/socket/file", "", desk.user)

    desk.shell(STAY).wait(HERE)


def test_no_commit_has_it_in_any_layout_and_no_gitignore_of_the_users_changes(desk: Desk) -> None:
    home, user = desk.machine.home, desk.user
    main = git_project(home / "main", as_user=user)
    side = worktree(main, home / "side")
    library = git_project(home / "library", as_user=user)
    whole = with_submodule(home / "whole", library)
    part = directory(main.path / "part", user)
    lone = directory(home / "lone", user)

    for project in (main.path, side.path, whole.path / "lib", part, lone):
        assert desk.shell("exit 0", project=project).status() == 0
        # Without the file that .tmux itself brings along.
        (project / ".tmux/.gitignore").unlink()

    assert main.git("status", "--porcelain") == ""
    assert side.git("status", "--porcelain") == ""
    assert whole.git("status", "--porcelain") == ""
    assert (main.git_dir / "info/exclude").read_text().count(".tmux/\n") == 1
    assert (lone / ".tmux/tmux.conf").exists()


def test_a_later_repository_does_not_have_it_either(desk: Desk) -> None:
    desk.shell("exit 0").status()

    made = git_project(desk.machine.project, as_user=desk.user)

    assert made.git("status", "--porcelain", "--untracked-files=all") == ""


# -- many


def test_a_lock_of_the_state_says_who_lives_not_the_project(desk: Desk) -> None:
    """A forged .tmux makes no session: nobody waits for, or attaches to, what is not there."""
    directory(desk.machine.project / ".tmux", desk.user)
    with socket.socket(socket.AF_UNIX) as forged:
        forged.bind(str(desk.machine.project / ".tmux/socket"))
        own(desk.machine.project / ".tmux/socket", desk.user)
        forged.listen()
        terminal = desk.shell(STAY)
        terminal.wait(HERE)
    (lock,) = desk.machine.state.rglob("tmux/lock")
    with lock.open() as held, pytest.raises(BlockingIOError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_ten_projects_have_ten_sessions(desk: Desk) -> None:
    projects = [desk.made(f"project {number}") for number in range(10)]

    shown = [desk.shell(f"echo $PWD; {STAY}", project=project) for project in projects]

    for project, terminal in zip(projects, shown, strict=True):
        screen = terminal.wait(HERE)
        assert f"{project}" in screen
        assert f"[sandbox:{project.name}]" in screen
    assert len(desk.holders()) == 10


@pytest.mark.as_root
def test_a_client_as_another_user_is_kept_out(desk: Desk) -> None:
    desk.shell(STAY).wait(HERE)
    other = replace(desk.user, uid=desk.user.uid + 1, gid=desk.user.gid + 1)

    done = subprocess.run(
        ["tmux", "-S", str(desk.machine.project / ".tmux/socket"), "list-sessions"],
        env=environment(other),
        capture_output=True,
        text=True,
        check=False,
        **identity(other),
    )

    assert done.returncode
    assert "Permission denied" in done.stderr
