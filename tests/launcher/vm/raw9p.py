"""A guest as hostile as can be, without a guest: QEMU's 9p devices, driven message by message.

QEMU runs what launcher.vm.qemu renders, with its processor stopped; devices are driven by its test protocol
(QEMU's documentation, "QTest Device Emulation Testing Framework"). The transport is virtio's legacy PCI one
(Virtual I/O Device 1.1, section 4.1.4.8); the messages are 9P2000.L's, as linux/net/9p/client.c writes them.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import errorcode

from fixtures import packages
from launcher.backends.base import Share
from launcher.plan.model import Machine
from launcher.vm import qemu

ANSWER_S = 20.0
RAM = 0x400000  # where in the guest's memory our queues and messages lie, some MiB for each device
PORTS = 0xC000  # I/O ports of the first device's BAR
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
DEVICE, DRIVER, READY = 1, 2, 4
NEXT, WRITE = 1, 2  # flags of a descriptor
MESSAGE = 1 << 16

# Messages, by their numbers; an answer's is one more. Rlerror is 7.
ERROR = 7
LOPEN, LCREATE, SYMLINK, MKNOD, RENAME, READLINK = 12, 14, 16, 18, 20, 22
GETATTR, SETATTR, XATTRWALK, XATTRCREATE, READDIR, LINK, MKDIR = 24, 26, 30, 32, 40, 70, 72
RENAMEAT, UNLINKAT, VERSION, ATTACH, WALK, READ, TWRITE, CLUNK, REMOVE = (
    74,
    76,
    100,
    104,
    110,
    116,
    118,
    120,
    122,
)


class Refused(Exception):
    """Rlerror: `name` is the errno's, as in "ENOENT"."""

    def __init__(self, number: int) -> None:
        super().__init__(errorcode.get(number, str(number)))
        self.name = str(self)


