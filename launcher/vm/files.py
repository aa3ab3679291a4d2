"""Where the init's own things lie in the guest, and words for its shell."""

from __future__ import annotations

SYSTEM = "/system"  # in the initramfs; the root of all later
INNER = "/sandbox"  # what is to be the sandbox's root
OWN = "/guest"  # the init's own place in it, closed to all but root
BUSYBOX = f"{OWN}/bin/busybox"
RELAY = "/relay"  # what the user runs outside of the sandbox, for it
COVER = f"{OWN}/cover.py"  # launcher/run/cover.py
SOCKET = f"{RELAY}/agent.sock"


def quoted(word: str) -> str:
    """A word for the shell."""
    return "'" + word.replace("'", "'\\''") + "'"
