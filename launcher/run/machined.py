"""systemd-machined is told of a container, so that `machinectl` knows it; org.freedesktop.machine1(5).

Nothing waits for that: the agent runs meanwhile. The machine's unit is the scope that run/limited.py has
made. When that has ended, whatever ended it, machined forgets the machine; to terminate a machine is to stop
its unit.
"""

from __future__ import annotations

import os

from launcher.run.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

MANAGER = ("org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager")
UNSEEN = "machinectl does not show this container"


def machine_call(bus: str, name: str, leader: int) -> tuple[str, ...]:
    """busctl(1), for machined's RegisterMachine. Without an id, for all containers have the same one inside,
    and without a directory: the root lies in no mount namespace but the container's.
    """
    return (
        bus, "--system", "--quiet", "call", *MANAGER, "RegisterMachine", "sayssus",
        name, "0", "claude-sandbox", "container", str(leader), "",
    )  # fmt: skip


def leader_of(container: int) -> int:
    """The first process inside: nspawn's only child, once what it starts runs (proc_pid_task(5), children).

    Raises OSError when there is none.
    """
    with open(f"/proc/{container}/task/{container}/children", encoding="ascii") as file:
        children = file.read().split()
    if not children:
        raise ProcessLookupError(3, "the container has ended")
    return int(children[0])


class Registration:
    """The registration of a container, under way. `heard`: a descriptor that is readable to its end once
    machined has answered.

    Raises OSError when the container has ended already.
    """

    def __init__(self, bus: str, name: str, container: int) -> None:
        leader = leader_of(container)
        self._leader = os.pidfd_open(leader)
        self.heard, said = os.pipe()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        call = machine_call(bus, name, leader)
        self._process = spawn(call, {}, stdio=(nothing, nothing, said))
        os.close(nothing)
        os.close(said)

    def settle(self) -> str:
        """Why machined does not have it; "" when it does, or when the container has ended meanwhile."""
        said = b""
        while data := os.read(self.heard, 4096):
            said += data
        _, ended = os.waitpid(self._process, 0)
        self._process = 0
        if ended == 0 or self._over():
            return ""
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return f"{UNSEEN}: {lines[-1] if lines else 'busctl failed'}"

    def close(self) -> None:
        """Do not wait for an answer any longer."""
        if self._process:
            os.kill(self._process, _signal.SIGKILL)
            os.waitpid(self._process, 0)
        os.close(self.heard)
        os.close(self._leader)

    def _over(self) -> bool:
        import select

        poll = select.poll()
        poll.register(self._leader, select.POLLIN)
        return bool(poll.poll(0))
