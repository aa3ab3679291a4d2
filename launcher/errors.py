"""One error type per audience; raised anywhere, printed by `cli.main` alone, as two lines.

    LauncherError
    ├── UserError     the person at the keyboard: a flag, a path        exit status 2
    ├── HostError     whoever owns the machine: what it lacks           exit status 125
    └── SandboxError  started and failed: argv, status, log             exit status 125

Anything else is a bug and keeps its traceback. Status 2 and 125 as env(1), timeout(1) and docker use them.
"""

from __future__ import annotations


class LauncherError(Exception):
    """`what` went wrong and, as `hint`, what to do about it. Each a single line."""

    status = 125

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class UserError(LauncherError):
    """A flag or a path that cannot be meant."""

    status = 2


class HostError(LauncherError):
    """What this machine lacks."""


class SandboxError(LauncherError):
    """The sandbox was started and failed before the agent ran; the hint carries the line that replays it.

    `argv` as rendered, the exit status with which it `ended` (128 + signal), and the end of what it wrote to
    stderr as `log`; `quoted`: lines of it that are to be seen above the error.
    """

    def __init__(
        self,
        what: str,
        hint: str,
        *,
        argv: tuple[str, ...] = (),
        ended: int = 0,
        log: str = "",
        quoted: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, hint)
        self.argv = argv
        self.ended = ended
        self.log = log
        self.quoted = quoted
