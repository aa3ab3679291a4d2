"""A launcher in small: `python3 -I child.py COMMAND…` runs it under a plain bwrap by `launcher.run`."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, __file__.rpartition("/tests/")[0])

from launcher.backends.base import Launch
from launcher.errors import LauncherError
from launcher.plan.model import BusProxy
from launcher.run.inner import command
from launcher.run.session import run

BWRAP = (
    "--unshare-all",
    "--share-net",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
)


def main() -> int:
    """The agent's status, or 125 after two lines on stderr."""
    more = tuple(os.environ.get("BWRAP_MORE", "").split())
    rules = tuple(os.environ.get("PROXY_RULES", "").split())
    bus = os.environ.get("BUS")
    launch = Launch(
        argv=("/usr/bin/bwrap", *BWRAP, *more, "--", *command(tuple(sys.argv[1:]), tty=True)),
        environment=(("PATH", "/usr/bin:/bin"), ("TERM", "xterm")),
        data=(("words", b"staged"),),
        dies_with_us=False,
        proxies=(BusProxy(address=bus, socket="{proxies}/bus", rules=rules),) if bus else (),
    )
    try:
        return run(launch, on_ready=ready)
    except LauncherError as error:
        print(error.what, error.hint, sep="\n", file=sys.stderr)
        return error.status


def ready() -> None:
    """What is asked for at the moment between a built sandbox and its agent."""
    if "RAISE" in os.environ:
        raise RuntimeError("on_ready failed")


if __name__ == "__main__":
    sys.exit(main())
