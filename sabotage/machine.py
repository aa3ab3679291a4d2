"""Lies about a virtual machine: what QEMU is told, what the guest is made of, and what ends with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from launcher.backends.base import Guest
from launcher.plan.model import Mount, Plan
from launcher.run import database, runtime, spawn
from launcher.run import guest as guests
from launcher.vm import qemu
from sabotage.behaviour import nothing
from sabotage.spoils import NothingToSpoil, Spoil

USER_NETWORKING = ("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,addr=0x3,romfile=")
DISK = ("-drive", "if=none,id=disk,driver=null-co,size=1M", "-device", "virtio-blk-pci,drive=disk,addr=0x1a")
SCREEN = ("x11", "wayland", "gpu")  # rows that are kept by it
Words = tuple[str, ...]


def lies() -> list[Spoil]:
    """Spoils of the backend vm."""
    return [
        _of_guest("git-config", "share", "QEMU lets the guest write what is read-only", _writable),
        _of_guest("network", "device", "--no-network is not heard", _networked, variant="no-network"),
        _of_qemu("network", "user", "QEMU's user networking, not passt's", _user_networking),
        _of_qemu("host-loopback", "user", "QEMU's user networking, not passt's", _user_networking),
        _of_qemu(
            "uid",
            "mapped",
            "owners and modes in extended attributes",
            _mapped,
        ),
        _of_qemu("syscalls", "emulator", "QEMU without a filter", partial(_without, "-sandbox"), own=True),
        _of_qemu("devices", "disk", "a disk", lambda words: (*words, *DISK), own=True),
        *(_of_machine(row, "missing", "no display device", _screenless) for row in SCREEN),
        *(_of_machine(row, "granted", "--without is not heard", _screen, variant="off") for row in SCREEN),
        _of_machine("x11", "target", "a display that nobody has", _misnamed),
        _of_qemu("gpu", "card", "another card", partial(_replaced, "virtio-vga,", "VGA,"), own=True),
        _of_machine("chromium", "confined", "it has no sandbox of its own", _unconfined, own=True),
        _of_machine("limits", "guest", "twice the memory and the processors", _doubled, own=True),
        _of_machine("terminal", "line", "a serial line", lambda plan: _console(plan, "ttyS0")),
        _patched("inheritance", "emulator", "QEMU has the caller's environment", _environment, own=True),
        _patched("environment", "emulator", "QEMU has the caller's environment", _environment),
        _patched("git-config", "staged", "staged files lie open to all", _open_to_all),
        _patched("exit", "staged", "a killed launcher leaves what was staged", _left_behind),
        _patched("exit", "emulator", "QEMU outlives its launcher", _outlives),
        _of_guest("nix-store", "written", "no overlay, and QEMU writes to the store", _written),
        _of_guest("nix-commands", "database", "the host's own database, not a copy", _not_copied),
        _patched(
            "nix-commands", "copy", "the copy is not made", lambda: nothing(database, "snapshot"), own=True
        ),
        _of_machine("nix-commands", "sandbox", "builds that see the machine", _unsandboxed, own=True),
    ]


def _of_guest(
    row: str, name: str, says: str, change: Callable[[Guest], Guest], *, variant: str = "default"
) -> Spoil:
    return Spoil(
        name=f"{row}:{name}",
        row=row,
        backend="vm",
        says=says,
        variant=variant,
        launch=lambda launch: launch.replace(guest=change(launch.guest) if launch.guest else None),
    )


def _of_machine(
    row: str,
    name: str,
    says: str,
    change: Callable[[Plan], Plan],
    *,
    variant: str = "default",
    own: bool = False,
) -> Spoil:
    return Spoil(
        name=f"{row}:{name}", row=row, backend="vm", says=says, variant=variant, plan=change, own=own
    )


def _of_qemu(row: str, name: str, says: str, change: Callable[[Words], Words], *, own: bool = False) -> Spoil:
    """Its command line is another."""

    def patch() -> None:
        argv = qemu.argv
        qemu.argv = lambda *given: change(argv(*given))

    return _patched(row, name, says, patch, own=own)


def _patched(row: str, name: str, says: str, patch: Callable[[], None], *, own: bool = False) -> Spoil:
    return Spoil(name=f"{row}:{name}", row=row, backend="vm", says=says, patch=patch, own=own)


def _writable(spoiled: Guest) -> Guest:
    if all(share.writable for share in spoiled.shares):
        raise NothingToSpoil("all shares are writable here")
    return spoiled.replace(shares=tuple(share.replace(writable=True) for share in spoiled.shares))


def _written(spoiled: Guest) -> Guest:
    """The share itself, to be written, in the place of its overlay."""
    _overlaid(spoiled)
    options = spoiled.options
    for lower, at in spoiled.overlays:
        options = tuple(lower if word == at else word for word in options)
    return _writable(spoiled).replace(options=options, overlays=())


def _not_copied(spoiled: Guest) -> Guest:
    _overlaid(spoiled)
    return spoiled.replace(shares=tuple(share.replace(snapshot=False) for share in spoiled.shares))


def _overlaid(spoiled: Guest) -> None:
    if not spoiled.overlays:
        raise NothingToSpoil("nothing is overlaid here")


def _unsandboxed(plan: Plan) -> Plan:
    def spoil(mount: Mount) -> Mount:
        return mount.replace(content=mount.content.replace(b"sandbox = true", b"sandbox = false"))

    return plan.replace(mounts=tuple(map(spoil, plan.mounts)))


def _networked(spoiled: Guest) -> Guest:
    return spoiled.replace(network=True)


def _user_networking(words: Words) -> Words:
    """In the place of the device that leads to passt; the guest's static addresses are its own, too."""
    if "-netdev" not in words:
        return words
    at = words.index("-netdev")
    return (*words[:at], *USER_NETWORKING, *words[at + 4 :])


