"""The table as cells: which words each variant promises."""

from __future__ import annotations

import pytest

from conformance.harness.cells import Cell, cells, selected, variants
from launcher.spec.load import load

SPEC = load()


def words(variant: str, backend: str = "bubblewrap") -> dict[str, str]:
    return {cell.row: cell.word for cell in cells(SPEC, backend, variant)}


def test_the_default_has_every_row_with_the_tables_word() -> None:
    assert words("default") == {row.name: row.cells["bubblewrap"].word for row in SPEC.rows.values()}


def test_no_network_proves_every_row_again_with_what_it_changes() -> None:
    assert words("no-network") == {**words("default"), "network": "absent", "host-loopback": "absent"}


def test_a_variant_of_the_table_has_only_the_rows_that_it_changes() -> None:
    assert words("gh-token") == {"gh-token": "same"}
    assert words("protect") == {"host-triggers": "read-only"}


def test_tmux_changes_no_word() -> None:
    assert words("tmux") == words("default")


def test_off_leaves_out_each_row_that_may_be_and_what_hangs_on_it() -> None:
    off = words("off")

    assert {row.name for row in SPEC.rows.values() if row.without} <= {
        r for r, w in off.items() if w == "absent"
    }
    assert off["claude-settings"] == "absent"
    assert off["project"] == "read-write"


def test_off_says_so_on_the_command_line() -> None:
    flags = variants(SPEC)["off"].flags

    assert flags[:2] == ("--without", "claude-config")
    assert len(flags) == 2 * sum(row.without and row.default for row in SPEC.rows.values())


def test_a_bare_host_lacks_what_a_host_may_lack() -> None:
    bare = words("bare")

    assert bare["ssh-agent"] == bare["x11"] == "absent"
    assert bare["claude-config"] == "read-write"
    assert bare["home"] == "own"


def test_what_a_machine_makes_itself_it_has_on_a_bare_host_too() -> None:
    bare = words("bare", "vm")

    assert bare["x11"] == bare["wayland"] == bare["gpu"] == "own"
    assert bare["nix-commands"] == bare["ssh-agent"] == "absent"


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        pytest.param("default", "bubblewrap-uid-same", id="default"),
        pytest.param("tmux", "bubblewrap-uid-same[tmux]", id="variant"),
    ],
)
def test_an_id_reads_backend_row_word_and_variant(variant: str, expected: str) -> None:
    cell = Cell(backend="bubblewrap", variant=variant, row="uid", word="same", means="")

    assert cell.id == expected


def test_a_selection_narrows_rows_and_variants() -> None:
    found = selected(SPEC, ["bubblewrap"], ["default", "off"], ["uid"])

    assert [(cell.variant, cell.row) for cell in found] == [("default", "uid"), ("off", "uid")]


def test_every_backend_of_the_table_has_cells() -> None:
    assert {cell.backend for cell in selected(SPEC, list(SPEC.backends))} == set(SPEC.backends)
