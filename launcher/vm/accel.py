"""Which accelerator QEMU is given: KVM only where a guest has been seen to run on it.

Where /dev/kvm can be opened guests may hang or crawl all the same (nested virtualisation), and QEMU's own
`accel=kvm:tcg` does not notice. So a KVM on which a guest takes much longer than under TCG is none.
"""

from __future__ import annotations

import os
import time

from launcher.errors import HostError
from launcher.record import Record
from launcher.untrusted import printable, read
from launcher.vm import cache
from launcher.vm.probe import probe

DEVICE = "/dev/kvm"
LEAST_S = 1.0  # of patience with KVM, which needs some 0.2


class Accel(Record):
    """`name`: "kvm" or "tcg", as QEMU's -accel takes it; `why` it is that one, for people."""

    name: str
    why: str


def usable(
    qemu: str, mode: str, cache_dir: str, boot_id: str, release: str, *, device: str = DEVICE
) -> Accel:
    """The accelerator for `mode`: "auto", "kvm" or "tcg". `qemu`: its absolute path; `boot_id`, `release`: of
    the host's kernel.

    What a probe found is kept in `cache_dir` and holds until the host boots again, or for another `release`
    or `qemu`; but with "kvm" a no is not taken from there. Raises HostError when "kvm" cannot be had, and for
    a cache that cannot be written or relied on.
    """
    if mode == "tcg":
        return Accel(name="tcg", why="it was asked for")
    why, mend = _closed(device)
    if not why:
        why = _probed(qemu, cache_dir, (boot_id, release, qemu), believe_no=mode != "kvm")
    if not why:
        return Accel(name="kvm", why="a guest was seen to run on it")
    if mode == "kvm":
        raise HostError(f"KVM cannot be had here: {why}", f"{mend}--accel tcg does without, slower")
    return Accel(name="tcg", why=why)


def _closed(device: str) -> tuple[str, str]:
    """Why nobody, or not this user, has KVM, and what to do; empty when it can be opened."""
    shown = printable(device)
    if not os.path.exists(device):
        mend = "load kvm_intel or kvm_amd, or turn virtualisation on in the firmware; "
        return f"there is no {shown}", mend
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{shown} is closed to you", "sudo usermod -aG kvm $USER, and log in again; "
    return "", ""


def _probed(qemu: str, cache_dir: str, identity: tuple[str, ...], *, believe_no: bool) -> str:
    path = f"{cache.made(cache_dir)}/kvm"
    kept = _kept(path, identity)
    if kept == "" or (kept and believe_no):
        return kept
    why = _compared(qemu)
    cache.write(path, os.fsencode("\0".join((*identity, why))))
    return why


def _compared(qemu: str) -> str:
    """Why KVM cannot be had. Its guest gets twice the time that it takes under TCG at this moment."""
    began = time.monotonic()
    probe(qemu, accel="tcg")
    return probe(qemu, limit_s=max(LEAST_S, 2 * (time.monotonic() - began)))


def _kept(path: str, identity: tuple[str, ...]) -> str | None:
    """What the last probe gave, when that is of the same machine; None when there is none."""
    try:
        cache.check(path)
    except FileNotFoundError:
        return None
    *of, why = os.fsdecode(read(path) or b"").split("\0")
    return why if tuple(of) == identity else None
