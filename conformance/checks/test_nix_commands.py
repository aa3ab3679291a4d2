"""Row nix-commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from conformance.checks.probes.means import mounted
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.world import World
from fixtures.listeners import canary

STORE = Path("/nix/store")
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
print(ascii([found, os.environ.get("NIX_REMOTE")]))
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


@covers("nix-commands", "own")
def test_a_derivation_is_built_in_a_store_of_its_own(inside: Inside, host: World) -> None:
    """nix-build of a derivation that nobody has built before: the user has made the result, and the host's
    store has neither it nor the derivation.
    """
    daemon = host.services.nix_daemon
    word = canary()

    done = inside.sh(shlex.join(daemon.build_argv(daemon.expression(word))), timeout_s=90)
    built = Path(done.stdout.strip())
    derivation = Path(inside.output(f"nix-store --query --deriver {built}"))

    assert done.rc == 0, done.stderr
    assert built.parent == derivation.parent == STORE
    assert inside.output(f"cat {built}; stat -c %u {built}").split() == [word, str(host.user.uid)]
    assert [path for path in (built, derivation) if path.exists()] == []


@covers("nix-commands", "own", variant="default")
def test_a_build_sees_no_more_than_its_inputs(inside: Inside, host: World) -> None:
    """A build has neither the project nor a home nor the system's programs: nix's own sandbox works."""
    daemon = host.services.nix_daemon
    look = f"for name in {host.path} /project /home /usr; do [ ! -e $name ] || echo $name; done > $out"
    seen = shlex.join(daemon.build_argv(daemon.expression(canary(), look)))

    there = inside.output(f"ls -d {host.path} /project /home /usr").split()
    done = inside.sh(f"cat $({seen})", timeout_s=90)

    assert set(there) == {str(host.path), "/project", "/home", "/usr"}
    assert (done.rc, done.stdout) == (0, ""), done.stderr


@covers("nix-commands", "forwarded")
def test_nix_build_and_its_siblings_work(inside: Inside, host: World) -> None:
    """nix build, nix-store --add, path-info and a failing build all speak with the daemon."""
    path, word = siblings(inside, host)

    assert path.read_text() == f"{word}\n"


@covers("nix-commands", "own")
def test_nix_build_and_its_siblings_need_no_daemon(inside: Inside, host: World) -> None:
    """nix build, nix-store --add, path-info and a failing build all work on the store of its own."""
    path, _ = siblings(inside, host)

    assert not path.exists()


def holding(word: str) -> list[Path]:
    """What there is in the host's store, where others build meanwhile, that has the word in it."""
    found = []
    for path in STORE.iterdir():
        with suppress(OSError):  # directories, locks, and what has gone
            found += [path] if word.encode() in path.read_bytes() else []
    return found


def siblings(inside: Inside, host: World) -> tuple[Path, str]:
    """Have nix's commands do what they are for. Gives a path that they added to the store, and its text."""
    daemon, word = host.services.nix_daemon, canary()
    nix = "nix --extra-experimental-features nix-command"
    expression = shlex.quote(daemon.expression(canary()))
    broken = shlex.quote(daemon.expression(canary(), "exit 1"))

    built = inside.sh(f"{nix} build --impure --no-link --json --expr {expression}", timeout_s=90)
    added = inside.sh(f"echo {word} >/tmp/added && nix-store --add /tmp/added")
    failed = inside.sh(f"{nix} build --impure --no-link --expr {broken}", timeout_s=90)
    evaluated = inside.sh("nix-instantiate --eval --expr '6 * 7'")

    assert built.rc == 0, built.stderr
    assert added.rc == 0, added.stderr
    assert inside.output(f"cat {added.stdout.strip()}") == word
    assert inside.sh(f"{nix} path-info {added.stdout.strip()}").rc == 0
    assert failed.rc != 0
    assert "exit code 1" in failed.stderr
    assert evaluated.stdout == "42\n", evaluated.stderr
    return Path(added.stdout.strip()), word


@covers("nix-commands", "own")
def test_the_hosts_daemon_is_not_asked(inside: Inside, host: World) -> None:
    """The host's daemon answers inside by no path, and nothing leads programs to it."""
    daemon = host.services.nix_daemon
    control = host.python(GREET, socket=SOCKET)[0]

    found = [inside.python(GREET, socket=path) for path in (SOCKET, str(daemon.socket))]

    with on_the_host():
        assert control == MAGIC
    assert found == [["errno 2", None]] * 2


@covers("nix-commands", "own", variant="default")
def test_what_is_valid_in_the_hosts_store_is_so_inside(inside: Inside, host: World) -> None:
    """nix inside knows of a path of the host's store what the host's daemon says of it, and nothing of one
    that merely lies there.
    """
    daemon = host.services.nix_daemon
    path = str(Path(daemon.builder).parents[1])
    ask = ("nix", "--extra-experimental-features", "nix-command", "path-info", "--json", path)
    variables = [f"{name}={value}" for name, value in daemon.environment().items()]
    (outside,) = json.loads(host.output(("env", *variables, *ask)))

    (known,) = json.loads(inside.output(shlex.join(ask)))
    whole = inside.sh(f"nix-store --verify-path {path}")
    unknown = inside.sh("nix-store --check-validity $(mktemp -d /nix/store/$(printf %032d 0)-XXXXXX)")

    assert (known["path"], known["narHash"]) == (path, outside["narHash"])
    assert whole.rc == 0, whole.stderr
    assert unknown.rc != 0
    assert "not valid" in unknown.stderr


@covers("nix-commands", "own", variant="default")
def test_what_is_built_is_gone_with_the_machine(
    inside: Inside, host: World, launch: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    """What one machine has built is neither on the host afterwards nor known to the nix of another."""
    daemon = host.services.nix_daemon
    word = canary()
    build = shlex.join(daemon.build_argv(daemon.expression(word)))
    before = sorted(os.listdir(host.runtime))

    done = launch(
        host, "--quiet", "--shell", str(host.path), "-c", f'built=$({build}); cat "$built"; echo $built'
    )
    content, _, built = done.stdout.decode().strip().partition("\n")
    known = inside.sh(f"nix-store --check-validity {built}")

    assert (done.returncode, content) == (0, word), done.stderr
    assert built.startswith("/nix/store/")
    assert known.rc != 0
    assert not inside.file(built).exists
    assert sorted(os.listdir(host.runtime)) == before
    assert holding(word) == []


@covers("nix-commands", "own", means=True)
def test_the_store_of_its_own_is_an_overlay_with_a_copied_database(sandbox: Machine, host: World) -> None:
    """Store and database are overlays in the guest, on shares that QEMU itself does not write; the database
    that is shared is a copy, the user's alone.
    """
    daemon = host.services.nix_daemon
    directory, readonly = sandbox.shares["nix_db"]

    assert mounted(sandbox.inside, [str(STORE), "/nix/var/nix/db"], "overlay") == []
    assert sandbox.shares["nix_store"] == (STORE, True)
    assert readonly
    assert directory.is_relative_to(sandbox.world.runtime)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert not os.path.samefile(directory / "db.sqlite", daemon.database / "db.sqlite")


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
