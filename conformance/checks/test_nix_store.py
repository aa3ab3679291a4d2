"""Row nix-store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.checks.probes import readonly
from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.mounts import REMEDY
from conformance.harness.world import World
from fixtures.listeners import canary
from fixtures.process import output

STORE = Path("/nix/store")


@contextmanager
def bait(host: World) -> Iterator[Path]:
    """A path in the host's store that belongs to the user: what keeps them from writing is not its owner."""
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    path = STORE / f"{secrets.token_hex(16)}-bait"
    owner = ("-o", str(host.user.uid), "-g", str(host.user.gid))
    output((*sudo, "install", "-d", *owner, "-m", "0755", str(path), str(path / "bin")))
    host.write(path / "bin/tool", f"#!/bin/sh\necho {canary()}\n", mode=0o755)
    try:
        yield path
    finally:
        output((*sudo, "rm", "-rf", str(path)))


@covers("nix-store", "read-only")
def test_what_is_in_the_store_is_inside(inside: Inside, host: World) -> None:
    """What is in the host's store, and what comes to it later, is at the same path inside, and runs."""
    builder = host.services.nix_daemon.builder
    with bait(host) as path:
        tool = path / "bin/tool"
        outside = host.output((str(tool),))

        ran = inside.run("%s", str(tool))
        by_builder = inside.run("%s -c 'echo $((6 * 7))'", builder)

    assert (ran.rc, ran.stdout.strip()) == (0, outside)
    assert (by_builder.rc, by_builder.stdout) == (0, "42\n"), by_builder.stderr


@covers("nix-store", "read-only")
def test_no_way_of_writing_reaches_the_store(inside: Inside, host: World) -> None:
    """No way of writing reaches the store, not even what in it belongs to the user."""
    blind = readonly.control(host)
    with bait(host) as path:
        attacked = [str(path / "bin/tool"), str(path / "bin"), str(path)]

        found = readonly.attack(inside, path, attacked, out=["/tmp", "/project"])
        inside.sh(f"mkdir {STORE}/{path.name}-planted")
        came = Path(f"{path}-planted").exists()

    with on_the_host():
        assert blind == []
    assert found.reached == []
    assert not came


@covers("nix-store", "read-only", by="bind mount")
def test_nothing_can_be_put_into_the_store(inside: Inside) -> None:
    """In the store itself not even a name of one's own can be made."""
    assert inside.sh(f"mkdir {STORE}/{secrets.token_hex(16)}-planted").rc != 0


@covers("nix-store", "read-only", means=True, by="bind mount")
def test_the_store_is_a_read_only_mount(inside: Inside, cell: Cell) -> None:
    """/nix/store is a mount of its own, read-only."""
    assert mounted(inside, str(STORE), cell.means) == []


@covers("nix-store", "read-only", means=True, by="overlay")
def test_the_store_is_read_only_to_qemu_under_an_overlay(sandbox: Machine) -> None:
    """/nix/store is an overlay on a share that QEMU itself does not write, whoever is root in the guest."""
    assert mounted(sandbox.inside, str(STORE), "overlay") == []
    assert sandbox.shares["nix_store"] == (STORE, True)


@covers("nix-store", "absent", variant="off")
def test_without_it_there_is_no_store(inside: Inside, host: World) -> None:
    """With --without nix-store there is no /nix/store."""
    builder = host.services.nix_daemon.builder

    with on_the_host():
        assert host.run((builder, "-c", "exit 0")).returncode == 0
    assert not inside.file(str(STORE)).exists
    assert inside.run("%s -c 'exit 0'", builder).rc == 127


@covers("nix-store", "absent", variant="bare")
def test_where_the_host_has_none_there_is_none(inside: Inside) -> None:
    """On a host without Nix there is no /nix/store inside, not even an empty one."""
    if STORE.exists():
        remedy = f"{REMEDY}, by a Python that is not from that store"
        raise HarnessError("this machine has a Nix store of its own that cannot be hidden", remedy)

    assert not inside.file(str(STORE)).exists
