"""What is asked of systemd, and written to the files of cgroups, for a container's limits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from launcher.plan.model import Limits
from launcher.run.cgroup import orphans
from launcher.run.limited import files_of, in_scope, place, scope_call

LIMITS = Limits(memory=1 << 30, tasks=64, cpus=1.5)


def test_the_call_for_a_scope_is_the_one_that_a_person_has_read() -> None:
    call = scope_call("/usr/bin/busctl", "claude-nspawn.1-a.scope", 4711, LIMITS)

    assert " ".join(call) == (
        "/usr/bin/busctl --system --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1"
        " org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) claude-nspawn.1-a.scope fail 9"
        " Description s claude-sandbox Slice s machine.slice PIDs au 1 4711 Delegate b true"
        " CollectMode s inactive-or-failed"
        " MemoryMax t 1073741824 MemorySwapMax t 0 TasksMax t 64 CPUQuotaPerSecUSec t 1500000 0"
    )


SCOPE = "/machine.slice/claude-nspawn.1-a.scope"


@pytest.mark.parametrize(
    ("groups", "moved"),
    [
        (f"0::{SCOPE}\n", True),
        (f"0::{SCOPE}/supervisor\n", True),
        ("0::/user.slice/session-1.scope\n", False),
        (f"4:pids:{SCOPE}\n3:memory:{SCOPE}\n2:cpuset:/\n1:name=systemd:{SCOPE}\n0::{SCOPE}\n", True),
        (f"4:pids:{SCOPE}\n3:cpu,cpuacct:/user.slice\n1:name=systemd:{SCOPE}\n", False),
        (f"4:pids:/user.slice\n1:name=systemd:{SCOPE}\n0::{SCOPE}\n", False),
    ],
    ids=["2", "2-below", "2-not-yet", "1-and-2", "1-cpu-not-yet", "1-pids-not-yet"],
)
def test_a_process_is_in_its_scope_once_all_that_limits_it_is(groups: str, moved: bool) -> None:
    assert in_scope(groups, "claude-nspawn.1-a") is moved


def test_version_1_has_a_group_in_each_hierarchy() -> None:
    assert files_of(LIMITS, first=True) == {
        "memory": (
            ("memory.limit_in_bytes", "1073741824"),
            ("memory.memsw.limit_in_bytes", "1073741824"),
        ),
        "pids": (("pids.max", "64"),),
        "cpu": (("cpu.cfs_quota_us", "150000"),),
    }


def test_version_2_has_one() -> None:
    assert files_of(LIMITS, first=False) == {
        "memory": (("memory.max", "1073741824"), ("memory.swap.max", "0")),
        "pids": (("pids.max", "64"),),
        "cpu": (("cpu.max", "150000 100000"),),
    }


def test_what_is_not_limited_has_no_group() -> None:
    assert files_of(Limits(), first=True) == files_of(Limits(), first=False) == {}


def test_what_has_ended_before_systemd_moves_it_is_not_waited_for() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        # Raises OSError when it is not moved in time.
        place(child.pid, LIMITS.replace(by=(("memory", "scope"),)), "claude-nspawn.1-a", "/usr/bin/true")

        assert child.wait() == 0


def test_groups_of_the_dead_are_known_by_their_makers_number(tmp_path: Path) -> None:
    names = (
        f"claude-nspawn.{os.getpid()}-aa",
        "claude-nspawn.99999999-bb",
        "claude-nspawn.x-cc",
        "other.99999999-d",
    )
    for name in names:
        (tmp_path / name).mkdir()

    assert orphans(str(tmp_path), "claude-nspawn.") == ["claude-nspawn.99999999-bb"]
