from __future__ import annotations

from pathlib import Path

import pytest

from launcher.host.nix import own


@pytest.fixture
def nix(tmp_path: Path) -> Path:
    """A /nix with a store and a database."""
    (tmp_path / "store").mkdir()
    (tmp_path / "var/nix/db").mkdir(parents=True)
    (tmp_path / "var/nix/db/db.sqlite").touch()
    return tmp_path


def test_a_store_with_its_database_and_what_nix_conf_says(nix: Path) -> None:
    configuration = nix / "nix.conf"
    configuration.write_text("cores = 3\n")

    offer = own(str(nix), str(configuration))

    assert {entry.name: entry.source or entry.content for entry in offer.entries} == {
        "/nix/store": f"{nix}/store",
        "/etc/nix/nix.conf": b"cores = 3\n",
        "/nix/var/nix/db": f"{nix}/var/nix/db",
    }
    assert offer.note == ""


def test_without_a_store_there_is_nothing(tmp_path: Path) -> None:
    offer = own(str(tmp_path), str(tmp_path / "nix.conf"))

    assert (offer.entries, offer.reason) == ((), f"there is no {tmp_path}/store")


def test_a_database_that_cannot_be_read_is_noted(nix: Path) -> None:
    (nix / "var/nix/db/db.sqlite").unlink()

    offer = own(str(nix), str(nix / "nix.conf"))

    assert [entry.name for entry in offer.entries] == ["/nix/store"]
    assert f"{nix}/var/nix/db/db.sqlite cannot be read" in offer.note
