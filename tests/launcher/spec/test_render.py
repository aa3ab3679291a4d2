"""A tiny spec, rendered in every form."""

from __future__ import annotations

import json

import pytest

from launcher.spec import render
from launcher.spec.load import load
from launcher.spec.model import Cell, Row, Spec


@pytest.fixture
def tiny() -> Spec:
    """Two rows in two groups on two backends; the network's word changes under --no-network."""

    def row(name: str, group: str, word: str, **more: object) -> Row:
        cells = {b: Cell(word=word, means=f"{b}'s way") for b in ("bubblewrap", "vm")}
        values: dict[str, object] = {
            "variants": {},
            "default": True,
            "without": False,
            "cells": cells,
            **more,
        }
        return Row(name=name, group=group, promise=f"All of {name} | it", **values)  # type: ignore[arg-type]

    off = {"no-network": {"bubblewrap": Cell(word="absent", means="network namespace")}}
    return load().replace(
        words={"shared": "the host's own", "absent": "not there"},
        backends={"bubblewrap": "as the user", "vm": "QEMU"},
        groups={"keys": "Keys", "system": "System"},
        variants={"no-network": "--no-network"},
        rows={
            "network": row("network", "system", "shared", variants=off),
            "ssh-agent": row("ssh-agent", "keys", "shared", without=True),
            "kvm": row("kvm", "system", "absent", default=False),
        },
    )


def test_the_readme_table_has_a_line_per_group_and_the_words_of_every_variant(tiny: Spec) -> None:
    assert render.table(tiny) == (
        "|  | what it promises | bubblewrap | vm |\n"
        "| --- | --- | --- | --- |\n"
        "| **Keys** |  |  |  |\n"
        "| `ssh-agent` | All of ssh-agent \\| it | shared | shared |\n"
        "| **System** |  |  |  |\n"
        "| `network` | All of network \\| it | shared; --no-network: absent | shared |\n"
        "| `kvm` | All of kvm \\| it | absent | absent |"
    )


def test_the_page_has_word_and_means_of_every_cell_and_marks_what_is_optional(tiny: Spec) -> None:
    lines = render.page(tiny).splitlines()
    assert (
        "| `network` | All of network \\| it | **shared** · bubblewrap's way"
        "<br>`--no-network`: **absent** · network namespace | **shared** · vm's way |"
    ) in lines
    assert [line.split(" | ")[0] for line in lines if line.startswith(("| `ssh-agent`", "| `kvm`"))][:2] == [
        "| `ssh-agent` †",
        "| `kvm` +",
    ]


def test_the_page_names_every_entry_of_every_list() -> None:
    spec = load()
    page = render.page(spec)
    pairs = (*spec.etc, *spec.environment, *spec.triggers, *spec.git_triggers)
    names = [
        *(name for name, _ in pairs),
        *(setting.name for setting in spec.claude_settings),
        *(named.name for named in (*spec.claude_private, *spec.claude_planted)),
        *(call for denied in spec.seccomp.deny for call in denied.calls),
        *(*spec.seccomp.families, *spec.seccomp.ioctls),
        *(package.program for package in spec.packages),
    ]
    assert len(names) > 200
    assert [name for name in names if f"`{name}`" not in page] == []


def test_json_holds_every_cell(tiny: Spec) -> None:
    document = json.loads(render.as_json(tiny))
    assert [row["row"] for row in document["rows"]] == ["network", "ssh-agent", "kvm"]
    assert document["rows"][0] == {
        "row": "network",
        "group": "system",
        "promise": "All of network | it",
        "without": False,
        "default": True,
        "cells": {
            "bubblewrap": {"word": "shared", "means": "bubblewrap's way"},
            "vm": {"word": "shared", "means": "vm's way"},
        },
        "variants": {"no-network": {"bubblewrap": {"word": "absent", "means": "network namespace"}}},
    }


def test_terminal_lines_are_aligned_and_plain_by_default(tiny: Spec) -> None:
    assert render.terminal(tiny, variant="no-network") == (
        "Keys         bubblewrap  vm\n"
        "  ssh-agent  shared      shared\n"
        "\n"
        "System       bubblewrap  vm\n"
        "  network    absent      shared\n"
        "  kvm        absent      absent\n"
    )


def test_colour_adds_escapes_and_nothing_else(tiny: Spec) -> None:
    coloured = render.terminal(tiny, colour=True)
    assert "\x1b[32mshared\x1b[0m" in coloured
    for code in (render.BOLD, render.DIM, render.PLAIN, "\x1b[32m"):
        coloured = coloured.replace(code, "")
    assert coloured == render.terminal(tiny)
