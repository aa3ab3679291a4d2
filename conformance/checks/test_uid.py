"""Row uid."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from conformance.harness import as_seen
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.inside import Inside
from conformance.harness.machine import Machine
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

# Every kind of file, and every way of making one.
MAKE = """
import os, socket, stat
os.umask(0)
top = given["top"]
os.mkdir(top, 0o2775)
for name, mode in given["modes"].items():
    with open(f"{top}/{name}", "w") as file:
        os.fchmod(file.fileno(), mode)
    os.utime(f"{top}/{name}", ns=(given["ns"], given["ns"]))
os.symlink("plain", f"{top}/symlink")
os.link(f"{top}/plain", f"{top}/hard-link")
if given["special"]:
    os.mkfifo(f"{top}/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{top}/socket")
print(ascii(None))
"""
LOOK = """
import os
found = {}
for name in os.listdir(given["top"]):
    s = os.lstat(f'{given["top"]}/{name}')
    found[name] = [s.st_uid, s.st_gid, s.st_mode, s.st_mtime_ns]
print(ascii(found))
"""
# Whoever could become another user, or give a file to one, could make files of theirs outside.
GIVE_AWAY = """
import ctypes, os
def attempt(act, *arguments):
    try:
        act(*arguments)
        return "ok"
    except OSError as error:
        return error.errno
path = given["path"]
open(path, "w").close()
answer = {str(other): [attempt(os.chown, path, other, -1), attempt(os.chown, path, -1, other),
    attempt(os.setresuid, other, other, other), attempt(os.setresgid, other, other, other)]
    for other in given["others"]}
answer["status"] = [line for line in open("/proc/self/status") if line.startswith(("Uid", "Gid"))]
print(ascii(answer))
"""
MODES = {
    "plain": 0o644,
    "secret": 0o600,
    "program": 0o755,
    "closed": 0o000,
    "shared": 0o664,
    "setgid": 0o2755,
}
LONG_AGO_NS = 1_234_567_890_123_456_789


@covers("uid", "same")
def test_uid_is_the_users_own(inside: Inside, host: World) -> None:
    """Files made inside belong to the user outside, those of the user to whoever looks inside."""
    host.write(host.path / "of-host", "x")

    inside.output("umask 022; echo x > /project/of-inside; mkdir -p /project/dir-of-inside")
    uid = int(inside.output("id -u"))
    seen = inside.file("/project/of-host").uid

    assert uid == host.user.uid
    assert seen == host.user.uid
    for name in ("of-inside", "dir-of-inside"):
        assert (host.path / name).stat().st_uid == host.user.uid
        assert (host.path / name).stat().st_gid == host.user.gid


@covers("uid", "same")
def test_modes_and_times_survive(inside: Inside, host: World, cell: Cell) -> None:
    """Whatever kind of file is made inside has the user's uid and gid outside, with its mode and times."""
    top = host.path / "made-inside"
    special = "no socket and no fifo" not in cell.means
    unit = 10**9 if "to the second" in cell.means else 1

    inside.python(MAKE, top="/project/made-inside", modes=MODES, ns=LONG_AGO_NS, special=special)
    outside = {path.name: path.lstat() for path in (top, *top.iterdir())}

    assert len(outside) == len(MODES) + (5 if special else 3)
    assert {(s.st_uid, s.st_gid) for s in outside.values()} == {(host.user.uid, host.user.gid)}
    for name, mode in MODES.items():
        assert stat.S_IMODE(outside[name].st_mode) == mode
        assert outside[name].st_mtime_ns == LONG_AGO_NS // unit * unit


@covers("uid", "same")
def test_the_hosts_files_look_the_same_inside(inside: Inside, host: World) -> None:
    """Files that the user makes outside look the same inside: owner, mode, time of change."""
    top = host.path / "made-outside"
    host.python(MAKE, top=str(top), modes=MODES, ns=LONG_AGO_NS, special=True)
    outside = host.python(LOOK, top=str(top))

    within = inside.python(LOOK, top="/project/made-outside")

    assert within == outside
    assert {tuple(found[:2]) for found in within.values()} == {(host.user.uid, host.user.gid)}


@covers("uid", "same")
def test_nobody_becomes_anybody_else(inside: Inside, host: World) -> None:
    """No process inside becomes root or another user, nor gives a file to one."""
    others = [0, host.user.uid + 1, 65534]

    found = inside.python(GIVE_AWAY, path="/project/of-whom", others=others)

    assert (host.path / "of-whom").stat().st_uid == host.user.uid
    assert (host.path / "of-whom").stat().st_gid == host.user.gid
    assert "ok" not in [result for other in others for result in found[str(other)]]
    assert [line.split()[1:] for line in found["status"]] == [
        [str(host.user.uid)] * 4,
        [str(host.user.gid)] * 4,
    ]


@covers("uid", "same")
def test_the_user_has_a_name_and_a_home(inside: Inside) -> None:
    """The uid has one name and one home, by which programs find themselves."""
    assert inside.output("id -un; id -gn; getent passwd $(id -u) | cut -d: -f6").split() == [
        "sandbox",
        "sandbox",
        "/home/sandbox",
    ]


@covers("uid", "same", means=True, by="user namespace")
@covers("uid", "same", means=True, by="setpriv")
def test_the_uid_is_mapped_as_the_means_says(sandbox: Sandbox, host: World, cell: Cell) -> None:
    """A user namespace that maps the uid maps it to itself alone; where there is none, all are mapped."""
    maps: list[list[str]] = []
    for innermost in reversed(sandbox.pids()):
        # One that is gone by now says nothing. Read from here, the second number is the host's
        # (user_namespaces(7)).
        with suppress(OSError):
            maps = [Path(f"/proc/{innermost}/{name}").read_text().split() for name in ("uid_map", "gid_map")]
            break

    if "user namespace" in cell.means:
        assert maps == [[str(n), str(n), "1"] for n in (host.user.uid, host.user.gid)]
    else:
        assert {found[2] for found in maps} == {str(2**32 - 1)}


@covers("uid", "same", means=True, by="9p")
def test_shares_leave_ids_as_they_are(sandbox: Machine, host: World) -> None:
    """QEMU is the user, and all of its shares hand owners and modes through as they are."""
    status = as_seen.read(sandbox.qemu, "status").decode()
    words = os.fsdecode(as_seen.read(sandbox.qemu, "cmdline")).split("\0")
    shares = [words[at + 1].split(",") for at, word in enumerate(words) if word == "-fsdev"]

    uids = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    assert uids == [str(host.user.uid)] * 4
    assert shares
    assert [share for share in shares if "security_model=none" not in share] == []
