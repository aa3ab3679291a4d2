"""The matrix as data, and as Markdown, JUnit and a table for a terminal. The page is matrix_html.py's."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conformance.harness.cells import DEFAULT, Cell, variants
from conformance.harness.verdict import Outcome, Verdict, merged, of_cell
from launcher.spec.model import Spec

TESTBED = "here"
SIGNS = {Verdict.PROVEN: "✓", Verdict.BROKEN: "✗", Verdict.UNPROVEN: "○"}
COLOURS = {Verdict.PROVEN: "32", Verdict.BROKEN: "31;1", Verdict.UNPROVEN: "33"}


def build(
    spec: Spec,
    cells: Sequence[Cell],
    outcomes: Sequence[Outcome],
    boots: Sequence[dict[str, Any]] = (),
    *,
    about: dict[str, str] | None = None,
    sabotage: dict[str, Any] | None = None,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """All of matrix.json."""
    return {
        "about": about or {},
        "cells": [_cell(spec, cell, of_cell(cell, outcomes)) for cell in cells],
        "boots": sorted(boots, key=lambda boot: (boot["backend"], boot["variant"])),
        "sabotage": sabotage,
        "problems": list(problems),
    }


def write(directory: Path, spec: Spec, matrix: dict[str, Any]) -> None:
    """matrix.json, matrix.md, junit.xml and index.html."""
    from conformance.harness.matrix_html import page

    directory.mkdir(parents=True, exist_ok=True)
    for cell in matrix["cells"]:
        kept = directory / cell["evidence"] if cell["evidence"] else None
        cell["files"] = sorted(os.listdir(kept)) if kept and kept.is_dir() else []
    (directory / "matrix.json").write_text(json.dumps(matrix, indent=1, ensure_ascii=False) + "\n")
    (directory / "matrix.md").write_text(markdown(spec, matrix))
    (directory / "index.html").write_text(page(spec, matrix))
    junit(matrix).write(directory / "junit.xml", encoding="utf-8", xml_declaration=True)


def about(root: Path) -> dict[str, str]:
    """Machine and revision that a matrix is of."""
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    return {
        "revision": os.environ.get("CONFORMANCE_REVISION")
        or _git(root, "describe", "--always", "--dirty", "--abbrev=10")
        or "unknown",
        "machine": f"{release.get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}, "
        f"{platform.machine()}, {os.cpu_count()} processors",
    }


def counts(matrix: dict[str, Any]) -> dict[str, int]:
    """How many cells have each verdict."""
    verdicts = [cell["verdict"] for cell in matrix["cells"]]
    return {verdict.value: verdicts.count(verdict) for verdict in Verdict}


def columns(matrix: dict[str, Any]) -> list[tuple[str, str]]:
    """Backends and variants, in order."""
    return list(dict.fromkeys((cell["backend"], cell["variant"]) for cell in matrix["cells"]))


def dense(matrix: dict[str, Any]) -> list[tuple[str, str]]:
    """The columns that most rows stand in; what the others have, few rows each, is gathered in one."""
    rows = len({cell["row"] for cell in matrix["cells"]})
    number = Counter((cell["backend"], cell["variant"]) for cell in matrix["cells"])
    return [column for column in columns(matrix) if number[column] * 2 > rows or column[1] == DEFAULT]


def others(matrix: dict[str, Any], row: str) -> list[dict[str, Any]]:
    """The cells of a row that stand in no dense column."""
    there = dense(matrix)
    return [c for c in matrix["cells"] if c["row"] == row and (c["backend"], c["variant"]) not in there]


def grouped(spec: Spec, matrix: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """(title of a group, its rows of which there are cells), in the table's order."""
    there = {cell["row"] for cell in matrix["cells"]}
    groups = [
        (title, [row.name for row in spec.rows.values() if row.group == group and row.name in there])
        for group, title in spec.groups.items()
    ]
    return [(title, rows) for title, rows in groups if rows]


