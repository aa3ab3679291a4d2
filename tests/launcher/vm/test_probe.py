"""The guest runs, under an accelerator that every machine has; and what does not run is ended in time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fixtures import packages
from launcher.vm.probe import KILLED_S, probe
from launcher.vm.qemu import TCG_CPU

LOOP = b"\xeb\xfe"  # jmp to itself


@pytest.fixture
def qemu() -> str:
    return packages.find("qemu-system-x86_64")


def ours() -> str:
    """The process ids of our children, those that have ended and were not waited for among them."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_the_guest_answers(qemu: str) -> None:
    assert probe(qemu, accel="tcg", limit_s=60) == ""


def test_the_guest_answers_from_64_bits(qemu: str) -> None:
    # xor eax, eax; dec eax in 32 bits, a prefix of nop in 64; add al, 0x21; out 0xf4, al
    assert probe(qemu, accel="tcg", code=b"\x31\xc0\x48\x90\x04\x21\xe6\xf4", limit_s=60) == ""


def test_another_answer_is_none(qemu: str) -> None:
    # mov al, 0x20; out 0xf4, al
    assert probe(qemu, accel="tcg", code=b"\xb0\x20\xe6\xf4", limit_s=60) == f"{qemu} ended with 65"


def test_a_guest_that_hangs_is_ended_at_the_limit_and_nothing_is_left(qemu: str) -> None:
    before = time.monotonic()
    descriptors, children = os.listdir("/proc/self/fd"), ours()

    said = probe(qemu, accel="tcg", code=LOOP, limit_s=0.5)

    assert said == "a guest on it did not run within 0.5 s"
    assert time.monotonic() - before < 0.5 + KILLED_S + 5  # a busy machine
    assert os.listdir("/proc/self/fd") == descriptors
    assert ours() == children


def test_the_processor_is_the_one_that_guests_get(tmp_path: Path) -> None:
    (tmp_path / "qemu").write_text('#!/bin/sh\necho "$@" >"$0.words"\n')
    (tmp_path / "qemu").chmod(0o755)

    for accel, cpu in (("kvm", "host"), ("tcg", TCG_CPU)):
        probe(str(tmp_path / "qemu"), accel=accel)
        assert f"-accel {accel} -cpu {cpu} -kernel" in (tmp_path / "qemu.words").read_text()


def test_what_qemu_says_is_the_reason(qemu: str) -> None:
    assert "nonesuch" in probe(qemu, accel="nonesuch")


def test_a_qemu_that_is_not_there_is_the_reason(tmp_path: Path) -> None:
    assert "No such file" in probe(str(tmp_path / "qemu"))
