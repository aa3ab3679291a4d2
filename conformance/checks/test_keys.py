"""Rows syscalls, processes, privileges: nobody inside has a key of the host's, not even who became root."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conformance.checks.probes.calls import numbers
from conformance.checks.probes.keys import PLANT, READ, REMOVE
from conformance.checks.probes.rooted import inside_as_root, outside_as_root
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

Run = Callable[..., Any]
LISTED = "/proc/keys"


@contextmanager
def planted(by: Run) -> Iterator[dict[str, Any]]:
    """A key in the user keyring of who runs probes by `by`: what READ is to be given."""
    how = {"name": f"key-{uuid.uuid4().hex}", **numbers(["keyctl", "add_key", "request_key"])}
    key, permitted = by(PLANT, **how)
    if key < 0 or permitted:
        raise HarnessError(f"no key can be made on the host: {key}, {permitted}", "a kernel with CONFIG_KEYS")
    try:
        yield {**how, "key": key}
    finally:
        by(REMOVE, key=key, **how)


@covers("syscalls", "filtered")
def test_no_key_of_the_users_is_had(inside: Inside, host: World) -> None:
    """A key in the user's keyring on the host is not found, linked or read by the same user inside."""
    with planted(host.python) as key:
        control = host.python(READ, **key)

        found = inside.python(READ, **key)

    with on_the_host():
        assert {LISTED, "by its serial", "in the user keyring", "by a link"} <= set(control)
    # Where nested user namespaces are asked for it is listed: see the check below.
    assert [way for way in found if way != LISTED] == []


@covers("syscalls", "own")
def test_calls_reach_another_kernels_keys(inside: Inside, host: World) -> None:
    """A key of the user's on the host is had inside by no call, nor one that is made inside on the host."""
    with planted(host.python) as key:
        control = host.python(READ, **key)
        found = inside.python(READ, **key)
    with planted(inside.python) as key:
        within = inside.python(READ, **key)
        outside = host.python(READ, **key)

    with on_the_host():
        assert {"by its serial", "in the user keyring", "by a link"} <= set(control)
    assert found == outside == []
    assert {"in the user keyring", "by a link"} <= set(within)


@covers("processes", "own")
def test_no_key_of_the_users_is_listed(inside: Inside, host: World) -> None:
    """/proc/keys, which tells the names of keys and how large they are, names none of the host's."""
    with planted(host.python) as key:
        control = host.python(READ, **key)

        found = inside.python(READ, **key)

    with on_the_host():
        assert LISTED in control
    assert LISTED not in found


@covers("privileges", "absent", by="setpriv", variant=("default",))
def test_root_inside_has_no_key_of_roots(sandbox: Sandbox) -> None:
    """Root inside has no key of root's keyring, which is the host's: by the filter that all inside have."""
    filters = {pid: status(pid) for pid in sandbox.inner().values()}
    with planted(outside_as_root) as key:
        control = outside_as_root(READ, **key)

        found = inside_as_root(sandbox, READ, filtered=True, **key)

    with on_the_host():
        assert {LISTED, "by its serial", "in the user keyring", "by a link"} <= set(control)
    assert found == []
    # It cannot be shed, nor left by a setuid program.
    assert filters
    assert set(filters.values()) == {("1", "2")}


def status(pid: int) -> tuple[str, ...]:
    """no_new_privs and the mode of seccomp, of proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return tuple(
        line.split()[1] for name in ("NoNewPrivs:", "Seccomp:") for line in lines if line.startswith(name)
    )
