"""What a machine's own screen shows, seen by QEMU from outside; keys and the pointer, as people have them."""

from __future__ import annotations

import secrets
import time

from conformance.harness.machine import Machine

STEP_S = 0.5
MOST = 0x7FFF  # QEMU's coordinates go from 0 to there


def colour() -> tuple[int, int, int]:
    """One that nothing else has."""
    red, green, blue = secrets.token_bytes(3)
    return red, green, blue


def hexadecimal(shade: tuple[int, int, int]) -> str:
    """As in `12ab34`."""
    return bytes(shade).hex()


def filled(
    machine: Machine,
    pid: str,
    *shades: tuple[int, int, int],
    least: float,
    patience_s: float,
    press: str = "",
) -> tuple[int, int, int] | None:
    """Which of these colours comes to have so much of the screen, while the program inside runs.

    `press`: a key that answers whatever dialog may come first.
    """
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        runs = machine.inside.run("kill -0 %s", pid).rc == 0
        shot = machine.picture()
        for shade in shades:
            if shot.share(shade) >= least:
                return shade
        if not runs:
            return None
        if press:
            key(machine, press)
        time.sleep(STEP_S)
    return None


def click(machine: Machine, x: int, y: int) -> None:
    """The left button at this pixel, from the upper left."""
    shot = machine.picture()
    places = (("x", x, shot.width), ("y", y, shot.height))
    move = [
        {"type": "abs", "data": {"axis": axis, "value": at * MOST // (size - 1)}} for axis, at, size in places
    ]
    press, leave = ([{"type": "btn", "data": {"button": "left", "down": down}}] for down in (True, False))
    for events in (move, press, leave):
        machine.qmp("input-send-event", events=events)


def key(machine: Machine, name: str) -> None:
    """A key, by its QKeyCode (QEMU QMP Reference Manual): pressed, and let go."""
    machine.qmp("send-key", keys=[{"type": "qcode", "data": name}])
