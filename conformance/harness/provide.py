"""What lets a host have what a row forwards: for its user, or at a fixed path of the whole machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.harness.errors import HarnessError
from conformance.harness.services import NEEDS
from fixtures import packages, users
from fixtures.process import attempt, output

if TYPE_CHECKING:
    from conformance.harness.world import World

# A zone with half an hour of summer time, which is mistaken for no other; faces that no machine has.
ZONES, ZONE = Path("/usr/share/zoneinfo"), "Australia/Lord_Howe"
LOCALTIME, FONTS, PRIVATE = (Path(f"/etc/{name}") for name in ("localtime", "fonts", "ssl/private"))
FACE, NO_FACE = "Fixture Face", "A Face That Nobody Has"
ALIAS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <match target="pattern">
    <test name="family"><string>{face}</string></test>
    <edit name="family" mode="assign" binding="strong"><string>{family}</string></edit>
  </match>
</fontconfig>
"""


def _variables(attribute: str) -> Callable[[World], None]:
    """A provider for what is found by the variables that the service itself names."""

    def provide(world: World) -> None:
        world.environ.update(getattr(world.services, attribute).environment())

    return provide


def _link(world: World, name: str, target: Path) -> None:
    path = world.runtime / name
    users.directory(path.parent, world.user)
    if not path.is_symlink():
        path.symlink_to(target)


def _wayland(world: World) -> None:
    _link(world, "wayland-0", world.services.compositor.socket)
    world.environ["WAYLAND_DISPLAY"] = "wayland-0"


def _audio(world: World) -> None:
    sound = world.services.sound
    _link(world, "pulse/native", sound.pulse)
    if sound.pipewire:
        _link(world, "pipewire-0", sound.pipewire)


def _system_bus(world: World) -> None:
    world.environ["DBUS_SYSTEM_BUS_ADDRESS"] = world.services.system_bus.address


def _certificates(world: World) -> None:
    """An authority that no other machine trusts, and the key of a server beside the certificates."""
    world.mounts.bind(world.services.https.certificates, Path("/etc/ssl/certs"))
    _hosts(world)
    if world.mounts.bound(PRIVATE):
        return
    private = users.directory(world.services.scratch("private") / "private", world.user, mode=0o755)
    world.write(private / "host.key", "-----BEGIN PRIVATE KEY-----\nMC4CAQA=\n", mode=0o644)
    world.mounts.bind(private, PRIVATE)


def _hosts(world: World) -> None:
    world.mounts.bind(world.services.https.hosts, Path("/etc/hosts"))


def _zone(world: World) -> None:
    """A time zone that nobody has by chance."""
    if world.mounts.bound(LOCALTIME):
        return
    if not (ZONES / ZONE).exists():
        raise HarnessError(f"this machine has no {ZONES / ZONE}", "apt-get install tzdata")
    localtime = world.services.scratch("zone") / "localtime"
    shutil.copy(ZONES / ZONE, localtime)
    world.mounts.bind(users.own(localtime, world.user), LOCALTIME)


def _fonts(world: World) -> None:
    """A rule for a face that no other machine knows: it is drawn by another family than what nobody has."""
    if world.mounts.bound(FONTS):
        return
    packages.find("fc-match")
    common = world.output(("fc-match", "--format=%{family[0]}", NO_FACE))
    families = world.output(("fc-list", "--format=%{family[0]}\\n")).splitlines()
    others = sorted(family for family in set(families) if family != common)
    if not others:
        raise HarnessError("this machine has fonts of one family alone", packages.remedy("fc-match"))
    fonts = world.services.scratch("fonts") / "fonts"
    shutil.copytree(FONTS, fonts, symlinks=True)
    (fonts / "conf.d/00-fixture.conf").write_text(ALIAS.format(face=FACE, family=others[0]))
    world.mounts.bind(users.own(fonts, world.user), FONTS)


def _nix(world: World) -> None:
    if not Path("/nix/store").exists():
        # A /nix of this run's own, so that a killed one leaves nothing in the machine's.
        nix = world.services.scratch("nix")
        # Build users pass through.
        nix.chmod(0o755)
        world.mounts.bind(nix, Path("/nix"))
    daemon = world.services.nix_daemon
    world.mounts.bind(daemon.socket_directory, Path("/nix/var/nix/daemon-socket"))
    world.mounts.bind(daemon.database, Path("/nix/var/nix/db"))
    world.mounts.bind(daemon.configuration / "nix.conf", Path("/etc/nix/nix.conf"))


def _device(path: str, remedy: str) -> Callable[[World], None]:
    def provide(_world: World) -> None:
        if not Path(path).exists():
            raise HarnessError(f"this machine has no {path}", remedy)

    return provide


def _kvm(world: World) -> None:
    """/dev/kvm as one has it who is in its group, which nobody needs to be here."""
    kvm = Path("/dev/kvm")
    _device(str(kvm), "run where virtualisation is nested, or on bare metal")(world)
    if attempt(("test", "-r", str(kvm), "-a", "-w", str(kvm)), user=world.user).returncode != 0:
        node = world.services.scratch("kvm") / "kvm"
        sudo = () if os.geteuid() == 0 else ("sudo", "-n")
        numbers = kvm.stat().st_rdev
        output((*sudo, "mknod", "-m", "666", str(node), "c", str(os.major(numbers)), str(os.minor(numbers))))
        world.mounts.bind(node, kvm)


# Row → what lets a user have its resource. Everything else of a row is in every home (world.py).
OF_USERS: Mapping[str, Callable[[World], None]] = {
    "ssh-agent": _variables(NEEDS["ssh-agent"]),
    "x11": _variables(NEEDS["x11"]),
    "wayland": _wayland,
    "audio": _audio,
    "dbus-session": _variables(NEEDS["dbus-session"]),
    "dbus-system": _system_bus,
    "nix-store": _nix,
    "nix-commands": _nix,
    "kvm": _kvm,
}
# The same for what belongs to a machine, whoever uses it.
OF_MACHINES: Mapping[str, Callable[[World], None]] = {
    "tls": _certificates,
    "dns": _hosts,
    "timezone": _zone,
    "fonts": _fonts,
}


def provider(row: str, *, bare: bool) -> Callable[[World], None] | None:
    """What lets a host have it, None where nothing has to. A bare one has what belongs to the machine."""
    return OF_MACHINES.get(row) or (None if bare else OF_USERS.get(row))
