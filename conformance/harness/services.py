"""What a host has running: real services, each started once for a test run, when it is first asked for.

To give a row a resource on the host, add its name to NEEDS and a property to Services that starts it; what a
sandbox is started with (environment, mounts) is then said in world.py.
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from conformance.harness.as_root import nix_as_root
from fixtures import audio, dbus, nixdaemon, ssh_agent, tls, users, wayland, xserver
from fixtures.users import User

T = TypeVar("T")

# Row → the service that must run before a sandbox starts, for the row to be granted.
NEEDS = {
    "ssh-agent": "ssh_agent",
    "x11": "xserver",
    "wayland": "compositor",
    "audio": "sound",
    "dbus-session": "session_bus",
    "dbus-system": "system_bus",
    "nix-store": "nix_daemon",
    "nix-commands": "nix_daemon",
    "tls": "https",
}


class Services:
    """The host's services, as the user whose sandboxes are tested. Used from the main thread alone.

    `homes` is where homes are made: below the user's own, which no sandbox may show.
    """

    def __init__(self, directory: Path, homes: Path, user: User) -> None:
        self.directory = directory
        self.homes = homes
        self.user = user
        self._stack = ExitStack()

    def close(self) -> None:
        """End them all."""
        self._stack.close()

    def enter(self, service: AbstractContextManager[T]) -> T:
        """Start one more, which lives as long as the others."""
        return self._stack.enter_context(service)

    def scratch(self, name: str) -> Path:
        """A new directory of the user's, with a path short enough for sockets."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
        return users.own(path, self.user)

    @cached_property
    def cache(self) -> Path:
        """An XDG_CACHE_HOME: of the user's own it has what the launcher keeps, as a kernel for VMs."""
        kept = self.user.home / ".cache/claude-sandbox"
        for path in (kept.parent, kept):
            if not path.exists():
                users.directory(path, self.user)
        made = self.scratch("cache")
        (made / kept.name).symlink_to(kept)
        return made

    @cached_property
    def ssh_agent(self) -> ssh_agent.SshAgent:
        return self.enter(ssh_agent.ssh_agent(self.scratch("agent"), as_user=self.user))

    @cached_property
    def xserver(self) -> xserver.XServer:
        return self.enter(xserver.xserver(self.scratch("x"), as_user=self.user))

    @cached_property
    def compositor(self) -> wayland.Compositor:
        return self.enter(wayland.weston(self.scratch("wl"), as_user=self.user))

    @cached_property
    def sound(self) -> audio.Sound:
        """PipeWire, which has PulseAudio's socket, too."""
        return self.enter(audio.pipewire(self.scratch("snd"), as_user=self.user))

    @cached_property
    def session_bus(self) -> dbus.SessionBus:
        return self.enter(dbus.session_bus(self.scratch("bus"), as_user=self.user))

    @cached_property
    def system_bus(self) -> dbus.SystemBus:
        return self.enter(dbus.system_bus(self.scratch("sys"), as_user=self.user))

    @cached_property
    def nix_daemon(self) -> nixdaemon.NixDaemon:
        return self.enter(nix_as_root(self.scratch("nix"), self.user))

    @cached_property
    def https(self) -> tls.Tls:
        """An HTTPS server whose certificate an authority of our own has signed."""
        return self.enter(tls.https_server(self.scratch("tls"), as_user=self.user))
