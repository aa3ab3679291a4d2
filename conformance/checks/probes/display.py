"""Clients of display servers in a few lines, which run the same inside and on the host."""

from __future__ import annotations

import time
from collections.abc import Callable

from conformance.harness.inside import Inside

PATIENCE_S = 10.0

# X Window System Protocol, "Connection Setup". given: sockets, cookies (hex, "" for no authorization at all,
# null for what $XAUTHORITY holds). Prints, for each pair "socket cookie", what the server answers.
X11 = r"""
import os, socket, struct


def entries(path):
    # Xau(3): family, then address, number, name and data, each with its length.
    with open(path, "rb") as file:
        rest, found = file.read(), []
    while rest:
        fields, rest = [], rest[2:]
        for _ in range(4):
            size = struct.unpack(">H", rest[:2])[0]
            fields.append(rest[2 : 2 + size])
            rest = rest[2 + size :]
        found.append(fields)
    return found


def own():
    return entries(os.environ["XAUTHORITY"])[0][3]


def asked(path, cookie):
    name = b"MIT-MAGIC-COOKIE-1" if cookie else b""
    pad = lambda data: data + bytes(-len(data) % 4)
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(10)
        server.connect(path)
        hello = struct.pack("<BxHHHHxx", 0x6C, 11, 0, len(name), len(cookie))
        server.sendall(hello + pad(name) + pad(cookie))
        head = server.recv(8, socket.MSG_WAITALL)
        if len(head) < 8:
            return "hung up"
        if head[0] == 1:
            return "accepted"
        why = server.recv(4 * struct.unpack("<H", head[6:8])[0], socket.MSG_WAITALL)
        return "refused: " + why.rstrip(b"\0\n").decode(errors="replace")


found = {}
for path in given["sockets"]:
    for cookie in given["cookies"]:
        try:
            found[f"{path} {cookie}"] = asked(path, own() if cookie is None else bytes.fromhex(cookie))
        except OSError as error:
            found[f"{path} {cookie}"] = f"errno {error.errno}"
print(ascii(found))
"""

# wayland.xml and xdg-shell.xml: a window with a buffer, shown once. given: socket ("" for what the
# environment names), title. Prints "shown" once the compositor asks for the next frame, else what went wrong.
WAYLAND = r"""
import mmap, os, socket, struct

SHM_SIZE, WIDTH = 64 * 64 * 4, 64
runtime = os.environ.get("XDG_RUNTIME_DIR", "/nowhere")
path = given["socket"] or os.path.join(runtime, os.environ.get("WAYLAND_DISPLAY", "none"))
sent, ids = bytearray(), iter(range(2, 100))


def text(value):
    data = value.encode() + b"\0"
    return struct.pack("=I", len(data)) + data + bytes(-len(data) % 4)


def say(target, opcode, *arguments):
    body = b"".join(a if isinstance(a, bytes) else struct.pack("=i", a) for a in arguments)
    sent.extend(struct.pack("=IHH", target, opcode, 8 + len(body)) + body)


def flush(fd=None):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))] if fd is not None else []
    server.sendmsg([bytes(sent)], rights)
    sent.clear()


def event():
    head = server.recv(8, socket.MSG_WAITALL)
    if len(head) < 8:
        raise EOFError("hung up")
    target, opcode, size = struct.unpack("=IHH", head)
    body = server.recv(size - 8, socket.MSG_WAITALL) if size > 8 else b""
    if (target, opcode) == (1, 0):
        raise EOFError(f"wl_display.error {body!r}")
    return target, opcode, body


def bind(name, version):
    number, wire, _ = offered[name]
    new = next(ids)
    say(registry, 0, number, text(name), version, new)
    return new


def shown():
    global registry, offered
    registry, done, offered = next(ids), next(ids), {}
    say(1, 1, registry)
    say(1, 0, done)
    flush()
    while True:
        target, opcode, body = event()
        if target == done:
            break
        if (target, opcode) == (registry, 0):
            number, size = struct.unpack("=II", body[:8])
            name = body[8 : 8 + size - 1].decode()
            offered[name] = (number, *struct.unpack("=I", body[-4:]), name)
    compositor, shm, base = bind("wl_compositor", 1), bind("wl_shm", 1), bind("xdg_wm_base", 1)
    surface, shell, window, pool, buffer, frame = (next(ids) for _ in range(6))
    say(compositor, 0, surface)
    say(base, 2, shell, surface)
    say(shell, 1, window)
    say(window, 2, text(given["title"]))
    say(surface, 6)
    memory = os.memfd_create("pixels")
    os.ftruncate(memory, SHM_SIZE)
    say(shm, 0, pool, SHM_SIZE)
    flush(memory)
    say(pool, 0, buffer, 0, WIDTH, WIDTH, WIDTH * 4, 1)
    flush()
    while True:
        target, opcode, body = event()
        if (target, opcode) == (base, 0):
            say(base, 3, body)
            flush()
        elif (target, opcode) == (shell, 0):
            say(shell, 4, body)
            say(surface, 1, buffer, 0, 0)
            say(surface, 2, 0, 0, WIDTH, WIDTH)
            say(surface, 3, frame)
            say(surface, 6)
            flush()
        elif (target, opcode) == (frame, 0):
            return "shown"


try:
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(10)
        server.connect(path)
        answer = shown()
except EOFError as error:
    answer = str(error)
except OSError as error:
    answer = f"errno {error.errno}"
print(ascii(answer))
"""


def appears(inside: Inside, pid: str, titles: Callable[[], list[str]], title: str, *, times: int = 1) -> bool:
    """Whether so many windows of that title come up on the host's display, while the program inside runs."""
    end = time.monotonic() + PATIENCE_S
    runs = True
    while titles().count(title) < times:
        if not runs or time.monotonic() > end:
            return False
        time.sleep(0.02)
        runs = inside.run("kill -0 %s", pid).rc == 0
    return True
