"""The table as cells: for each backend and each variant of a start, the word that every row promises.

A variant is a way to start the sandbox, or a host to start it on. What the table says of a variant is taken
from there; the rest is that of the default, but for `off` (each row that may be left out is) and `bare` (a
host that has none of the optional resources), where those rows read `absent`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launcher.spec.model import Row, Spec

DEFAULT = "default"
OFF = "off"
BARE = "bare"
TMUX = "tmux"

# Rows whose resource a host may lack, and which are then not granted. (Of ~/.claude there is always one: the
# launcher makes it. /etc, the time zone, fonts and certificates are there wherever programs run.)
OPTIONAL = (
    "git-config",
    "ssh-keys",
    "ssh-agent",
    "gh-config",
    "api-key",
    "x11",
    "wayland",
    "audio",
    "gpu",
    "dbus-session",
    "dbus-system",
    "nix-store",
    "nix-commands",
)
MADE = ("x11", "wayland", "gpu")
# Rows that are about what another row grants, and go with it.
FOLLOWS = {"claude-settings": "claude-config"}
# The variants of the table in which every row is proven again; in its others, those that they change.
WHOLE = ("no-network",)
# After a cell's id: the check needs nothing of the sandbox that others share.
APART = "-apart"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to start: `flags` for the command line, `bare` for a host without the optional resources."""

    name: str
    flags: tuple[str, ...]
    says: str
    bare: bool = False

    @property
    def tag(self) -> str:
        """What a check's id ends with."""
        return "" if self.name == DEFAULT else f"[{self.name}]"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One promise: what `row` is on `backend` under `variant`."""

    backend: str
    variant: str
    row: str
    word: str
    means: str

    @property
    def id(self) -> str:
        """As in `bubblewrap-ssh-agent-forwarded[no-network]`."""
        return (
            f"{self.backend}-{self.row}-{self.word}{'' if self.variant == DEFAULT else f'[{self.variant}]'}"
        )

    @property
    def means_id(self) -> str:
        """The same for a check of the means: `bubblewrap-ssh-agent-means[no-network]`."""
        return f"{self.backend}-{self.row}-means{'' if self.variant == DEFAULT else f'[{self.variant}]'}"

    @property
    def directory(self) -> str:
        """Its name as a directory's: as in `bubblewrap-no-network-ssh-agent`."""
        return "-".join([self.backend, *([] if self.variant == DEFAULT else [self.variant]), self.row])


def variants(spec: Spec) -> dict[str, Variant]:
    """Every variant by its name, the default first."""
    left_out = [row for row in spec.rows.values() if row.without and row.default]
    off = tuple(word for row in left_out for word in ("--without", row.name))
    table = [
        Variant(name=name, flags=tuple(shlex.split(flags)), says=flags)
        for name, flags in spec.variants.items()
    ]
    found = [
        Variant(name=DEFAULT, flags=(), says="no flags"),
        *table,
        Variant(name=TMUX, flags=("--tmux",), says="--tmux"),
        Variant(name=BARE, flags=(), says="on a host without the optional resources", bare=True),
        Variant(name=OFF, flags=off, says="--without each row that may be left out"),
    ]
    return {variant.name: variant for variant in found}


def cells(spec: Spec, backend: str, variant: str) -> list[Cell]:
    """What the backend promises under the variant, in the table's order."""
    rows: Iterable[Row] = spec.rows.values()
    if variant in spec.variants and variant not in WHOLE:
        rows = [row for row in rows if backend in row.variants.get(variant, {})]
    return [_cell(spec, row, backend, variant) for row in rows]


def selected(
    spec: Spec, backends: Sequence[str], names: Sequence[str] = (), rows: Sequence[str] = ()
) -> list[Cell]:
    """The cells of these backends, narrowed to variants and rows when any are named."""
    return [
        cell
        for backend in backends
        for variant in names or variants(spec)
        for cell in cells(spec, backend, variant)
        if not rows or cell.row in rows
    ]


def _cell(spec: Spec, row: Row, backend: str, variant: str) -> Cell:
    claim = row.cell(backend, variant)
    word, means = claim.word, claim.means
    leader = spec.rows[FOLLOWS.get(row.name, row.name)]
    if variant == OFF and leader.without and leader.default:
        word, means = "absent", f"--without {leader.name}"
    # What the sandbox itself makes is there on any host.
    if variant == BARE and row.name in OPTIONAL and (word != "own" or row.name not in MADE):
        word, means = "absent", "this host has none"
    return Cell(backend=backend, variant=variant, row=row.name, word=word, means=means)
