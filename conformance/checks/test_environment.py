"""Rows environment and gh-token: what of the caller's environment comes along."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import cast

from conformance.checks.probes import search
from conformance.checks.probes.memory import holds
from conformance.harness import as_seen
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.shared import UNLISTED
from conformance.harness.world import KEYS, SECRETS, TOKENS, World
from fixtures.home import FILES
from fixtures.listeners import canary
from fixtures.process import command_lines
from launcher.spec.load import load

# Every process that can be seen, with what its memory says and not only what it passes on.
ENVIRONMENTS = """
import os
found = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            found[pid] = file.read().decode(errors="replace")
    except OSError as error:
        found[pid] = f"errno {error.errno}"
print(ascii(found))
"""
ENVIRON = "import os; print(ascii({name: os.environ.get(name) for name in given['names']}))"
LISTED = tuple(name for name, _row in load().environment)


def environments(sandbox: Sandbox) -> dict[str, str]:
    """Those of all processes inside; what they cannot read of each other there is read from outside."""
    found: dict[str, str] = sandbox.inside.python(ENVIRONMENTS)
    closed = [pid for pid, text in found.items() if text.startswith("errno 13")]
    numbers = sandbox.inner() if closed else {}
    for pid in closed:
        if int(pid) in numbers:
            found[pid] = as_seen.read(numbers[int(pid)], "environ").decode(errors="replace")
    return found


@covers("environment", "own")
def test_no_process_inside_has_the_hosts_secrets(sandbox: Sandbox, host: World) -> None:
    """A secret exported on the host is in no process's environment inside, that of pid 1 included."""
    secrets = [name for name in host.canaries if name.startswith("$") and name[1:] not in (*TOKENS, *KEYS)]

    control = host.found_in("\n".join(host.python(ENVIRONMENTS).values()))
    found = environments(sandbox)

    with on_the_host():
        assert set(secrets) <= set(control), "the same probe has to see them on the host"
    assert "1" in found
    assert not set(secrets) & set(host.found_in("\n".join(found.values())))


@covers("environment", "own")
def test_of_the_list_alone(sandbox: Sandbox) -> None:
    """Whatever else is exported stays outside: in no environment, argv or file inside, by name or value."""
    values = {name: sandbox.environ[name] for name in UNLISTED}

    exported = as_seen.read(sandbox.pid, "environ").decode()
    found = environments(sandbox)
    anywhere = search.inside(sandbox.inside, list(values.values()))

    with on_the_host():
        assert not any(fnmatch.fnmatchcase(name, listed) for name in UNLISTED for listed in LISTED)
        assert [name for name in UNLISTED if values[name] not in exported] == [], "the launcher has them"
    assert anywhere == {}
    variables = [line for text in found.values() for line in text.split("\0")]
    assert sorted({name for name in UNLISTED for line in variables if line.startswith(f"{name}=")}) == []


@covers("environment", "own", variant="default")
def test_what_is_asked_for_comes_along(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """With --env NAME that variable is equal inside, and in no argv on the host; what is listed is, too."""
    values = {"DATABASE_URL": canary(), "EDITOR": canary(), "VAULT_TOKEN": canary()}

    sandbox = fresh("--env", "DATABASE_URL", world=new_world(), environ=values)
    seen = sandbox.inside.python(ENVIRON, names=list(values))
    lines = command_lines(sandbox.pids())

    assert seen == {**values, "VAULT_TOKEN": None}
    assert b"--env\0DATABASE_URL" in lines
    assert values["DATABASE_URL"].encode() not in lines


@covers("environment", "own", means=True)
def test_pid_1_has_no_more_than_the_agent(sandbox: Sandbox, inside: Inside) -> None:
    """The environment of pid 1 names nothing that the shell's does not; both are built from the list."""
    found = environments(sandbox)
    first = {line.partition("=")[0] for line in found["1"].split("\0") if line}
    names = set(inside.python("import os; print(ascii(list(os.environ)))"))

    assert not found["1"].startswith("errno"), "it has to be readable, or nothing is known"
    assert first <= names


@covers("environment", "own", means=True, variant=("default", "no-network"), by="the machine's memory")
def test_the_machines_memory_has_what_is_granted_alone(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """In all of QEMU's memory, the guest's in it, there is no secret of the caller's environment or home, but
    what a row grants.
    """
    world = new_world()
    secrets = {
        name: word for name, word in world.canaries.items() if name in (*FILES, *map("${}".format, SECRETS))
    }
    granted = canary()

    sandbox = cast("Machine", fresh(world=world, environ={"EDITOR": granted}))
    sandbox.inside.sh(
        "find / -xdev -type f -size -100k -exec test -f {} \\; -exec cat {} + >/dev/null 2>&1", timeout_s=60
    )
    found = holds(sandbox.qemu, [*secrets.values(), granted])

    with on_the_host():
        assert set(secrets.values()) <= set(holds_files(world, secrets)), "each of them is on the host"
    assert granted in found, "what is granted is seen by the same search"
    assert [name for name, word in secrets.items() if word in found] == []


def holds_files(world: World, names: dict[str, str]) -> list[str]:
    """The words that are where their names say: in a file of the home, or in the environment."""
    return [
        word
        for name, word in names.items()
        if word in (world.environ[name[1:]] if name[0] == "$" else (world.home / name).read_text())
    ]


@covers("gh-token", "absent")
def test_tokens_stay_outside(sandbox: Sandbox, host: World) -> None:
    """Without --gh-token no process inside has GH_TOKEN or GITHUB_TOKEN, by name or by value."""
    found = "\n".join(environments(sandbox).values())
    control = host.python(ENVIRONMENTS)

    if not host.bare:
        with on_the_host():
            assert {f"${name}" for name in TOKENS} <= set(host.found_in("\n".join(control.values())))
    assert not {f"${name}" for name in TOKENS} & set(host.found_in(found))
    assert not [name for name in TOKENS if f"{name}=" in found]


@covers("gh-token", "same")
def test_tokens_come_along_when_asked_for(sandbox: Sandbox, inside: Inside, host: World) -> None:
    """With --gh-token both variables are equal inside and outside, and in no argv on the host."""
    values = inside.python(ENVIRON, names=TOKENS)
    lines = command_lines(sandbox.pids())

    assert values == {name: host.environ[name] for name in TOKENS}
    assert b"--gh-token" in lines
    assert [name for name in TOKENS if host.environ[name].encode() in lines] == []
