"""Row host-sockets: who listens on the host, and is not there inside."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures import sockets, users
from fixtures.process import output
from launcher.spec.load import load

# Below $XDG_RUNTIME_DIR and the home: what people have there.
RUNTIME = (
    "docker.sock", "podman/podman.sock", "systemd/private", "systemd/notify", "bus", "gnupg/S.gpg-agent",
    "gnupg/S.gpg-agent.ssh", "gnupg/S.gpg-agent.extra", "gnupg/S.keyboxd", "keyring/control", "keyring/ssh",
    "keyring/pkcs11", "gcr/ssh", "pipewire-0-manager", "ssh-agent.socket", "speech-dispatcher/speechd.sock",
    "emacs/server", "vscode-ipc-fixture.sock", "tmux-fixture/default", "at-spi/bus_0", "p11-kit/pkcs11",
)  # fmt: skip
HOME = (".gnupg/S.gpg-agent", ".docker/run/docker.sock", ".docker/desktop/docker.sock", ".colima/docker.sock")
# Fixed places, where only root can put something.
MACHINE = (
    "/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/systemd/private",
    "/run/systemd/notify", "/run/libvirt/libvirt-sock", "/run/snapd.socket", "/run/acpid.socket",
)  # fmt: skip
SPEAKING = {"docker": sockets.docker_socket, "gpg": sockets.gpg_agent_socket}

# Each path, and each socket that can be found: what whoever listens there says.
ASK = """
import os, socket, stat
def ask(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(path)
            client.sendall(b"GET /version HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n")
            return client.recv(4096).decode(errors="replace")
        except TimeoutError:
            return "connected, and silent"
        except OSError as error:
            return f"errno {error.errno}"
print(ascii({path: ask(path) for path in given["paths"]}))
"""
FIND = """
import os, stat
skipped = ("/proc", "/sys", "/usr", "/nix/store")
found = []
for top, directories, files in os.walk("/"):
    directories[:] = [name for name in directories if os.path.join(top, name) not in skipped]
    for name in files:
        path = os.path.join(top, name)
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):
                found.append(path)
        except OSError:
            pass
