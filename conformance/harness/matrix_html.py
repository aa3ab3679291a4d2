"""The matrix as a page: one file that needs no network, for a desk and for a phone, by day and by night.

State is said three times: by a shape, by a word for who listens, and by colour.
"""

from __future__ import annotations

import html
from typing import Any

from conformance.harness import matrix as data
from conformance.harness.matrix_style import SCRIPT, STYLE
from launcher.spec.model import Spec

# 16 by 16: a disc with a tick, a square with a cross, a broken ring.
SHAPES = {
    "proven": '<circle cx="8" cy="8" r="7.2" class="fill"/><path d="M4.6 8.3l2.4 2.4 4.4-5" class="ink"/>',
    "broken": '<rect x="1" y="1" width="14" height="14" rx="2" class="fill"/>'
    '<path d="M5 5l6 6M11 5l-6 6" class="ink"/>',
    "unproven": '<circle cx="8" cy="8" r="6.2" class="ring"/>',
}
LEGEND = {
    "proven": "every check was run, none could show the word to be false",
    "broken": "a check showed the word to be false",
    "unproven": "nobody could look: no pass",
}


def page(spec: Spec, matrix: dict[str, Any]) -> str:
    """All of index.html. Links to evidence are relative to its own directory."""
    body = "".join((
        _head(matrix),
        _problems(matrix),
        _legend(spec, matrix),
        "".join(_group(spec, matrix, title, rows) for title, rows in data.grouped(spec, matrix)),
        _starts(matrix),
        '<dialog id="cell" aria-labelledby="cell-title"></dialog>',
        "".join(_details(spec, cell) for cell in matrix["cells"]),
    ))  # fmt: skip
    number = data.counts(matrix)
    title = f"{number['proven']} of {sum(number.values())} promises proven"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{_e(title)}</title>'
        f"<style>{STYLE}</style></head><body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _head(matrix: dict[str, Any]) -> str:
    number = data.counts(matrix)
    total = sum(number.values())
    tiles = "".join(
        f'<li class="tile {verdict}">{_shape(verdict)}<b>{n}</b><span>{verdict}</span></li>'
        for verdict, n in number.items()
    )
    score = matrix.get("sabotage")
    if score:
        # Survivors are what matters of it: a spoiled grant that no check has noticed.
        survivors = score.get("survivors") or []
        said = f"survivors: {', '.join(map(str, survivors))}" if survivors else "no survivors"
        tiles += (
            f'<li class="tile sabotage" title="{_e(said)}"><b>{score["caught"]}/{score["spoiled"]}</b>'
            f"<span>spoiled grants caught{', ' + _e(said) if survivors else ''}</span></li>"
        )
    bar = "".join(
        f'<i class="{verdict}" style="flex:{n}"></i>' for verdict, n in number.items() if n
    )  # a bar's parts stand in the order of the tiles
    facts = "".join(f"<li>{_e(str(value))}</li>" for value in matrix["about"].values())
    return (
        "<header><h1>What was proven</h1>"
        f'<p class="lead">{total} promises of the table, each attacked from inside a sandbox that was really '
        "started, and judged by what the host saw.</p>"
        f'<ul class="tiles">{tiles}</ul><div class="bar" aria-hidden="true">{bar}</div>'
        f'<ul class="facts">{facts}</ul></header>'
    )


def _problems(matrix: dict[str, Any]) -> str:
    if not matrix.get("problems"):
        return ""
    items = "".join(f"<li>{_e(problem)}</li>" for problem in matrix["problems"])
    return f'<section class="problems" role="alert"><h2>Not a whole run</h2><ul>{items}</ul></section>'


def _legend(spec: Spec, matrix: dict[str, Any]) -> str:
    states = "".join(
        f"<div><dt>{_shape(verdict)} {verdict}</dt><dd>{_e(says)}</dd></div>"
        for verdict, says in LEGEND.items()
    )
    variants = "".join(
        f"<div><dt><code>{_e(name)}</code></dt><dd>{_e(says)}</dd></div>"
        for name, says in data.variants_shown(spec, matrix)
    )
    there = {cell["word"] for cell in matrix["cells"]}
    words = "".join(
        f"<div><dt>{_e(word)}</dt><dd>{_e(says)}</dd></div>"
        for word, says in spec.words.items()
        if word in there
    )
    return (
        '<details class="legend"><summary>How to read this</summary><div>'
        f"<section><h3>State</h3><dl>{states}</dl></section><section><h3>Words</h3><dl>{words}</dl></section>"
        f"<section><h3>Columns</h3><dl>{variants}</dl></section></div></details>"
        '<div class="filter" role="group" aria-label="Show">'
        '<button type="button" data-show="all" aria-pressed="true">all</button>'
        '<button type="button" data-show="open" aria-pressed="false">only what is not proven</button></div>'
    )


