"""Row kernel."""

from __future__ import annotations

from conformance.harness.covers import covers
from conformance.harness.inside import Inside
from conformance.harness.world import World

KERNEL = """
import os
with open("/proc/sys/kernel/random/boot_id") as file:
    boot_id = file.read().strip()
print(json.dumps({"boot_id": boot_id, "uname": [os.uname().release, os.uname().version]}))
"""


@covers("kernel", "shared")
def test_the_kernel_is_the_hosts(inside: Inside, host: World) -> None:
    """The boot_id inside is the host's, and so are the kernel's release and version."""
    outside = host.python(KERNEL)

    found = inside.python(KERNEL)

    assert found == outside


@covers("kernel", "own")
def test_the_kernel_is_another(inside: Inside, host: World) -> None:
    """The boot_id inside is not the host's."""
    outside = host.python(KERNEL)

    found = inside.python(KERNEL)

    assert len(found["boot_id"]) == len(outside["boot_id"]) == 36
    assert found["boot_id"] != outside["boot_id"]
