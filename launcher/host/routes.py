"""Whether this machine has a network for a guest, by the routes of its main table (proc(5))."""

from __future__ import annotations

from launcher.record import Record


class Uplink(Record):
    """`interface`: of which passt has to take the network's addresses, "" where it finds that by itself."""

    interface: str = ""


def uplink(route: str, ipv6_route: str) -> Uplink | None:
    """By what /proc/net/route and /proc/net/ipv6_route say; None without a route that leaves this machine.

    passt finds an interface with a default route. Without one of IPv4's it gives IPv4 up, or itself.
    """
    ipv4 = [line.split() for line in route.splitlines()[1:] if not line.startswith("*")]
    if any(fields[1] == fields[7] == "0" * 8 for fields in ipv4):
        return Uplink()
    ipv6 = [line.split() for line in ipv6_route.splitlines() if line.startswith(f"{'0' * 32} 00 ")]
    interfaces = [*(fields[9] for fields in ipv6 if fields[9] != "lo"), *(fields[0] for fields in ipv4)]
    return Uplink(interface=interfaces[0]) if interfaces else None
