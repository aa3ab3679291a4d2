"""Machines that a container does not suit: a /tmp that takes nothing, a sudo that refuses, an odd nspawn."""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Iterator

import pytest

from tests.launcher.contained import contained, in_own_mounts, left, under_rules, user_of_tests
from tests.launcher.program import ROOT, Ended, Machine

PATIENCE_S = 10.0
AS_USER = f"setpriv --reuid={os.getuid()} --clear-groups"
# Its options as a tmpfs, what is done to it then, and what must fail there now: the control.
PLACES = {
    "full": ("size=64k", "head -c 1M /dev/zero >/tmp/filling", "echo x >/tmp/more"),
    "without inodes": ("nr_inodes=40", "while mkdir /tmp/$((n += 1)); do :; done", "mkdir /tmp/more"),
    "noexec": ("noexec", "cp /bin/true /tmp/true", "/tmp/true"),
    "nosuid": (
        "nosuid,nodev",
        "cp /usr/bin/id /tmp/id; chmod u+s /tmp/id",
        f"{AS_USER} /tmp/id -u | grep -qx 0",
    ),
    "read-only": ("mode=1777", "mount -o remount,ro /tmp", "mkdir /tmp/more"),
    "root's": ("mode=0755", "true", f"{AS_USER} mkdir /tmp/more"),
}


@pytest.fixture
def here() -> Iterator[Machine]:
    with contained() as made:
        yield made


def refused(ended: Ended, what: str, hint: str) -> None:
    assert (ended.status, ended.out) == (125, ""), ended
    assert len(ended.said) == 2, ended
    assert what in ended.said[0], ended
    assert hint in ended.said[1], ended


@pytest.fixture
def others() -> set[str]:
    """What other runs have left, which were killed with all that tidies up after them."""
    return left()


def nothing_is_left(here: Machine, others: set[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while here.processes() or left() - others:
        assert time.monotonic() < deadline, (here.processes(), left() - others)
        time.sleep(0.02)


def with_tmp(here: Machine, what: str) -> tuple[str, ...]:
    """What runs a command line where /tmp is another one, which has nothing of ours but what tests need."""
    options, then, control = PLACES[what]
    kept = [path for path in (here.home.parent, ROOT) if path.is_relative_to("/tmp")]
    paths = " ".join(shlex.quote(str(path.relative_to("/tmp"))) for path in kept)
    return in_own_mounts(
        f"""
        mount --rbind /tmp /mnt && mount -t tmpfs -o mode=1777,{options} none /tmp || exit 99
        for path in {paths}; do mkdir -p "/tmp/$path"; mount --bind "/mnt/$path" "/tmp/$path"; done
        umount --lazy /mnt
        {{ {then}; }} 2>/dev/null
        if {{ {control}; }} 2>/dev/null; then echo the control went well >&2; exit 98; fi
        """
    )


@pytest.mark.parametrize("what", list(PLACES))
def test_a_container_needs_nothing_of_the_hosts_tmp(here: Machine, others: set[str], what: str) -> None:
    """Inside it is the sandbox's own: to be written to, and programs there can be started."""
    script = "cp /usr/bin/id /tmp/id && /tmp/id -u && touch made && echo x >/tmp/x && exit 7"

    ended = here.run("--quiet", "--shell", here.project, "-c", script, prefix=with_tmp(here, what))

    assert ended == Ended(status=7, out=f"{os.getuid()}\n", err="")
    assert (here.project / "made").exists()
    nothing_is_left(here, others)


@pytest.mark.parametrize("what", ["read-only", "without inodes", "root's"])
def test_where_sockets_need_a_directory_and_there_is_no_room_it_says_so(
    here: Machine, others: set[str], what: str
) -> None:
    """Those of bus proxies lie in /tmp when there is no XDG_RUNTIME_DIR."""
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(here.home / "bus"))
        bus.listen()
        env = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={here.home}/bus"}
        start = ("--shell", here.project, "-c", "touch made")

        ended = here.run(*start, env=env, prefix=with_tmp(here, what))

        refused(ended, "no private directory in /tmp: ", "make room there, or set XDG_RUNTIME_DIR")
        assert not (here.project / "made").exists()
    nothing_is_left(here, others)


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (
            "#!/bin/sh\necho \"$0: unrecognized option '--console=pipe'\" >&2\nexit 1\n",
            "systemd-nspawn is too old: it lacks '--console=pipe'",
            "systemd 242 or newer",
        ),
        ("\0\1\2 no program", "/usr/bin/systemd-nspawn does not run: Exec format error", "package of it"),
        ("#!/no/such/interpreter\n", "/usr/bin/systemd-nspawn does not run: No such file", "package of it"),
        ("#!/bin/sh\nexit 3\n", "systemd-nspawn ended with status 3 before the sandbox was built", "again: "),
    ],
    ids=["too old", "no program", "no interpreter", "fails"],
)
def test_a_systemd_nspawn_that_is_of_no_use_is_named(
    here: Machine, others: set[str], content: str, what: str, hint: str
) -> None:
    stand_in = here.write(here.home / "nspawn", content, 0o755)
    prefix = in_own_mounts(f"mount --bind {stand_in} /usr/bin/systemd-nspawn")

    ended = here.run("--shell", here.project, "-c", "touch made", prefix=prefix)

    refused(ended, what, hint)
    assert not (here.project / "made").exists()
    nothing_is_left(here, others)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (("Defaults !authenticate",), "is not in the sudoers file"),
        (("{user} ALL=(ALL) ALL",), "a password is required"),
        (("Defaults !authenticate", "{user} ALL=(root) /usr/bin/id"), "is not allowed to execute"),
    ],
    ids=["no rule", "a password and no terminal", "a rule for another program"],
)
def test_what_sudo_says_when_it_refuses_is_what_is_said(
    here: Machine, others: set[str], rules: tuple[str, ...], says: str
) -> None:
    """It has become sudo by then: its words, its status, and nothing else."""
    ended = here.run("--shell", here.project, "-c", "touch made", prefix=under_rules(*rules))

    assert (ended.status, ended.out) == (1, ""), ended
    assert says in ended.err, ended
    assert all(line.startswith(("sudo: ", "Sorry, ", user_of_tests().name)) for line in ended.said), ended
    assert not (here.project / "made").exists()
    nothing_is_left(here, others)
