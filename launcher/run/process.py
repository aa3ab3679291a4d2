"""The process that a Launch becomes, whoever its parent in between is: how it is started, and ended."""

from __future__ import annotations

import os

from launcher.run.spawn import fresh_signals, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping

    from launcher.backends.base import Launch
else:
    import _signal


NAME = "claude-nspawn."  # the launcher's number follows: by it who sweeps sees whether that lives
NOTE = "keeper: "  # so begins a line on a keeper's stderr that is no failure; it is said at the end


class Process:
    """A child of ours: `pid` to wait for; its exit status is the sandbox's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        """End it at once, and with it all that it has started."""
        os.kill(self.pid, _signal.SIGKILL)

    def close(self) -> None:
        """Once it has been waited for."""


class Kept(Process):
    """A keeper, which is root and not ours to kill: it does it by itself when its pipe ends."""

    def __init__(self, pid: int, life: int, tidied: int, name: str) -> None:
        super().__init__(pid)
        self._life = life
        self._tidied = tidied
        self._name = name

    def kill(self) -> None:
        """Have the keeper end it."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def close(self) -> None:
        """Let go of the pipe; and tidy up, should the keeper have been killed before it had."""
        self.kill()
        if not os.read(self._tidied, 1):
            from launcher.run.keeper import tidy_for

            tidy_for(self._name)
        os.close(self._tidied)


def start(
    launch: Launch, argv: tuple[str, ...], *, stdio: tuple[int, int, int], passed: tuple[int, ...]
) -> Process:
    """Start `argv`, of `launch` with descriptors in place of its placeholders."""
    environment = dict(launch.environment)
    if launch.root is None:
        return Process(
            spawn(
                argv,
                environment,
                stdio=stdio,
                keep=passed,
                covers=launch.covers,
                dies_with_us=launch.dies_with_us,
                processors=launch.processors,
            )
        )
    return _kept(launch, argv, environment, stdio=stdio, passed=passed)


def _kept(
    launch: Launch,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    stdio: tuple[int, int, int],
    passed: tuple[int, ...],
) -> Process:
    """By a keeper, which takes the root that we have in reserve."""
    assert launch.root is not None
    terminal = next((os.ttyname(number) for number in passed if os.isatty(number)), "")
    name = f"{NAME}{os.getpid()}-{os.urandom(3).hex()}"
    life, ours = os.pipe()
    tidied, tell = os.pipe()
    # A signal in the child would be written into our wakeup pipe, until it has handlers of its own.
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    child = os.fork()
    if child == 0:
        from launcher.run.keeper import keep

        fresh_signals()
        os.close(ours)
        os.close(tidied)
        keep(
            launch.root,
            argv,
            environment,
            stdio=stdio,
            passed=passed,
            terminal=terminal,
            life=life,
            tidied=tell,
            name=name,
        )
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    os.close(life)
    os.close(tell)
    return Kept(child, ours, tidied, name)
