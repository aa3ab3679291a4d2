"""KVM is had when a guest has run on it, and what was found is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.vm import accel
from launcher.vm.accel import Accel
from launcher.vm.probe import ANSWERED
from tests.launcher.program import NOBODY
from tests.launcher.vm.children import child, together

BOOT, RELEASE = "8c1c0f3e-boot", "6.1.0-host"


class Qemu:
    """A stand-in that notes each start and ends as it is told, but well and at once under TCG; what
    QEMU would do is another test's.
    """

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "qemu")
        self._starts = directory / "starts"
        self.answers(ANSWERED)

    def answers(self, status: int, said: str = "", takes_s: float = 0) -> None:
        Path(self.path).write_text(
            f'#!/bin/sh\n[ "${{*#*-accel tcg}}" = "$*" ] || exit {ANSWERED}\n'
            f"echo start \"$@\" >> '{self._starts}'\nsleep {takes_s}\necho '{said}' >&2\nexit {status}\n"
        )
        Path(self.path).chmod(0o755)

    @property
    def starts(self) -> int:
        return len(self._starts.read_text().splitlines()) if self._starts.exists() else 0


@pytest.fixture
def qemu(tmp_path: Path) -> Qemu:
    return Qemu(tmp_path)


@pytest.fixture
def device(tmp_path: Path) -> str:
    """A device that can be opened."""
    (tmp_path / "kvm").write_text("")
    return str(tmp_path / "kvm")


def asked(qemu: Qemu, device: str, *, mode: str = "auto", boot: str = BOOT, release: str = RELEASE) -> Accel:
    cache = str(Path(qemu.path).parent / "cache")
    return accel.usable(qemu.path, mode, cache, boot, release, device=device)


def test_tcg_never_probes(qemu: Qemu, device: str) -> None:
    assert asked(qemu, device, mode="tcg").name == "tcg"
    assert qemu.starts == 0


@pytest.mark.parametrize("mode", ["auto", "kvm"])
def test_kvm_is_had_when_a_guest_has_run(qemu: Qemu, device: str, mode: str) -> None:
    assert asked(qemu, device, mode=mode) == Accel(name="kvm", why="a guest was seen to run on it")
    assert qemu.starts == 1


def test_without_kvm_auto_is_tcg_with_the_reason_and_kvm_an_error(qemu: Qemu, device: str) -> None:
    qemu.answers(1, "qemu: failed to initialize kvm: Device busy")

    assert asked(qemu, device) == Accel(name="tcg", why="qemu: failed to initialize kvm: Device busy")
    with pytest.raises(HostError, match="cannot be had here: qemu: failed to") as caught:
        asked(qemu, device, mode="kvm")
    assert "--accel tcg" in caught.value.hint


def test_a_guest_that_crawls_on_kvm_has_not_run_on_it(qemu: Qemu, device: str) -> None:
    qemu.answers(ANSWERED, takes_s=2.5)

    assert asked(qemu, device) == Accel(name="tcg", why="a guest on it did not run within 1 s")


def test_a_machine_without_the_device_is_not_probed(qemu: Qemu, tmp_path: Path) -> None:
    device = str(tmp_path / "none")

    assert asked(qemu, device) == Accel(name="tcg", why=f"there is no {device}")
    with pytest.raises(HostError, match=f"there is no {device}") as caught:
        asked(qemu, device, mode="kvm")
    assert "kvm_intel" in caught.value.hint
    assert qemu.starts == 0


def test_a_device_that_is_closed_to_the_user_is_said_with_what_opens_it(tmp_path: Path) -> None:
    (tmp_path / "kvm").write_text("")
    (tmp_path / "kvm").chmod(0)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    script = (
        "from launcher.errors import HostError; from launcher.vm.accel import usable\n"
        "print(usable('/nonexistent', 'auto', '/nonexistent', '', '', device=sys.argv[1]).why)\n"
        "try: usable('/nonexistent', 'kvm', '/nonexistent', '', '', device=sys.argv[1])\n"
        "except HostError as error: print(error.what, error.hint, sep='; ')\n"
    )
    user = NOBODY if os.geteuid() == 0 else None

    (said,) = together([child(script, str(tmp_path / "kvm"), user=user)])

    why, error = said.decode().splitlines()
    assert why == f"{tmp_path}/kvm is closed to you"
    assert error.startswith(f"KVM cannot be had here: {why}; sudo usermod -aG kvm")


@pytest.mark.parametrize("status", [ANSWERED, 1])
def test_an_answer_is_kept(qemu: Qemu, device: str, status: int) -> None:
    qemu.answers(status, "no")
    first = asked(qemu, device)
    qemu.answers(0, "another")

    assert asked(qemu, device) == first
    assert qemu.starts == 1


def test_an_answer_of_another_boot_kernel_or_qemu_is_not_taken(qemu: Qemu, device: str) -> None:
    asked(qemu, device)
    asked(qemu, device, boot="another")
    asked(qemu, device, boot="another", release="6.2")
    os.rename(qemu.path, f"{qemu.path}-9")
    qemu.path += "-9"
    asked(qemu, device, boot="another", release="6.2")

    assert qemu.starts == 4


def test_who_demands_kvm_does_not_get_an_old_no(qemu: Qemu, device: str) -> None:
    qemu.answers(1)
    asked(qemu, device)
    qemu.answers(ANSWERED)

    assert asked(qemu, device, mode="kvm").name == "kvm"
    assert asked(qemu, device).name == "kvm"
    assert qemu.starts == 2


def test_a_kept_answer_that_others_may_write_is_refused(qemu: Qemu, device: str) -> None:
    asked(qemu, device)
    kept = Path(qemu.path).parent / "cache/kvm"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.chmod(0o666)

    with pytest.raises(HostError, match="can be written by others"):
        asked(qemu, device)


def test_a_kept_answer_that_is_none_is_asked_again(qemu: Qemu, device: str) -> None:
    asked(qemu, device)
    (Path(qemu.path).parent / "cache/kvm").write_bytes(b"\xff")

    assert asked(qemu, device).name == "kvm"
    assert qemu.starts == 2
