"""`python -m launcher.spec.generate [--check]`: write what is rendered from resources.toml.

With --check only say what has drifted (status 1). Rendered are

    launcher/spec/table.py    plain literals, which the launcher imports for a third of a millisecond
    docs/resources.md         the whole table with its means, and the lists
    README.md                 the block between <!-- table --> and <!-- /table -->
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from launcher.spec import render
from launcher.spec.load import SpecError, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.spec.model import Cell, Spec

ROOT = Path(__file__).parents[2]
WIDTH = 110  # ruff's line-length in pyproject.toml
BEGIN, END = "<!-- table -->", "<!-- /table -->"

HEADER = '''"""The spec as plain literals. Made by `python -m launcher.spec.generate` from resources.toml.

ROWS            row → (group, promise, may be left out, on by default, {backend: (word, means)},
                {variant: {backend: (word, means)}}, which holds only what differs)
ETC             row → paths below /etc that it is served by
ENVIRONMENT     row → variables (a name, or PREFIX*) that belong to it
PACKAGES        (program, needed for, required, {package manager: package}, the one backend or "")
CLAUDE_SETTINGS (name below ~/.claude, "file" or "dir", content of an empty one, made when missing)
CLAUDE_PRIVATE  names below ~/.claude that get a tmpfs; CLAUDE_PLANTED: names that must not come into being
TRIGGERS        (pattern below the project, tool); GIT_TRIGGERS: below a git directory
"""

# ruff: noqa: E501
from __future__ import annotations
'''

TYPES = {
    "ROWS": (
        "dict[\n    str,\n    tuple[str, str, bool, bool, dict[str, tuple[str, str]],"
        " dict[str, dict[str, tuple[str, str]]]],\n]"
    ),
    "WORDS": "dict[str, str]",
    "BACKENDS": "dict[str, str]",
    "GROUPS": "dict[str, str]",
    "VARIANTS": "dict[str, str]",
    "ETC": "dict[str, tuple[str, ...]]",
    "ENVIRONMENT": "dict[str, tuple[str, ...]]",
    "PACKAGES": "tuple[tuple[str, str, bool, dict[str, str], str], ...]",
    "CLAUDE_SETTINGS": "tuple[tuple[str, str, str, bool], ...]",
    "CLAUDE_PRIVATE": "tuple[str, ...]",
    "CLAUDE_PLANTED": "tuple[str, ...]",
    "TRIGGERS": "tuple[tuple[str, str], ...]",
    "GIT_TRIGGERS": "tuple[tuple[str, str], ...]",
    "SECCOMP": "dict[str, tuple[str, ...] | tuple[int, ...]]",
    "CHROMIUM_POLICY": "str",
}


def literals(spec: Spec) -> dict[str, object]:
    """The constants of table.py."""
    return {
        "WORDS": spec.words,
        "BACKENDS": spec.backends,
        "GROUPS": spec.groups,
        "VARIANTS": spec.variants,
        "ROWS": {
            row.name: (
                row.group,
                row.promise,
                row.without,
                row.default,
                _cells(row.cells),
                {variant: _cells(cells) for variant, cells in row.variants.items()},
            )
            for row in spec.rows.values()
        },
        "ETC": _by_row(spec.etc),
        "ENVIRONMENT": _by_row(spec.environment),
        "PACKAGES": tuple(
            (
                p.program,
                p.needed_for,
                p.required,
                {"apt": p.apt, "dnf": p.dnf, "pacman": p.pacman},
                p.backend,
            )
            for p in spec.packages
        ),
        "CLAUDE_SETTINGS": tuple((s.name, s.kind, s.empty, s.create) for s in spec.claude_settings),
        "CLAUDE_PRIVATE": tuple(n.name for n in spec.claude_private),
        "CLAUDE_PLANTED": tuple(n.name for n in spec.claude_planted),
        "TRIGGERS": spec.triggers,
        "GIT_TRIGGERS": spec.git_triggers,
        "SECCOMP": {
            "deny": tuple(call for denied in spec.seccomp.deny for call in denied.calls),
            "families": tuple(spec.seccomp.families.values()),
            "ioctls": tuple(spec.seccomp.ioctls.values()),
        },
        "CHROMIUM_POLICY": json.dumps(spec.chromium, indent=2) + "\n",
    }


def _by_row(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    return {row: tuple(name for name, r in pairs if r == row) for row in dict.fromkeys(r for _, r in pairs)}


def _cells(cells: dict[str, Cell]) -> dict[str, tuple[str, str]]:
    return {backend: (cell.word, cell.means) for backend, cell in cells.items()}


def module(spec: Spec) -> str:
    """The text of table.py, as `ruff format` would leave it."""
    parts = [HEADER]
    for name, value in literals(spec).items():
        start = f"{name}: {TYPES[name]} = "
        parts.append(start + literal(value, column=len(start.rpartition("\n")[2]), indent=0) + "\n")
    return "\n".join(parts)


def literal(value: object, *, column: int, indent: int, after: int = 0) -> str:
    """`value` as Python source: on one line when it fits from `column` (with `after` more behind it), else
    one item a line, as ruff format breaks it."""
    flat = _flat(value)
    if column + len(flat) + after <= WIDTH or not isinstance(value, dict | tuple) or not value:
        return flat
    pad = " " * (indent + 4)
    lines = []
    if isinstance(value, dict):
        for key, item in value.items():
            start = f"{pad}{_flat(key)}: "
            lines.append(start + literal(item, column=len(start), indent=indent + 4, after=1) + ",")
        return "{\n" + "\n".join(lines) + f"\n{' ' * indent}}}"
    for item in value:
        lines.append(pad + literal(item, column=len(pad), indent=indent + 4, after=1) + ",")
    return "(\n" + "\n".join(lines) + f"\n{' ' * indent})"


def _flat(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_flat(k)}: {_flat(v)}" for k, v in value.items()) + "}"
        case tuple():
            return "(" + ", ".join(_flat(item) for item in value) + (",)" if len(value) == 1 else ")")
        case str() if '"' in value and "'" not in value:
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return repr(value)


def rendered(spec: Spec, root: Path) -> dict[Path, str]:
    """Every rendered file with its right content. README.md only when it is there.

    Raises SpecError when README.md lacks the two marks.
    """
    files = {
        root / "launcher/spec/table.py": module(spec),
        root / "docs/resources.md": render.page(spec),
    }
    readme = root / "README.md"
    if readme.exists():
        files[readme] = _between_marks(readme.read_text(encoding="utf-8"), render.table(spec))
    return files


def _between_marks(text: str, block: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SpecError(f"README.md: the marks {BEGIN} and {END} are missing")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


def drifted(spec: Spec, root: Path) -> list[Path]:
    """The rendered files whose content is not what the spec says."""
    return [
        path
        for path, text in rendered(spec, root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the rendered files; with --check only name those that have drifted (status 1)."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m launcher.spec.generate [--check]", file=sys.stderr)
        return 2
    try:
        spec = load(root / "launcher/spec/resources.toml")
        stale = drifted(spec, root)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments:
        for path in stale:
            print(f"{path.relative_to(root)} has drifted: run python -m launcher.spec.generate")
        return 1 if stale else 0
    for path, text in rendered(spec, root).items():
        if path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
