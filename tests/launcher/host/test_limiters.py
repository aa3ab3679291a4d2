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


def test_the_systems_systemd_is_asked_by_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {"busctl": "/x"}
    monkeypatch.setattr(limiters, "BUS", f"{tmp_path}/bus")
    assert limiters.limiters(7, programs, "6.1").system == frozenset()

    (tmp_path / "bus").touch()

    assert limiters.limiters(7, programs, "6.1").system == {"memory", "pids", "cpu"}
    assert limiters.limiters(7, {}, "6.1").system == frozenset()


def test_machined_is_there_when_the_bus_could_start_it_and_it_is_not_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiters, "BUS", f"{tmp_path}/bus")
    monkeypatch.setattr(limiters, "MACHINED", (f"{tmp_path}/service",))
    monkeypatch.setattr(limiters, "MASKS", (f"{tmp_path}/mask",))

    def there() -> bool:
        return limiters.limiters(7, {"busctl": "/x"}, "6.1").machined

    (tmp_path / "service").touch()
    assert not there()
    (tmp_path / "bus").touch()
    assert there()
    (tmp_path / "mask").symlink_to("/dev/null")
    assert not there()
    (tmp_path / "mask").unlink()
    (tmp_path / "service").unlink()
    assert not there()


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