def _mapped(words: Words) -> Words:
    """Where the guest writes; what it boots from has links that such a model does not know."""
    kept = ("security_model=none", "security_model=mapped-xattr")
    return tuple(word if "readonly=on" in word else word.replace(*kept) for word in words)


def _replaced(old: str, new: str, words: Words) -> Words:
    return tuple(word.replace(old, new) for word in words)


def _without(option: str, words: Words) -> Words:
    at = words.index(option)
    return (*words[:at], *words[at + 2 :])


def _screenless(plan: Plan) -> Plan:
    assert plan.machine is not None
    return plan.replace(machine=plan.machine.replace(screen=""))


def _screen(plan: Plan) -> Plan:
    assert plan.machine is not None
    return plan.replace(machine=plan.machine.replace(screen="hidden"))


def _misnamed(plan: Plan) -> Plan:
    return plan.replace(environment=tuple({**dict(plan.environment), "DISPLAY": ":1"}.items()))


def _unconfined(plan: Plan) -> Plan:
    return plan.replace(
        mounts=tuple(
            m.replace(content=m.content.replace(b' "$@"', b' --no-sandbox "$@"')) for m in plan.mounts
        )
    )


def _doubled(plan: Plan) -> Plan:
    assert plan.machine is not None
    machine = plan.machine
    return plan.replace(machine=machine.replace(memory_mib=2 * machine.memory_mib, cores=2 * machine.cores))


def _console(plan: Plan, console: str) -> Plan:
    assert plan.machine is not None
    return plan.replace(machine=plan.machine.replace(console=console))


def _environment() -> None:
    def inherited(guest: Guest) -> dict[str, str]:
        del guest
        return dict(os.environ)

    guests._environment = inherited


def _open_to_all() -> None:
    mkdir = os.mkdir
    os.mkdir = lambda path, mode=0o777, **named: mkdir(path, mode | 0o055, **named)


def _left_behind() -> None:
    start = vars(runtime)["spawn"]

    def idle(argv: Words, *given: Any, **named: Any) -> int:  # noqa: ANN401
        started: int = start((*argv[:2], "read -r _", *argv[3:]), *given, **named)
        return started

    vars(runtime)["spawn"] = idle


def _outlives() -> None:
    start = spawn.spawn

    def outliving(*given: Any, **named: Any) -> int:  # noqa: ANN401
        return start(*given, **{**named, "dies_with_us": False})

    vars(guests)["spawn"] = outliving
