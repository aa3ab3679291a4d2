"""The network of a guest: passt, the wall before it, and what passt says when it cannot start."""

from __future__ import annotations

import os

from launcher.errors import SandboxError
from launcher.run.helper import Helper
from launcher.run.spawn import spawn
from launcher.vm.network import argv, wall

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    import socket as _socket
else:
    import _signal
    import _socket

LOG = 8192  # bytes of passt's words that are kept
NOISE = "Failed to send "  # to a syslog; it says so of each line that it says


class Network:
    """Until `close`, or QEMU's end of `guest`, which whoever starts QEMU closes.

    passt that dies later takes the network with it, and not the agent.
    """

    def __init__(self, program: str, interface: str) -> None:
        self.guest, inner = _pair()
        outer, theirs = _pair()
        self._log, log = os.pipe()
        for number in (self._log, log, inner, outer):
            os.set_blocking(number, False)  # the log's: nobody reads while all is well, and it is not to wait
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._wall = Helper(lambda: wall(inner, outer), (inner, outer))
        self._argv = argv(program, theirs, interface)
        self._process = spawn(self._argv, {}, stdio=(nothing, nothing, log), keep=(theirs,))
        for number in (inner, outer, theirs, log, nothing):
            os.close(number)

    def check(self) -> None:
        """Raises SandboxError when passt has failed."""
        process, status = os.waitpid(self._process, os.WNOHANG) if self._process else (0, 0)
        if process:
            self._process = 0
        code = os.waitstatus_to_exitcode(status)
        if code:  # without one it ended because the machine did
            raise self._failure(128 - code if code < 0 else code)

    def close(self) -> None:
        """End both, and wait for their end."""
        if self._process:
            os.kill(self._process, _signal.SIGKILL)
            os.waitpid(self._process, 0)
        self._wall.close()
        os.close(self._log)

    def _failure(self, status: int) -> SandboxError:
        from shlex import join

        said = os.read(self._log, LOG).decode("utf-8", "replace")
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith(NOISE)]
        return SandboxError(
            f"passt did not start: {lines[-1] if lines else f'status {status}'}",
            f"start without a network by --no-network, or look: {join(self._argv)}",
            argv=self._argv,
            ended=status,
            log="\n".join(lines),
        )


def _pair() -> tuple[int, int]:
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return one.detach(), other.detach()