print(ascii(found))
"""


@contextmanager
def listening(host: World, paths: list[Path]) -> Iterator[dict[str, str]]:
    """Somebody who listens on each path: path → the canary in what they say."""
    with ExitStack() as stack:
        words = {}
        for path in paths:
            for parent in reversed([p for p in path.parents if not p.exists()]):
                users.directory(parent, host.user)
            speak = SPEAKING.get("docker" if "docker" in path.name else "gpg" if "gpg" in path.name else "")
            listener = (speak or sockets.unix_listener)(path, as_user=host.user)
            words[str(path)] = stack.enter_context(listener).canary
        yield words


def reached(answers: dict[str, str], words: dict[str, str]) -> list[str]:
    """The paths at which any of the listeners has answered, or somebody who does not say who it is."""
    return [
        path
        for path, said in answers.items()
        if "connected" in said or any(word in said for word in words.values())
    ]


@covers("host-sockets", "absent")
def test_sockets_in_the_usual_places_do_not_answer(
    sandbox: Sandbox, fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """docker, podman, systemd, gpg-agent and others, in the runtime directory and the home: none answers."""
    del sandbox
    world = new_world()
    paths = [world.runtime / name for name in RUNTIME] + [world.home / name for name in HOME]

    with listening(world, paths) as words:
        inside = fresh(world=world).inside
        control = world.python(ASK, paths=list(words))
        names = [*words, *(f"/run/user/{world.user.uid}/{name}" for name in RUNTIME)]
        names += [f"/home/sandbox/{name}" for name in HOME]
        by_name = inside.python(ASK, paths=names)
        by_search = inside.python(ASK, paths=inside.python(FIND))

    with on_the_host():
        assert sorted(reached(control, words)) == sorted(words), (
            "the same probe reaches each of them on the host"
        )
    assert reached(by_name, words) == []
    assert reached({p: s for p, s in by_search.items() if "connected" not in s}, words) == []


@contextmanager
def at_fixed_places(host: World, sources: list[Path]) -> Iterator[list[str]]:
    """The sockets, mounted at MACHINE's places in the test run's own mount namespace, and gone afterwards."""
    if host.mounts.why_not:
        raise HarnessError(host.mounts.why_not, "run pytest with -n 1, by someone whose sudo does not ask")
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    with ExitStack() as stack:
        # Mount points are made on the real machine: one test run at a time.
        lock = os.open("/run", os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for source, target in zip(sources, MACHINE, strict=True):
            made = []
            for parent in reversed([p for p in Path(target).parents if not p.exists()]):
                output((*sudo, "mkdir", str(parent)))
                stack.callback(_remove, (*sudo, "rmdir", str(parent)))
            if not Path(target).exists():
                output((*sudo, "touch", target))
                made.append(target)
                stack.callback(_remove, (*sudo, "rm", target))
            output((*sudo, "mount", "--bind", str(source), target))
            stack.callback(_remove, (*sudo, "umount", "--lazy", target))
        yield list(MACHINE)


def _remove(argv: tuple[str, ...]) -> None:
    output(argv)


@covers("host-sockets", "absent", variant=("default", "no-network"))
def test_sockets_of_the_machine_do_not_answer(
    sandbox: Sandbox, fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """/run/docker.sock and its kin, which the host's user may use, do not answer inside."""
    del sandbox
    world = new_world()
    directory = world.services.scratch("sock")

    with (
        listening(world, [directory / f"{number}" for number in range(len(MACHINE))]) as words,
        at_fixed_places(world, list(map(Path, words))) as places,
    ):
        inside = fresh(world=world).inside
        control = world.python(ASK, paths=places)
        found = inside.python(ASK, paths=[*places, *(f"/var{place}" for place in places)])

    if sorted(reached(control, words)) != sorted(places):
        raise HarnessError(f"not all of them answer on the host: {control}")
    assert reached(found, words) == []


@covers("host-sockets", "absent")
def test_no_variable_leads_to_one(inside: Inside, host: World) -> None:
    """DOCKER_HOST, GPG_AGENT_INFO and their kin do not come along."""
    del host
    names = ("DOCKER_HOST", "GPG_AGENT_INFO", "NOTIFY_SOCKET", "LISTEN_FDS", "TMUX", "VSCODE_IPC_HOOK_CLI",
             "PODMAN_SOCK", "SSH_AUTH_SOCK_OF_GPG")  # fmt: skip

    found = inside.output("env").splitlines()

    assert "HOME=/home/sandbox" in found
    mine = [line for line in found if line.partition("=")[0] in names]
    # tmux's own, inside, is no socket of the host's.
    assert [line for line in mine if not line.startswith("TMUX=")] == []


ABSTRACT = """
import socket
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(5)
    try:
        client.connect("\\0" + given["name"])
        print(ascii(client.recv(200).decode()))
    except OSError as error:
        print(ascii(f"errno {error.errno}"))
"""
LISTED = """
with open("/proc/net/unix") as file:
    print(ascii(given["name"] in file.read()))
"""


@covers("host-sockets", "absent")
def test_abstract_sockets_go_with_the_network(inside: Inside, host: World, cell: Cell) -> None:
    """An abstract socket of the host answers where the network is shared, as the table says, only there."""
    network = load().rows["network"].cell(cell.backend, cell.variant).word

    with sockets.abstract_listener() as listener:
        name = listener.address.removeprefix("@")
        control = host.python(ABSTRACT, name=name), host.python(LISTED, name=name)
        found = inside.python(ABSTRACT, name=name), inside.python(LISTED, name=name)

    with on_the_host():
        assert control == (f"{listener.canary}\n", True)
    expected: Any = control if network == "shared" else ("errno 111", False)
    assert found == expected
