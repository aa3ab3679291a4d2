"""Sockets by their paths: is there anybody?"""

from __future__ import annotations

# Of each place: "connected", or the error's name (errno(3)).
CONNECT = r"""
import errno, socket
found = {}
for place in given["places"]:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(5)
        try:
            one.connect(place)
            found[place] = "connected"
        except OSError as error:
            found[place] = errno.errorcode.get(error.errno, "silence")
print(ascii(found))
"""


def connected(answers: dict[str, str]) -> list[str]:
    """Where somebody is."""
    return [place for place, came in answers.items() if came in ("connected", "silence")]
