"""Row ssh-agent."""

from __future__ import annotations

import pytest

from conformance.harness.covers import covers
from conformance.harness.inside import Inside
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
print(json.dumps({"path": path, "answer": answer}))
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
    host.write(host.path / "signature", signed.stdout)
    signers = (
        "-f",
        str(host.path / "signers"),
        "-I",
        "ada",
        "-n",
        "file",
        "-s",
        str(host.path / "signature"),
    )
    verified = host.run(("ssh-keygen", "-Y", "verify", *signers), stdin=b"to be signed")
    assert verified.returncode == 0, verified.stderr


@covers("ssh-agent", "forwarded", means=True)
def test_the_socket_is_a_mount(inside: Inside) -> None:
    """The agent's socket is mounted by itself, not with the directory that it lies in."""
    socket = inside.output("echo $SSH_AUTH_SOCK")

    mounted = inside.mount_point(socket)

    assert mounted.exists


@covers("ssh-agent", "absent", variant="off")
def test_without_it_the_agent_is_out_of_reach(inside: Inside, host: World) -> None:
    """With --without ssh-agent neither the variable nor the host's path leads to the agent."""
    socket = str(host.services.ssh_agent.socket)

    control = host.python(ASK, path=socket)
    found = inside.python(ASK, path=socket)

    assert control["answer"].startswith("00"), "the same probe has to reach it on the host"
    assert found["path"] == ""
    assert found["answer"].startswith("errno")


@covers("ssh-agent", "absent", variant="bare")
def test_where_the_host_has_none_nothing_pretends(inside: Inside, host: World) -> None:
    """On a host without an agent no variable names one."""
    if "SSH_AUTH_SOCK" in host.environ:
        pytest.fail("a bare host has no agent")

    assert inside.output("echo ${SSH_AUTH_SOCK-unset}") == "unset"
