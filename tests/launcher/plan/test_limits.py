"""Which limits a sandbox gets, by which means, and what is said of those that are weaker."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import HostError
from launcher.host.model import Host, Limiters
from launcher.launch import banner
from launcher.plan.limits import size
from launcher.plan.model import Plan
from launcher.plan.resolve import resolve
from tests.launcher.subjects import context, host

ALL = frozenset(("memory", "pids", "cpu"))
GIB = 1 << 30


def machine(**limiters: Any) -> Host:  # noqa: ANN401
    return host(limiters=Limiters(memory=16 * GIB, **limiters))


def plan(on: Host, backend: str = "bubblewrap", **request: Any) -> Plan:  # noqa: ANN401
    asked = context(on, **request)
    return resolve(asked.replace(request=asked.request.replace(backend=backend)))


def by(found: Plan) -> dict[str, str]:
    return dict(found.limits.by)


def test_a_default_start_of_bubblewrap_has_what_costs_nothing() -> None:
    found = plan(machine(user=ALL))

    assert (found.limits.tasks, by(found)) == (4096, {"tasks": "rlimit"})
    assert not found.notes
    assert "at most 4096 tasks ·" in banner(found, "/home/u")


def test_who_asks_gets_a_scope_where_the_users_systemd_has_the_controllers() -> None:
    found = plan(machine(user=ALL), max_tasks=64, cpus=0.5)

    assert by(found) == {"tasks": "scope", "memory": "scope", "cpus": "scope"}
    assert found.limits.memory == 16 * GIB * 85 // 100
    assert not found.notes


def test_what_systemd_was_not_given_is_kept_another_way_and_said() -> None:
    found = plan(machine(user=ALL - {"cpu"}), max_memory=GIB, cpus=1.5)

    assert by(found) == {"tasks": "scope", "memory": "scope", "cpus": "rlimit"}
    assert [note for note in found.notes if "--cpus is 2 whole here" in note]


def test_without_systemd_a_memory_limit_is_each_process_s_and_that_is_said() -> None:
    found = plan(machine(), max_memory=GIB)

    assert by(found) == {"tasks": "rlimit", "memory": "rlimit"}
    assert [note for note in found.notes if "each process by itself" in note]


def test_a_share_is_of_the_machines_memory() -> None:
    assert plan(machine(), memory_share=50).limits.memory == 8 * GIB


@pytest.mark.parametrize(
    "on", [machine(namespaced=False), machine().replace(uid=0, gid=0)], ids=["old", "root"]
)
def test_tasks_that_nothing_counts_are_no_default_and_an_error_when_asked_for(on: Host) -> None:
    (row,) = (granted for granted in plan(on).rows if granted.row == "limits")

    assert not row.granted
    assert row.reason
    assert "at most" not in banner(plan(on), "/home/u")
    with pytest.raises(HostError, match="--max-tasks cannot be kept here"):
        plan(on, max_tasks=64)


def test_a_container_has_a_scope_of_the_systems_or_cgroup_files() -> None:
    assert set(by(plan(machine(system=ALL, files=ALL), "container")).values()) == {"scope"}
    assert by(plan(machine(files=ALL), "container")) == {"tasks": "cgroup", "memory": "cgroup"}


def test_a_container_without_a_controller_goes_without_unless_asked() -> None:
    on = machine(files=frozenset(("pids",)))

    assert by(plan(on, "container")) == {"tasks": "cgroup"}
    with pytest.raises(HostError, match="no cgroup controller memory"):
        plan(on, "container", max_memory=GIB)


def test_left_out_there_are_none() -> None:
    found = plan(machine(user=ALL, files=ALL), without=frozenset({"limits"}))

    assert found.limits.by == ()
    assert "at most" not in banner(found, "/home/u")


@pytest.mark.parametrize(
    ("number", "shown"), [(512 << 20, "512M"), (GIB * 3 // 2, "1.5G"), (20 * GIB + 1, "20G")]
)
def test_sizes_are_short(number: int, shown: str) -> None:
    assert size(number) == shown
