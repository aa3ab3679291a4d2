from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.host import limiters


def test_this_machine_has_memory_and_a_kernel() -> None:
    found = limiters.limiters(os.getuid(), {}, os.uname().release)

    total = int(Path("/proc/meminfo").read_text().split()[1]) << 10
    assert 0.9 * total <= found.memory <= 1.2 * total
    assert found.user == found.system == frozenset()


@pytest.mark.parametrize(
    ("release", "namespaced"),
    [("6.18.44-fc", True), ("5.14", True), ("5.14.0-rc1+", True), ("5.13.19-1-pve", False), ("4.19", False)],
)
def test_rlimit_nproc_counts_by_namespace_since_5_14(release: str, namespaced: bool) -> None:
    assert limiters.limiters(0, {}, release).namespaced is namespaced


def test_a_users_systemd_has_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "user.slice/user-7.slice/user@7.service"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpuset memory pids\n")
    monkeypatch.setattr(limiters, "CGROUPS", str(tmp_path))
    monkeypatch.setattr(limiters, "MANAGER", f"{tmp_path}/{{uid}}")
    (tmp_path / "7").touch()

    assert limiters.limiters(7, {"systemd-run": "/x"}, "6.1").user == {"memory", "pids"}
    assert limiters.limiters(8, {"systemd-run": "/x"}, "6.1").user == frozenset()
    assert limiters.limiters(7, {}, "6.1").user == frozenset()


def test_version_2_offers_what_our_group_hands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("cgroup.procs", ""), ("cgroup.controllers", "memory pids io")):
        (tmp_path / name).write_text(content)
    own = Path("/proc/self/cgroup").read_text().splitlines()[-1].removeprefix("0::").strip("/")
    if own:
        (tmp_path / own).mkdir(parents=True)
        (tmp_path / own / "cgroup.subtree_control").write_text("memory pids")
    monkeypatch.setattr(limiters, "CGROUPS", str(tmp_path))

    assert limiters.limiters(0, {}, "6.1").files == {"memory", "pids"}


def test_without_cgroups_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiters, "CGROUPS", str(tmp_path))

    assert limiters.limiters(0, {}, "6.1").files == frozenset()
