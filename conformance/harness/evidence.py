"""What is kept of a cell that is not proven: enough to see why without running it again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.harness.cells import Cell
    from conformance.harness.sandbox import Sandbox


def collect(root: Path, cell: Cell, check: str, failure: str, sandbox: Sandbox | None) -> Path:
    """Write what there is into root/<cell>/; the directory."""
    directory = root / cell.directory
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "failure.txt", "a") as file:
        file.write(f"{check}\n\n{failure}\n\n{'-' * 80}\n")
    if sandbox is None:
        return directory
    looks: dict[str, Callable[[], str]] = {
        "command.txt": lambda: "\n".join(sandbox.argv) + "\n",
        "plan.json": sandbox.explain,
        "screen.txt": sandbox.console.screen,
        "processes.txt": lambda: processes(sandbox.pids()),
        "mountinfo.txt": lambda: mountinfo(sandbox.pids()),
    }
    for name, look in looks.items():
        # Evidence that cannot be had must not hide the failure that it is about.
        try:
            content = look()
        except Exception as error:  # noqa: BLE001
            content = f"cannot be had: {error!r}\n"
        (directory / name).write_text(content, errors="surrogateescape")
    if sandbox.console.transcript is not None:
        with suppress(OSError):
            shutil.copyfile(sandbox.console.transcript, directory / "transcript.txt")
    return directory


def processes(pids: list[int]) -> str:
    """A line for each: number, state, uid and gid (real, effective, saved, filesystem), command line."""
    lines = []
    for pid in pids:
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text(errors="replace")
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            who = f"uid {' '.join(fields['Uid'].split())} gid {' '.join(fields['Gid'].split())}"
            lines.append(f"{pid:>8} {fields['State'][:1]} {who}  {argv[:2000]}")
    return "\n".join(lines) + "\n"


def mountinfo(pids: list[int]) -> str:
    """Each set of mounts once, after the number of the first process that has it."""
    seen: dict[str, int] = {}
    for pid in pids:
        with suppress(OSError):
            seen.setdefault(Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape"), pid)
    return "\n".join(f"# process {pid}\n{mounts}" for mounts, pid in seen.items())
