"""Life and death of real sandboxes: signals, statuses, crowds, and what is left whatever is killed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fixtures.dbus import session_bus
from fixtures.process import wait_until
from fixtures.users import User, directory, ordinary_user, scratch, write
from tests.launcher.program import PROGRAM, Machine, machine
from tests.launcher.terminal import terminals

# The last argument says what to do; its first word is the test's directory, by which its processes are found.
# Not bash: it loses a SIGINT that comes while it waits for a command.
COUNT = """
import os, signal, sys
came = []
for name in ("INT", "TERM", "HUP", "QUIT"):
    number = getattr(signal, "SIG" + name)
    signal.signal(number, lambda number, _: came.append(signal.Signals(number).name[3:]))
open("ready", "w").close()
def tell():
    with open("signals", "w") as file:
        print(*came, file=file)
while len(came) < int(sys.argv[1]):
    signal.sigtimedwait([], 0.02)
    tell()
tell()  # the last one may have come while it was told of the others
sys.exit(9)
"""
AGENT = f"""\
#!/bin/bash
COUNT='{COUNT}'
set -- ${{@: -1}}
case $2 in
    exit) exit $3 ;;
    kill) kill -$3 $$ ;;
    count) exec /usr/bin/python3 -I -c "$COUNT" $3 ;;
    child) setsid bash -c 'exec -a "$0-child" sleep 1000' "$1" & ;;
    note) echo "$3" >>"noted-$3"; sleep 0.2; echo "out $3"; exit 0 ;;
