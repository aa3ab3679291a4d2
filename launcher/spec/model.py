"""The Spec: resources.toml as checked, frozen values. Made by load.py, read by render.py and generate.py."""

from __future__ import annotations

from launcher.record import Record


class Cell(Record):
    """What one backend claims for one row: the promise (a word) and the means, checked apart."""

    word: str
    means: str


class Row(Record):
    """One resource. `cells` and each of `variants` are keyed by backend; a variant has only what differs."""

    name: str
    group: str
    promise: str
    without: bool
    default: bool
    cells: dict[str, Cell]
    variants: dict[str, dict[str, Cell]]

    def cell(self, backend: str, variant: str = "") -> Cell:
        """The cell under `variant`, which is the plain one where the variant changes nothing."""
        return self.variants.get(variant, {}).get(backend, self.cells[backend])


class Package(Record):
    """A program on the host and the package that brings it, by package manager.

    `backend`: the one that needs it, "" when each does.
    """

    program: str
    needed_for: str
    required: bool
    apt: str
    dnf: str
    pacman: str
    backend: str = ""


class Setting(Record):
    """A name under ~/.claude that is read-only inside. `empty`: the content of one that is made."""

    name: str
    kind: str  # "file" or "dir"
    why: str
    empty: str = ""
    create: bool = True


class Named(Record):
    """A name under ~/.claude, with the reason why it is on its list."""

    name: str
    why: str


class Denied(Record):
    """System calls that fail, and why."""

    why: str
    calls: tuple[str, ...]


class Seccomp(Record):
    """What the filter refuses: calls by name, socket families and requests of ioctl(2) by name and number."""

    deny: tuple[Denied, ...]
    families: dict[str, int]
    ioctls: dict[str, int]


class Spec(Record):
    """All of resources.toml. `etc`, `environment` and the triggers are flat pairs in the file's order.

    etc (path below /etc, row) · environment (variable or PREFIX*, row) · triggers (pattern, tool).
    """

    words: dict[str, str]
    backends: dict[str, str]
    groups: dict[str, str]
    variants: dict[str, str]
    rows: dict[str, Row]
    etc: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    packages: tuple[Package, ...]
    claude_settings: tuple[Setting, ...]
    claude_private: tuple[Named, ...]
    claude_planted: tuple[Named, ...]
    triggers: tuple[tuple[str, str], ...]
    git_triggers: tuple[tuple[str, str], ...]
    seccomp: Seccomp
    chromium: dict[str, object]
