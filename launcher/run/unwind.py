"""What has to be undone, whatever happens: contextlib.ExitStack without the cost of importing it (2.4 ms)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Unwind:
    """Functions called in reverse order by `close`; one that fails does not keep the others from running."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def push(self, step: Callable[[], object]) -> None:
        """Have `step` called by `close`."""
        self._steps.append(step)

    def close(self) -> None:
        """Undo everything, newest first; the first failure is raised at the end."""
        failure: BaseException | None = None
        while self._steps:
            try:
                self._steps.pop()()
            except BaseException as error:  # noqa: BLE001  (raised below, once all is undone)
                failure = failure or error
        if failure:
            raise failure
