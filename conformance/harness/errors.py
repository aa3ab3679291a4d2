"""Why we could not look, which is not the same as a broken promise.

    HarnessError
    ├── ConsoleError      the way into the sandbox is gone; `screen` is what was last on it
    │   ├── ConsoleTimeout    the deadline passed
    │   └── ConsoleDied       the sandbox ended
    └── NeverStarted      the command line did not come to a shell

An AssertionError says that the sandbox broke a promise; whatever else a check raises leaves it unproven. What
is asserted of the host, where the same probe has to work, stands below `with on_the_host():`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class HarnessError(Exception):
    """The check could not look. `remedy` is the command that would make it run, when one is known."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n  {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class ConsoleError(HarnessError):
    """The console is of no more use."""

    def __init__(self, what: str, screen: str = "") -> None:
        shown = "\n".join(f"    {line}" for line in screen.splitlines())
        super().__init__(f"{what}; on the screen:\n{shown}" if shown else f"{what}; the screen is empty")
        self.screen = screen


class ConsoleTimeout(ConsoleError):
    """The deadline passed before the command had ended."""


class ConsoleDied(ConsoleError):
    """What is behind the console ended."""


class NeverStarted(HarnessError):
    """The sandbox did not come to a shell."""


@contextmanager
def on_the_host() -> Iterator[None]:
    """An assertion in here is about the host: failing, it is a HarnessError, as such a probe is blind."""
    try:
        yield
    except AssertionError as error:
        raise HarnessError(f"the control on the host failed: {error}") from error
