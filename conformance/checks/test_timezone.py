"""Row timezone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.harness import as_seen
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.provide import ZONES
from conformance.harness.sandbox import Sandbox
from conformance.harness.shared import LEFT_OUT
from conformance.harness.world import World

OTHER = LEFT_OUT["TZ"]
# Both sides of a change, before there were zones, and after 32 bits.
INSTANTS = (0, 951782400, 1759591799, 1759591800, 1775314800, -2500000000, 1 << 31, 4102444800)
LOCAL = r"""
import time
local = [time.localtime(at) for at in given["instants"]]
print(ascii([[list(when), time.strftime("%Z %z", when)] for when in local]))
"""


@covers("timezone", "same")
def test_local_time_is_the_hosts(inside: Inside, host: World) -> None:
    """/etc/localtime: local time and the zone's name are the host's, on both sides of its changes."""
    outside = host.python(LOCAL, instants=INSTANTS)

    found = inside.python(LOCAL, instants=INSTANTS)
    shown = inside.output("date -d @1775314800 '+%F %T %z'")

    with on_the_host():
        assert outside[3][1] == "+11 +1100", "this host has to be in the zone that was made for it"
    assert found == outside
    assert shown == host.output(("date", "-d", "@1775314800", "+%F %T %z"))


@covers("timezone", "same", variant=("default", "tmux"), alike=True)
@pytest.mark.parametrize("value", [f":{ZONES}/{OTHER}", OTHER, "FIX-3:30"])
def test_tz_is_the_hosts(fresh: Callable[..., Sandbox], new_world: Callable[..., World], value: str) -> None:
    """TZ, as a zone's name, as a rule, and as a path, gives the same local time inside as outside."""
    world = new_world()
    world.environ["TZ"] = value
    outside = world.python(LOCAL, instants=INSTANTS)

    found = fresh(world=world).inside.python(LOCAL, instants=INSTANTS)

    with on_the_host():
        assert [when[1].split()[1] for when in outside] != ["+0000"] * len(INSTANTS)
    assert found == outside


@covers("timezone", "same", means=True)
def test_localtime_is_the_hosts_own_file(inside: Inside, host: World) -> None:
    """/etc/localtime inside has the host's content, and cannot be written."""
    outside = host.output(("sha256sum", "/etc/localtime"))

    assert inside.output("sha256sum /etc/localtime") == outside
    assert inside.sh(": >>/etc/localtime").rc != 0


@covers("timezone", "absent", variant="off")
def test_without_it_time_is_utc(sandbox: Sandbox, inside: Inside, host: World) -> None:
    """With --without timezone neither TZ nor /etc/localtime comes along: local time is UTC."""
    outside = host.python(LOCAL, instants=INSTANTS)
    exported = as_seen.read(sandbox.pid, "environ").decode().split("\0")

    found = inside.python(LOCAL, instants=INSTANTS)

    with on_the_host():
        assert f"TZ={OTHER}" in exported
        assert outside[3][1] == "+11 +1100", "nor is the host's zone UTC"
    assert [when[1] for when in found] == ["UTC +0000"] * len(INSTANTS)
    assert not inside.file("/etc/localtime").exists
