"""What this machine has to run a VM with; looked for by the VM alone."""

from __future__ import annotations

import os

from launcher.errors import HostError
from launcher.host import nix
from launcher.host.agent import which
from launcher.host.model import Host, Hypervisor
from launcher.host.probe import SYSTEM
from launcher.host.routes import uplink
from launcher.vm import accel, cache, kernel, screen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.request import Machine

# What the guest runs out of the host's own /usr, by these names.
GUESTS = ("/usr/bin/bwrap", "/usr/bin/setpriv", "/usr/bin/nsenter")
PYTHON = "/usr/bin/python3"  # for the relay of the SSH agent, and for settings that are links
PROGRAMS = ("busybox", "passt")
# QEMU's module for windows: Debian's, Fedora's, Arch's.
WINDOWS = (
    "/usr/lib/x86_64-linux-gnu/qemu/ui-gtk.so", "/usr/lib64/qemu/ui-gtk.so", "/usr/lib/qemu/ui-gtk.so",
)  # fmt: skip


def look(asked: Machine, host: Host) -> Host:
    """The host with its hypervisor: programs, kernel and accelerator; and what else a VM alone asks of it.

    What is lacking for it is there as `lacks`, for missing.report(). Raises HostError for KVM that was asked
    for and does not work.
    """
    emulator = f"qemu-system-{host.machine}"
    programs = {name: path for name in (emulator, *PROGRAMS) if (path := which(name, SYSTEM))}
    qemu = programs.get(emulator, "")
    manager = next((path for name in screen.MANAGERS if (path := which(name, SYSTEM))), "")
    network = uplink(_said("/proc/net/route"), _said("/proc/net/ipv6_route"))
    lacks = [f"{path}, which the guest runs" for path in GUESTS if not os.access(path, os.X_OK)]
    if "busybox" in programs and not _static(programs["busybox"]):
        lacks.append(f"a static busybox, which {programs['busybox']} is not")
    found = Hypervisor(
        qemu=qemu,
        busybox=programs.get("busybox", ""),
        passt=programs.get("passt", ""),
        lacks=tuple(lacks),
        xorg=all(os.path.exists(path) for path in (screen.XORG, screen.DRIVER)),
        manager=manager,
        online=network is not None,
        interface=network.interface if network else "",
        python=os.access(PYTHON, os.X_OK),
        windows=any(os.path.exists(path) for path in WINDOWS),
    )
    # What the guest mounts on links is the guest's own doing, whatever this kernel allows here.
    host = host.replace(
        programs={**host.programs, **programs},
        can_cover=found.python,
        offers={**host.offers, "nix-commands": nix.own()},
    )
    directory = cache.cache_dir(host.environ, host.home)
    if qemu:
        able = accel.usable(qemu, asked.accel, directory, _boot_id(), os.uname().release)
        found = found.replace(accel=able.name, why=able.why)
    try:
        boots = kernel.find(asked.kernel, host.environ, host.home)
        image = kernel.vmlinux(boots, directory) if qemu else ""
        found = found.replace(kernel=image, release=boots.release, modules=boots.modules)
    except HostError as error:
        found = found.replace(no_kernel=(error.what, error.hint))
    return host.replace(hypervisor=found)


def _static(path: str) -> bool:
    """Whether an ELF program asks for no loader (elf(5), PT_INTERP; its text stands near the beginning)."""
    with open(path, "rb") as file:
        return b"/ld-" not in file.read(4096)


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _said(path: str) -> str:
    """By the kernel; nothing where it is without that."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""
