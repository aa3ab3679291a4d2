"""Row ssh-agent."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from conformance.checks.probes import network, search
from conformance.checks.probes.means import mounted
from conformance.harness import as_seen
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

ASK = """
import os, socket
path = os.environ.get("SSH_AUTH_SOCK", "")
answer = ""
try:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(5)
        agent.connect(given["path"] or path)
        # SSH_AGENTC_REQUEST_IDENTITIES (draft-miller-ssh-agent, section 4.4): length 1, type 11.
        agent.sendall(bytes([0, 0, 0, 1, 11]))
        answer = agent.recv(4096).hex()
except OSError as error:
    answer = f"errno {error.errno}"
print(ascii({"path": path, "answer": answer}))
"""


@covers("ssh-agent", "forwarded")
def test_the_hosts_key_is_listed(inside: Inside, host: World) -> None:
    """`ssh-add -l` inside lists the key that the host's agent holds."""
    fingerprint = host.services.ssh_agent.fingerprint

    listed = inside.run("ssh-add -l")

    assert listed.rc == 0, listed.stderr
    assert fingerprint in listed.stdout


@covers("ssh-agent", "forwarded")
def test_what_the_agent_signs_is_the_hosts_to_verify(inside: Inside, host: World) -> None:
    """A signature made inside verifies with the host key's public half, whose private half is on no disk."""
    agent = host.services.ssh_agent
    host.write(host.path / "agent.pub", agent.public_key + "\n")
    host.write(host.path / "signers", f"ada {agent.public_key}\n")

    signed = inside.sh("ssh-keygen -Y sign -q -f /project/agent.pub -n file", stdin=b"to be signed")

    assert signed.rc == 0, signed.stderr
    signature = str(host.write(host.path / "signature", signed.stdout))
    signers = ("-f", str(host.path / "signers"), "-I", "ada", "-n", "file", "-s", signature)
    verified = host.run(("ssh-keygen", "-Y", "verify", *signers), stdin=b"to be signed")
    forged = host.run(("ssh-keygen", "-Y", "verify", *signers), stdin=b"something else")
    assert verified.returncode == 0, verified.stderr
    with on_the_host():
        assert forged.returncode != 0


@covers("ssh-agent", "forwarded", variant=("default", "tmux"))
def test_a_push_with_it_lands(fresh: Callable[..., Sandbox], new_world: Callable[..., World]) -> None:
    """`git push` from inside to an sshd on the host's network lands in the repository there."""
    world, subject = new_world(), uuid.uuid4().hex
    with network.sshd_on_lan(world, world.services.ssh_agent.public_key) as (there, server):
        world.write(world.path / "known_hosts", server.known_hosts.read_text())
        inside = fresh(world=world, within=there.prefix).inside

        ssh = "ssh -oBatchMode=yes -oIdentityFile=none -oUserKnownHostsFile=/project/known_hosts"
        done = inside.sh(
            f"cd /project && git commit --allow-empty -q -m {subject} && "
            f"GIT_SSH_COMMAND='{ssh}' git push -q '{server.url}' HEAD:refs/heads/{subject}"
        )
        without = inside.sh(f"SSH_AUTH_SOCK= GIT_SSH_COMMAND='{ssh}' git ls-remote '{server.url}'")
        pushed = server.commits(subject) if done.rc == 0 else []

    assert done.rc == 0, done.stderr
    assert pushed[0] == subject
    assert without.rc != 0, "the agent alone opens that door"
    assert "Permission denied" in without.stderr


@covers("ssh-agent", "forwarded")
def test_key_bytes_are_nowhere_inside(inside: Inside, host: World) -> None:
    """A key that the agent holds can be used inside, and its private bytes are in nothing readable there."""
    with key_in_agent(host) as (fingerprint, needles):
        control = search.on_host(host, needles, [str(host.home / "keys")])

        listed = inside.sh("ssh-add -l").stdout
        found = search.inside(inside, needles)

    assert fingerprint in listed
    with on_the_host():
        assert len(control) == len(needles), "the same search has to find them on the host"
    assert found == {}


@contextmanager
def key_in_agent(host: World) -> Iterator[tuple[str, list[str | bytes]]]:
    """One more key in the agent: its fingerprint, and its private half as a file and as memory have it."""
    key = host.home / "keys/id"
    host.write(key.parent / "README", "")
    host.output(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)))
    host.output(("ssh-add", "-q", str(key)))
    try:
        lines = key.read_text().splitlines()[1:-1]
        # The private part of an unencrypted key: its 64 bytes follow the second public key (PROTOCOL.key).
        whole = base64.b64decode("".join(lines))
        at = whole.rindex(b"\0\0\0\x40") + 4
        seed = whole[at : at + 32]
        host.write(key.parent / "raw", seed)
        fingerprint = host.output(("ssh-keygen", "-l", "-f", f"{key}.pub")).split()[1]
        yield fingerprint, [lines[2], seed]
    finally:
        host.output(("ssh-add", "-q", "-d", f"{key}.pub"))
        for path in key.parent.iterdir():
            path.unlink()


@covers("ssh-agent", "forwarded", means=True, by="bind mount")
def test_the_socket_is_mounted_by_itself(inside: Inside, cell: Cell) -> None:
    """The agent's socket is mounted, and not with the directory that it lies in."""
    socket = inside.output("echo $SSH_AUTH_SOCK")

    assert mounted(inside, socket, cell.means) == []
    assert inside.sh(f"test -S '{socket}'").rc == 0


@covers("ssh-agent", "forwarded", means=True, by="virtio-serial")
def test_the_socket_is_the_guests_and_a_port_leads_to_the_agent(sandbox: Machine) -> None:
    """The socket is no file of the host's; QEMU has a port for it, and is not told of the agent's own."""
    socket = sandbox.inside.output("echo $SSH_AUTH_SOCK")
    kind = sandbox.inside.output(f"stat -f -c %T {socket}")
    ports = {port["label"]: port["filename"] for port in sandbox.qmp("query-chardev")}
    said = [os.fsdecode(as_seen.read(sandbox.qemu, "cmdline")), *ports.values()]
    agent = str(sandbox.world.services.ssh_agent.socket)

    assert kind in ("tmpfs", "ramfs", "rootfs")
    assert "agent" in ports
    assert [text for text in said if agent in text] == []


@covers("ssh-agent", "absent", variant="off")
def test_without_it_the_agent_is_out_of_reach(inside: Inside, host: World) -> None:
    """With --without ssh-agent neither the variable nor the host's path leads to the agent."""
    socket = str(host.services.ssh_agent.socket)

    control = host.python(ASK, path=socket)
    found = inside.python(ASK, path=socket)
    runtime = inside.sh("find / -xdev -name '*agent*.sock*' -type s 2>&1 | grep -v Permission").stdout

    with on_the_host():
        assert control["answer"].startswith("00"), "the same probe has to reach it on the host"
    assert found["path"] == ""
    assert found["answer"].startswith("errno")
    assert runtime == ""


@covers("ssh-agent", "absent", variant="bare")
def test_where_the_host_has_none_nothing_pretends(inside: Inside, host: World) -> None:
    """On a host without an agent no variable names one."""
    if "SSH_AUTH_SOCK" in host.environ:
        pytest.fail("a bare host has no agent")

    assert inside.output("echo ${SSH_AUTH_SOCK-unset}") == "unset"
