"""Where systemd is process 1 with cgroups of version 1, or of both (2: test_container_systemd.py)."""

from __future__ import annotations

import pytest

from tests.launcher.in_guest import hold, machine_of, properties, world

HIERARCHIES = {
    "hybrid": "systemd.unified_cgroup_hierarchy=0",
    "legacy": "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
}


@pytest.mark.alone
@pytest.mark.timeout(600)  # without KVM
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_version_1_of_cgroups_will_do(hierarchy: str) -> None:
    with world(HIERARCHIES[hierarchy]) as here:
        mounted = here.guest.output("stat -fc %T /sys/fs/cgroup /sys/fs/cgroup/unified 2>/dev/null || true")
        made = f"echo made >{here.shared}/made"
        held = hold(here.guest, "container", "--max-tasks", "64", "--share", f"{here.shared}:rw", first=made)
        unit = properties(here.guest, f"machinectl show {machine_of(here.guest)}")["Unit"]
        most = here.guest.output(f"cat /sys/fs/cgroup/pids/machine.slice/{unit}/pids.max")
        ended = held.released()

        assert mounted.split() == (["tmpfs", "cgroup2fs"] if hierarchy == "hybrid" else ["tmpfs"])
        assert (ended.status, most) == (7, "64\n")
        assert (here.project / "made").read_text() == "made\n"
        assert here.nothing_left() == ""
