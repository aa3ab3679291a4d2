"""Row limits: what runs out inside runs out inside. Every attack here has a bound of its own, too."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from conformance.checks.probes.held import held
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.listeners import canary
from fixtures.process import wait_until

Fresh = Callable[..., Sandbox]

TASKS, MOST = 64, 96  # the limit; what an attacker starts where there is none
DEFAULT, MORE = 4096, 4200
MEMORY_MIB, HOG_MIB = 128, 256
HOLD_S = 20.0  # at most
SPIN_S = 0.5
TRIES = 6
SPINNERS = 16  # more than others have, or a busy machine gives us little

# Whoever attacks takes all that the hard limits leave, and tries for more.
GREEDY = """
import os, resource, time
for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_DATA, resource.RLIMIT_AS):
    hard = resource.getrlimit(limit)[1]
    for wanted in (resource.RLIM_INFINITY, hard):
        try:
            resource.setrlimit(limit, (wanted, wanted))
            break
        except (ValueError, OSError):
            pass
"""
# Each child starts the next one, in a session of its own; all of them stay until the pipe ends. That is when
# `mark`, which says that there are no more to be had, is taken away.
BOMB = (
    GREEDY
    + """
end, ours = os.pipe()
told, tell = os.pipe()
def generation(number):
    while number < given["most"]:
        try:
            child = os.fork()
        except OSError as error:
            os.write(tell, ascii({"started": number, "errno": error.errno}).encode())
            return
        if child:
            return
        number += 1
        os.setsid()
        os.close(ours) if number == 1 else None
    os.write(tell, ascii({"started": number, "errno": 0}).encode())
first = os.getpid()
generation(0)
if os.getpid() != first:
    os.close(tell)
    os.read(end, 1)
    os._exit(0)
os.close(tell)
found = os.read(told, 1000)
if given["mark"]:
    with open(given["mark"], "w") as mark:
        mark.write("full")
    late = time.monotonic() + given["hold_s"]
    while os.path.exists(given["mark"]) and time.monotonic() < late:
        time.sleep(0.01)
os.close(ours)
os.read(told, 1)  # until the last of them has gone
print(found.decode())
"""
)
# Not by `threading`, in which each of them takes ten times as long.
THREADS = (
    GREEDY
    + """
import _thread
_thread.stack_size(65536)
held, count = _thread.allocate_lock(), 0
held.acquire()
try:
    while count < given["most"]:
        _thread.start_new_thread(held.acquire, ())
        count += 1
except RuntimeError:
    pass
print(count, flush=True)
os._exit(0)
"""
)
HOG = (
    GREEDY
    + """
reached, tell = os.pipe()
child = os.fork()
if child == 0:
    held = []
    try:
        while len(held) * 16 < given["most_mib"]:
            held.append(bytearray(os.urandom(1) * (16 << 20)))
            os.write(tell, b".")
    except MemoryError:
        os._exit(3)
    os._exit(0)
os.close(tell)
_, status = os.waitpid(child, 0)
count = 0
while data := os.read(reached, 4096):
    count += len(data)
print(ascii({"mib": count * 16, "ended": os.waitstatus_to_exitcode(status)}))
"""
)
# The time that they get together, of one processor's, and on how many they are seen.
SPIN = """
import ctypes, os, time
libc = ctypes.CDLL(None)
reached, tell = os.pipe()
begun = time.monotonic()
for _ in range(given["spinners"]):
    if os.fork() == 0:
        end, seen = time.monotonic() + given["seconds"], set()
        while time.monotonic() < end:
            seen.add(libc.sched_getcpu())
        os.write(tell, bytes(seen))
        os._exit(0)
os.close(tell)
for _ in range(given["spinners"]):
    os.wait()
now = os.times()
share = (now.children_user + now.children_system) / (time.monotonic() - begun)
print(ascii({"share": share, "processors": len(set(os.read(reached, 65536)))}))
"""


@covers("limits", "own")
def test_a_fork_bomb_ends_inside(fresh: Fresh, host: World) -> None:
    """With --max-tasks 64 a fork bomb ends by EAGAIN; meanwhile the host's user starts what they like."""
    whole = {"started": MOST, "errno": 0}
    control = host.python(BOMB, most=MOST, mark="")
    with on_the_host():
        assert control == whole
    name = f"bomb-{canary()}"

    sandbox = fresh("--max-tasks", str(TASKS))
    mark = sandbox.world.path / name
    with ThreadPoolExecutor(1) as pool:
        bomb: dict[str, Any] = {"most": MOST, "hold_s": HOLD_S, "mark": f"/project/{name}"}
        attack = pool.submit(lambda: sandbox.inside.python(BOMB, **bomb))
        wait_until(lambda: None if mark.exists() or attack.done() else "not yet", "a full sandbox")
        meanwhile = host.python(BOMB, most=MOST, mark="")
        still_full = not attack.done()
        mark.unlink(missing_ok=True)
        found = attack.result()
    after = sandbox.inside.sh("echo $((6 * 7))")

    with on_the_host():
        assert still_full, "the host took longer than the bomb was held"
    assert 0 < found["started"] < TASKS
    assert found["errno"] == errno.EAGAIN
    assert meanwhile == whole
    assert (after.rc, after.stdout.strip()) == (0, "42")


@covers("limits", "own")
def test_threads_are_tasks_and_there_is_a_default(inside: Inside, host: World) -> None:
    """Without a flag no more than 4096 threads and processes can be had together."""
    control = host.python(THREADS, most=MORE)
    with on_the_host():
        assert control == MORE, "the host has a limit itself"

    found = inside.python(THREADS, most=MORE)

    assert DEFAULT // 2 < found < DEFAULT