def _group(spec: Spec, matrix: dict[str, Any], title: str, rows: list[str]) -> str:
    columns = data.dense(matrix)
    heads = "".join(f'<th scope="col">{_e(head)}</th>' for head in data.heads_of(columns))
    rest = any(data.others(matrix, cell["row"]) for cell in matrix["cells"])
    heads += '<th scope="col">other flags</th>' if rest else ""
    lines = "".join(_row(spec, matrix, row, columns, rest=rest) for row in rows)
    return (
        f'<section class="group"><h2>{_e(title)}</h2><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{_e(title)}"><table><colgroup><col class="name"></colgroup>'
        f"<thead><tr><td></td>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div></section>"
    )


def _row(spec: Spec, matrix: dict[str, Any], row: str, columns: list[tuple[str, str]], *, rest: bool) -> str:
    cells = data.by_place(matrix)
    boxes = "".join(_column(cells.get((row, *column))) for column in columns)
    others = "".join(_box(cell, cell["variant"]) for cell in data.others(matrix, row))
    boxes += f'<td class="others">{others}</td>' if others else '<td class="none"></td>' if rest else ""
    return (
        f'<tr data-open="{int(_open(matrix, row))}"><th scope="row"><b>{_e(row)}</b>'
        f"<small>{_e(spec.rows[row].promise)}</small></th>{boxes}</tr>"
    )


def _column(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return '<td class="none"></td>'
    return f'<td data-column="{_e(cell["variant"])}">{_box(cell)}</td>'


def _box(cell: dict[str, Any], said: str = "") -> str:
    name = data.cell_name(cell)
    label = f"{cell['row']}, {cell['backend']} {cell['variant']}: {cell['word']}, {cell['verdict']}"
    under = f"<small>{_e(said)}</small>" if said else ""
    return (
        f'<button type="button" class="box {cell["verdict"]}" data-cell="{_e(name)}" '
        f'aria-label="{_e(label)}">{_shape(cell["verdict"])}<span>{_e(cell["word"])}{under}</span></button>'
    )


def _details(spec: Spec, cell: dict[str, Any]) -> str:
    """What a click on a cell shows."""
    where = f"{cell['backend']} · {cell['variant']} · {cell['testbed']}"
    reason = f'<pre class="reason">{_e(cell["reason"])}</pre>' if cell["reason"] else ""
    checks = "".join(
        f'<li class="{check["verdict"]}">{_shape(check["verdict"])}<div>{_e(check["sentence"])}'
        f"<small>{'how it is kept · ' if check['means'] else ''}<code>{_e(check['name'])}</code> · "
        f"{check['seconds'] * 1000:.0f} ms</small></div></li>"
        for check in cell["checks"]
    )
    evidence = ""
    if cell["files"]:
        links = "".join(
            f'<a href="{_e(cell["evidence"])}/{_e(name)}">{_e(name)}</a>' for name in cell["files"]
        )
        evidence = f"<h3>Evidence</h3><p class=links>{links}</p>"
    return (
        f'<template id="{_e(data.cell_name(cell))}"><form method="dialog">'
        '<button aria-label="Close">×</button></form>'
        f'<h2 id="cell-title">{_shape(cell["verdict"])} {_e(cell["row"])} is {_e(cell["word"])}</h2>'
        f'<p class="where">{_e(where)} · {cell["verdict"]}</p><p>{_e(cell["promise"])}</p>'
        f'<p class="where">{_e(cell["word"])}: {_e(spec.words[cell["word"]])}. '
        f"Kept by: {_e(cell['means'])}.</p>"
        f"{reason}<h3>Checks</h3><ul class=checks>{checks or '<li>none was run</li>'}</ul>{evidence}"
        "</template>"
    )


def _starts(matrix: dict[str, Any]) -> str:
    if not matrix["boots"]:
        return ""
    slowest = max(boot["seconds"] for boot in matrix["boots"]) or 1
    lines = "".join(
        f"<tr><th scope=row>{_e(boot['backend'])} {_e(boot['variant'])}</th>"
        f'<td><i style="width:{boot["seconds"] / slowest * 100:.0f}%"></i></td>'
        f"<td>{boot['seconds']:.2f} s</td><td>{boot['preparing']:.2f} s</td></tr>"
        for boot in matrix["boots"]
    )
    return (
        '<section class="starts"><h2>Starts</h2><table><thead><tr><td></td><td></td>'
        f"<th scope=col>to a shell</th><th scope=col>its host</th></tr></thead>"
        f"<tbody>{lines}</tbody></table></section>"
    )


def _open(matrix: dict[str, Any], row: str) -> bool:
    return any(cell["verdict"] != "proven" for cell in matrix["cells"] if cell["row"] == row)


def _shape(verdict: str) -> str:
    return f'<svg class="shape {verdict}" viewBox="0 0 16 16" aria-hidden="true">{SHAPES[verdict]}</svg>'


def _e(text: str) -> str:
    return html.escape(text)
