"""QEMU's command line: what it gives the guest, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.plan.model import Machine
from launcher.vm import qemu
from tests.launcher.vm.guests import MACHINE, SHARES

PARTS = qemu.Parts(
    kernel="/k/vmlinux",
    initrd=10,
    ports=(("ctl", 11), ("out", 12)),
    console=13,
    network=-1,
    qmp=14,
    shares=tuple((share, share.source or "/run/x/git_config") for share in SHARES),
)


def argv(machine: Machine = MACHINE, **changes: Any) -> tuple[str, ...]:  # noqa: ANN401
    return qemu.argv("/usr/bin/qemu-system-x86_64", machine, PARTS.replace(**changes))


def values(words: tuple[str, ...], option: str) -> list[str]:
    """Every value of an option."""
    return [words[n + 1] for n, word in enumerate(words) if word == option]


def test_only_a_writable_share_is_writable_to_qemu() -> None:
    shares = values(argv(), "-fsdev")

    assert [",readonly=on" in share for share in shares] == [True, False, True]


def test_a_kernel_that_gets_too_little_time_does_not_give_its_timer_up() -> None:
    assert "no_timer_check" in values(argv(), "-append")[0].split()


def test_a_comma_in_a_path_is_no_end_of_it() -> None:
    assert "path=/home/u/a,,b," in values(argv(), "-fsdev")[1]


def test_without_a_network_there_is_no_device_for_one() -> None:
    words = argv()

    assert values(words, "-netdev") == []
    assert not any("net" in device for device in values(words, "-device"))
    assert "-nodefaults" in words


def test_with_one_it_leads_to_passt_and_never_to_qemus_own() -> None:
    words = argv(network=20)

    assert values(words, "-netdev") == ["stream,id=net,server=off,addr.type=fd,addr.str=20"]
    assert not any(word.startswith("user") for word in words)


def test_the_ports_have_the_numbers_by_which_the_init_knows_them() -> None:
    ports = [device for device in values(argv(), "-device") if device.startswith("virtserialport")]

    assert [port.rpartition("nr=")[2] for port in ports] == ["1", "3"]


@pytest.mark.parametrize(("console", "log"), [("virtio", "ttyS0"), ("ttyS0", "ttyS1")])
def test_the_kernel_never_speaks_on_the_agents_line(console: str, log: str) -> None:
    words = argv(MACHINE.replace(console=console))

    assert f"console={log} " in values(words, "-append")[0]
    serial = values(words, "-serial")
    assert serial.index("chardev:log") == int(log[-1])


def test_forty_shares_have_places_of_their_own() -> None:
    many = tuple((SHARES[0].replace(tag=f"share{n}"), "/usr") for n in range(40))
    places = [word.partition("addr=")[2].partition(",")[0] for word in values(argv(shares=many), "-device")]

    assert len(set(places)) >= 40


def test_qemu_can_start_nothing_and_gain_nothing() -> None:
    (filtered,) = values(argv(), "-sandbox")

    assert filtered == "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@pytest.mark.parametrize(("accel", "cpu"), [("kvm", "host"), ("tcg", qemu.TCG_CPU)])
def test_the_processor_is_the_accelerators(accel: str, cpu: str) -> None:
    words = argv(MACHINE.replace(accel=accel))

    assert values(words, "-cpu") == [cpu]
    assert values(words, "-machine")[0].endswith(f",accel={accel}")


@pytest.mark.parametrize(("name", "shown"), [("p", "p"), ("a,b=c", "a,,b=c"), ("x\n", "x\\x0a")])
def test_the_title_has_the_projects_name_whatever_that_is(name: str, shown: str) -> None:
    assert values(argv(name=name), "-name") == [f"guest=claude-sandbox: {shown}"]


@pytest.mark.parametrize(("screen", "display"), [("", "none"), ("hidden", "none"), ("window", "gtk,")])
def test_a_display_device_is_there_for_a_screen_alone(screen: str, display: str) -> None:
    words = argv(MACHINE.replace(screen=screen))

    assert values(words, "-display")[0].startswith(display)
    assert any("virtio-vga," in device for device in values(words, "-device")) == bool(screen)
