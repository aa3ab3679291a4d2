"""A VM that its host fails: full disks, poor file systems, a broken kernel, a clock that jumps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fixtures.process import wait_until
from launcher.run.guest import QUOTED
from launcher.vm.kernel import Kernel
from launcher.vm.packed import ELF
from tests.kernels import fetched
from tests.launcher.program import Ended, Machine
from tests.launcher.virtual import FLAGS, given, shell, spoiled, vm

__all__ = ("fetched", "vm")

JUMP_S = 36000


def mounting(kind: str, options: str, path: Path) -> tuple[str, ...]:
    """What goes before a command line for it to find a file system of that kind there, and no more rights."""
    script = f"mount -t {kind} -o {options} none '{path}' && exec setpriv --inh-caps=-all \"$@\""
    return ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", script, "sh")


def refused(ended: Ended, what: str, remedy: str) -> None:
    """Two lines: what is wrong, what to do."""
    assert ended.status == 125, ended
    assert len(ended.said) == 2, ended
    assert what in ended.said[0], ended
    assert remedy in ended.said[1], ended


def failed(ended: Ended, what: str) -> None:
    """The guest's last words, what is wrong, what to do: as soon as it is known."""
    assert ended.status == 125
    assert "before the sandbox was built: " in ended.said[-2]
    assert what in ended.err
    assert len(ended.said) <= QUOTED + 2


def test_no_room_for_what_is_staged_is_two_lines(vm: Machine) -> None:
    (vm.home / ".gitconfig").write_text("[user]\nname = ada\n" + "# as large as this\n" * 10000)
    full = mounting("tmpfs", "size=16k,mode=700", Path(vm.environ["XDG_RUNTIME_DIR"]))

    refused(shell(vm, "true", prefix=full), "No space left on device", "XDG_RUNTIME_DIR")


def test_no_room_for_the_unpacked_kernel_is_two_lines(vm: Machine) -> None:
    cache = vm.directory(vm.home / "cache")
    full = mounting("tmpfs", "size=64k,mode=700", cache)

    ended = shell(vm, "true", prefix=full, env={"XDG_CACHE_HOME": str(cache)})

    refused(ended, "No space left on device", "make room there, or set XDG_CACHE_HOME")


def test_a_project_without_extended_attributes_is_as_good(vm: Machine) -> None:
    plain = mounting("ramfs", "mode=700", vm.project)
    script = (
        "set -e; ! setfattr -n user.a -v b . 2>/dev/null; echo one >a; mv a b; chmod 640 b; ln -s b c; cat c"
    )

    ended = shell(vm, f"{script}; stat -c %a b", prefix=plain)

    assert (ended.status, ended.out, ended.err) == (0, "one\n640\n", "")


def test_a_kernel_that_panics_is_said_with_its_last_words(vm: Machine) -> None:
    ended = shell(spoiled(vm, "from launcher.vm import qemu; qemu.KERNEL += ' rdinit=/none'"), "true")

    failed(ended, "Kernel panic - not syncing: ")


def test_a_module_that_the_kernel_does_not_take_ends_the_machine_at_once(
    vm: Machine, fetched: Kernel
) -> None:
    beside = vm.directory(vm.home / "other")
    kernel = beside / "boot/vmlinuz"
    kernel.parent.mkdir()
    kernel.symlink_to(fetched.image)
    modules = shutil.copytree(fetched.modules, beside / "lib/modules" / fetched.release)
    (broken,) = modules.rglob("virtio_pci.ko*")
    broken.write_bytes(ELF)

    ended = vm.run(*FLAGS, "--kernel", kernel, "--shell", vm.project, "-c", "true")

    failed(ended, "before the sandbox was built: modprobe: can't load module ")


def test_a_machine_that_never_comes_up_is_given_up(vm: Machine) -> None:
    ended = shell(spoiled(vm, "from launcher.run import guest; guest.BOOT_S = 0.5"), "true")

    failed(ended, "the machine is not up after 0.5 s, ")


def test_the_guest_follows_a_clock_that_was_set(vm: Machine) -> None:
    jump = vm.home / "jump"
    source = (
        "import os, time; now = time.time; "
        f"time.time = lambda: now() + {JUMP_S} * os.path.exists({str(jump)!r})"
    )
    # What it writes is what the launcher wakes for.
    script = (
        "first=$(date +%s); touch begun; for n in {1..200}; do sleep 0.1; gone=$(($(date +%s) - first)); "
        f"echo $gone; ((gone < {JUMP_S // 2})) || exit 0; done; exit 1"
    )
    process = spoiled(vm, source).start(*given(vm), "-c", script)
    wait_until(lambda: None if (vm.project / "begun").exists() else "not yet", "the script", timeout_s=120)

    jump.touch()
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 0, out
    assert int(out.split()[-1]) == pytest.approx(JUMP_S, abs=60)