@covers("limits", "absent")
def test_there_is_no_limit_of_tasks(inside: Inside, host: World) -> None:
    """With --without limits there are as many tasks as on the host."""
    control = host.python(THREADS, most=MORE)
    with on_the_host():
        assert control == MORE, "the host has a limit itself"

    found = inside.python(THREADS, most=MORE)

    assert found == MORE


@covers("limits", "own")
def test_a_memory_hog_ends_inside(fresh: Fresh, host: World) -> None:
    """With --max-memory 128M who takes more ends, a process of the host's keeps all it has, and the sandbox
    still answers.
    """
    word = canary()
    control = host.python(HOG, most_mib=HOG_MIB)
    with on_the_host():
        assert control == {"mib": HOG_MIB, "ended": 0}, "the host has not the memory"

    sandbox = fresh("--max-memory", f"{MEMORY_MIB}M")
    with held(host, "kept = given['word'] * (1 << 20); print(os.getpid())", word=word) as (_, witness):
        found = sandbox.inside.python(HOG, most_mib=HOG_MIB)
        state = Path(f"/proc/{witness}/status").read_text()
    after = sandbox.inside.sh("echo $((6 * 7))")

    assert 0 < found["mib"] <= MEMORY_MIB
    assert found["ended"] in (3, -9)  # a MemoryError, or the kernel's killer
    assert "State:\tZ" not in state
    assert (after.rc, after.stdout.strip()) == (0, "42")


@covers("limits", "own")
def test_processors_are_bounded(fresh: Fresh, host: World) -> None:
    """With --cpus 0.1 processes that spin get that much time together; where a processor is the least to be
    had (which is said), they share one.
    """
    spin: dict[str, Any] = {"spinners": SPINNERS, "seconds": SPIN_S}
    if os.cpu_count() == 1:
        raise HarnessError("there is one processor here", "look on a machine with two")
    sandbox = fresh("--cpus", "0.1")
    controls, found = [host.python(SPIN, **spin)], []
    for _ in range(TRIES):
        found.append(sandbox.inside.python(SPIN, **spin))
        controls.append(host.python(SPIN, **spin))
        # A busy machine gives nobody much: what is had in between says something when both had more.
        if all(control["share"] > 0.3 and control["processors"] > 1 for control in controls[-2:]):
            break
    else:
        raise HarnessError(f"the host itself has no more than {controls}", "try again when it is less busy")

    assert found[-1]["share"] > 0.01
    assert [one for one in found if one["share"] >= 0.2 and one["processors"] > 1] == [], controls


@covers("limits", "own", means=True, by="the guest's own")
def test_the_machine_has_what_was_asked_for(fresh: Fresh) -> None:
    """The machine has the memory and the processors that were asked for; its kernel counts the tasks."""
    sandbox = cast("Machine", fresh("--max-memory", "512M", "--cpus", "2", "--max-tasks", str(TASKS)))
    look = "import os, resource\nprint(ascii([os.cpu_count(), resource.getrlimit(resource.RLIMIT_NPROC)]))"

    memory = sandbox.qmp("query-memory-size-summary")
    processors = sandbox.qmp("query-cpus-fast")
    total = int(sandbox.inside.output("grep MemTotal /proc/meminfo").split()[1]) << 10
    seen = sandbox.inside.python(look)

    assert (memory["base-memory"], memory.get("plugged-memory", 0)) == (512 << 20, 0)
    assert len(processors) == 2
    assert 384 << 20 < total < 512 << 20
    assert seen == [2, [TASKS, TASKS]]


@covers("limits", "own", means=True, by="transient scope")
def test_a_means_that_the_table_names_keeps_it(fresh: Fresh, cell: Cell) -> None:
    """The host sees the limit where the table says it is: of the process, or of its cgroup. That is gone at
    the end.
    """
    word = canary()
    sandbox = fresh("--max-tasks", str(TASKS))
    sandbox.inside.sh(f"bash -c 'exec -a {word} sleep 60' >/dev/null 2>&1 &")
    wait_until(lambda: None if _named(word) else "none", "process inside")
    process = _named(word)[0]
    rlimit = _process_limit(process)
    found = {group: (group / "pids.max").read_text().strip() for group in _groups(process)}
    sandbox.close()

    wait_until(lambda: None if not _named(word) else "it runs", "its end")
    if "RLIMIT_NPROC" in cell.means and rlimit == str(TASKS):
        return
    assert str(TASKS) in found.values()
    ours = [group for group, most in found.items() if most == str(TASKS)]
    wait_until(lambda: None if not any(group.exists() for group in ours) else "there", "no cgroup left")


def _named(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cmdline").read_bytes().startswith(word.encode()):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _process_limit(process: int) -> str:
    lines = Path(f"/proc/{process}/limits").read_text().splitlines()
    return next(line.split()[3] for line in lines if line.startswith("Max processes"))


def _groups(process: int) -> list[Path]:
    """Its cgroups that count tasks, and those above them, as far as there is a file for it (cgroups(7))."""
    found = []
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        base = Path("/sys/fs/cgroup", *(["pids"] if controllers == "pids" else []))
        group = base / own.lstrip("/")
        if controllers in ("", "pids"):
            found += [g for g in (group, *group.parents) if (g / "pids.max").exists()]
    return found
