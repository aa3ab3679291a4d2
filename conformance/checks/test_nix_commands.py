"""Row nix-commands."""

from __future__ import annotations

import shlex
from pathlib import Path

from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.listeners import canary

SOCKET = "/nix/var/nix/daemon-socket/socket"
# The socket, asked as a client would: its worker protocol greets whoever says the first magic number.
GREET = r"""
import os, socket
try:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(given["socket"])
        client.sendall(bytes.fromhex("6378696e00000000"))
        found = client.recv(8).hex()
except OSError as error:
    found = f"errno {error.errno}"
print(json.dumps([found, os.environ.get("NIX_REMOTE")]))
"""
MAGIC = "6f69786400000000"  # WORKER_MAGIC_2, little-endian


@covers("nix-commands", "forwarded")
def test_a_derivation_is_built_in_the_hosts_store(inside: Inside, host: World) -> None:
    """nix-build of a derivation that nobody has built before: the host's store has the result."""
    daemon = host.services.nix_daemon
    word = canary()
    argv = daemon.build_argv(daemon.expression(word))

    done = inside.sh(shlex.join(argv), timeout_s=90)

    assert done.rc == 0, done.stderr
    built = Path(done.stdout.strip())
    assert built.parent == Path("/nix/store")
    assert built.read_text().strip() == word, "the host's store has it"
    assert built.stat().st_uid == 0, "the daemon has made it, and not the user"
    assert inside.output(f"cat {built}") == word


@covers("nix-commands", "forwarded")
def test_nix_build_and_its_siblings_work(inside: Inside, host: World) -> None:
    """nix build, nix-store --add, path-info and a failing build all speak with the daemon."""
    daemon = host.services.nix_daemon
    word, failing = canary(), canary()
    nix = "nix --extra-experimental-features nix-command"
    expression = shlex.quote(daemon.expression(word))
    broken = shlex.quote(daemon.expression(failing, "exit 1"))

    built = inside.sh(f"{nix} build --impure --no-link --json --expr {expression}", timeout_s=90)
    added = inside.sh("echo added >/tmp/added && nix-store --add /tmp/added")
    failed = inside.sh(f"{nix} build --impure --no-link --expr {broken}", timeout_s=90)

    assert built.rc == 0, built.stderr
    assert added.rc == 0, added.stderr
    assert Path(added.stdout.strip()).read_text() == "added\n"
    assert inside.sh(f"{nix} path-info {added.stdout.strip()}").rc == 0
    assert failed.rc != 0
    assert "exit code 1" in failed.stderr


@covers("nix-commands", "forwarded", means=True)
def test_the_daemons_socket_is_a_mount(inside: Inside, host: World, cell: Cell) -> None:
    """The daemon's socket is there by a mount, and programs are told to use it."""
    outside = host.python(GREET, socket=str(host.services.nix_daemon.socket))[0]
    # A directory's mount can be read-only and its sockets still answer.
    wrong = mounted(inside, SOCKET, f"read-only {cell.means}", above=True)

    with on_the_host():
        assert outside == MAGIC
    assert inside.python(GREET, socket=SOCKET) == [MAGIC, "daemon"]
    assert wrong == []


@covers("nix-commands", "absent", variant="off")
def test_without_it_the_daemon_is_out_of_reach(inside: Inside, host: World) -> None:
    """With --without nix-commands neither socket nor variable leads to the daemon; nothing is built."""
    daemon = host.services.nix_daemon
    word = canary()
    control = host.python(GREET, socket=SOCKET)[0]

    found = inside.python(GREET, socket=SOCKET)
    by_its_path = inside.python(GREET, socket=str(daemon.socket))
    done = inside.sh(shlex.join(daemon.build_argv(daemon.expression(word))), timeout_s=60)

    with on_the_host():
        assert control == MAGIC
    assert found == ["errno 2", None]
    assert by_its_path[0] == "errno 2"
    assert done.rc != 0


@covers("nix-commands", "absent", variant="bare")
def test_where_the_host_has_no_daemon_there_is_none(inside: Inside) -> None:
    """On a host without a Nix daemon there is no socket inside."""
    if Path(SOCKET).exists():
        raise HarnessError("this machine has a Nix daemon of its own")

    assert inside.python(GREET, socket=SOCKET) == ["errno 2", None]
