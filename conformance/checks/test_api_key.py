"""Row api-key."""

from __future__ import annotations

import subprocess
import sys

from conformance.checks.probes import search
from conformance.harness import as_seen
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox, identity
from conformance.harness.shared import siblings
from conformance.harness.world import KEYS, World
from fixtures.listeners import canary
from fixtures.process import command_lines

SIBLINGS = siblings()
NAMES = (*KEYS, *SIBLINGS)
ENVIRON = "import os; print(ascii({name: os.environ.get(name) for name in given['names']}))"


@covers("api-key", "same")
def test_the_key_is_the_same(inside: Inside, host: World) -> None:
    """ANTHROPIC_API_KEY has the same value inside and outside."""
    seen = inside.python(ENVIRON, names=KEYS)

    assert seen == {name: host.environ[name] for name in KEYS}


@covers("api-key", "same")
def test_no_argv_and_no_open_file_has_it(inside: Inside, host: World) -> None:
    """While it runs, no process's argv has the key, nor any file that others may read; on either side."""
    key = host.environ["ANTHROPIC_API_KEY"]
    public, shown = canary(), canary()
    bait = host.write(host.runtime / "bait", public, mode=0o644)
    argv = (*identity(host.user), sys.executable, "-I", "-c", "import sys; sys.stdin.read()", shown)
    roots = [str(host.home), str(host.runtime), str(host.services.directory), "/run/user", "/dev/shm"]

    inside.output("true")  # the harness keeps what the last command has printed
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={}) as child:
        outside = search.on_host(host, [key, public, shown], roots, others=True)
        assert child.stdin is not None
        child.stdin.close()
    within = search.inside(inside, [key], others=True)

    bait.unlink()
    assert key not in outside
    with on_the_host():
        assert sorted(outside) == sorted([public, shown]), "the same search has to find the bait"
    assert within == {}


@covers("api-key", "same", variant="default")
def test_all_documented_siblings_come_along(sandbox: Sandbox) -> None:
    """Every documented variable of the list has the same value inside, and none is in an argv on the host."""
    values = {name: sandbox.environ[name] for name in SIBLINGS}

    seen = sandbox.inside.python(ENVIRON, names=SIBLINGS)
    lines = command_lines(sandbox.pids())

    assert seen == values
    assert lines
    assert [name for name, value in values.items() if value.split()[0].encode() in lines] == []


@covers("api-key", "absent", variant="off")
def test_no_file_inside_names_the_key(sandbox: Sandbox, inside: Inside, host: World) -> None:
    """With --without api-key no process's environment and no file inside has the key."""
    key = host.environ["ANTHROPIC_API_KEY"]
    exported = as_seen.read(sandbox.pid, "environ").decode()

    control = search.on_host(host, [key], [])
    found = search.inside(inside, [key])

    with on_the_host():
        assert list(control) == [key], "the same search has to find it in the host's environment"
        assert [name for name in NAMES if f"{name}=" not in exported] == [], "the launcher has them all"
    assert found == {}
    assert inside.python(ENVIRON, names=NAMES) == dict.fromkeys(NAMES)


@covers("api-key", "absent", variant="bare")
def test_where_there_is_no_key_none_is_made_up(inside: Inside, host: World) -> None:
    """On a host without any of the variables none of them is set to a value inside."""
    set_here = [name for name in NAMES if name in host.environ]

    seen = inside.python(ENVIRON, names=NAMES)

    with on_the_host():
        assert set_here == []
    assert [name for name, value in seen.items() if value is not None] == []
