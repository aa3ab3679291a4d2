"""Rows that a machine with a kernel of its own keeps another way, decided by what the host has."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import HostError
from launcher.host.model import Entry, Host, Hypervisor, Limiters, Offer
from launcher.plan.model import Granted, Plan
from launcher.plan.resolve import resolve
from launcher.request import Machine as Asked
from tests.launcher.subjects import context, host, layout


def machine(hypervisor: Hypervisor, **offers: Offer) -> Host:
    """The small Debian with that, and with what it offers beside."""
    small = host(hypervisor=hypervisor, limiters=Limiters(memory=1 << 34))
    return small.replace(offers={**small.offers, **offers})


def planned(on: Host, row: str, *, network: bool = True) -> tuple[Plan, Granted]:
    """The plan of a machine on it, and what it says of a row."""
    plan = resolve(context(on, layout(), backend="vm", network=network))
    return plan, next(granted for granted in plan.rows if granted.row == row)


def test_a_host_without_a_route_gives_no_network_and_says_so() -> None:
    plan, row = planned(machine(Hypervisor(online=False)), "network")

    assert (plan.network, row.granted) == (False, False)
    assert "no route" in row.reason
    assert any("no network" in note for note in plan.notes)


def test_git_goes_by_time_and_size_unless_its_variables_were_asked_for() -> None:
    here = machine(Hypervisor())
    theirs = here.replace(environ={**here.environ, "GIT_CONFIG_COUNT": "0"})

    plain, _ = planned(here, "project")
    asked = resolve(context(theirs, layout(), backend="vm", env=("GIT_CONFIG_COUNT",)))

    assert dict(plain.environment)["GIT_CONFIG_VALUE_0"] == "minimal"
    assert dict(asked.environment)["GIT_CONFIG_COUNT"] == "0"


def test_no_network_that_was_asked_for_is_nothing_to_note() -> None:
    plan, row = planned(machine(Hypervisor(online=False)), "network", network=False)

    assert "--no-network" in row.reason
    assert not any("network" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("resolv_conf", "expected"),
    [
        pytest.param(b"nameserver 127.0.0.53\n", "10.0.2.3", id="on its loopback"),
        pytest.param(b"nameserver fd00::1\nnameserver 192.0.2.1\n", "10.0.2.3", id="of both families"),
        pytest.param(b"nameserver fe80::1%eth0\n", "fd2b:5e1d:90f4::3", id="of IPv6 alone"),
        pytest.param(b"", "10.0.2.3", id="none named"),
    ],
)
def test_the_resolver_is_one_that_passt_has_a_host_of(resolv_conf: bytes, expected: str) -> None:
    entry = Entry(name="/etc/resolv.conf", kind="content", content=b"search lan\n" + resolv_conf)
    plan, _ = planned(machine(Hypervisor(), resolver=Offer(entries=(entry,))), "dns")
    (file,) = (m for m in plan.mounts if m.target == "/etc/resolv.conf")

    assert file.content == f"search lan\nnameserver {expected}\n".encode()


def test_without_a_python_for_the_relay_there_is_no_agent_and_it_is_said() -> None:
    with_one, _ = planned(machine(Hypervisor()), "ssh-agent")
    plan, row = planned(machine(Hypervisor(python=False)), "ssh-agent")

    assert "SSH_AUTH_SOCK" in dict(with_one.environment)
    assert "SSH_AUTH_SOCK" not in dict(plan.environment)
    assert not any(mount.kind == "socket" for mount in plan.mounts)
    assert "/usr/bin/python3" in row.reason
    assert any("SSH agent" in note for note in plan.notes)


STORE = Entry(name="/nix/store", kind="dir", source="/nix/store")
DATABASE = Entry(name="/nix/var/nix/db", kind="dir", source="/nix/var/nix/db")
CONFIGURATION = Entry(name="/etc/nix/nix.conf", kind="content", content=b"sandbox = false\ncores = 3")


def with_nix(*entries: Entry, note: str = "") -> Host:
    """One with a store, its daemon, and that."""
    nix = {"nix-store": Offer(entries=(STORE,)), "nix-commands": Offer(entries=(STORE, *entries), note=note)}
    on = machine(Hypervisor())
    etc = on.offer("etc")
    file = Entry(name="/etc/nix/nix.conf", kind="file", source="/etc/nix/nix.conf")
    return on.replace(offers={**on.offers, **nix, "etc": etc.replace(entries=(*etc.entries, file))})


def test_nix_has_a_store_over_the_hosts_and_no_daemon() -> None:
    plan, row = planned(with_nix(DATABASE), "nix-commands")
    kinds = {mount.target: (mount.kind, mount.mode) for mount in plan.mounts}

    assert row.granted
    assert kinds["/nix/store"] == ("overlay", "rw")
    assert kinds["/nix/var"] == ("tmpfs", "ro")
    assert kinds["/nix/var/nix/db"] == ("snapshot", "rw")
    assert not any("daemon-socket" in mount.target for mount in plan.mounts)
    assert "NIX_REMOTE" not in dict(plan.environment)


def test_what_the_host_says_in_nix_conf_stands_before_what_a_store_of_ones_own_takes() -> None:
    plan, _ = planned(with_nix(CONFIGURATION), "nix-commands")
    files = [mount for mount in plan.mounts if mount.target == "/etc/nix/nix.conf"]
    lines = files[0].content.decode().splitlines()

    assert len(files) == 1
    assert lines[:2] == ["sandbox = false", "cores = 3"]
    assert {"build-users-group = ", "sandbox = true", "sandbox-fallback = true"} < set(lines[2:])


@pytest.mark.parametrize("network", [True, False])
def test_nothing_is_asked_of_a_cache_where_there_is_no_network(network: bool) -> None:
    plan, _ = planned(with_nix(), "nix-commands", network=network)
    (file,) = (mount for mount in plan.mounts if mount.target == "/etc/nix/nix.conf")

    assert (b"substitute = false\n" in file.content) is not network


def test_a_database_that_cannot_be_had_is_said() -> None:
    plan, row = planned(with_nix(note="nix knows none"), "nix-commands")

    assert row.granted
    assert "nix knows none" in plan.notes
    assert not any(mount.kind == "snapshot" for mount in plan.mounts)


def test_without_its_store_there_is_no_other_over_it() -> None:
    on = with_nix(DATABASE)
    plan = resolve(context(on, layout(), backend="vm", without=frozenset({"nix-store"})))

    assert not any(mount.target.startswith("/nix") for mount in plan.mounts)


XORG = Hypervisor(xorg=True, windows=True)
DISPLAYS = {"DISPLAY": ":7"}


def shown(on: Host, **request: Any) -> str:  # noqa: ANN401
    """What the screen is to people."""
    machine = resolve(context(on, layout(), backend="vm", **request)).machine
    assert machine is not None
    return machine.screen


@pytest.mark.parametrize(
    ("display", "environ", "windows", "expected"),
    [
        pytest.param("auto", DISPLAYS, True, "window", id="a display"),
        pytest.param("auto", {"WAYLAND_DISPLAY": "wayland-0"}, True, "window", id="Wayland"),
        pytest.param("auto", {}, True, "hidden", id="no display"),
        pytest.param("auto", DISPLAYS, False, "hidden", id="a QEMU that shows none"),
        pytest.param("none", DISPLAYS, True, "hidden", id="none"),
    ],
)
def test_a_window_is_where_there_is_a_display(
    display: str, environ: dict[str, str], windows: bool, expected: str
) -> None:
    on = machine(XORG.replace(windows=windows))
    on = on.replace(environ={**on.environ, **environ})

    assert shown(on, machine=Asked(display=display)) == expected


@pytest.mark.parametrize(
    ("environ", "hypervisor", "says"),
    [
        pytest.param({}, XORG, "no display here", id="no display"),
        pytest.param(DISPLAYS, XORG.replace(windows=False), "this QEMU shows none", id="QEMU"),
        pytest.param(DISPLAYS, XORG.replace(xorg=False), "no Xorg", id="Xorg"),
    ],
)
def test_a_window_that_cannot_be_had_is_an_error(
    environ: dict[str, str], hypervisor: Hypervisor, says: str
) -> None:
    on = machine(hypervisor)

    with pytest.raises(HostError, match=says):
        shown(on.replace(environ={**on.environ, **environ}), machine=Asked(display="window"))


@pytest.mark.parametrize("row", ["x11", "gpu"])
def test_a_screen_that_is_left_out_is_no_device(row: str) -> None:
    assert shown(machine(XORG), without=(row,)) == ""


CHROMIUM = Offer(entries=(Entry(name="chromium", kind="file", source="/usr/bin/echo"),))


def wrapper(
    hypervisor: Hypervisor,
    *words: str,
    browser: Offer = CHROMIUM,
    by: tuple[str, ...] = (),
    **request: Any,  # noqa: ANN401
) -> subprocess.CompletedProcess[str]:
    """What the browser's wrapper does, before a browser that says its arguments; started `by` these words."""
    on = machine(hypervisor, chromium=browser)
    plan = resolve(context(on, layout(), backend="vm", **request))
    (script,) = (m.content.decode() for m in plan.mounts if m.target.endswith("/bin/chromium"))
    command = [*by, "sh", "-c", script, "chromium", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("hypervisor", "request_", "why", "remedy"),
    [
        pytest.param(
            XORG.replace(xorg=False), {}, "there is no Xorg", "apt-get install xserver", id="no Xorg"
        ),
        pytest.param(
            XORG, {"without": ("x11",)}, "left out by --without x11", "without that flag", id="left out"
        ),
    ],
)
def test_without_a_screen_the_browser_says_so_in_two_lines(
    hypervisor: Hypervisor, request_: dict[str, Any], why: str, remedy: str
) -> None:
    done = wrapper(hypervisor, "https://a.test/", **request_)

    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert first.startswith("chromium: ")
    assert why in first
    assert remedy in second


@pytest.mark.parametrize("word", ["--headless", "--headless=new", "--version"])
def test_what_needs_no_screen_is_started_without_one(word: str) -> None:
    done = wrapper(XORG.replace(xorg=False), word, "x")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{word} x\n")


def test_with_a_screen_the_browser_is_started() -> None:
    done = wrapper(XORG, "https://a.test/")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("https://a.test/\n")


@pytest.mark.parametrize(("accel", "personality"), [("tcg", "00000000"), ("kvm", "00040000")])
def test_the_browser_is_randomised_where_other_programs_are_not(
    tmp_path: Path, accel: str, personality: str
) -> None:
    """setarch(8) stands for TCG's guest; under KVM there is nothing to undo."""
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\ncat /proc/self/personality\n")
    program.chmod(0o755)
    browser = Offer(entries=(Entry(name="chromium", kind="file", source=str(program)),))

    done = wrapper(XORG.replace(accel=accel), "x", browser=browser, by=("setarch", "-R"))

    assert done.stdout == f"{personality}\n"
