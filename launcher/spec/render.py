"""The Spec as Markdown, JSON and lines for a terminal. Pure: Spec in, text out."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from launcher.spec.model import Package, Row, Spec

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
# Green is what the sandbox may touch of the host, yellow what it sees, blue its own; absent is dim.
COLOURS = {
    **dict.fromkeys(("read-write", "forwarded", "shared", "watched"), "\x1b[32m"),
    **dict.fromkeys(("read-only", "filtered", "same"), "\x1b[33m"),
    **dict.fromkeys(("own", "copied"), "\x1b[34m"),
    "absent": DIM,
}


def table(spec: Spec) -> str:
    """The table for README.md: row, promise, one word per backend; a heading line per group."""
    head = ["", "what it promises", *spec.backends]
    rows = []
    for group, members in grouped(spec):
        rows.append([f"**{group}**", *[""] * (len(head) - 1)])
        for row in members:
            words = [_words(spec, row, backend) for backend in spec.backends]
            rows.append([f"`{row.name}`", row.promise, *words])
    return _markdown(head, rows)


def _words(spec: Spec, row: Row, backend: str) -> str:
    """`shared; --no-network: absent`."""
    plain = row.cells[backend].word
    words = [plain]
    for variant in row.variants:
        word = row.cell(backend, variant).word
        if word != plain:
            words.append(f"{spec.variants[variant]}: {word}")
    return "; ".join(words)


def page(spec: Spec) -> str:
    """docs/resources.md: the table with its means, the words, and every list."""
    parts = [
        "# Resources",
        "<!-- Rendered from launcher/spec/resources.toml by `python -m launcher.spec.generate`. -->",
        "What a sandbox gets, row by row, and by which means. A row whose resource the host lacks is not"
        " granted; `--explain` says so. Rows marked † can be left out with `--without ROW`; those marked +"
        " are off unless asked for.",
        "## Words",
        _markdown(["word", "meaning"], [[f"**{word}**", meaning] for word, meaning in spec.words.items()]),
    ]
    for group, members in grouped(spec):
        head = ["row", "promise", *spec.backends]
        parts += [f"## {group}", _markdown(head, [_full(spec, row) for row in members])]
    parts += ["## Lists", *_lists(spec)]
    return "\n\n".join(parts) + "\n"


def _full(spec: Spec, row: Row) -> list[str]:
    mark = (" †" if row.without else "") + ("" if row.default else " +")
    return [f"`{row.name}`{mark}", row.promise, *(_claims(spec, row, backend) for backend in spec.backends)]


def _claims(spec: Spec, row: Row, backend: str) -> str:
    """Word and means, then those of each variant that differs."""
    plain = row.cells[backend]
    lines = [f"**{plain.word}** · {plain.means}"]
    for variant in row.variants:
        cell = row.cell(backend, variant)
        if cell != plain:
            lines.append(f"`{spec.variants[variant]}`: **{cell.word}** · {cell.means}")
    return "<br>".join(lines)


def _needed(package: Package) -> str:
    return f"required{f' by {package.backend}' if package.backend else ''}" if package.required else ""


def _lists(spec: Spec) -> Iterable[str]:
    yield "### /etc\n\nThese come in, if they are there; passwd, group, hostname and machine-id are made."
    yield _markdown(["row", "paths below /etc"], _gather(spec.etc))
    yield "### Environment\n\nCopied when they are set; nothing else is, but what `--env` names."
    yield _markdown(["row", "variables"], _gather(spec.environment))
    yield "### Programs on the host"
    yield _markdown(
        ["program", "needed for", "", "apt", "dnf", "pacman"],
        [[f"`{p.program}`", p.needed_for, _needed(p), p.apt, p.dnf, p.pacman] for p in spec.packages],
    )
    yield "### ~/.claude\n\nRead-only inside, since the host's own claude runs or obeys it:"
    yield _markdown(["name", "why"], [[f"`{s.name}`", s.why] for s in spec.claude_settings])
    yield "Empty and private inside:"
    yield _markdown(["name", "why"], [[f"`{n.name}`", n.why] for n in spec.claude_private])
    yield "Taken away at exit when it appeared:"
    yield _markdown(["name", "why"], [[f"`{n.name}`", n.why] for n in spec.claude_planted])
    yield "### Host triggers\n\nIn the project, and at exit in its subdirectories, too:"
    yield _markdown(["tool", "paths"], _gather(spec.triggers))
    yield "In its git directory:"
    yield _markdown(["tool", "paths"], _gather(spec.git_triggers))
    yield "### System calls\n\nThese fail with EPERM:"
    yield _markdown(["calls", "why"], [[_code(d.calls), d.why] for d in spec.seccomp.deny])
    yield f"Socket families that fail: {_code(spec.seccomp.families)}."
    yield f"Requests of ioctl(2) that fail: {_code(spec.seccomp.ioctls)}."
    yield f"### Chromium's managed policy\n\n```json\n{json.dumps(spec.chromium, indent=2)}\n```"


def _gather(pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    keys = dict.fromkeys(key for _, key in pairs)
    return [[f"`{key}`", _code(value for value, k in pairs if k == key)] for key in keys]


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def grouped(spec: Spec) -> list[tuple[str, list[Row]]]:
    """(title, rows) for every group, in the spec's order."""
    rows = spec.rows.values()
    return [(title, [row for row in rows if row.group == group]) for group, title in spec.groups.items()]


def as_json(spec: Spec) -> str:
    """The table as one JSON object: words, groups, variants and rows with every cell."""
    return json.dumps(
        {
            "words": spec.words,
            "backends": spec.backends,
            "groups": spec.groups,
            "variants": spec.variants,
            "rows": [
                {
                    "row": row.name,
                    "group": row.group,
                    "promise": row.promise,
                    "without": row.without,
                    "default": row.default,
                    "cells": {backend: cell.fields() for backend, cell in row.cells.items()},
                    "variants": {
                        variant: {backend: cell.fields() for backend, cell in cells.items()}
                        for variant, cells in row.variants.items()
                    },
                }
                for row in spec.rows.values()
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def terminal(spec: Spec, *, variant: str = "", colour: bool = False) -> str:
    """The table as aligned lines: row and a word per backend under `variant`, grouped."""
    name_width = max(len(name) for name in spec.rows) + 2
    width = max(len(text) for text in (*spec.words, *spec.backends)) + 2
    lines: list[str] = []
    for title, rows in grouped(spec):
        heading = f"{title:{name_width + 2}}" + "".join(f"{backend:{width}}" for backend in spec.backends)
        lines += [*([""] if lines else []), _painted(heading.rstrip(), BOLD, colour)]
        for row in rows:
            words = [row.cell(backend, variant).word for backend in spec.backends]
            cells = [_painted(w, COLOURS.get(w, ""), colour) + " " * (width - len(w)) for w in words]
            lines.append(f"  {row.name:{name_width}}{''.join(cells)}".rstrip())
    return "\n".join(lines) + "\n"


def _painted(text: str, code: str, colour: bool) -> str:
    return f"{code}{text}{PLAIN}" if colour and code else text
