"""The launcher as its users meet it: a program with a command line, in a home of its own."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def everybodys(root: Path) -> Path:
    """`root`, or a copy of its launcher for tests by root that start it as users who cannot read that."""
    if os.geteuid() or all(p.stat().st_mode & 0o001 for p in (root, *root.parents)):
        return root
    place = tempfile.mkdtemp(prefix="launcher-")
    atexit.register(shutil.rmtree, place)
    os.chmod(place, 0o755)
    shutil.copytree(root / "launcher", f"{place}/launcher")
    return Path(place)


ROOT = everybodys(Path(__file__).parents[2])
# Not bin/claude-sandbox: these tests are of what is here, whatever the interpreter has installed.
MAIN = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from launcher.cli import program; program('bubblewrap')"
)
PROGRAM = (os.path.realpath(sys.executable), "-I", "-B", "-c", MAIN)
TIMEOUT_S = 60
NOBODY = 12345  # the numbers of an ordinary user need no account


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one command line ended. Text by surrogateescape, so that any bytes compare."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines of stderr."""
        return self.err.splitlines()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A home, a project in it, a state directory beside it, and an environment that names them and no more.

    `uid`: as whom the launcher runs, when that is not who runs the tests.
    """

    home: Path
    project: Path
    state: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    uid: int | None = None
    program: Sequence[str] = PROGRAM

    def run(self, *arguments: str | Path, **how: Any) -> Ended:  # noqa: ANN401  (start's own)
        """What one command line of `claude-sandbox` gives."""
        process = self.start(*arguments, **how)
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Ended(status=process.returncode, out=os.fsdecode(out or b""), err=os.fsdecode(err or b""))

    def shell(self, script: str, *flags: str | Path, **how: Any) -> Ended:  # noqa: ANN401  (start's own)
        """A script inside, on the project."""
        return self.run("--shell", *flags, self.project, "-c", script, **how)

    def start(
        self,
        *arguments: str | Path,
        env: Mapping[str, str | None] | None = None,
        prefix: Sequence[str | Path] = (),
        **options: Any,  # noqa: ANN401  (Popen's own)
    ) -> subprocess.Popen[bytes]:
        """The same, while it runs. `env`: variables to add, None takes one away; `prefix`: what runs it."""
        environ = {n: v for n, v in {**self.environ, **(env or {})}.items() if v is not None}
        given: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.home,
            **self.identity,
            **options,
        }
        return subprocess.Popen([*prefix, *self.program, *arguments], env=environ, **given)

    @property
    def identity(self) -> dict[str, Any]:
        """Popen's arguments for the user."""
        return {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}

    def own(self, path: Path) -> Path:
        """Give what a test has made to the user."""
        if self.uid is not None:
            os.chown(path, self.uid, self.uid, follow_symlinks=False)
        return path

    def directory(self, path: Path, mode: int = 0o755) -> Path:
        """A directory of the user's."""
        path.mkdir()
        self.own(path).chmod(mode)
        return path

    def write(self, path: Path, content: str, mode: int = 0o644) -> Path:
        """A file of the user's."""
        path.write_text(content)
        self.own(path).chmod(mode)
        return path

    def files(self) -> dict[str, tuple[int, str]]:
        """All that is in the home and the state: path → (mode, what it leads to or how large it is)."""
        found = {}
        for top in (self.home, self.state):
            below = [
                Path(directory, name)
                for directory, directories, files in os.walk(top)
                for name in (*directories, *files)
            ]
            for path in (top, *below):
                if os.path.lexists(path):
                    status = path.lstat()
                    what = os.readlink(path) if path.is_symlink() else "" if path.is_dir() else status.st_size
                    found[str(path)] = (status.st_mode, str(what))
        return found

    def reopen(self) -> None:
        """Open every directory again that a test has closed, so that all can be removed."""
        for directory, directories, _ in os.walk(self.home.parent):
            for path in (os.path.join(directory, name) for name in directories):
                if not os.path.islink(path) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                    os.chmod(path, 0o700)

    def processes(self) -> list[str]:
        """Command lines of living processes that are about this home: nothing else on the machine is."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            words, place = b"", ""
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                place = os.readlink(entry / "cwd")  # of root's nobody else may read it
            if str(self.home.parent) in place or os.fsencode(self.home.parent) in words:
                found.append(words.decode("utf-8", "replace").replace("\0", " "))
        return found


# Of root's tasks none are counted.
BOUNDS = " · at most 4096 tasks" if os.geteuid() != 0 else ""
BANNER = f"claude-sandbox: bubblewrap · network shared{BOUNDS} · ~/proj"


def machine(place: Path, uid: int | None = None) -> Machine:
    """A Machine in the empty directory `place`; with `uid` all of it belongs to that user."""
    environ = {
        "HOME": str(place / "home"),
        "XDG_STATE_HOME": str(place / "state"),
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
    }
    made = Machine(
        home=place / "home", project=place / "home/proj", state=place / "state", environ=environ, uid=uid
    )
    made.own(place)
    made.directory(made.home)
    made.directory(made.project)
    return made


def assert_refused(ended: Ended, status: int, what: str, hint: str) -> None:
    """Two lines on stderr and nothing else: what, and what to do."""
    assert ended.status == status, ended
    assert len(ended.said) == 2, ended
    first, second = ended.said
    assert first.startswith("claude-sandbox: "), ended
    assert second.startswith("  "), ended
    assert what in first, ended
    assert hint in second, ended
    assert not ended.out, ended


def notes(ended: Ended) -> list[str]:
    """What a start that worked said beside its banner."""
    banner, *said = ended.said
    assert banner.startswith("claude-sandbox: bubblewrap · network "), ended
    return said
