"""Guests that are booted: what they reach by their network, and how they reach the SSH agent without one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.checks.probes.network import INTERFACES, REACH
from conformance.harness.inside import literal, probe
from fixtures.lan import STUB, Lan, lan
from fixtures.process import wait_until
from fixtures.ssh_agent import SshAgent, ssh_agent
from fixtures.users import scratch
from launcher.vm.kernel import Kernel
from tests.launcher.program import Machine
from tests.launcher.vm.booted import Guest, booted, children, program, words

NETWORK_CLASS = 0x02  # of PCI devices
AT_ONCE_S = 5.0
KINDS = ("tcp", "udp")
# Whoever runs this has an abstract socket in the network of the tests' own, and says its name.
ABSTRACT = """
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("\\0" + given["name"])
listener.listen()
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    connection.send(given["canary"].encode())
    connection.close()
"""


def on_host(network: Lan, source: str, **given: Any) -> Any:  # noqa: ANN401  (JSON)
    """What a probe prints on the host's side of the network, as a user of the host's."""
    command = (*network.prefix, sys.executable, "-I", "-c", probe(source, given).decode())
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    return literal(done.stdout)


def sockets(network: Lan) -> set[tuple[str, str]]:
    """Where somebody listens or has bound, on the host's side."""
    source = """
found = []
for kind in ("tcp", "tcp6", "udp", "udp6"):
    with open(f"/proc/net/{kind}") as lines:
        fields = [line.split() for line in list(lines)[1:]]
    found += [[kind, one[1]] for one in fields if kind[:3] == "udp" or one[3] == "0A"]
print(ascii(found))
"""
    return {(kind, address) for kind, address in on_host(network, source)}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """A network whose host has its resolver on its loopback."""
    with lan(tmp_path_factory.mktemp("lan"), stub=True) as made:
        yield made


@pytest.fixture(scope="module")
def without_guest(network: Lan) -> set[tuple[str, str]]:
    """Where somebody listens, or has bound, on a host that has no guest yet."""
    return sockets(network)


@pytest.fixture(scope="module")
def guest(fetched: Kernel, network: Lan, without_guest: set[tuple[str, str]]) -> Iterator[Guest]:
    """One in that network."""
    assert without_guest
    with booted(fetched, prefix=network.prefix) as made:
        yield made


def test_nothing_on_the_host_leads_to_a_server_of_the_guests(
    guest: Guest, network: Lan, without_guest: set[tuple[str, str]]
) -> None:
    """Not by any address; and passt, before the guest has said anything, has no socket on the host."""
    serve = """
import socket, time
server = socket.create_server(("", 9090), family=socket.AF_INET6, dualstack_ipv6=True)
open("/project/serves", "w").close()
time.sleep(1000)
"""
    guest.machine.write(guest.machine.project / "serve.py", serve)
    guest.begin("/usr/bin/python3 -I /project/serve.py")
    wait_until(
        lambda: None if (guest.machine.project / "serves").exists() else "not yet", "servers", timeout_s=60
    )
    inside = guest.python(REACH, wait_s=1, tries=[["tcp", "127.0.0.1", 9090]])
    tries = [["tcp", to, 9090] for to in ("127.0.0.1", *network.own, "10.0.2.15")]

    assert inside[0][0] == "timeout"  # it is there, and says nothing
    assert [came for came, _ in on_host(network, REACH, tries=tries[:-1])] == ["ECONNREFUSED"] * 3
    assert on_host(network, REACH, wait_s=1, tries=tries[-1:])[0][0] in ("timeout", "EHOSTUNREACH")
    assert sockets(network) == without_guest


def test_a_server_on_the_hosts_network_answers(guest: Guest, network: Lan) -> None:
    """The neighbour and the host's own addresses there, by TCP and UDP, IPv4 and IPv6."""
    tries = [[kind, to, network.port] for kind in KINDS for to in (*network.addresses, *network.own)]
    found = guest.python(REACH, tries=tries)

    assert [came for came, _ in found] == [f"answer {network.canary}"] * len(tries)


def test_a_server_on_the_hosts_loopback_does_not(guest: Guest, network: Lan) -> None:
    tries = [[kind, to, network.port] for kind in KINDS for to in network.loopback]
    control = on_host(network, REACH, tries=tries)
    # It is advertised, a moment after the start.
    link = guest.run("until ip -6 route show default | grep via; do sleep 0.1; done").out.split()
    gateway6 = f"{link[link.index('via') + 1]}%eth0"
    addresses = (
        *network.loopback, STUB, "0.0.0.0", "::", "::ffff:127.0.0.1", "localhost",
        "10.0.2.2", "10.0.2.3", "10.0.2.15", "10.0.2.255", "255.255.255.255", "169.254.1.1",
        "fd2b:5e1d:90f4::3", gateway6,
    )  # fmt: skip
    # The link of an IPv6 address is its interface's number.
    source = REACH.replace("(address, port)", "socket.getaddrinfo(address, port)[0][4]")
    before = network.heard()
    found = guest.python(
        source, timeout_s=120, wait_s=1, tries=[[k, to, network.port] for k in KINDS for to in addresses]
    )

    assert [came for came, _ in control] == [f"answer {network.canary}"] * len(tries)
    assert [came for came, _ in found if came.startswith("answer")] == []
    assert [line for line in network.heard()[len(before) :] if "loopback" in line] == []


