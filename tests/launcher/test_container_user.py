"""Whose sandbox it is, and how the launcher comes by root: every way to be wrong about it."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.contained import as_root, contained, user_of_tests
from tests.launcher.program import Ended, Machine

NAME = "claude-sandbox-container: "


@pytest.fixture
def here() -> Iterator[Machine]:
    with contained() as made:
        yield made


def by_root(here: Machine, *words: str, env: dict[str, str]) -> Ended:
    """The program as root starts it, with exactly these variables."""
    pairs = [f"{name}={value}" for name, value in {"PATH": here.environ["PATH"], **env}.items()]
    return as_root("env", "-i", *pairs, *here.program, *words, check=False)


def refused(ended: Ended, what: str, hint: str = "") -> None:
    assert ended.status in (2, 125), ended
    assert len(ended.said) == 2, ended
    assert ended.said[0].startswith(NAME), ended
    assert what in ended.said[0], ended
    assert hint in ended.said[1], ended


def other() -> str:
    """An account that is neither root nor ours."""
    return next(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid not in (0, os.getuid()))


def test_root_without_a_user_is_asked_for_one(here: Machine) -> None:
    start = ("--shell", str(here.project), "-c", "id -u")

    refused(by_root(here, *start, env={}), "root has no sandbox", "--user NAME")
    refused(by_root(here, *start, env={"SUDO_UID": "0", "SUDO_USER": "root"}), "root has no sandbox")
    ended = by_root(here, "--user", user_of_tests().name, *start, env={})

    assert (ended.status, ended.out) == (0, f"{os.getuid()}\n"), ended


@pytest.mark.parametrize(
    "env",
    [
        {"SUDO_UID": "3999999999"},
        {"SUDO_UID": "-1"},
        {"SUDO_UID": "99999999999999999999"},
        {"SUDO_UID": "1e3"},
        {"SUDO_USER": "nobody-of-that-name"},
        {"DOAS_USER": "../root"},
        {"SUDO_USER": "\x1b]0;title\x07"},
    ],
    ids=str,
)
def test_a_caller_who_is_not_there_is_named(here: Machine, env: dict[str, str]) -> None:
    ended = by_root(here, "--shell", str(here.project), "-c", "id", env=env)

    refused(ended, "there is no user ", "--user NAME")
    assert "\x1b" not in ended.err


def test_ways_to_root_that_disagree_are_refused(here: Machine) -> None:
    """doas with keepenv lets SUDO_UID through, and it is the caller who has set it."""
    start = ("--shell", str(here.project), "-c", "id")
    us = user_of_tests().name
    forged = {"SUDO_UID": str(pwd.getpwnam(other()).pw_uid), "DOAS_USER": us}

    refused(by_root(here, *start, env=forged), f"DOAS_USER that {us} has", "env -u DOAS_USER")
    assert by_root(here, *start, env={"SUDO_UID": str(os.getuid()), "DOAS_USER": us}).status == 0


def test_an_agent_is_not_root(here: Machine) -> None:
    refused(by_root(here, "--user", "root", str(here.project), env={}), "an agent must not be root")


def test_nobody_but_root_has_sandboxes_of_others(here: Machine) -> None:
    name = other()

    refused(here.run("--user", name, here.project), f"--user {name} is for root")
    refused(here.run("--user", "root", here.project), "--user root is for root")
    ours = {"SUDO_UID": str(os.getuid())}
    refused(by_root(here, "--user", name, str(here.project), env=ours), f"--user {name} is for root")


def test_without_sudo_it_says_what_else_there_is(here: Machine) -> None:
    """In a namespace where no program that leads to root is one."""
    hidden = [f"{d}/{way}" for d in ("/usr/bin", "/usr/local/bin") for way in ("sudo", "doas", "run0")]
    script = "".join(f"mount --bind /dev/null {path};" for path in hidden if os.path.exists(path))
    prefix = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c")

    ended = here.run("--shell", here.project, prefix=(*prefix, f'{script} exec "$@"', "sh"))

    refused(ended, "there is no sudo here", "use claude-sandbox")


def test_without_systemd_nspawn_the_package_is_named(here: Machine) -> None:
    prefix = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /usr/bin/systemd-nspawn; exec "$@"')
    words = ("env", "-i", f"SUDO_UID={os.getuid()}", f"PATH={here.environ['PATH']}")

    ended = as_root(*prefix, "sh", *words, *here.program, "--shell", here.project, check=False)

    refused(ended, "systemd-nspawn is missing", "systemd-container")


def test_what_an_agent_could_have_written_is_not_run_by_root(here: Machine) -> None:
    """Neither by the program itself, nor by sudo: it has ended before that."""
    program = here.project / "claude-sandbox-container"
    program.write_text(Path(here.program[0]).read_text())
    program.chmod(0o755)
    (here.home / "bin").mkdir()
    (here.home / "bin/started").symlink_to(program)

    for path in (program, here.home / "bin/started"):
        refused(
            Machine(**{**vars(here), "program": (str(path),)}).run("--shell", here.project, "-c", "id"),
            "where an agent can write",
            "outside of PROJECT",
        )


def test_a_rule_of_sudoers_for_the_program_alone_is_enough(here: Machine) -> None:
    """sudo is asked to run the program, and not Python."""
    user, rule = user_of_tests().name, f"/etc/sudoers.d/claude-sandbox-rule-{os.getpid()}"
    line = f"{user} ALL=(ALL:ALL) PASSWD: ALL\n{user} ALL=(root) NOPASSWD: {here.program[0]}\n"
    # In mounts of its own: nobody else's sudo is asked for a password.
    script = f"""
        mount -t tmpfs -o mode=0750 none /etc/sudoers.d
        printf %s '{line}' >{rule}; chmod 440 {rule}
        exec setpriv --reuid={os.getuid()} --regid={os.getgid()} --init-groups --inh-caps=-all "$@"
    """
    pairs = [f"{name}={value}" for name, value in here.environ.items()]
    words = ("unshare", "--mount", "sh", "-c", script, "sh", "env", "-i", *pairs)

    other = as_root(*words, "sudo", "-n", "/usr/bin/id", check=False)
    ended = as_root(*words, *here.program, "--shell", here.project, "-c", "id -u", check=False)

    assert other.status != 0, "the control: nothing else goes without a password"
    assert (ended.status, ended.out) == (0, f"{os.getuid()}\n"), ended


def test_by_sudo_or_by_itself_the_plan_and_the_environment_are_the_same(here: Machine) -> None:
    env = {
        "ANTHROPIC_API_KEY": "key-of-theirs",
        "SSH_AUTH_SOCK": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "TERM": "vt100",
        "TZ": "Asia/Tokyo",
        "SECRET": "no",
    }
    sudo = ("sudo", "-n", "--")

    plans = [here.run("--explain=json", here.project, env=env, prefix=p) for p in ((), sudo)]
    inside = [here.shell("env -0", env=env, prefix=p) for p in ((), sudo)]

    assert [ended.status for ended in (*plans, *inside)] == [0] * 4, (plans, inside)
    assert json.loads(plans[0].out) == json.loads(plans[1].out)
    assert inside[0].out == inside[1].out
    assert "ANTHROPIC_API_KEY=key-of-theirs" in inside[0].out
    assert "SECRET=" not in inside[0].out


def test_nothing_of_roots_is_left_in_the_home(here: Machine) -> None:
    assert here.shell("touch made; mkdir below").status == 0

    owners = {os.lstat(path).st_uid for path in (*here.home.rglob("*"), *here.state.rglob("*"))}

    assert owners == {os.getuid()}


def test_no_process_of_the_user_has_an_id_of_roots_and_none_can_be_traced(here: Machine) -> None:
    """Of all that a start leaves running: launcher, bus proxy, guard. Root's part is root's altogether."""
    process = here.start("--shell", here.project, "-c", "echo up; read -r _", stdin=-1)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"up\n"
        found = {}
        for pid in below(process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue  # who told systemd-machined of it has ended
            lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            found[pid] = lines["Name"], set(lines["Uid"].split()), int(lines["CapPrm"], 16)
        mixed = [who for who in found.values() if len(who[1]) > 1 and who[0] != "sudo"]
        launchers = [pid for pid, (_, uids, caps) in found.items() if uids == {str(os.getuid())} and caps]
        assert mixed == []
        assert len(launchers) == 1, found
        for name in ("mem", "environ", "maps"):
            with pytest.raises(PermissionError):
                open(f"/proc/{launchers[0]}/{name}", "rb").close()
    finally:
        process.communicate(b"\n", timeout=30)
    assert process.returncode == 0


def below(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            continue
        found += map(int, children.split())
    return found
