"""Things of the host's that one check needs for a moment, and that are gone afterwards, killed or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.harness import inside
from conformance.harness.world import World
from fixtures.process import Process, log_says, running

# The signal that ends it comes from whoever started it, or by that one's death (prctl(2), PR_SET_PDEATHSIG).
_HOLD = """
import ctypes, os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, signal.SIGTERM)
try:
    exec(given["make"])
    print("held", flush=True)
    signal.sigwait({signal.SIGTERM})
finally:
    exec(given["unmake"])
"""


@contextmanager
def held(host: World, make: str, unmake: str = "", **given: Any) -> Iterator[tuple[Process, Any]]:  # noqa: ANN401
    """Run the Python code `make` as the user in a process that stays, and `unmake` when the block ends.

    `make` finds `given`, `libc` and `os`, and prints one line by `ascii`, which comes with the process.
    """
    program = inside.probe(_HOLD, {**given, "make": make, "unmake": unmake}).decode()
    argv = (*inside.PYTHON.removesuffix(" -").split(), "-c", program)
    log = host.services.scratch("held") / "log"
    with running(argv, log=log, ready=log_says("held\n"), user=host.user, env=host.environ) as process:
        yield process, inside.literal(process.output().splitlines()[0])
