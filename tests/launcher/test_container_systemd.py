"""Where systemd is process 1, a container is a machine and a scope of its. One guest for all tests."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator

import pytest

from tests.launcher.in_guest import World, command, hold, machine_of, part_of, properties, world

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]  # without KVM
TASKS, MOST = 40, 80
MEMORY_MIB, HOG_MIB = 100, 250
BOMB = f"""
import json, os
end, ours = os.pipe()
found = {{"started": 0, "errno": 0}}
while found["started"] < {MOST}:
    try:
        child = os.fork()
    except OSError as error:
        found["errno"] = error.errno
        break
    if not child:
        os.close(ours)
        os._exit(len(os.read(end, 1)))
    found["started"] += 1
print(json.dumps(found))
"""
ATTACK = f"""
cat >bomb <<'END'
{BOMB}
END
python3 -I bomb >bombed
python3 -Ic 'b"x" * ({HOG_MIB} << 20)' 2>/dev/null
echo $? >hogged
"""
UNITS = "/run/systemd/system"
MACHINED, BY_THE_BUS = f"{UNITS}/systemd-machined.service", f"{UNITS}/dbus-org.freedesktop.machine1.service"


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        yield made


def test_a_container_is_a_machine_while_it_runs(here: World) -> None:
    held = hold(here.guest, "container", "--max-tasks", "64", "--max-memory", "200M")

    name = machine_of(here.guest)
    shown = properties(here.guest, f"machinectl show {name}")
    status = here.guest.output(f"machinectl status --no-pager {name}")
    unit = properties(here.guest, f"systemctl show {shown['Unit']}")
    group = here.guest.output(f"cat /proc/{shown['Leader']}/cgroup")
    launcher = here.guest.output(f"{part_of(name, 'launcher')} echo $pid").strip()
    traces = here.traces()
    ended = held.released()

    assert name == f"claude-sandbox-{launcher}-{name[-6:]}"
    assert (shown["Class"], shown["Service"]) == ("container", "claude-sandbox")
    assert "Service: claude-sandbox; class container" in status
    assert group == f"0::/machine.slice/{shown['Unit']}/payload\n"
    assert (unit["TasksMax"], unit["MemoryMax"], unit["MemorySwapMax"]) == ("64", str(200 << 20), "0")
    # The control of every other look at what is left: machine, unit, cgroup, process.
    units, groups = "/run/systemd/transient", "/sys/fs/cgroup/machine.slice"
    for trace in (f"{name} ", f"{units}/{shown['Unit']}\n", f"{groups}/{shown['Unit']}\n"):
        assert trace in traces, traces
    for trace in ("\nsystemd-nspawn\n", "\nbwrap\n"):
        assert trace in traces, traces
    assert ended.status == 7
    assert here.nothing_left() == ""


def test_terminated_by_machinectl_it_ends_as_by_a_sigterm(here: World) -> None:
    held = hold(here.guest, "container", "--quiet", "--without", "limits", prefix="sudo")

    name = machine_of(here.guest)
    unit = properties(here.guest, f"machinectl show {name}")["Unit"]
    shown = properties(here.guest, f"systemctl show -p TasksMax,MemoryMax {unit}")
    here.guest.output(f"sudo machinectl terminate {name}")
    ended = held.ended()

    assert shown == {"TasksMax": "infinity", "MemoryMax": "infinity"}
    assert (ended.status, ended.out, ended.err) == (143, "", "")
    assert here.nothing_left() == ""


def test_nothing_is_left_whatever_is_killed(here: World) -> None:
    for victim in ("nspawn", "keeper", "launcher", "sudo"):
        held = hold(here.guest, "container")
        name = machine_of(here.guest)

        here.guest.output(f"{part_of(name, victim)} sudo kill -KILL $pid")
        ended = held.ended()
        here.guest.output(f"while [ -e /run/systemd/machines/{name} ]; do sleep 0.1; done")

        assert ended.status in (137, -9), (victim, ended)
    assert here.nothing_left() == ""


@pytest.mark.parametrize("backend", ["container", "bubblewrap"])
def test_what_runs_out_runs_out_inside(here: World, backend: str) -> None:
    """By a scope of the system's manager, or of the user's. Who takes too much ends, and all others go on."""
    manager = "systemctl" if backend == "container" else "systemctl --user"
    flags = ("--max-tasks", str(TASKS), "--max-memory", f"{MEMORY_MIB}M")

    held = hold(here.guest, backend, *flags, first=ATTACK)
    listed = here.guest.output(f"{manager} list-units --plain --no-legend 'claude-*.scope' 'run-*.scope'")
    shown = properties(here.guest, f"{manager} show {listed.split()[0]}")
    bomb, hog = here.guest.output(f"cd {held.project}; cat bombed hogged").splitlines()
    ended = held.released()

    assert len(listed.splitlines()) == 1
    assert (shown["TasksMax"], shown["MemoryMax"]) == (str(TASKS), str(MEMORY_MIB << 20))
    assert 0 < json.loads(bomb)["started"] < TASKS
    assert json.loads(bomb)["errno"] == errno.EAGAIN
    assert hog == "137"
    assert ended.status == 7
    assert here.nothing_left() == ""


def test_the_attacks_are_nothing_to_who_has_no_limit(here: World) -> None:
    """The control: on the guest itself."""
    bomb, hog = here.guest.output(f"cd $(mktemp -d); {ATTACK} cat bombed hogged").splitlines()

    assert (json.loads(bomb), hog) == ({"started": MOST, "errno": 0}, "0")


def test_a_machined_that_does_not_start_is_no_failure_and_said_at_the_end(here: World) -> None:
    """One that is masked, too (systemctl(1), mask), is not even asked."""
    here.guest.output(f"sudo sh -c 'ln -s /dev/null {BY_THE_BUS}; systemctl stop systemd-machined'")
    try:
        held = hold(here.guest, "container")
        here.guest.output("while pgrep -x busctl >/dev/null; do sleep 0.2; done")
        missed = held.released()
        here.guest.output(f"sudo ln -s /dev/null {MACHINED}")
        masked = here.guest.run(command("container", here.shared, "exit 7"))
    finally:
        here.guest.output(f"sudo rm -f {MACHINED} {BY_THE_BUS}")

    assert (missed.status, masked.status) == (7, 7)
    assert len(masked.err.splitlines()) == 1
    _banner, note = missed.err.splitlines()
    assert note.startswith("claude-sandbox: machinectl does not show this container: "), missed
    assert here.nothing_left() == ""
