"""The init's scripts: words that the shell takes as they are meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fixtures import packages
from launcher.backends.base import Share
from launcher.plan.model import Identity
from launcher.vm import init
from launcher.vm.files import quoted
from launcher.vm.init import Streams
from tests.launcher.vm.guests import MACHINE, guest

PIPES = Streams(stdin="in", stdout="out", stderr="err")
TERMINAL = Streams(stdin="tty", stdout="tty", stderr="tty")
NOTHING = Streams(stdin="null", stdout="null", stderr="null")


def late(streams: Streams, **changes: object) -> str:
    return init.late(guest(**changes), streams, terminal="/dev/hvc0", token="t0ken")


@pytest.mark.parametrize("streams", [PIPES, TERMINAL, NOTHING], ids=["pipes", "terminal", "nothing"])
@pytest.mark.parametrize("screen", ["", "hidden", "window"])
@pytest.mark.parametrize("network", [True, False])
def test_it_is_a_shells_script(streams: Streams, screen: str, network: bool) -> None:
    script = late(streams, machine=MACHINE.replace(screen=screen), network=network)
    for text in (script, init.early(guest(), "m3", "/dev/ttyS0")):
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("word", ["", "it's", 'a "b"', "$HOME `id`", "new\nline", "\\", "-n", "ü"])
def test_a_word_is_one_word_to_a_shell(word: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"printf %s {quoted(word)}"], capture_output=True, text=True, check=True
    )

    assert done.stdout == word


def test_no_variable_of_the_agents_stands_in_a_script() -> None:
    assert "sk-canary" not in late(PIPES)


def test_shares_are_mounted_as_they_are_granted_and_never_with_devices_or_setuid() -> None:
    lines = [line for line in init.early(guest(), "", "/dev/ttyS0").splitlines() if "mount -t 9p" in line]

    assert [",ro," in line for line in lines] == [True, False, True]
    assert ["cache=loose" in line for line in lines] == [True, False, False]
    assert all(",nosuid,nodev " in line and "msize=104857600" in line for line in lines)


@pytest.mark.parametrize("fixed", [True, False])
def test_addresses_are_random_unless_they_are_to_be_the_same(fixed: bool) -> None:
    last = init.early(guest(), "", "/dev/ttyS0", fixed=fixed).splitlines()[-1]

    assert last.startswith("exec chroot . /")
    assert (" linux64 -R " in last) is fixed


def test_a_place_with_a_quote_is_one_word() -> None:
    share = Share(tag="share0", at="/it's", source="/x")

    assert "'/it'\\''s'" in init.early(guest(shares=(share,)), "", "/dev/ttyS0")


def test_the_terminal_is_given_away_only_when_there_is_one() -> None:
    assert "chown 1000:1001 $terminal" in late(TERMINAL)
    assert "chown" not in late(PIPES)


def test_root_is_given_up_before_the_sandbox_is_built() -> None:
    line = next(line for line in late(PIPES).splitlines() if "/usr/bin/bwrap" in line)

    assert line.index("--reuid=1000 --regid=1001") < line.index("/usr/bin/bwrap")
    assert line.startswith("(exec env -i ")
    assert "--no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- " in line


def test_root_keeps_the_one_capability_that_maps_root() -> None:
    line = next(line for line in late(PIPES, identity=Identity(uid=0, gid=0)).splitlines() if "bwrap" in line)
    kept = "-all,+setfcap"

    assert f"--bounding-set={kept} --inh-caps={kept} --ambient-caps={kept} -- /usr/bin/bwrap" in line


def test_what_is_written_over_a_share_lies_where_root_alone_looks_and_begins_as_the_users() -> None:
    lines = late(PIPES, overlays=(("/shares/nix_store", "/overlays/0"),)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("mount -t overlay "))

    assert "lowerdir=/shares/nix_store,upperdir=/guest/overlays/0/upper," in lines[at]
    assert lines[at].endswith(",nosuid,nodev overlay /overlays/0")
    assert lines[at - 1] == "chown 1000:1001 /guest/overlays/0/upper"
    assert lines.index("ip link set lo up") > at
    assert "mount -t overlay" not in late(PIPES)


def test_input_that_ends_at_once_does_not_keep_a_start_from_opening_its_output(tmp_path: Path) -> None:
    start = init.alone("cat /etc/hostname", ("0<in", "1>out"))
    script = f"mkfifo in out; cat </dev/null >in & (sleep 0.3; cat <out) & {start}; echo status $?; wait"

    argv = (packages.find("busybox"), "sh", "-c", script)
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=20)

    expected = [*Path("/etc/hostname").read_text().split(), "status 0"]
    assert sorted(done.stdout.splitlines()) == sorted(expected)
