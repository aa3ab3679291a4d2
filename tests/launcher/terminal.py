"""A terminal that people could sit at: a tmux of the tests' own draws what the launcher writes to it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fixtures.process import accepts, environment, identity, running
from fixtures.users import User, write

WAIT_S = 20.0
END = "-- the end --"


@dataclass(frozen=True, kw_only=True)
class Terminals:
    """A server with a window for each terminal; `place` holds its socket and the statuses."""

    place: Path
    user: User

    def open(self, argv: Sequence[str], env: Mapping[str, str], *, size: str = "100x16") -> Terminal:
        """A new terminal in which a shell runs `argv` with exactly these variables (and TERM), and notes its
        status.
        """
        number = len(list(self.place.glob("status-*")))
        status = write(self.place / f"status-{number}", "", self.user)
        given = {"TERM": "tmux-256color", **env}
        words = ["env", "-i", *(f"{name}={value}" for name, value in given.items()), *argv]
        # An interactive shell's part: it survives the Ctrl-C that is the command's, and every command ends.
        text = f"trap : INT QUIT; {shlex.join(words)}; echo $? >{status}; echo {END}; exec sleep 1000\n"
        script = write(self.place / f"run-{number}.sh", os.fsencode(text), self.user)
        width, height = size.split("x")
        pane = self.tmux(
            *("new-session", "-d", "-x", width, "-y", height, "-P", "-F", "#{pane_id}"), f"sh {script}"
        )
        return Terminal(all=self, pane=pane.strip(), noted=status)

    def tmux(self, *words: str) -> str:
        """What a tmux client prints."""
        argv = ["tmux", "-S", str(self.place / "terminals"), *words]
        done = subprocess.run(
            argv, env=environment(self.user), capture_output=True, check=True, **identity(self.user)
        )
        return os.fsdecode(done.stdout)


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """One terminal."""

    all: Terminals
    pane: str
    noted: Path

    def screen(self, *options: str) -> str:
        """What is on it; `-e` for colours, `-S -` for what has scrolled away, too."""
        return self.all.tmux("capture-pane", "-p", "-t", self.pane, *options)

    def keys(self, *keys: str) -> None:
        """Press keys by their names (`C-b`, `Enter`); other words are typed."""
        self.all.tmux("send-keys", "-t", self.pane, *keys)

    def wait(self, text: str, *, seconds: float = WAIT_S) -> str:
        """The screen once it shows `text`."""
        deadline = time.monotonic() + seconds
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"no {text!r} on the terminal:\n{screen}"
            time.sleep(0.02)
        return screen

    def status(self, *, seconds: float = WAIT_S) -> int:
        """Exit status of the command, once it has ended and all that it wrote is on the screen."""
        self.wait(END, seconds=seconds)
        return int(self.noted.read_text())

    def close(self) -> None:
        """Close the window: who runs in it gets SIGHUP."""
        self.all.tmux("kill-pane", "-t", self.pane)


@contextmanager
def terminals(place: Path, user: User) -> Iterator[Terminals]:
    """A server in the directory `place` of the user's."""
    socket = place / "terminals"
    config = write(place / "terminals.conf", "set -g default-terminal tmux-256color\n", user)
    argv = ("tmux", "-D", "-u", "-S", str(socket), "-f", str(config))
    with running(argv, log=place / "terminals.log", ready=accepts(socket), user=user):
        yield Terminals(place=place, user=user)
