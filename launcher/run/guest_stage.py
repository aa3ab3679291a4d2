"""Where a guest's init does what the host's kernel does for others: orders, signals, the terminal."""

from __future__ import annotations

from launcher.run.stage import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from launcher.run.streams import Tail


class GuestStage(Stage):
    """The port "ctl": the inner stage in the guest, and the init, which does what a kernel does here."""

    def receive(self) -> list[tuple[int, str]]:
        """Lines; whoever wrote them, to this kernel it was QEMU."""
        return [(0, line) for _, line in super().receive()]

    def first(self, _writer: int) -> int:
        """No process of this kernel's."""
        return -1

    def found(self, _agent: int, inside: int) -> None:
        """Signals are for `inside`, by the init."""
        self.agent = inside

    def tell(self, line: str) -> None:
        """Something for the init."""
        super().order(line)

    def order(self, line: str) -> None:
        """Something for the stage, by the init: so that it comes after what the init was told before."""
        self.tell(f"order {line}")

    def signal(self, number: int, *, group: bool = False) -> None:
        """Have the init send a signal to the agent."""
        if self.agent:
            self.tell(f"signal {number} {-self.agent if group else self.agent}")


class GuestLine:
    """The guest's terminal: bytes over a socket, modes and sizes by the init."""

    slave = -1

    def __init__(self, master: int, tell: Callable[[str], None], tail: Tail) -> None:
        self.master = master
        self._tell = tell
        self._tail = tail

    def modes(self, attributes: list[Any]) -> None:
        """As `stty -g` has them, whose numbers are the kernel's own."""
        from launcher.run.guard import flat

        self._tell("modes " + ":".join(f"{value:x}" for value in flat(attributes)))

    def size(self, winsize: bytes) -> None:
        """struct winsize: rows and columns come first."""
        rows, columns = (int.from_bytes(winsize[at : at + 2], "little") for at in (0, 2))
        self._tell(f"size {rows} {columns}")

    def taken(self, data: bytes) -> tuple[bytes, bool]:
        """Up to the token that ends it."""
        return self._tail.taken(data)