class QTest:
    """The test protocol: a line each way."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def ask(self, line: str) -> str:
        """What follows OK."""
        self._connection.sendall(line.encode() + b"\n")
        while True:
            while b"\n" not in self._rest:
                came = self._connection.recv(1 << 20)
                if not came:
                    raise EOFError(f"QEMU ended at {line[:80]}")
                self._rest += came
            answer, _, self._rest = self._rest.partition(b"\n")
            if not answer.startswith(b"IRQ"):
                break
        assert answer.startswith(b"OK"), (line[:80], answer)
        return answer[2:].decode().strip()

    def out(self, size: str, port: int, value: int) -> None:
        self.ask(f"out{size} {port:#x} {value:#x}")

    def read_port(self, size: str, port: int) -> int:
        return int(self.ask(f"in{size} {port:#x}"), 16)

    def write(self, address: int, data: bytes) -> None:
        self.ask(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def read(self, address: int, size: int) -> bytes:
        return bytes.fromhex(self.ask(f"read {address:#x} {size:#x}")[2:])


class Raw9p:
    """One share, from the guest's side. The root is fid 0; each use makes fids of its own."""

    def __init__(self, qtest: QTest, number: int) -> None:
        self._qtest = qtest
        self._ports = PORTS + 0x100 * number
        self._ram = RAM + 0x100000 * number
        self._used = 0
        self._fid = 0
        self._set_up(number)
        self.call(VERSION, struct.pack("<I", MESSAGE) + text("9P2000.L"), tag=0xFFFF)
        self.call(ATTACH, struct.pack("<II", 0, 0xFFFFFFFF) + text("root") + text("") + struct.pack("<I", 0))

    def _set_up(self, number: int) -> None:
        slot, function = divmod(number, 8)
        place = 1 << 31 | (qemu.SLOTS_FROM + slot) << 11 | function << 8
        for register, size, value in ((0x10, "l", self._ports), (0x04, "w", 7)):
            self._qtest.out("l", CONFIG_ADDRESS, place | register)
            self._qtest.out(size, CONFIG_DATA, value)
        for status in (0, DEVICE, DEVICE | DRIVER):
            self._qtest.out("b", self._ports + 0x12, status)
        self._qtest.out("w", self._ports + 0x0E, 0)
        self._size = self._qtest.read_port("w", self._ports + 0x0C)
        assert self._size, "the device is there"
        # Descriptors, the ring that we fill, and on a page of its own the one that QEMU does.
        self._available = self._ram + 16 * self._size
        self._done = (self._available + 6 + 2 * self._size + 4095) // 4096 * 4096
        self._sent, self._came = self._ram + 0x10000, self._ram + 0x40000
        self._qtest.write(self._ram, bytes(self._done + 6 + 8 * self._size - self._ram))
        self._qtest.out("l", self._ports + 0x08, self._ram >> 12)
        self._qtest.out("b", self._ports + 0x12, DEVICE | DRIVER | READY)

    def call(self, kind: int, body: bytes, *, tag: int = 1, patience_s: float = ANSWER_S) -> bytes:
        """The answer's body. Raises Refused, and TimeoutError when there is none."""
        message = struct.pack("<IBH", 7 + len(body), kind, tag) + body
        self._qtest.write(self._sent, message)
        descriptors = struct.pack("<QIHH", self._sent, len(message), NEXT, 1)
        descriptors += struct.pack("<QIHH", self._came, MESSAGE, WRITE, 0)
        self._qtest.write(self._ram, descriptors)
        self._qtest.write(self._available + 4 + 2 * (self._used % self._size), struct.pack("<H", 0))
        self._used += 1
        self._qtest.write(self._available + 2, struct.pack("<H", self._used & 0xFFFF))
        self._qtest.out("w", self._ports + 0x10, 0)
        end = time.monotonic() + patience_s
        while self._qtest.read(self._done + 2, 2) != struct.pack("<H", self._used & 0xFFFF):
            if time.monotonic() > end:
                raise TimeoutError(f"no answer to message {kind}")
            time.sleep(0.0005)
        answer = self._qtest.read(self._came, 7)
        length, came, _ = struct.unpack("<IBH", answer)
        content = self._qtest.read(self._came + 7, length - 7) if length > 7 else b""
        if came == ERROR:
            raise Refused(struct.unpack("<I", content)[0])
        assert came == kind + 1, (kind, came)
        return content

    def walk(self, *names: str | bytes, fid: int = 0) -> int:
        """A new fid. Raises Refused, with ENOENT too when the way ends before the last name."""
        self._fid += 1
        words = b"".join(text(name) for name in names)
        answer = self.call(WALK, struct.pack("<IIH", fid, self._fid, len(names)) + words)
        if struct.unpack("<H", answer[:2])[0] != len(names):
            raise Refused(2)
        return self._fid

    def qid(self, fid: int) -> bytes:
        """What tells files apart."""
        return self.call(GETATTR, struct.pack("<IQ", fid, 0x7FF))[8:21]

    def mode(self, fid: int) -> int:
        return int(struct.unpack("<I", self.call(GETATTR, struct.pack("<IQ", fid, 0x7FF))[21:25])[0])

    def open(self, fid: int, flags: int = os.O_RDONLY) -> None:
        self.call(LOPEN, struct.pack("<II", fid, flags))

    def content(self, fid: int) -> bytes:
        """The beginning of an open file."""
        return self.call(READ, struct.pack("<IQI", fid, 0, 4096))[4:]

    def names(self, fid: int) -> list[bytes]:
        """All in an open directory."""
        found, at = [], 0
        while data := self.call(READDIR, struct.pack("<IQI", fid, at, 8192))[4:]:
            while data:
                at, _, size = struct.unpack("<QBH", data[13:24])
                found.append(data[24 : 24 + size])
                data = data[24 + size :]
        return found

    def create(self, fid: int, name: str | bytes, flags: int = os.O_RDWR | os.O_CREAT) -> None:
        """A file in the directory; `fid` is that afterwards."""
        self.call(LCREATE, struct.pack("<I", fid) + text(name) + struct.pack("<III", flags, 0o644, 0))

    def write(self, fid: int, data: bytes) -> None:
        self.call(TWRITE, struct.pack("<IQI", fid, 0, len(data)) + data)

    def symlink(self, fid: int, name: str | bytes, target: str) -> None:
        self.call(SYMLINK, struct.pack("<I", fid) + text(name) + text(target) + struct.pack("<I", 0))

    def mkdir(self, fid: int, name: str | bytes) -> None:
        self.call(MKDIR, struct.pack("<I", fid) + text(name) + struct.pack("<II", 0o755, 0))

    def mknod(self, fid: int, name: str | bytes, mode: int, device: tuple[int, int]) -> None:
        self.call(MKNOD, struct.pack("<I", fid) + text(name) + struct.pack("<IIII", mode, *device, 0))

    def link(self, fid: int, to: int, name: str | bytes) -> None:
        self.call(LINK, struct.pack("<II", fid, to) + text(name))

    def rename(self, fid: int, to: int, name: str | bytes) -> None:
        self.call(RENAME, struct.pack("<II", fid, to) + text(name))

    def renameat(self, fid: int, old: str | bytes, to: int, new: str | bytes) -> None:
        self.call(RENAMEAT, struct.pack("<I", fid) + text(old) + struct.pack("<I", to) + text(new))

    def unlinkat(self, fid: int, name: str | bytes, flags: int = 0) -> None:
        self.call(UNLINKAT, struct.pack("<I", fid) + text(name) + struct.pack("<I", flags))

    def setattr(
        self, fid: int, *, valid: int, mode: int = 0, uid: int = 0, gid: int = 0, size: int = 0
    ) -> None:
        self.call(SETATTR, struct.pack("<IIIIIQ4Q", fid, valid, mode, uid, gid, size, 0, 0, 0, 0))

    def setxattr(self, fid: int, name: str, value: bytes) -> None:
        """By a fid of its own, as it becomes the attribute; written out by its end."""
        copy = self.walk(fid=fid)
        self.call(XATTRCREATE, struct.pack("<I", copy) + text(name) + struct.pack("<QI", len(value), 0))
        self.write(copy, value)
        self.call(CLUNK, struct.pack("<I", copy))


