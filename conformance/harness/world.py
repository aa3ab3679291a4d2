"""The host, as a check sees it: an ordinary user's home, project, runtime directory and environment.

Every sandbox has a World of its own, so that none sees what another's checks have written. All that a person
would not want to share has a canary in it: a string that is nowhere else.
"""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conformance.harness import inside
from conformance.harness.errors import HarnessError
from conformance.harness.mounts import Mounts, graphics
from conformance.harness.provide import provider
from conformance.harness.services import Services
from fixtures import packages, users
from fixtures.errors import FixtureError
from fixtures.home import bait_home
from fixtures.process import attempt, output
from fixtures.project import Project, git_project
from fixtures.users import User

# Variables that a host's shell has, of which none may come inside by itself.
SECRETS = ("AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "NPM_TOKEN", "SSH_ASKPASS_SECRET", "VAULT_TOKEN")
KEYS = ("ANTHROPIC_API_KEY",)
TOKENS = ("GH_TOKEN", "GITHUB_TOKEN")
NOWHERE = "unix:path=/nonexistent/bus"


class World:
    """One host's user. `missing`: rows whose resource could not be had here, and why.

    `canaries`: path below the home (or `$VARIABLE`) → the string that is only there.
    """

    def __init__(self, services: Services, mounts: Mounts, *, bare: bool = False) -> None:
        self.services = services
        self.mounts = mounts
        self.user: User = services.user
        self.bare = bare
        self.missing: dict[str, Exception] = {}
        self.canaries: dict[str, str] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="w", dir=services.homes))
        users.own(self._directory, self.user)
        self.home = users.directory(self._directory / "home", self.user)
        self.runtime = services.scratch("run")
        self.project: Project = git_project(self.home / "project", as_user=self.user)
        self.environ = self._environ()
        # What the caller of each sandbox has open, and its content.
        self.opened = services.scratch("opened") / "secret"
        self.word = f"canary{uuid.uuid4().hex}"
        self.write(self.opened, self.word)
        if not bare:
            self._furnish()

    @property
    def path(self) -> Path:
        """The project's directory, as it is called on the host."""
        return self.project.path

    def have(self, rows: Iterable[str]) -> None:
        """Let the host have what these rows forward, before a sandbox starts. What cannot be is `missing`."""
        if self.bare:
            self.mounts.hide(Path("/nix"))
            if graphics() and not self.mounts.why_not:
                self.mounts.own_devices(self.services.scratch("dev"))
        else:
            self.mounts.show()
        for row in rows:
            provide = provider(row, bare=self.bare)
            if provide and row not in self.missing:
                try:
                    provide(self)
                except (FixtureError, OSError, HarnessError) as error:
                    self.missing[row] = error

    def write(self, path: str | Path, content: str | bytes, *, mode: int = 0o644) -> Path:
        """Write a file of the user's, below the home unless the path is absolute."""
        return users.write(self.home / path, content, self.user, mode=mode)

    def plant(self, path: str | Path, template: str = "{}\n", *, mode: int = 0o600) -> str:
        """Write a file with a canary of its own in the place of {}, and give the canary."""
        canary = f"canary{uuid.uuid4().hex}"
        self.canaries[str(path)] = canary
        self.write(path, template.replace("{}", canary), mode=mode)
        return canary

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None = None, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the user, outside of any sandbox, in the environment that sandboxes start from."""
        return attempt(
            argv, env=self.environ, user=self.user, cwd=self.path, stdin=stdin, timeout_s=timeout_s
        )

    def output(self, argv: Sequence[str], *, stdin: bytes | None = None, timeout_s: float = 30) -> str:
        """What it prints, stripped. Raises FixtureError unless it exits 0."""
        return output(
            argv, env=self.environ, user=self.user, cwd=self.path, stdin=stdin, timeout_s=timeout_s
        ).strip()

    def python(self, source: str, *, timeout_s: float = 30, **given: Any) -> Any:  # noqa: ANN401  (JSON)
        """The same probe that `inside.python` runs, on the host: the control of every negative."""
        program = inside.probe(source, given)
        done = self.run(inside.PYTHON.split(), stdin=program, timeout_s=timeout_s)
        return inside.answer(done.returncode, done.stdout, done.stderr, "on the host")

    def found_in(self, text: str) -> list[str]:
        """Whose canaries the text holds."""
        return sorted(where for where, canary in self.canaries.items() if canary in text)

    def _environ(self) -> dict[str, str]:
        environ = {
            "HOME": str(self.home),
            "USER": self.user.name,
            "LOGNAME": self.user.name,
            "SHELL": "/bin/bash",
            "PATH": packages.SYSTEM_PATH,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_CACHE_HOME": str(self.services.cache),
            # This machine's own buses are not part of the test.
            "DBUS_SESSION_BUS_ADDRESS": NOWHERE,
            "DBUS_SYSTEM_BUS_ADDRESS": NOWHERE,
        }
        secret = (*SECRETS, *(() if self.bare else (*KEYS, *TOKENS)))
        for name in secret:
            self.canaries[f"${name}"] = environ[name] = f"canary{uuid.uuid4().hex}"
        return environ

    def _furnish(self) -> None:
        """A home that people would recognise."""
        self.canaries.update(bait_home(self.home, as_user=self.user).canaries)
        for directory, mode in (
            (".ssh", 0o700),
            (".config/gh", 0o700),
            (".config/git", 0o755),
            (".claude", 0o700),
        ):
            users.directory(self.home / directory, self.user, mode=mode)
        self.plant(
            ".gitconfig", "[user]\n\tname = Ada Fixture\n\temail = ada@fixture.test\n# {}\n", mode=0o644
        )
        self.plant(".config/git/ignore", "# {}\n*.swp\n", mode=0o644)
        self.plant(".config/gh/hosts.yml", "github.com:\n    oauth_token: {}\n    user: ada\n")
        self.plant(".ssh/config", "# {}\nHost *\n    ServerAliveInterval 60\n")
        self.plant(".ssh/known_hosts", "# {}\n", mode=0o644)
        key = self.home / ".ssh/id_ed25519"
        output(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(key)), user=self.user)
        self.plant(".claude/.credentials.json", '{"claudeAiOauth": {"accessToken": "{}"}}\n')
        self.plant(".claude/settings.json", '{"env": {"FROM_SETTINGS": "{}"}}\n', mode=0o644)
        self.plant(".claude/CLAUDE.md", "{}\n", mode=0o644)
        self.plant(".claude/commands/fixture.md", "{}\n", mode=0o644)
        self.plant(".claude.json", '{"hasCompletedOnboarding": true, "userID": "{}"}\n')