def by_place(matrix: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(row, backend, variant) → its cell."""
    return {(cell["row"], cell["backend"], cell["variant"]): cell for cell in matrix["cells"]}


def terminal(spec: Spec, matrix: dict[str, Any], *, colour: bool = False) -> list[str]:
    """The table as lines: a row each, a column for each backend and variant."""
    shown = dense(matrix)
    heads = heads_of(shown)
    cells = by_place(matrix)
    width = max((len(cell["row"]) for cell in matrix["cells"]), default=0) + 2
    widths = [max(len(head), 12) + 2 for head in heads]
    lines = [(" " * width + "".join(h.ljust(wide) for h, wide in zip(heads, widths, strict=True))).rstrip()]
    for title, rows in grouped(spec, matrix):
        lines.append(title)
        for row in rows:
            line = f"{row:{width}}"
            for (backend, variant), wide in zip(shown, widths, strict=True):
                line += _short(cells.get((row, backend, variant)), wide, colour=colour)
            for cell in others(matrix, row):
                line += f"{_short(cell, 0, colour=colour)} ({cell['variant']})  "
            lines.append(line.rstrip())
    return lines


def heads_of(shown: Sequence[tuple[str, str]]) -> list[str]:
    """A heading for each column: the variant, with its backend where there are several."""
    several = len({backend for backend, _ in shown}) > 1
    return [f"{backend} {variant}" if several else variant for backend, variant in shown]


def summary(matrix: dict[str, Any]) -> list[str]:
    """What was proven, broken, not looked at and why, in sentences."""
    number = counts(matrix)
    total = sum(number.values())
    lines = []
    left = [cell_name(cell) for cell in matrix["cells"] if not cell["checks"]]
    if left:
        lines.append(f"○ unproven, as no check looked at them: {', '.join(left)}")
    for cell in matrix["cells"]:
        if cell["verdict"] != Verdict.PROVEN and cell["checks"]:
            reason = cell["reason"].strip().splitlines() or [""]
            name = cell_name(cell)
            lines.append(f"{SIGNS[Verdict(cell['verdict'])]} {name}: {cell['verdict']}: {reason[0][:300]}")
            lines.extend(f"    {more.strip()[:300]}" for more in reason[1:3])
    lines.append(
        f"{total} cells: {number['proven']} proven, {number['broken']} broken, {number['unproven']} unproven"
    )
    unseen = [cell for cell in matrix["cells"] if not any(check["means"] for check in cell["checks"])]
    if unseen:
        rows = ", ".join(dict.fromkeys(cell["row"] for cell in unseen))
        lines.append(f"how it is kept was looked at in {total - len(unseen)} cells; not all of: {rows}")
    for boot in matrix["boots"]:
        lines.append(
            f"started {boot['backend']} {boot['variant']}: {boot['seconds']:.2f} s"
            f" (its host: {boot['preparing']:.2f} s)"
        )
    return lines


def cell_name(cell: dict[str, Any]) -> str:
    """As in `bubblewrap-ssh-agent-forwarded[no-network]`."""
    tag = "" if cell["variant"] == "default" else f"[{cell['variant']}]"
    return f"{cell['backend']}-{cell['row']}-{cell['word']}{tag}"


def markdown(spec: Spec, matrix: dict[str, Any]) -> str:
    """The matrix as a page of Markdown, a table for each group."""
    number = counts(matrix)
    facts = " · ".join(value for value in matrix["about"].values())
    lines = ["# What was proven", "", f"{facts}", ""]
    lines += [", ".join(f"{SIGNS[Verdict(verdict)]} {n} {verdict}" for verdict, n in number.items()), ""]
    cells = by_place(matrix)
    shown = dense(matrix)
    sparse = any(others(matrix, cell["row"]) for cell in matrix["cells"])
    heads = [*heads_of(shown), *(["other flags"] if sparse else [])]
    for title, rows in grouped(spec, matrix):
        lines += [f"## {title}", "", f"| row | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for row in rows:
            found = [_short(cells.get((row, *column)), 0) for column in shown]
            more = [f"{_short(c, 0)} ({c['variant']})" for c in others(matrix, row)]
            found += [", ".join(more)] if sparse else []
            lines.append(f"| {row} | {' | '.join(found)} |")
        lines.append("")
    not_proven = [cell for cell in matrix["cells"] if cell["verdict"] != Verdict.PROVEN]
    if not_proven:
        lines += ["## Not proven", ""]
        for cell in not_proven:
            reason = " ".join(cell["reason"].split())[:500]
            lines.append(f"- **{cell_name(cell)}** {cell['verdict']}: {reason}")
    return "\n".join(lines).rstrip() + "\n"


def junit(matrix: dict[str, Any]) -> ET.ElementTree[ET.Element]:
    """A suite for each backend and variant, a case for each cell; unproven ones are skipped, not passed."""
    root = ET.Element("testsuites")
    for backend, variant in columns(matrix):
        cells = [c for c in matrix["cells"] if (c["backend"], c["variant"]) == (backend, variant)]
        verdicts = [c["verdict"] for c in cells]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=f"{backend} {variant}",
            tests=str(len(cells)),
            failures=str(verdicts.count(Verdict.BROKEN)),
            skipped=str(verdicts.count(Verdict.UNPROVEN)),
        )
        for cell in cells:
            seconds = sum(check["seconds"] for check in cell["checks"])
            name = cell_name(cell)
            case = ET.SubElement(suite, "testcase", classname=backend, name=name, time=f"{seconds:.3f}")
            kind = {Verdict.BROKEN: "failure", Verdict.UNPROVEN: "skipped"}.get(Verdict(cell["verdict"]))
            if kind:
                ET.SubElement(case, kind, message=_xml(cell["reason"]))
    return ET.ElementTree(root)


def _cell(spec: Spec, cell: Cell, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    verdict, reason = merged(outcomes)
    return {
        "row": cell.row,
        "backend": cell.backend,
        "variant": cell.variant,
        "testbed": TESTBED,
        "word": cell.word,
        "promise": spec.rows[cell.row].promise,
        "means": cell.means,
        "verdict": verdict.value,
        "reason": reason,
        "checks": [
            {
                "name": o.check,
                "sentence": o.sentence,
                "means": o.means,
                "verdict": o.verdict,
                "reason": o.reason,
                "seconds": round(o.seconds, 3),
            }
            for o in outcomes
        ],
        "evidence": next((o.evidence for o in outcomes if o.evidence), ""),
    }


def _short(cell: dict[str, Any] | None, wide: int, *, colour: bool = False) -> str:
    if cell is None:
        return " " * wide
    verdict = Verdict(cell["verdict"])
    text = f"{SIGNS[verdict]} {cell['word']}".ljust(wide)
    return f"\x1b[{COLOURS[verdict]}m{text}\x1b[0m" if colour else text


def _xml(text: str) -> str:
    """Without what XML 1.0 cannot hold (section 2.2)."""
    return "".join(c if c >= " " or c in "\t\n" else "?" for c in text)


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ("git", "-c", "safe.directory=*", "-C", str(root), *arguments),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip()


def variants_shown(spec: Spec, matrix: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """(name, what it is started with) of every variant that has a column."""
    known = variants(spec)
    for name in dict.fromkeys(variant for _, variant in columns(matrix)):
        yield name, known[name].says if name in known else ""