def test_names_are_asked_of_a_resolver_that_only_the_hosts_loopback_has(guest: Guest, network: Lan) -> None:
    before = network.heard()
    found = guest.python(REACH, tries=[["name", network.name, 0], ["name", "nowhere.fixture.test", 0]])
    heard = network.heard()[len(before) :]

    assert [came for came, _ in found] == [f"answer {network.answer}", "EAI_NONAME"]
    assert "loopback-dns 127.0.0.1" in heard


def test_names_of_the_hosts_own_file_are_known(guest: Guest) -> None:
    lines = [line.split() for line in Path("/etc/hosts").read_text().splitlines() if line[:1].isdigit()]
    names = {words[-1]: words[0] for words in lines}
    found = guest.run("\n".join(f"getent hosts {name}" for name in names)).out.splitlines()

    assert names
    assert len(found) == len(names)


def test_no_abstract_socket_of_the_hosts_is_there(guest: Guest, network: Lan) -> None:
    name = f"of-the-host-{os.getpid()}"
    program = f"given = {{'name': {name!r}, 'canary': {network.canary!r}}}\n{ABSTRACT}"
    command = (*network.prefix, sys.executable, "-I", "-c", program)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as listener:
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"ready\n"
            control = on_host(network, REACH, tries=[["abstract", name, 0]])
            found = guest.python(REACH, tries=[["abstract", name, 0]])
        finally:
            listener.terminate()

    assert (control[0][0], found[0][0]) == (f"answer {network.canary}", "ECONNREFUSED")


def test_passt_and_the_wall_are_the_launchers_and_have_nothing_of_its_own(guest: Guest) -> None:
    """What each has open: passt and the wall their sockets, no file of the user's."""
    lines = {pid: words(pid) for pid in children(guest.pid)}
    (passt,) = (pid for pid, line in lines.items() if line[0] == "/usr/bin/passt")
    (wall,) = (pid for pid, line in lines.items() if line == words(guest.pid))
    leads = [os.readlink(path) for path in Path(f"/proc/{wall}/fd").iterdir()]

    assert passt
    assert sorted(lead.partition(":")[0] for lead in leads) == ["/dev/null"] * 3 + ["socket"] * 2


def test_a_network_device_is_there_to_be_found(guest: Guest) -> None:
    assert NETWORK_CLASS in classes(guest)
    assert guest.python(INTERFACES)["names"] == ["eth0", "lo"]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory whose path is short, as a socket's has to be."""
    with scratch() as made:
        yield made


@pytest.fixture(scope="module")
def agent(place: Path) -> Iterator[SshAgent]:
    with ssh_agent(place) as made:
        yield made


@pytest.fixture(scope="module")
def alone(fetched: Kernel, agent: SshAgent) -> Iterator[Guest]:
    """A guest with an agent and without a network."""
    with booted(fetched, "--no-network", env=agent.environment()) as made:
        yield made


def test_without_a_network_there_is_no_device_and_no_passt(alone: Guest) -> None:
    lines = [words(pid) for pid in children(alone.pid)]

    assert NETWORK_CLASS not in classes(alone)
    assert alone.python(INTERFACES)["names"] == ["lo"]
    assert [line for line in lines if "passt" in line[0]] == []
    assert sum(line == words(alone.pid) for line in lines) == 1, "the relay of the agent, and no wall"


def test_the_hosts_key_is_listed_also_by_many_at_once_and_one_by_one(alone: Guest, agent: SshAgent) -> None:
    at_once = alone.run("for n in 1 2 3 4; do ssh-add -l & done; wait", timeout_s=120).out.splitlines()
    in_turn = alone.run(
        "for n in {1..50}; do ssh-add -l || echo failed; done", timeout_s=240
    ).out.splitlines()

    assert [agent.fingerprint in line for line in at_once] == [True] * 4
    assert [agent.fingerprint in line for line in in_turn] == [True] * 50


def test_the_key_signs_and_its_private_half_is_not_there(alone: Guest, agent: SshAgent) -> None:
    ended = alone.run(
        f"""
        echo {agent.public_key!r} >/tmp/key.pub
        ssh-keygen -Y sign -q -f /tmp/key.pub -n file <<<signed >/tmp/signature
        echo ada {agent.public_key!r} >/tmp/signers
        ssh-keygen -Y verify -f /tmp/signers -I ada -n file -s /tmp/signature <<<signed
        ssh-keygen -Y verify -f /tmp/signers -I ada -n file -s /tmp/signature <<<other && echo forged
        """,
        timeout_s=120,
    )

    assert "Good" in ended.out, ended
    assert "forged" not in ended.out


