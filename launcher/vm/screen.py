"""The guest's own screen: Xorg on a virtio display, with a window manager; started by the first who connects.

Its socket is there from the beginning (launcher/vm/activation.py), so that any X client finds the display,
and a guest that shows nothing waits for no driver. Xorg takes the socket over as sd_listen_fds(3) has it. It
has no udev and no logind here, so its configuration names every device.
"""

from __future__ import annotations

from launcher.plan.vm import DISPLAY
from launcher.vm.files import BUSYBOX, INNER, OWN, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.plan.model import Identity

PLACE = "/screen"  # in the guest, the owner's; the sandbox can read there
SOCKET = f"{PLACE}/X0"
LOG = f"{PLACE}/Xorg.log"
FONTS = f"{INNER}/etc/fonts"
XORG = "/usr/lib/xorg/Xorg"  # the program itself: its wrapper, setuid, is for people at a console
DRIVER = "/usr/lib/xorg/modules/input/evdev_drv.so"
MANAGERS = ("openbox",)
MODULES = ("virtio_gpu", "virtio_input", "evdev")
DEVICES = ("virtio-vga", "virtio-keyboard-pci", "virtio-tablet-pci")
CONFIGURED = "/etc/X11/claude-sandbox.conf"
# Without a mode of its own the screen would have the size of QEMU's window before there is anything to show,
# 640x480. The numbers are VESA's, by cvt(1).
CONFIGURATION = """\
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoAddGPU" "false"
  Option "DontVTSwitch" "true"
  Option "BlankTime" "0"
EndSection
Section "Device"
  Identifier "display"
  Driver "modesetting"
  Option "kmsdev" "/dev/dri/card0"
  Option "AccelMethod" "none"
EndSection
Section "Monitor"
  Identifier "monitor"
  Modeline "1280x800" 83.50 1280 1352 1480 1680 800 803 809 831 -hsync +vsync
  Option "PreferredMode" "1280x800"
EndSection
Section "InputDevice"
  Identifier "keyboard"
  Driver "evdev"
  Option "Device" "/dev/input/event0"
EndSection
Section "InputDevice"
  Identifier "pointer"
  Driver "evdev"
  Option "Device" "/dev/input/event1"
EndSection
Section "ServerLayout"
  Identifier "layout"
  Screen "screen"
  InputDevice "keyboard" "CoreKeyboard"
  InputDevice "pointer" "CorePointer"
EndSection
Section "Screen"
  Identifier "screen"
  Device "display"
  Monitor "monitor"
EndSection
"""


def script(modules: Iterable[str], *, owner: Identity, manager: str) -> str:
    """What `listening` starts, as root: drivers, devices for the owner, and then, as the owner, Xorg in its
    own place. `manager`: the window manager's path, or "".
    """
    environment = f"PATH=/usr/bin:/bin HOME=/tmp DISPLAY={DISPLAY} FONTCONFIG_PATH={FONTS}"
    user = (
        f"/usr/bin/setpriv --reuid={owner.uid} --regid={owner.gid} --clear-groups --no-new-privs"
        " --bounding-set=-all --inh-caps=-all --ambient-caps=-all --"
    )
    xorg = (
        f"exec env -i {environment} LISTEN_FDS=1 LISTEN_PID=$$ {user} {XORG} {DISPLAY} vt1 -keeptty"
        " -novtswitch -nolisten tcp -nolisten local -noreset"
        f" -config {CONFIGURED} -logfile {LOG}"
    )
    lines = [
        f"export PATH={OWN}/bin",
        "umask 22",
        *(f"insmod {quoted(name)}" for name in modules),
        f"chown {owner.uid}:{owner.gid} /dev/dri/* /dev/tty0 /dev/tty1 /dev/input/event*",
        # It waits for the display as every client does.
        *((f"env -i {environment} {user} {manager} 3<&- &",) if manager else ()),
        # A session of its own, whose terminal is the one that it draws on.
        f"exec setsid {BUSYBOX} sh -c {quoted(xorg)} </dev/tty1",
    ]
    return "\n".join(lines) + "\n"
