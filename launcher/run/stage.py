"""The launcher's end of the socket to the inner stage (see inner.py), and the agent as the kernel
names it.
"""

from __future__ import annotations

import os

from launcher.run.spawn import parent_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    import socket as _socket
else:
    import _signal
    import _socket

SO_PASSCRED = _socket.SO_PASSCRED
SCM_CREDENTIALS = _socket.SCM_CREDENTIALS


class Stage:
    """Lines from the stage, each with its writer's process id; orders to it; signals to the agent."""

    def __init__(self) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        ours.setsockopt(_socket.SOL_SOCKET, SO_PASSCRED, 1)
        ours.setblocking(False)
        self._socket = ours
        self.inside = theirs.detach()
        self.descriptor = ours.fileno()
        self.agent = 0
        self._handle = -1
        self._text = b""

    def part(self) -> None:
        """Close the stage's end here."""
        if self.inside >= 0:
            os.close(self.inside)
            self.inside = -1

    def receive(self) -> list[tuple[int, str]]:
        """(process id, line) for each line that came; `descriptor` is -1 once the stage's end is closed."""
        lines: list[tuple[int, str]] = []
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, _socket.CMSG_SPACE(12))
            except BlockingIOError:
                return lines
            except OSError:
                data, ancillary = b"", []
            if not data:
                self.descriptor = -1
                return lines
            # struct ucred: pid, uid, gid. The kernel never merges what different processes wrote.
            writer = int.from_bytes(ancillary[0][2][:4], "little") if ancillary else 0
            *complete, self._text = (self._text + data).split(b"\n")
            lines += [(writer, line.decode("ascii", "replace")) for line in complete]

    def order(self, line: str) -> None:
        """Tell the stage to go on. When it is gone its exit status says all."""
        try:
            self._socket.send(line.encode() + b"\n")
        except OSError:
            return

    def first(self, writer: int) -> int:
        """The first process of the sandbox, by the one that has said that it is built."""
        return parent_of(writer)

    def found(self, agent: int, _inside: int) -> None:
        """`agent` is the process that signals are for, `_inside` its number there.

        By handle: its number may be another's once it has ended.
        """
        try:
            self._handle = os.pidfd_open(agent)
            self.agent = agent
        except OSError:
            pass  # ended already

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the agent, or to its process group when it leads one."""
        if self._handle < 0:
            return
        try:
            _signal.pidfd_send_signal(self._handle, 0)  # type: ignore[attr-defined,unused-ignore]
            if group and os.getpgid(self.agent) == self.agent:
                os.killpg(self.agent, number)
            else:
                _signal.pidfd_send_signal(self._handle, number)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            pass  # ended

    def close(self) -> None:
        """Close our end, which ends a stage that still waits."""
        self.part()
        self._socket.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