esac
echo ready >>ready
while :; do sleep 0.05; done
"""
# Made in the home once, and documented: what the host's own claude would run is to be a mount point inside.
ONCE = ".claude"
SIGNALS = ("INT", "TERM", "HUP", "QUIT")


@dataclass(frozen=True, kw_only=True)
class Site:
    """An ordinary user's machine with a stand-in for Claude Code, and a session of theirs."""

    machine: Machine
    user: User
    place: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def project(self) -> Path:
        return self.machine.project

    @property
    def runtime(self) -> Path:
        return self.place / "run"

    def start(
        self, what: str, *flags: str, project: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """The agent on a project, in pipes."""
        words: tuple[str | Path, ...] = (*flags, project or self.project, f"{self.place.name} {what}")
        process = self.machine.start(*words, env=env)
        self.started.append(process)
        return process

    def ready(self, project: Path | None = None) -> None:
        until((project or self.project).joinpath("ready").exists, "the agent")

    def alive(self) -> dict[int, str]:
        """Processes that name this test's directory, but for its own services."""
        return {
            pid: words
            for pid, words in commands()
            if self.place.name in words
            and "terminals" not in words
            and ("xdg-dbus-proxy" in words or "/services/" not in words)
        }

    def end(self) -> None:
        """Kill what a failed test has left; else there is nothing to kill."""
        for process in self.started:
            process.kill()
            process.communicate()

    def gone(self) -> None:
        """Nothing runs, nothing is mounted, no socket or directory of a run is there."""
        until(lambda: not self.alive(), "end of all processes")
        assert list(self.runtime.iterdir()) == []
        ours = tuple(f"claude-sandbox-{self.user.uid}-{process.pid}-" for process in self.started)
        assert not [name for name in os.listdir("/tmp") if name.startswith(ours)]
        assert self.place.name not in Path("/proc/self/mountinfo").read_text()

    def listing(self) -> set[str]:
        """All that is in the home, but for ~/.claude."""
        return {str(path) for path in self.machine.home.rglob("*") if ONCE not in path.parts}

    def made(self, name: str) -> Path:
        return directory(self.machine.home / name, self.user)


def commands() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                found.append(
                    (int(entry.name), os.fsdecode((entry / "cmdline").read_bytes()).replace("\0", " "))
                )
            except OSError:
                continue
    return found


def until(happened: Callable[[], object], what: str) -> None:
    wait_until(lambda: None if happened() else "not yet", what, timeout_s=10)


def site(stack: ExitStack, user: User) -> Site:
    place = stack.enter_context(scratch(user))
    user = replace(user, home=place / "home")
    bare = machine(place, user.uid if os.geteuid() == 0 else None)
    write(place / "agents/claude", AGENT, user, mode=0o755)
    directory(place / "run", user)
    environ = {
        **bare.environ,
        "PATH": f"{place}/agents:{bare.environ['PATH']}",
        "XDG_RUNTIME_DIR": f"{place}/run",
    }
    return Site(machine=replace(bare, environ=environ), user=user, place=place)


@pytest.fixture
def here() -> Iterator[Site]:
    with ExitStack() as stack:
        made = site(stack, ordinary_user())
        try:
            yield made
        finally:
            made.end()
        made.gone()


@pytest.fixture
def bus(here: Site) -> Iterator[dict[str, str]]:
    """A session bus for `here`: with it a proxy belongs to each run."""
    with session_bus(directory(here.place / "services", here.user), as_user=here.user) as running:
        yield running.environment()


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its status; what it said is shown when a test fails."""
    print(process.communicate(timeout=20)[1].decode(errors="replace"))
    return process.returncode


# -- signals and statuses


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_reaches_the_agent_and_the_launcher_waits_for_what_it_does(here: Site, name: str) -> None:
    process = here.start("count 3")
    here.ready()

    for number in range(3):
        process.send_signal(signal.Signals[f"SIG{name}"])
        until(lambda: len(signals(here)) > number, name)  # noqa: B023

    assert ended(process) == 9
    assert signals(here) == [name] * 3


def signals(here: Site) -> list[str]:
    path = here.project / "signals"
    return path.read_text().split() if path.exists() else []


def test_signals_reach_the_agent_on_a_terminal_too_and_from_its_keyboard(here: Site) -> None:
    with terminals(here.place, here.user) as shown:
        argv = [*PROGRAM, str(here.project), f"{here.place.name} count 6"]
        terminal = shown.open(argv, here.machine.environ)
        here.ready()
        (launcher,) = [pid for pid, words in here.alive().items() if words.startswith(PROGRAM[0])]
        for number, name in enumerate(SIGNALS):
            os.kill(launcher, signal.Signals[f"SIG{name}"])
            until(lambda: len(signals(here)) > number, name)  # noqa: B023
        for number, key in enumerate(("C-c", "C-\\")):
            terminal.keys(key)
            until(lambda: len(signals(here)) > 4 + number, key)  # noqa: B023

        assert terminal.status() == 9
        assert signals(here) == [*SIGNALS, "INT", "QUIT"]


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 130", 130),
        ("exit 143", 143),
        ("exit 137", 137),
        ("exit 255", 255),
        ("kill KILL", 137),
        ("kill SEGV", 139),
    ],
)
def test_the_agents_status_is_the_launchers(here: Site, what: str, status: int) -> None:
    assert ended(here.start(what)) == status


# -- whatever is killed


def tree(here: Site, top: int) -> dict[str, int]:
    """Who is who in one run."""
    parts = {"launcher": top}
    for pid, words in here.alive().items():
        if "xdg-dbus-proxy" in words:
            parts["proxy"] = pid
        elif words.startswith(f"{here.place.name}-child"):
            parts["child"] = pid
    for pid, words in commands():
        if words.startswith("/usr/bin/bwrap ") and parent(pid) == top:
            parts["monitor"] = pid
    for pid, _words in commands():
        if parent(pid) == parts.get("monitor"):
            parts["init"] = pid
    for pid, words in commands():
        if "/agents/claude" in words and parent(pid) == parts.get("init"):
            parts["agent"] = pid
    return parts


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("victim", ["launcher", "monitor", "init", "agent", "proxy"])
def test_sigkill_of_any_part_leaves_nothing(here: Site, bus: dict[str, str], victim: str) -> None:
    before = here.listing()
    process = here.start("child", env=bus)
    here.ready()
    until(lambda: "child" in tree(here, process.pid), "a process that has left its session")
    parts = tree(here, process.pid)
    assert set(parts) == {"launcher", "monitor", "init", "agent", "proxy", "child"}
    assert list(here.runtime.iterdir()) == []  # nothing that the next start would have to sweep

    os.kill(parts[victim], signal.SIGKILL)
    if victim == "proxy":
        time.sleep(0.2)
        assert process.poll() is None  # the bus is gone, the agent goes on
        os.kill(parts["agent"], signal.SIGKILL)

    assert ended(process) in (137, -9)
    here.gone()
    assert here.listing() - before == {f"{here.project}/ready"}


def test_thirty_launchers_killed_at_any_moment_of_their_start_leave_nothing(
    here: Site, bus: dict[str, str]
) -> None:
    assert ended(here.start("exit 0", env=bus)) == 0
    before = here.listing()
    begun = time.monotonic()
    assert ended(here.start("exit 0", env=bus)) == 0
    takes = time.monotonic() - begun
    random.seed(0)

    for _ in range(15):
        pair = [here.start("child", env=bus) for _ in range(2)]
        for process, delay in zip(pair, sorted(random.uniform(0, takes) for _ in pair), strict=True):
            time.sleep(delay / 2)
            process.kill()
        for process in pair:
            assert ended(process) == -signal.SIGKILL

    until(lambda: not here.alive(), "end of all processes")
    assert ended(here.start("exit 0", env=bus)) == 0  # sweeps what was left in the moment of making it
    here.gone()
    assert here.listing() - before <= {f"{here.project}/ready"}


def test_launchers_ended_politely_at_any_moment_of_their_start_leave_nothing(
    here: Site, bus: dict[str, str]
) -> None:
    begun = time.monotonic()
    assert ended(here.start("exit 0", env=bus)) == 0
    takes = time.monotonic() - begun
    before = here.listing()
    random.seed(1)

    for number in range(12):
        process = here.start("exit 3", env=bus)
        time.sleep(random.uniform(0, takes))
        sent = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[number % 3]
        process.send_signal(sent)
        # By Python before it is ours, by the launcher, by the agent; or it came too late.
        by_python = {1} if sent == signal.SIGINT else set()  # interrupted while it imports site
        assert ended(process) in {-15, -2, -1, 143, 130, 129, 3} | by_python
        here.gone()

    assert here.listing() - before <= {f"{here.project}/{name}" for name in ("ready", "signals")}


# -- crowds


def test_twenty_at_once_on_one_project_all_work(here: Site, bus: dict[str, str]) -> None:
    before = here.listing()
    crowd = [here.start(f"note {number}", env=bus) for number in range(20)]

    said = [process.communicate(timeout=40) for process in crowd]

    assert [process.returncode for process in crowd] == [0] * 20, said
    assert [out.decode() for out, _ in said] == [f"out {number}\n" for number in range(20)]
    here.gone()
    assert here.listing() - before == {f"{here.project}/noted-{number}" for number in range(20)}
    assert not list(here.machine.state.rglob("runs/*"))


def test_twenty_at_once_on_twenty_projects_all_work(here: Site) -> None:
    projects = [here.made(f"project{number}") for number in range(20)]
    before = here.listing()
    crowd = [here.start(f"note {n}", project=project) for n, project in enumerate(projects)]

    said = [process.communicate(timeout=40) for process in crowd]

    assert [process.returncode for process in crowd] == [0] * 20, said
    assert [out.decode() for out, _ in said] == [f"out {number}\n" for number in range(20)]
    here.gone()
    assert here.listing() - before == {str(p / f"noted-{number}") for number, p in enumerate(projects)}


def test_the_first_starts_ever_at_once_make_the_home_ready_once(here: Site) -> None:
    """~/.claude, the state: none of them is there yet."""
    crowd = [here.start("exit 0") for _ in range(8)]

    said = [process.communicate(timeout=40) for process in crowd]

    assert [process.returncode for process in crowd] == [0] * 8, said
    assert (here.machine.home / ".claude").stat().st_mode & 0o777 == 0o700


def test_a_start_leaves_in_home_and_project_what_is_documented_and_no_more(here: Site) -> None:
    write(here.project / "file", "content", here.user)
    subprocess.run(["git", "init", "-q", str(here.project)], check=True)
    for path in (here.project / ".git", *(here.project / ".git").rglob("*")):
        here.machine.own(path)
    whole = {str(path) for path in here.machine.home.rglob("*")}

    assert ended(here.start("exit 0")) == 0
    first = {str(path) for path in here.machine.home.rglob("*")}
    assert ended(here.start("exit 0")) == 0
    second = {str(path) for path in here.machine.home.rglob("*")}

    claude = str(here.machine.home / ".claude")
    assert {path for path in first - whole if not path.startswith(claude)} == set()
    assert second == first


# -- users


@pytest.mark.as_root
def test_a_second_user_is_not_in_the_way_of_the_first() -> None:
    first = ordinary_user()
    second = replace(first, name="other", uid=first.uid + 4321, gid=first.gid + 4321)
    with ExitStack() as stack:
        both = [site(stack, user) for user in (first, second)]
        crowd: list[subprocess.Popen[bytes]] = []
        for _ in range(2):
            for here in both:
                # No runtime directory: both fall back to /tmp. The proxy starts for a bus that never answers.
                listening = stack.enter_context(socket.socket(socket.AF_UNIX))
                listening.bind(address := str(here.place / f"bus-{len(crowd)}"))
                os.chown(address, here.user.uid, here.user.gid)
                listening.listen()
                env = {
                    "DBUS_SESSION_BUS_ADDRESS": f"unix:path={address}",
                    "XDG_RUNTIME_DIR": "",
                    "TMPDIR": "/tmp",
                }
                crowd += [here.start(f"note {len(crowd)}", env=env) for _ in range(2)]

        assert [ended(process) for process in crowd] == [0] * 8

        for here in both:
            noted = list(here.project.iterdir())
            assert len(noted) == 2
            assert {path.stat().st_uid for path in noted} == {here.user.uid}
            here.gone()
