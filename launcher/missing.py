"""What a host lacks for a backend, each with the command that mends it."""

from __future__ import annotations

import os

from launcher.filters import FILTERS
from launcher.host.agent import installed
from launcher.plan.vm import INSTALL_XORG
from launcher.record import Record
from launcher.spec.table import PACKAGES
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.host.model import Host, Hypervisor

# Package manager of the spec → its program and how it installs.
INSTALL = {
    "apt": ("apt-get", "apt-get install -y"),
    "dnf": ("dnf", "dnf install -y"),
    "pacman": ("pacman", "pacman -S --noconfirm"),
}


class Missing(Record):
    """One thing that is not there: `required` for a start, or only for the row or flag that `why` names.

    `mend`: how to have it, where that is no package; `otherwise`: what to do when the package is no help.
    """

    what: str
    program: str
    why: str
    required: bool
    mend: str = ""
    otherwise: str = ""

    @property
    def fix(self) -> str:
        """The command for this machine's package manager, or in words."""
        return f"{self._fix()}   ({self.otherwise})" if self.otherwise else self._fix()

    def _fix(self) -> str:
        if self.mend:
            return self.mend
        packages = {program: names for program, _, _, names, _ in PACKAGES}.get(self.program, {})
        for manager, (program, install) in INSTALL.items():
            if manager in packages and any(
                os.access(f"{d}/{program}", os.X_OK) for d in ("/usr/bin", "/bin")
            ):
                return f"sudo {install} {packages[manager]}"
        return f"install {self.what} with your package manager"

    def as_json(self) -> dict[str, object]:
        """As `--check=json` prints it."""
        shown = ("what", "program", "why", "required", "fix")
        return {name: getattr(self, name) for name in shown}


def report(host: Host, backend: str, *, shell: bool = False, network: bool = True) -> list[Missing]:
    """Everything that is missing, what is required first. `shell`: no agent is needed; nor passt without
    `network`.
    """
    found = [*_bubblewrap(host, backend), *(_guest(host.hypervisor) if backend == "vm" else ())]
    for program, needed_for, required, _, only in PACKAGES:
        if only in ("", backend) and program not in host.programs and program not in ("bwrap", "npm"):
            one = Missing(what=program, program=program, why=f"it is for {needed_for}", required=required)
            if program == "passt" and network:
                one = one.replace(required=True, otherwise="or without a network: --no-network")
            found.append(one)
    if host.agent is None and not shell:
        why = "there is no claude on PATH (--shell works without)"
        # Not -g, which takes root where npm is the distribution's; the launcher looks there, too.
        mend = f"npm install --prefix {_quoted(installed(host.environ, host.home))} @anthropic-ai/claude-code"
        found.append(Missing(what="Claude Code", program="claude", why=why, required=True, mend=mend))
    return sorted(found, key=lambda m: not m.required)


def _quoted(path: str) -> str:
    from shlex import quote  # only on the way to an error

    return printable(quote(path))


def _guest(hypervisor: Hypervisor) -> list[Missing]:
    """What a VM takes beside programs."""
    found = []
    if hypervisor.no_kernel:
        why, mend = hypervisor.no_kernel
        what = "a kernel for the VM"
        found.append(Missing(what=what, program="kernel", why=why, required=True, mend=mend))
    if not hypervisor.xorg:
        why = "it is for the screen of rows x11 and chromium"
        what = "Xorg with its evdev driver"
        found.append(Missing(what=what, program="", why=why, required=False, mend=INSTALL_XORG))
    for what in hypervisor.lacks:
        why = "its userland is this machine's own /usr"
        mend = "install it there, with your package manager"
        found.append(Missing(what=what, program="", why=why, required=True, mend=mend))
    return found


def _bubblewrap(host: Host, backend: str) -> list[Missing]:
    if backend == "vm":  # it runs in the guest, from the path that is looked for there
        return []
    if (host.machine, False) not in FILTERS:
        why = f"there is none for {host.machine}"
        mend = "use a backend with a kernel of its own"
        return [Missing(what="a system call filter", program="", why=why, required=True, mend=mend)]
    if host.bwrap is None:
        return [Missing(what="bubblewrap", program="bwrap", why="there is no bwrap on PATH", required=True)]
    shown = printable(host.bwrap.path)
    if host.bwrap.planted:
        why = f"{shown} lies where an agent can write, so it is not run"
        mend = "take directories of PROJECT and of --share off your PATH"
        return [Missing(what="a bubblewrap of your own", program="bwrap", why=why, required=True, mend=mend)]
    if host.bwrap.broken:
        why = f"{shown} does not run: {printable(host.bwrap.broken)}"
        return [Missing(what="a working bubblewrap", program="bwrap", why=why, required=True)]
    if "perms" not in host.bwrap.options:
        why = f"{shown} is older than 0.5: it lacks --perms"
        newer = "where that is as old, a newer release of your distribution has it"
        return [Missing(what="a newer bubblewrap", program="bwrap", why=why, required=True, otherwise=newer)]
    return []
