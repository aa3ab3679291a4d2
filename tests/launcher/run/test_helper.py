"""A copy of the launcher that works beside it: what it has, and how it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

from fixtures.process import wait_until
from tests.launcher.program import ROOT

SCRIPT = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from launcher.run.helper import Helper
"""
SHOW = """
import json, signal, time
other, (kept, wanted) = os.open("/", os.O_RDONLY), os.pipe()
os.set_inheritable(other, True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def work():
    numbers = os.listdir("/proc/self/fd")  # among them the one that lists, which is none any more
    found = {n: os.readlink(f"/proc/self/fd/{n}") for n in numbers if os.path.lexists(f"/proc/self/fd/{n}")}
    status = open("/proc/self/status").read().split("\\n")
    ignored = next(line.split()[1] for line in status if line.startswith("SigIgn"))
    os.write(wanted, json.dumps([found, os.getsid(0) == os.getpid(), ignored, os.getcwd()]).encode())

helper = Helper(work, (wanted,))
os.close(wanted)
said = os.read(kept, 65536)
helper.close()
print(json.dumps([json.loads(said), wanted]))
"""
WAIT = """
import time
helper = Helper(lambda: time.sleep(1000), ())
print(helper._pid, flush=True)
time.sleep(1000)
"""


def run(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-c", SCRIPT + script], stdout=subprocess.PIPE)


def test_it_has_nothing_of_ours_but_what_it_was_given() -> None:
    process = run(SHOW)
    out, _ = process.communicate(timeout=20)
    (found, leader, ignored, directory), kept = json.loads(out)

    assert process.returncode == 0
    assert set(found) == {"0", "1", "2", str(kept)}
    assert {found[number] for number in "012"} == {"/dev/null"}
    assert leader
    assert int(ignored, 16) & 1 << (signal.SIGTERM - 1) == 0
    assert directory == "/"


def test_it_dies_with_us() -> None:
    process = run(WAIT)
    assert process.stdout is not None
    helper = int(process.stdout.readline())
    pidfd = os.pidfd_open(helper)
    process.kill()
    process.communicate(timeout=20)

    wait_until(lambda: None if _ended(pidfd) else "it lives", "the end of the helper")
    os.close(pidfd)


def test_what_goes_wrong_in_it_ends_it_and_nothing_else() -> None:
    process = run("helper = Helper(lambda: 1 / 0, ()); helper.close(); print('on')")
    out, _ = process.communicate(timeout=20)

    assert (process.returncode, out) == (0, b"on\n")


def _ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])
