"""A guest that is booted once, for many questions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from conformance.harness.inside import PYTHON, literal, probe
from fixtures.packages import remedy
from fixtures.process import wait_until
from fixtures.users import scratch
from launcher.vm.kernel import Kernel
from tests.launcher.program import PROGRAM, ROOT, Ended, Machine, machine

MAIN = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from launcher.cli import program; program('vm')"
# Runs each script that is named, for itself, until there is no next one.
SERVE = """
while read -r name; do
  (bash /project/$name.sh >/project/$name.out 2>/project/$name.err </dev/null
  echo $? >/project/$name.new; mv /project/$name.new /project/$name.status) &
done
"""
BOOT_S = 180


@dataclass(frozen=True, kw_only=True)
class Guest:
    """One that runs; `launcher` is the process to which it belongs, `place` has its QMP socket."""

    machine: Machine
    launcher: subprocess.Popen[bytes]
    place: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def begin(self, script: str) -> str:
        """Start a bash script inside; gives its name, for `end`."""
        name = f"script{next(self._numbers)}"
        self.machine.write(self.machine.project / f"{name}.sh", script)
        assert self.launcher.stdin is not None
        os.write(self.launcher.stdin.fileno(), f"{name}\n".encode())
        return name

    def end(self, name: str, timeout_s: float = 60) -> Ended:
        """What it has ended with."""
        path = self.machine.project / name
        wait_until(
            lambda: None if path.with_suffix(".status").exists() else "not yet", name, timeout_s=timeout_s
        )
        out, err = (os.fsdecode(path.with_suffix(kind).read_bytes()) for kind in (".out", ".err"))
        return Ended(status=int(path.with_suffix(".status").read_text()), out=out, err=err)

    def run(self, script: str, timeout_s: float = 60) -> Ended:
        """The same at once."""
        return self.end(self.begin(script), timeout_s)

    def python(self, source: str, timeout_s: float = 60, **given: Any) -> Any:  # noqa: ANN401  (JSON)
        """What a probe prints (conformance/harness/inside.py); it finds `given`."""
        program = probe(source, given).decode()
        ended = self.run(f"{PYTHON} <<'PROGRAM'\n{program}\nPROGRAM\n", timeout_s)
        assert ended.status == 0, ended
        return literal(ended.out)

    @property
    def pid(self) -> int:
        """The launcher's, whatever goes before it."""
        pid = self.launcher.pid
        while words(pid)[0].endswith("sudo"):
            (pid,) = children(pid)
        return pid

    def qmp(self, command: str) -> Any:  # noqa: ANN401  (JSON)
        """What QEMU answers to a command."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.place / "qmp"))
            lines = monitor.makefile("rw")
            lines.readline()
            answer: dict[str, Any] = {}
            for one in ("qmp_capabilities", command):
                lines.write(json.dumps({"execute": one}) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    assert "event" in answer, answer
            return answer["return"]


@contextmanager
def booted(
    kernel: Kernel, *flags: str, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[Guest]:
    """Boot one, and have it end; nothing of it is left."""
    with scratch() as place:
        made = program(place, env)
        options = ("--quiet", "--kernel", kernel.image, "--qmp-socket", str(place / "qmp"), *flags)
        launcher = made.start(
            *options, "--shell", made.project, "-c", SERVE, prefix=prefix, stdin=subprocess.PIPE
        )
        guest = Guest(machine=made, launcher=launcher, place=place)
        try:
            first = guest.begin("true")
            wait_until(
                lambda: None if launcher.poll() is not None or _done(made, first) else "not yet",
                "a guest",
                timeout_s=BOOT_S,
            )
            assert launcher.poll() is None, launcher.communicate()
            yield guest
        finally:
            if launcher.poll() is None:
                launcher.communicate(timeout=60)  # no more scripts
        assert not made.processes()
        assert launcher.returncode == -signal.SIGKILL or list((place / "runtime").iterdir()) == []


def program(place: Path, env: Mapping[str, str] | None = None) -> Machine:
    """`claude-sandbox-vm` in the empty directory `place`. Skips without QEMU, busybox and passt."""
    for needed in ("qemu-system-x86_64", "busybox", "passt"):
        if shutil.which(needed) is None:
            pytest.skip(f"unproven without {needed}: {remedy(needed)}")
    if os.geteuid() == 0:
        pytest.skip("unproven by root, who has no guest of its own")
    made = machine(place)
    runtime = made.directory(place / "runtime", 0o700)
    environ = {**made.environ, "XDG_RUNTIME_DIR": str(runtime), **(env or {})}
    return replace(made, program=(*PROGRAM[:-1], MAIN), environ=environ)


def _done(made: Machine, name: str) -> bool:
    return (made.project / f"{name}.status").exists()


def children(pid: int) -> list[int]:
    """Processes whose parent it is, but for those that have ended."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(number) for number in found if words(int(number))]


def words(pid: int) -> list[str]:
    """The command line of a process."""
    return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
