"""The guest's screen: what starts it, and what a host with a display sees of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from fixtures.packages import find_file
from fixtures.process import wait_until
from fixtures.users import scratch
from fixtures.xserver import XServer, xserver
from launcher.plan.model import Identity
from launcher.vm import initramfs, screen
from launcher.vm.init import Streams
from launcher.vm.kernel import Kernel
from tests.launcher.vm.booted import Guest, booted
from tests.launcher.vm.guests import MACHINE, guest

OWNER = Identity(uid=1000, gid=1001)
# By Xlib: of the window with the title, asks to close it as a window manager does (ICCCM, WM_DELETE_WINDOW);
# then, as any other client, takes the keyboard and the pointer. Prints what came of that: 0 is success.
CLIENT = r"""
import ctypes, sys
x = ctypes.CDLL("libX11.so.6")
for name in ("XOpenDisplay", "XInternAtom", "XDefaultRootWindow"):
    getattr(x, name).restype = ctypes.c_void_p if name == "XOpenDisplay" else ctypes.c_ulong
display = ctypes.c_void_p(x.XOpenDisplay(None))
root = ctypes.c_ulong(x.XDefaultRootWindow(display))

def atom(name):
    return x.XInternAtom(display, name, 0)

class Message(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send", ctypes.c_int),
                ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("kind", ctypes.c_ulong),
                ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 24)]

window = int(sys.argv[1], 16)
message = Message(type=33, window=window, kind=atom(b"WM_PROTOCOLS"), format=32)
message.data[0] = atom(b"WM_DELETE_WINDOW")
x.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
x.XSync(display, 0)
keyboard = x.XGrabKeyboard(display, root, 0, 1, 1, ctypes.c_ulong(0))
pointer = x.XGrabPointer(
    display, root, 0, ctypes.c_uint(4), 1, 1, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
)
print(keyboard, pointer)
"""


@pytest.mark.parametrize("manager", ["", "/usr/bin/openbox"])
def test_what_starts_it_is_a_shells_script(manager: str) -> None:
    text = screen.script(["/modules/0.ko"], owner=OWNER, manager=manager)
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert ("openbox" in text) == bool(manager)


def test_nothing_that_draws_is_root() -> None:
    text = screen.script([], owner=OWNER, manager="/usr/bin/openbox")
    drawing = [line for line in text.splitlines() if "openbox" in line or "Xorg" in line]

    assert len(drawing) == 2
    assert all("--reuid=1000 --regid=1001" in line and "--bounding-set=-all" in line for line in drawing)


def test_a_guest_without_a_screen_has_nothing_for_one(fetched: Kernel) -> None:
    streams = Streams(stdin="null", stdout="out", stderr="err")

    def archive(kind: str) -> bytes:
        made = guest(machine=MACHINE.replace(screen=kind))
        host = made.hypervisor.replace(busybox="/bin/busybox", modules=fetched.modules)
        return initramfs.build(made, host, streams, token="t0ken")

    assert b"Xorg" in archive("hidden")
    assert b"Xorg" not in archive("")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A guest, and the host's X server."""

    guest: Guest
    server: XServer

    @property
    def title(self) -> str:
        """Of its window."""
        return f"QEMU (claude-sandbox: {self.guest.machine.project.name})"

    def window(self) -> str:
        """The window's number."""
        tree = ["xwininfo", "-name", self.title]
        said = subprocess.run(
            tree, env=self.server.environment(), capture_output=True, text=True, check=True
        ).stdout
        return said.partition("Window id: ")[2].split()[0]


@contextmanager
def on_a_display(fetched: Kernel, *flags: str) -> Iterator[Shown]:
    """A guest of a user with a display."""
    with scratch() as place, xserver(place) as server:
        with booted(fetched, "--no-network", *flags, env=server.environment()) as guest:
            yield Shown(guest=guest, server=server)


def test_a_window_shows_it_by_its_projects_name_and_takes_nothing_else(fetched: Kernel) -> None:
    """One boot: the title; its window manager's close ends nothing; keyboard and pointer are free."""
    find_file("/usr/lib/*/qemu/ui-gtk.so")
    with on_a_display(fetched, "--display", "window") as shown:
        wait_until(
            lambda: None if shown.title in shown.server.titles() else f"{shown.server.titles()}",
            "the window",
            timeout_s=30,
        )
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, shown.window()],
            env=shown.server.environment(),
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout.split() == ["0", "0"]
        assert shown.guest.run("echo $DISPLAY $XAUTHORITY").out == ":0\n"
        # Not as small as the window was before there was anything to show.
        assert "1280x800" in shown.guest.run("xdpyinfo | grep dimensions").out
        assert shown.title in shown.server.titles()


def test_with_display_none_there_is_a_screen_and_no_window(fetched: Kernel) -> None:
    with on_a_display(fetched, "--display", "none") as shown:
        said = shown.guest.run("xdpyinfo | grep dimensions")

        assert "1280x800" in said.out
        assert shown.server.titles() == []