@contextmanager
def hostile(*shares: Share, log: int) -> Iterator[list[Raw9p]]:
    """QEMU with these shares, each to be driven by hand; what it says goes to the descriptor `log`."""
    ours, theirs = socket.socketpair()
    qmp, qmp_theirs = socket.socketpair()
    machine = Machine(memory_mib=64, cores=1, accel="tcg", console="virtio")
    with ours, theirs, qmp, qmp_theirs:
        parts = qemu.Parts(
            kernel="",
            initrd=-1,
            ports=(),
            console=-1,
            network=-1,
            qmp=qmp_theirs.fileno(),
            shares=tuple((share, share.source) for share in shares),
        )
        words = list(qemu.argv(packages.find("qemu-system-x86_64"), machine, parts))
        for option in ("-kernel", "-initrd", "-append"):
            at = words.index(option)
            del words[at : at + 2]
        words += [
            "-chardev",
            f"socket,id=qtest,fd={theirs.fileno()}",
            "-qtest",
            "chardev:qtest",
            "-qtest-log",
            os.devnull,
            "-S",
        ]
        passed = (theirs.fileno(), qmp_theirs.fileno())
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log, pass_fds=passed) as child:
            theirs.close()
            qmp_theirs.close()
            ours.settimeout(ANSWER_S)
            try:
                qtest = QTest(ours)
                yield [Raw9p(qtest, number) for number in range(len(shares))]
                assert child.poll() is None, "QEMU lives on"
            finally:
                child.kill()


def text(word: str | bytes) -> bytes:
    """A string of 9p's: its length, then its bytes."""
    data = os.fsencode(word)
    return struct.pack("<H", len(data)) + data
