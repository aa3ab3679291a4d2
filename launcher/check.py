"""`--check`: everything that this host lacks for a backend, required or only for a row."""

from __future__ import annotations

from launcher.backends import bubblewrap
from launcher.missing import Missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.host.model import Host


def report(host: Host, backend: str) -> list[Missing]:
    """What is missing, what is required first."""
    found = bubblewrap.missing(host) if backend == "bubblewrap" else []
    if host.agent is None:
        found.append(Missing(what="Claude Code", program="claude", why="no claude on PATH (--shell works without)", required=True))
    if "xdg-dbus-proxy" not in host.programs:
        why = "rows dbus-session and dbus-system are off without it"
        found.append(Missing(what="xdg-dbus-proxy", program="xdg-dbus-proxy", why=why, required=False))
    if "tmux" not in host.programs:
        found.append(Missing(what="tmux", program="tmux", why="--tmux needs it", required=False))
    return sorted(found, key=lambda m: not m.required)
