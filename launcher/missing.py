"""What a host lacks, each with the command that mends it."""

from __future__ import annotations

import os

from launcher.record import Record
from launcher.spec.table import PACKAGES

INSTALL = {"apt-get": "apt-get install -y", "dnf": "dnf install -y", "pacman": "pacman -S --noconfirm"}


class Missing(Record):
    """One thing that is not there: `required` for a start, or only for the row or flag that `why` names."""

    what: str
    program: str
    why: str
    required: bool

    @property
    def fix(self) -> str:
        """The command for this machine's package manager, or in words."""
        package = PACKAGES.get(self.program)
        for manager, install in INSTALL.items():
            if package and any(os.access(f"{d}/{manager}", os.X_OK) for d in ("/usr/bin", "/usr/sbin", "/bin")):
                return f"sudo {install} {package[manager]}"
        return f"install {self.what} with your package manager"

    def as_json(self) -> dict[str, object]:
        """As `--check=json` prints it."""
        return {**self.fields(), "fix": self.fix}
