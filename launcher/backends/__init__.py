"""A backend renders a Plan: `render(plan, host, tty)` gives a Launch, `weaker(host)` what it lacks here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from launcher.backends.base import Launch
    from launcher.host.model import Host
    from launcher.plan.model import Plan

    class Backend(Protocol):
        """What a backend's module has. `SHARES_SOCKETS`: two sandboxes meet at a socket in a project."""

        SHARES_SOCKETS: bool

        def weaker(self, _host: Host) -> tuple[str, ...]:
            """Protections of the table that this machine cannot give; each is said at start."""

        def render(self, plan: Plan, host: Host, *, tty: bool) -> Launch:
            """How to start it. Pure."""


def of(name: str) -> Backend:
    """The backend called `name`; no other is imported."""
    if name == "container":
        from launcher.backends import container

        return container
    if name == "vm":
        from launcher.backends import vm

        return vm
    from launcher.backends import bubblewrap

    return bubblewrap
