"""The environment that the launcher was started with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def given(environ: Mapping[str, str]) -> Mapping[str, str]:
    """`environ`, ours, as it was at our start: in the C locale Python adds an LC_CTYPE to it (PEP 538)."""
    if "LC_CTYPE" not in environ:
        return environ
    try:
        with open("/proc/self/environ", "rb") as file:
            started = file.read()
    except OSError:
        return environ
    if any(line.startswith(b"LC_CTYPE=") for line in started.split(b"\0")):
        return environ
    return {name: value for name, value in environ.items() if name != "LC_CTYPE"}
