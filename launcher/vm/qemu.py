"""QEMU's command line, from values alone (qemu(1); virtio-9p and virtio-serial of its documentation)."""

from __future__ import annotations

from launcher.record import Record
from launcher.untrusted import printable
from launcher.vm.init import PORTS
from launcher.vm.screen import DEVICES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.backends.base import Share
    from launcher.plan.model import Machine

# Nothing that a fast boot or a sandbox needs: i8042 and HPET cost time, the others are only devices more.
# What lies below 4 GiB is made ready page by page before anything else (mm/page_alloc.c, deferred_init).
BOARD = "q35,i8042=off,vmport=off,sata=off,smbus=off,hpet=off,max-ram-below-4g=1G"
# Without random numbers of its own the first program that asks for some waits a second for them. The others
# make it an x86-64-v2, which the libraries of some distributions ask for.
TCG_CPU = "qemu64,+rdrand,+ssse3,+sse4.1,+sse4.2,+popcnt"
# What costs time and gives nothing here (admin-guide/kernel-parameters.txt): the crypto modules'
# tests of themselves (0.3 s of TCG's), bounce buffers that no virtio device needs, 64 MiB to be cleared;
# security modules that have no policy; patching of every lock where there is one processor. The timer's test
# is a panic where the host is too busy for it to tick in time.
KERNEL = (
    "quiet panic=-1 cryptomgr.notests no_timer_check "
    "swiotlb=noforce lsm=landlock,lockdown,yama,integrity noreplace-smp"
)
LAST_SLOT = 0x1E  # the next one is the board's own
SLOTS_FROM = 4  # PCI slots for shares, eight in each


class Parts(Record):
    """What the run has made ready: a kernel's path, and numbers of descriptors that QEMU inherits.

    `ports`: by name; `console` is the agent's line, -1 without a terminal; `network` leads to passt, -1
    without; `qmp` is ours; `log` takes what the kernel and the init say. `name`: the project's, for a title.
    """

    kernel: str
    initrd: int
    ports: tuple[tuple[str, int], ...]
    console: int
    network: int
    qmp: int
    shares: tuple[tuple[Share, str], ...]  # with the directory of each
    name: str = ""


def argv(program: str, machine: Machine, parts: Parts) -> tuple[str, ...]:
    """The whole command line."""
    serial_log = machine.console == "virtio"
    log = "ttyS0" if serial_log else "ttyS1"
    return (
        program, "-name", f"guest=claude-sandbox: {escaped(printable(parts.name))}",
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-machine", f"{BOARD},accel={machine.accel}",
        "-cpu", cpu(machine.accel),
        "-m", str(machine.memory_mib), "-smp", str(machine.cores),
        "-kernel", parts.kernel, "-initrd", f"/proc/self/fd/{parts.initrd}",
        "-append", f"console={log} {KERNEL}",
        *_screen(machine.screen),
        "-chardev", f"socket,id=qmp,fd={parts.qmp}", "-mon", "chardev=qmp,mode=control",
        *(("-qmp", f"unix:{escaped(machine.qmp_socket)},server=on,wait=off") if machine.qmp_socket else ()),
        *_serial(machine, parts),
        *_network(parts.network),
        *_shares(parts.shares),
    )  # fmt: skip


def cpu(accel: str) -> str:
    """The guest's processor."""
    return "host" if accel == "kvm" else TCG_CPU


def _serial(machine: Machine, parts: Parts) -> list[str]:
    """The kernel's line, the agent's, and the ports; first on the bus, whose number their names have."""
    words = ["-device", "virtio-serial-pci,id=serial,addr=0x2,max_ports=16"]
    words += ["-chardev", "file,id=log,path=/proc/self/fd/2,append=on"]
    virtio = machine.console == "virtio"
    if parts.console >= 0:
        words += ["-chardev", f"socket,id=console,fd={parts.console}"]
        if virtio:
            words += ["-device", "virtconsole,bus=serial.0,chardev=console,nr=0"]
        else:
            words += ["-serial", "chardev:console"]
    elif not virtio:
        words += ["-serial", "null"]
    words += ["-serial", "chardev:log"]
    for name, number in parts.ports:
        words += ["-chardev", f"socket,id={name},fd={number}"]
        place = f"bus=serial.0,chardev={name},name={name},nr={PORTS.index(name) + 1}"
        words += ["-device", f"virtserialport,{place}"]
    return words


def _screen(kind: str) -> list[str]:
    # Closed, the window would take the agent with it.
    words = ["-display", "gtk,window-close=off" if kind == "window" else "none"]
    return [*words, *_devices(DEVICES if kind else ())]


def _devices(names: tuple[str, ...]) -> list[str]:
    slots = enumerate(names, LAST_SLOT - len(names) + 1)
    return [word for slot, name in slots for word in ("-device", f"{name},addr={slot:#x}")]


def _network(number: int) -> list[str]:
    if number < 0:
        return []
    return [
        "-netdev", f"stream,id=net,server=off,addr.type=fd,addr.str={number}",
        "-device", "virtio-net-pci,netdev=net,addr=0x3,romfile=",
    ]  # fmt: skip


def _shares(shares: tuple[tuple[Share, str], ...]) -> list[str]:
    words = []
    for number, (share, directory) in enumerate(shares):
        readonly = "" if share.writable else ",readonly=on"
        words += [
            "-fsdev",
            f"local,id=share{number},path={escaped(directory)},security_model=none,multidevs=remap{readonly}",
        ]
        slot, function = divmod(number, 8)
        place = f"addr={SLOTS_FROM + slot:#x}.{function}" + (",multifunction=on" if not function else "")
        words += ["-device", f"virtio-9p-pci,fsdev=share{number},mount_tag={share.tag},{place}"]
    return words


def escaped(path: str) -> str:
    """A value for one of QEMU's lists, where a comma stands for two."""
    return path.replace(",", ",,")
