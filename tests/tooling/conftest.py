"""A venv with a stand-in for the launcher, and stand-ins for apt-get and sudo that only record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernels import fetched

__all__ = ("Desk", "desk", "fetched")

ROOT = Path(__file__).parent.parent.parent

LAUNCHER = """\
import json, os, sys
from pathlib import Path
lacks = Path(sys.argv[0]).with_name("lacks.json")
if sys.argv[1:] == ["--check=json"]:
    print(lacks.read_text())
    sys.exit(125 if json.loads(lacks.read_text()) else 0)
environ = Path("/proc/self/environ").read_bytes()
started = [os.fsdecode(line).partition("=") for line in environ.split(bytes(1))]
ctype = {name: value for name, _, value in started}.get("LC_CTYPE")
argv = [os.fsencode(word).decode("latin-1") for word in sys.argv[1:]]
about = {"tty": os.isatty(0), "cwd": os.getcwd(), "path": os.environ["PATH"], "ctype": ctype}
print(json.dumps({"argv": argv, **about}))
sys.exit(7)
"""

APT = """\
#!/bin/sh
echo "$0 $*" | sed 's#.*/##' >> "$LOG"
[ "$REALLY_INSTALL" = no ] || [ "$2" != install ] || echo '[]' > "$LACKS"
"""

SUDO = """\
#!/bin/sh
echo sudo >> "$LOG"
exec "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A venv whose invoke runs the checkout's tasks, and a machine that lacks what `lacks` says."""

    venv: Path
    home: Path
    programs: Path

    @property
    def log(self) -> list[str]:
        """What was called of the stand-ins, in order."""
        path = self.home / "log"
        return path.read_text().splitlines() if path.exists() else []

    def lack(self, *programs: str, required: bool = True) -> None:
        """Makes the launcher say that these are missing."""
        words = {"why": "it is needed", "required": required, "fix": "mend it so"}
        lacks = [{"what": f"the {program}", "program": program, **words} for program in programs]
        (self.venv / "bin/lacks.json").write_text(json.dumps(lacks))

    def environment(self, **more: str) -> dict[str, str]:
        """An ordinary user's, in which apt-get and sudo are the stand-ins."""
        path = f"{self.programs}:/usr/bin:/bin"
        lacks = str(self.venv / "bin/lacks.json")
        return {"HOME": str(self.home), "PATH": path, "LOG": str(self.home / "log"), "LACKS": lacks, **more}

    def command(self, *arguments: str | bytes) -> list[str]:
        """The command line `invoke ARGUMENTS`, on the checkout's tasks from whatever directory."""
        invoke = [str(self.venv / "bin/python"), "-m", "invoke", "--search-root", str(ROOT)]
        return [*invoke, *(os.fsdecode(word) for word in arguments)]

    def invoke(
        self, *arguments: str | bytes, cwd: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs it where nobody can be asked."""
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.home,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A machine that lacks nothing, with a checkout's path that holds a space."""
    venv, home, programs = tmp_path / "check out/.venv", tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (venv / "bin/claude-sandbox").write_text(LAUNCHER)
    for name, source in (("apt-get", APT), ("sudo", SUDO)):
        (programs / name).write_text(source)
        (programs / name).chmod(0o755)
    made = Desk(venv=venv, home=home, programs=programs)
    made.lack()
    return made
