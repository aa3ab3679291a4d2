"""launcher/filters.py: the syscall filters, assembled beforehand, which at a start would cost 1 ms."""

from __future__ import annotations

import sys
from pathlib import Path

from launcher.seccomp import program
from launcher.spec.table import SECCOMP
from launcher.syscalls import MACHINES

HEADER = '''"""The filters of launcher/seccomp.py, assembled by `invoke docs`: edit resources.toml instead.

FILTERS  (machine, nested user namespaces allowed) → struct sock_filter array, in hexadecimal
"""

from __future__ import annotations

FILTERS: dict[tuple[str, bool], str] = {
'''


def module() -> str:
    """The text of launcher/filters.py, as `ruff format` would leave it."""
    parts = [HEADER]
    for machine in MACHINES:
        for userns in (False, True):
            text = program(machine, rules=SECCOMP, userns=userns).hex()
            lines = [text[at : at + 96] for at in range(0, len(text), 96)]
            parts.append(f'    ("{machine}", {userns}): (\n')
            parts += [f'        "{line}"\n' for line in lines]
            parts.append("    ),\n")
    return "".join([*parts, "}\n"])


def main(arguments: list[str]) -> int:
    """Rewrite launcher/filters.py, or with --check only look. Exit status 1 when that found it old."""
    path = Path(__file__).parent.parent / "launcher" / "filters.py"
    wanted = module()
    if path.exists() and path.read_text() == wanted:
        return 0
    if "--check" in arguments:
        print("launcher/filters.py is not what the spec says: invoke docs")
        return 1
    path.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