def test_the_socket_is_the_users_alone(alone: Guest) -> None:
    ended = alone.run(
        "stat -c '%a %u %F' $SSH_AUTH_SOCK; ls /dev/vport* /dev/virtio-ports 2>&1; ls /relay 2>&1"
    )
    first, *others = ended.out.splitlines()

    assert first == f"600 {os.getuid()} socket"
    assert len(others) == 3
    assert all("No such file" in line for line in others)


def test_whoever_hangs_holds_up_nobody(alone: Guest, agent: SshAgent) -> None:
    """Ones that say half of a word, and one that says much and hears nothing."""
    hang = """
import os, socket, time
clients = []
for number in range(20):
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.environ["SSH_AUTH_SOCK"])
    client.send(bytes([0, 0, 0]))
    clients.append(client)
clients[0].send(bytes([1, 11]))
clients[0].setblocking(False)
try:
    for _ in range(1 << 16):
        clients[0].send(bytes([0, 0, 0, 1, 11]) * 100)
except BlockingIOError:
    pass
print("full", flush=True)
open("/project/hangs", "w").close()
time.sleep(1000)
"""
    alone.machine.write(alone.machine.project / "hang.py", hang)
    alone.begin("/usr/bin/python3 -I /project/hang.py")
    wait_until(
        lambda: None if (alone.machine.project / "hangs").exists() else "not yet", "who hangs", timeout_s=60
    )
    ended = alone.run("ssh-add -l; pkill -f hang.py; ssh-add -l")

    assert ended.out.count(agent.fingerprint) == 2, ended


def test_the_relay_on_the_host_has_a_port_and_the_agent_and_nothing_else(alone: Guest) -> None:
    (relay,) = (pid for pid in children(alone.pid) if words(pid) == words(alone.pid))
    leads = [os.readlink(path) for path in Path(f"/proc/{relay}/fd").iterdir()]

    assert sorted(lead.partition(":")[0] for lead in leads) == ["/dev/null"] * 3 + ["socket"]


def test_an_agent_that_has_gone_is_an_error_at_once(alone: Guest, agent: SshAgent) -> None:
    away = agent.socket.with_suffix(".away")
    agent.socket.rename(away)
    began = time.monotonic()
    ended = alone.run("time -p ssh-add -l")
    away.rename(agent.socket)

    assert ended.status != 0
    assert time.monotonic() - began < 3 * AT_ONCE_S
    assert agent.fingerprint in alone.run("ssh-add -l").out


def classes(guest: Guest) -> list[int]:
    """Of QEMU's devices, what PCI calls their base class."""
    return [device["class_info"]["class"] >> 8 for bus in guest.qmp("query-pci") for device in bus["devices"]]


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        pytest.param("/bin/false", "passt did not start: status 1", id="ends at once"),
        pytest.param("/dev/null", "passt is missing", id="is missing"),
    ],
)
def test_without_a_passt_that_works_two_lines_say_what_to_do(
    fetched: Kernel, instead: str, said: str
) -> None:
    with scratch() as place:
        made = program(place)
        masked = ("bwrap", "--dev-bind", "/", "/", "--ro-bind", instead, "/usr/bin/passt", "--")
        ended = made.run(*starts(fetched, made), "-c", "true", prefix=masked)

    assert (ended.status, len(ended.said)) == (125, 2), ended
    assert said in ended.said[0]
    assert "--no-network" in ended.said[1]


def test_a_host_without_a_network_starts_a_guest_without_and_says_so(fetched: Kernel) -> None:
    with scratch() as place:
        made = program(place)
        nowhere = ("unshare", "--user", "--map-current-user", "--net", "--")
        ended = made.run(*starts(fetched, made), "-c", "ip -o link", prefix=nowhere)

    assert (ended.status, ended.out.count("\n"), ended.out[:6]) == (0, 1, "1: lo:"), ended
    assert any("no network inside" in line for line in ended.said)


@pytest.mark.parametrize("victim", ["launcher", "qemu"])
def test_whatever_is_killed_passt_the_wall_and_the_relay_end(
    fetched: Kernel, agent: SshAgent, victim: str
) -> None:
    with booted(fetched, env=agent.environment()) as guest:
        of_launcher = children(guest.pid)
        helpers = [words(pid)[0] for pid in of_launcher if words(pid) != words(guest.pid)]
        pidfds = [os.pidfd_open(pid) for pid in of_launcher]
        (of_qemu,) = (pid for pid in of_launcher if "qemu" in words(pid)[0])
        os.kill(guest.pid if victim == "launcher" else of_qemu, signal.SIGKILL)
        guest.launcher.communicate(timeout=60)

        for pidfd in pidfds:
            assert select.select([pidfd], [], [], 10)[0], of_launcher
            os.close(pidfd)

    assert len(of_launcher) == 4
    assert sorted(os.path.basename(helper) for helper in helpers) == ["passt", "qemu-system-x86_64"]


def starts(kernel: Kernel, on: Machine) -> tuple[str | Path, ...]:
    """The words of a command line up to those of the shell's own."""
    return ("--kernel", kernel.image, "--shell", on.project)
