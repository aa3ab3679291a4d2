"""The virtual machine's launcher as its users meet it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures.process import command_lines, wait_until
from fixtures.users import scratch
from launcher.vm.kernel import Kernel
from tests.launcher.program import PROGRAM, ROOT, Ended, Machine, machine

MAIN = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from launcher.cli import program; program('vm')"
# Other tests' Nix comes and goes on the host meanwhile, and a start says whether it can be used.
FLAGS = ("--quiet", "--no-network", "--without", "nix-commands")
NEEDS = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static"}


@pytest.fixture
def vm(fetched: Kernel) -> Iterator[Machine]:
    """A Machine whose program is `claude-sandbox-vm`, with a kernel."""
    for program, package in NEEDS.items():
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt-get install {package}")
    with scratch() as place:
        made = machine(place)
        runtime = made.directory(place / "runtime", 0o700)
        environ = {**made.environ, "XDG_RUNTIME_DIR": str(runtime), "VM_KERNEL": fetched.image}
        made = replace(made, program=(*PROGRAM[:-1], MAIN), environ=environ)
        yield made
        wait_until(lambda: "; ".join(made.processes()) or None, "end of all processes")
        assert list(runtime.iterdir()) == []


def shell(vm: Machine, script: str, *flags: str, **how: Any) -> Ended:  # noqa: ANN401  (start's own)
    """A script inside."""
    return vm.run(*given(vm, *flags), "-c", script, **how)


def given(vm: Machine, *flags: str) -> tuple[str, ...]:
    """The words of a command line up to the agent's own."""
    return (*FLAGS, "--kernel", vm.environ["VM_KERNEL"], *flags, "--shell", str(vm.project))


def qemus(launcher: int) -> list[int]:
    """QEMU's process of this launcher's, by its parent."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(child) for child in children if b"qemu" in command_lines([int(child)])]


def started(vm: Machine, script: str, mark: str, **how: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
    """One whose script has made the file `mark` in the project."""
    process = vm.start(*given(vm), "-c", f"touch /project/{mark}; {script}", **how)
    wait_until(
        lambda: None if (vm.project / mark).exists() or process.poll() is not None else "not yet",
        "the script",
        timeout_s=120,
    )
    return process


def spoiled(vm: Machine, source: str) -> Machine:
    """One whose launcher has run some Python before it begins: what no input of a test's brings about."""
    main = MAIN.replace("from launcher.cli", f"exec({source!r}); from launcher.cli")
    return replace(vm, program=(*vm.program[:-1], main))
