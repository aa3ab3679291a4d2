"""Row kernel."""

from __future__ import annotations

import time

from conformance.harness.covers import covers
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.world import World
from fixtures.process import wait_until

KERNEL = """
import os
with open("/proc/sys/kernel/random/boot_id") as file:
    boot_id = file.read().strip()
print(ascii({"boot_id": boot_id, "uname": [os.uname().release, os.uname().version]}))
"""


@covers("kernel", "shared")
def test_the_kernel_is_the_hosts(inside: Inside, host: World) -> None:
    """The boot_id inside is the host's, and so are the kernel's release and version."""
    outside = host.python(KERNEL)

    found = inside.python(KERNEL)

    assert found == outside


@covers("kernel", "own", means=True)
def test_who_answers_is_the_machine(sandbox: Machine) -> None:
    """While QEMU has its processors stopped, nobody inside does anything; when they go on, so does that."""
    count = "/project/.counted"
    mark = sandbox.world.path / ".counted"
    counts = f"n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo $n >{count}; sleep 0.02; done"
    pid = sandbox.inside.output(f"({counts}) >/dev/null 2>&1 & echo $!")
    wait_until(lambda: None if mark.exists() else "not there", "the first number")

    sandbox.qmp("stop")
    try:
        stopped = sandbox.qmp("query-status")["running"]
        time.sleep(0.2)
        before = mark.read_text()
        time.sleep(1)
        after = mark.read_text()
    finally:
        sandbox.qmp("cont")
    wait_until(lambda: None if mark.read_text() not in (after, "") else "the same", "the next number")
    sandbox.inside.output(f"kill {pid}; rm -f {count}")

    assert stopped is False
    assert before == after


@covers("kernel", "own")
def test_the_kernel_is_another(inside: Inside, host: World) -> None:
    """The boot_id inside is not the host's."""
    outside = host.python(KERNEL)

    found = inside.python(KERNEL)

    assert len(found["boot_id"]) == len(outside["boot_id"]) == 36
    assert found["boot_id"] != outside["boot_id"]
