"""The probe that tells whether anything listens at a port, where the kernel gives out that port itself."""

from __future__ import annotations

import pytest

from conformance.checks.probes import network
from conformance.harness import inside
from fixtures import packages
from fixtures.process import output

# In a network namespace, where two ports are all that there are.
TWO_PORTS = """
echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range
ip link set lo up
exec "$@"
"""


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_socket_that_calls_itself_is_no_answer(kind: str, address: str) -> None:
    packages.find("ip")
    alone = (packages.find("unshare"), "--user", "--map-root-user", "--net", "sh", "-c", TWO_PORTS, "sh")
    tries = [[kind, address, 40000]] * 30

    said = output((*alone, *network.PYTHON), stdin=inside.probe(network.REACH, {"tries": tries}))

    assert network.answers(inside.literal(said)) == ["ECONNREFUSED"] * 30
