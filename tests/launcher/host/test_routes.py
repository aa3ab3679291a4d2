"""Which interface passt is told to look at, by what the kernel says of routes."""

from __future__ import annotations

import pytest

from launcher.host.routes import Uplink, uplink

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
LINK = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
UNREACHABLE = "*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n"
HALF = "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n"
NONE = "0" * 32
DEFAULT6 = (
    f"{NONE} 00 {NONE} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     wg0\n"
)
LINK6 = f"fe80000000000000{'0' * 16} 40 {NONE} 00 {NONE} 00000100 00000001 00000000 00000001    eth0\n"
NOWHERE6 = f"{NONE} 00 {NONE} 00 {NONE} ffffffff 00000001 00000000 00200200       lo\n"


@pytest.mark.parametrize(
    ("route", "ipv6_route", "expected"),
    [
        pytest.param(HEADER + LINK + DEFAULT, DEFAULT6, Uplink(), id="a default route"),
        pytest.param(HEADER + LINK, NOWHERE6 + DEFAULT6, Uplink(interface="wg0"), id="one of IPv6's alone"),
        pytest.param(HEADER + LINK, NOWHERE6 + LINK6, Uplink(interface="docker0"), id="neighbours alone"),
        pytest.param(HEADER + HALF, "", Uplink(interface="tun0"), id="half of all is no default"),
        pytest.param(HEADER + UNREACHABLE, NOWHERE6, None, id="routes to nowhere"),
        pytest.param(HEADER, LINK6 + NOWHERE6, None, id="nothing but a link"),
        pytest.param("", "", None, id="a kernel without"),
    ],
)
def test_the_interface_is_one_with_a_route(route: str, ipv6_route: str, expected: Uplink | None) -> None:
    assert uplink(route, ipv6_route) == expected
