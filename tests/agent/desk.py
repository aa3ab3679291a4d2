"""A home with a project in it, and the real agent there: in the sandbox, or with none around it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from fixtures import packages
from fixtures.messages_api import Api, Request
from fixtures.process import attempt, environment
from fixtures.users import User
from tests.agent.terminal import Terminal

SKIP = "--dangerously-skip-permissions"
BANNER = "claude-sandbox: bubblewrap · network shared · at most 4096 tasks · ~/"
WAIT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Desk:
    """`claude`: the program as PATH has it. `program`: the launcher's command line, without its arguments."""

    user: User | None
    home: Path
    project: Path
    claude: Path
    program: tuple[str, ...]

    def environment(self, api: Api, **more: str) -> dict[str, str]:
        """The user's whole environment. What keeps claude from updating itself is the launcher's to say."""
        ours = {name: value for name, value in api.environment().items() if name != "DISABLE_AUTOUPDATER"}
        places = {"HOME": str(self.home), "PATH": f"{self.claude.parent}:{packages.SYSTEM_PATH}"}
        # The first is for runs of the bare agent: nothing of it is forwarded.
        fixed = {"CLAUDE_CODE_TMPDIR": str(self.home), "PYTHONPATH": self.program[-1].rpartition("/bin/")[0]}
        return environment(self.user, {**ours, **places, **fixed, "PYTHONDONTWRITEBYTECODE": "1", **more})

    def sandboxed(
        self, *arguments: str, flags: Sequence[str] = (), project: Path | None = None
    ) -> tuple[str, ...]:
        """The command line of the agent in the sandbox."""
        return (*self.program, *flags, str(project or self.project), SKIP, *arguments)

    def bare(self, *arguments: str) -> tuple[str, ...]:
        """The command line of the agent as the user has it without us: what a probe is compared with."""
        return (str(self.claude), SKIP, *arguments)

    def run(self, argv: Sequence[str], env: Mapping[str, str], *, cwd: Path | None = None) -> str:
        """What it prints on stdout, once it has ended well. AssertionError with all of it otherwise."""
        done = self.attempt(argv, env, cwd=cwd)
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def attempt(
        self, argv: Sequence[str], env: Mapping[str, str], *, cwd: Path | None = None
    ) -> CompletedProcess[str]:
        """How it ends."""
        return attempt(argv, env=env, user=self.user, cwd=cwd or self.project, timeout_s=WAIT_S * 2)

    def state(self, project: Path | None = None) -> Path:
        """Where the launcher keeps what it knows of the project."""
        key = str(project or self.project).replace("/", "+")
        return self.home / ".local/state/claude-sandbox" / key

    @contextmanager
    def terminal(self, argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Terminal]:
        """The program on a terminal of its own; what still runs at the end is hung up on."""
        drop: list[str] = []
        if self.user is not None and os.geteuid() == 0:
            drop = [packages.find("setpriv"), f"--reuid={self.user.uid}", f"--regid={self.user.gid}"]
            drop += ["--clear-groups", "--"]
        terminal = Terminal([*drop, *argv], {**env, "TERM": "xterm-256color"}, cwd=self.project)
        try:
            yield terminal
        finally:
            terminal.close()


def results(api: Api) -> list[str]:
    """What each scripted tool call gave, in order."""
    return [
        _flat(block.get("content", ""))
        for message in api.scripted[-1].body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_result"
    ]


def sender(request: Request) -> dict[str, str]:
    """Who asks: device_id, made once and kept in ~/.claude.json; account_uuid, of the login in there."""
    sent: dict[str, str] = json.loads(request.body["metadata"]["user_id"])
    return sent


def files(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time of change and content of every file below."""
    found = {}
    for path in sorted(top.rglob("*")):
        if path.is_file() and not path.is_symlink():
            seen = path.stat()
            found[str(path.relative_to(top))] = (seen.st_mode, seen.st_mtime_ns, path.read_bytes())
    return found


def _flat(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(_flat(block.get("text", "")) for block in content)
    return str(content)
