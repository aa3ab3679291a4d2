"""What a backend makes of a Plan: a value that `launcher.run` starts without knowing which backend it is."""

from __future__ import annotations

from launcher.plan.model import BusProxy, Limits, Mount
from launcher.record import Record


class Root(Record):
    """A root directory that is built by root before the program starts, in a mount namespace of its own.

    `mounts` in their order, with targets in that directory; sources are opened with the ids of the user, who
    owns what is made of nothing. `inner`: where in it the sandbox's own root lies: symlinks there mean what
    they mean inside.
    """

    mounts: tuple[Mount, ...]
    inner: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    covers: tuple[tuple[str, str], ...] = ()  # (file, link): mounted on the link first, as run/cover.py says
    limits: Limits = Limits()
    bus: str = ""  # systemd's busctl(1), for a scope; "" where systemd makes none
    machined: bool = False  # whether systemd-machined is told of it (run/machined.py)


class Launch(Record):
    """How to start one sandbox. Rendering it touches nothing.

    `argv` may hold placeholders `{NAME}`, each a whole argument: the number of the inherited descriptor from
    which the program reads `data[NAME]`; {control}, {stderr} and {terminal} are those of the inner stage (see
    run/inner.py). `args_option`: the program's option that takes the options before `--` from a descriptor,
    NUL-separated: then `ps` shows a line, not a page.
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, bytes], ...] = ()
    proxies: tuple[BusProxy, ...] = ()
    args_option: str = ""
    dies_with_us: bool = True  # by a death signal set before its start; False: it sets one itself
    covers: tuple[tuple[str, str], ...] = ()  # see run/cover.py
    root: Root | None = None  # see run/container.py
    prefix: tuple[str, ...] = ()  # a program that executes `argv` in its own place
    processors: int = 0  # how many it may run on; 0: all
