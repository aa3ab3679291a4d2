"""A guest of some twenty instructions, booted to see whether guests run on an accelerator at all.

It goes the way of every kernel that QEMU starts by its PVH entry: firmware, protected mode, then page tables
and 64 bits, where it answers. A few instructions at the reset vector are no proof. Seen: a nested KVM where
those answer in 0.05 s, while the firmware takes 2.7 to 8 (0.2 under TCG) and no kernel comes up; and where
QEMU aborts with the processor that guests are given, and with no other.
"""

from __future__ import annotations

import os
import select
import struct

from launcher.untrusted import clip, printable
from launcher.vm.qemu import cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

LIMIT_S = 10.0
KILLED_S = 1.0  # after which a process that even SIGKILL does not end is left to the kernel
SAID_LIMIT = 1 << 16  # bytes
# isa-debug-exit ends QEMU with the byte that is written to it, twice, plus one (hw/misc/debugexit.c).
PORT, BYTE = 0xF4, 0x21
ANSWERED = BYTE << 1 | 1
MACHINE = (
    *("-M", "q35", "-m", "32", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
    *("-serial", "none", "-monitor", "none", "-device", f"isa-debug-exit,iobase={PORT:#x},iosize=1"),
)
ANSWER = bytes((0xB0, BYTE, 0xE6, PORT))  # mov al, BYTE; out PORT, al
PAGE, BASE = 4096, 1 << 20  # bytes; the guest's first address: a page of code, then three of page tables
GDT = 0x800  # where it lies in the page of code


def probe(qemu: str, *, accel: str = "kvm", code: bytes = ANSWER, limit_s: float = LIMIT_S) -> str:
    """Boots the guest by `qemu` (an absolute path): "" when it answered, else why not. `code`: what it runs
    in the end.

    Takes `limit_s` at the most, and KILLED_S where SIGKILL does not end it at once; leaves nothing.
    """
    from launcher.run.spawn import spawn

    kernel, said = os.memfd_create("kernel"), os.memfd_create("stderr")
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(kernel, guest(code))
        words = ("-accel", accel, "-cpu", cpu(accel), "-kernel", f"/proc/self/fd/{kernel}")
        argv = (qemu, *MACHINE, *words)
        status = _ended(spawn(argv, {}, stdio=(null, null, said), keep=(kernel,)), limit_s)
        lines = os.fsdecode(os.pread(said, SAID_LIMIT, 0)).split("\n")
    finally:
        for fd in (kernel, said, null):
            os.close(fd)
    if status == ANSWERED:
        return ""
    if status is None:
        return f"a guest on it did not run within {limit_s:g} s"
    reasons = [printable(clip(line, 200)) for line in lines if line]
    return reasons[-1] if reasons else f"{printable(qemu)} ended with {status}"


def guest(code: bytes) -> bytes:
    """The guest: an ELF file of 32 bits with a PVH entry, by which it starts in protected mode without paging
    (Xen's docs/misc/pvh.pandoc). It enters 64 bits by the steps of the AMD64 Architecture Programmer's
    Manual, volume 2, "Initializing and Activating Long Mode", and then runs `code`.
    """
    tables = b"".join(
        entry.to_bytes(PAGE, "little")  # the first of 512; the others are absent
        for entry in (BASE + 2 * PAGE | 3, BASE + 3 * PAGE | 3, 0x83)  # present, writable; 2 MiB from 0
    )
    body = _code(code) + tables
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen", BASE)  # XEN_ELFNOTE_PHYS32_ENTRY
    # e_ident, then Elf32_Ehdr with two Elf32_Phdr behind it: PT_LOAD and PT_NOTE, of elf(5).
    header = b"\x7fELF\1\1\1".ljust(16, b"\0")
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, BASE, 52, 0, 0, 52, 32, 2, 0, 0, 0)
    header += struct.pack("<8I", 1, PAGE, BASE, BASE, len(body), len(body), 7, PAGE)
    header += struct.pack("<8I", 4, len(header) + 32, 0, 0, len(note), len(note), 4, 4)
    return (header + note).ljust(PAGE, b"\0") + body


def _code(last: bytes) -> bytes:
    enter = b"".join(
        (
            b"\xb8" + struct.pack("<I", BASE + PAGE),  # mov eax, the top page table
            b"\x0f\x22\xd8",  # mov cr3, eax
            b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0",  # or cr4, PAE
            b"\xb9\x80\x00\x00\xc0\x0f\x32\x0d\x00\x01\x00\x00\x0f\x30",  # or the EFER, LME
            b"\x0f\x20\xc0\x0d\x00\x00\x00\x80\x0f\x22\xc0",  # or cr0, PG
            b"\x0f\x01\x15" + struct.pack("<I", BASE + GDT + 16),  # lgdt
        )
    )
    far = b"\xea" + struct.pack("<IH", BASE + len(enter) + 7, 8)  # jmp 8:behind this
    # The null descriptor, and one of code with 64 bits; then what lgdt reads: the limit and the address.
    table = struct.pack("<QQHI", 0, 0x00209A0000000000, 15, BASE + GDT)
    return ((enter + far + last + b"\xf4\xeb\xfd").ljust(GDT, b"\xf4") + table).ljust(PAGE, b"\0")  # hlt; jmp


def _ended(child: int, limit_s: float) -> int | None:
    """The status of a child of ours; None when it had to be killed."""
    pidfd = os.pidfd_open(child)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    in_time = False
    try:
        in_time = bool(poll.poll(limit_s * 1000))
    finally:  # also when a signal to us raises
        if not in_time:
            os.kill(child, _signal.SIGKILL)
        ended = in_time or poll.poll(KILLED_S * 1000)
        status = os.waitpid(child, 0)[1] if ended else 0
        os.close(pidfd)
    return os.waitstatus_to_exitcode(status) if in_time else None
