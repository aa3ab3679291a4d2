"""The real Claude Code, got once for all runs, and desks to start it at."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures import packages
from fixtures.errors import FixtureError
from fixtures.process import output
from fixtures.project import git_project
from fixtures.users import User, directory, ordinary_user, own, scratch, write
from tests.agent.desk import Desk
from tooling import ordinary

ROOT = Path(__file__).parents[2]
GITCONFIG = "[user]\n\tname = Grace Home\n\temail = grace@home.test\n"
INSTALL_S = 300.0

MakeDesk = Callable[..., Desk]


@pytest.fixture(scope="session")
def user() -> User:
    return ordinary_user()


@pytest.fixture(scope="session")
def program(user: User) -> Iterator[tuple[str, ...]]:
    """The launcher's command line. Started by root, a copy of it: the checkout may lie below /root."""
    if os.geteuid() != 0:
        yield (_python(), str(ROOT / "bin/claude-sandbox"))
        return
    with scratch(user) as copy:
        for name in ("bin", "launcher", "tooling"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        own(copy, user)
        yield (_python(), str(copy / "bin/claude-sandbox"))


@pytest.fixture(scope="session")
def cache(user: User) -> Path:
    """A directory of the user's that outlives the run: ~/.cache/claude-sandbox/tests."""
    path = user.home
    for name in (".cache", "claude-sandbox", "tests"):
        path /= name
        if not path.exists():
            directory(path, user)
    return path


@pytest.fixture(scope="session")
def claude(user: User, cache: Path, program: tuple[str, ...]) -> Path:
    """`claude` of PATH, or else from npm into the cache, by the code that installs it for users."""
    found = shutil.which("claude")
    if found and _works(Path(found), user):  # not below /root
        return Path(found)
    installed = cache / "claude-sandbox/npm/node_modules/.bin/claude"
    with open(cache / "lock", "w") as lock:
        own(cache / "lock", user)
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of one run, or two runs, want it at once
        if not _works(installed, user):
            _install(user, cache, Path(program[-1]).parents[1])
    return installed


def _works(installed: Path, user: User) -> bool:
    """Whether it is there, whole and the user's to start."""
    try:
        return bool(output((str(installed), "--version"), user=user))
    except FixtureError:
        return False


def _install(user: User, cache: Path, checkout: Path) -> None:
    for needed in ("node", "npm"):
        if shutil.which(needed) is None:
            pytest.skip(
                f"unproven: no claude on PATH, and no {needed} to install it: {packages.remedy('npm')}"
            )
    names = (*ordinary.KEPT, *ordinary.KEPT_CERTIFICATES)
    kept = {k: v for k, v in os.environ.items() if k in names or k.startswith(ordinary.KEPT_PREFIXES)}
    output(
        (_python(), "-c", "from tooling import agent; agent.install()"),
        env={**kept, "PATH": os.environ["PATH"], "PYTHONPATH": str(checkout), "XDG_DATA_HOME": str(cache)},
        user=user,
        cwd=cache,
        timeout_s=INSTALL_S,
    )


def _python() -> str:
    return sys.executable if os.geteuid() != 0 else "/usr/bin/python3"


@pytest.fixture(scope="session")
def make_desk(user: User, claude: Path, program: tuple[str, ...]) -> MakeDesk:
    """Fill an empty home: who commits, and a project that does not say it itself."""

    def make(home: Path, *, user: User | None = user, claude: Path = claude) -> Desk:
        write(home / ".gitconfig", GITCONFIG, user)
        project = git_project(home / "proj", as_user=user, identity=False)
        return Desk(user=user, home=home, project=project.path, claude=claude, program=program)

    return make


@pytest.fixture
def home(user: User) -> Iterator[Path]:
    """An empty home of the user's."""
    with scratch(user) as work:
        yield directory(work / "home", user)


@pytest.fixture
def desk(home: Path, make_desk: MakeDesk) -> Desk:
    """A fresh user: Claude Code has never run."""
    return make_desk(home)
