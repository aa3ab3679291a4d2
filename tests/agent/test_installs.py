"""Wherever the real agent is installed and whoever starts it: it runs inside, and never updates itself."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fixtures.messages_api import Api, Text, bash, claude_json, messages_api
from fixtures.users import User, current_user, directory, scratch, write
from tests.agent.conftest import MakeDesk
from tests.agent.desk import Desk, results

pytestmark = pytest.mark.timeout(360)

UPDATES = "downloads.claude.ai:443"


@pytest.fixture
def home(cache: Path, user: User) -> Iterator[Path]:
    """A home where the installed agent is, and so can be linked into: it has 245 MB."""
    path = directory(Path(tempfile.mkdtemp(prefix="home-", dir=cache)), user)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def place(program: Path, *names: str, top: Path, user: User | None) -> Path:
    """Put the agent's one file there, in directories of the user's."""
    for name in names[:-1]:
        top = directory(top / name, user)
    path = top / names[-1]
    try:
        os.link(program.resolve(), path)
    except OSError:  # another file system, or somebody else's file
        shutil.copy2(program.resolve(), path)
    return path


def link(path: Path, target: Path | str, user: User | None) -> Path:
    """A symlink in a directory of the user's."""
    directory(path.parent.parent, user)
    directory(path.parent, user)
    path.symlink_to(target)
    return path


def npm_prefix(home: Path, claude: Path, user: User) -> Path:
    """As `npm install -g` with a prefix in the home leaves it, and a link for PATH by hand."""
    package = ("lib", "node_modules", "@anthropic-ai", "claude-code", "bin", "claude.exe")
    place(claude, ".npm-global", *package, top=home, user=user)
    own = link(home / ".npm-global/bin/claude", "/".join(("..", *package)), user)
    return link(home / ".local/bin/claude", own, user)


def native(home: Path, claude: Path, user: User) -> Path:
    """As claude's own installer leaves it."""
    version = place(claude, ".local", "share", "claude", "versions", "2.0.0", top=home, user=user)
    return link(home / ".local/bin/claude", version, user)


def test_an_npm_prefix_in_the_hidden_home_comes_along_read_only(
    home: Path, claude: Path, user: User, make_desk: MakeDesk
) -> None:
    desk = make_desk(home, claude=npm_prefix(home, claude, user))
    write(home / ".npm-global/etc/npmrc", "secret", user)
    ask = f"real=$(readlink -f $(command -v claude)); echo $real; cd {home}/.npm-global; find . -type f; "
    ask += 'touch "${real%/*}/planted"'

    with messages_api([bash(ask), Text("Hi.")]) as api:
        done = desk.run(desk.sandboxed("-p", "where are you?"), desk.environment(api))

    assert done == "Hi.\n"
    package = "lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe"
    *found, refused = results(api)[0].splitlines()[-3:]
    assert found == [str(home / ".npm-global" / package), f"./{package}"]
    assert "Read-only file system" in refused


def test_a_native_installation_neither_misses_itself_nor_updates_inside(
    home: Path, claude: Path, user: User, make_desk: MakeDesk
) -> None:
    desk = make_desk(home, claude=native(home, claude, user))
    known = {**claude_json(desk.project), "installMethod": "native"}
    write(home / ".claude.json", json.dumps(known), user)
    write(home / ".claude/settings.json", '{"skipDangerousModePermissionPrompt": true}', user)

    with messages_api([]) as api, refusing_proxy() as outside, refusing_proxy() as inside:
        started = time.monotonic()
        with scratch(user) as short:  # a path too long for its socket makes it take /tmp
            env = talkative(desk, api, outside, CLAUDE_CODE_TMPDIR=str(short))
            with desk.terminal(desk.bare(), env) as terminal:
                outside.wait_for(UPDATES)
                took = time.monotonic() - started
        with desk.terminal(desk.sandboxed(), talkative(desk, api, inside)) as terminal:
            terminal.sees("bypass permissions on")
            inside.wait_for("api.anthropic.com:443")
            terminal.watches(2 * took)

    assert UPDATES not in inside.asked
    assert b"missing" not in terminal.written
    assert b"repair" not in terminal.written


@pytest.mark.as_root
def test_root_may_skip_the_prompts_inside_alone(claude: Path, make_desk: MakeDesk) -> None:
    with scratch() as work:
        desk = make_desk(
            home := directory(work / "home"), user=None, claude=native(home, claude, current_user())
        )
        with messages_api([bash("id -u"), Text("Hi.")]) as api:
            env = desk.environment(api)
            inside = desk.attempt(desk.sandboxed("-p", "who are you?"), env)
            outside = desk.attempt(desk.bare("-p", "and you?"), env)

    assert (inside.returncode, inside.stdout) == (0, "Hi.\n"), inside
    assert results(api)[0] == "0"
    assert outside.returncode == 1
    assert "cannot be used with root" in outside.stderr


@pytest.mark.as_root
def test_root_has_no_capability_inside(claude: Path, make_desk: MakeDesk) -> None:
    with scratch() as work:
        desk = make_desk(
            home := directory(work / "home"), user=None, claude=native(home, claude, current_user())
        )
        count = "grep -c '^Cap...:.0000000000000000$' /proc/self/status"
        with messages_api([bash(count), Text("Hi.")]) as api:
            desk.run(desk.sandboxed("-p", "who are you?"), desk.environment(api))

    assert results(api) == ["5"]


class Proxy:
    """Where it is, and which hosts were asked of it, each `name:port`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self._changed = threading.Condition()

    def note(self, host: str) -> None:
        with self._changed:
            self.asked.append(host)
            self._changed.notify_all()

    def wait_for(self, host: str, seconds: float = 30) -> None:
        """AssertionError with the others when it is never asked for."""
        with self._changed:
            assert self._changed.wait_for(lambda: host in self.asked, seconds), self.asked


@contextmanager
def refusing_proxy() -> Iterator[Proxy]:
    """A proxy on loopback through which nothing gets."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            proxy.note(self.path)
            self.send_error(502)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def talkative(desk: Desk, api: Api, proxy: Proxy, **more: str) -> dict[str, str]:
    """The environment of one who has forbidden claude nothing."""
    env = desk.environment(api, HTTPS_PROXY=proxy.url, NO_PROXY="127.0.0.1", **more)
    return {name: value for name, value in env.items() if name != "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"}
