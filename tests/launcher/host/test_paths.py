from __future__ import annotations

import os
import socket
from pathlib import Path

from launcher.host import paths
from launcher.host.model import Entry


def test_a_tree_is_its_files_with_links_as_their_content_and_without_sockets(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/config").write_text("x")
    ssh = tmp_path / "ssh"
    (ssh / "sub").mkdir(parents=True)
    (ssh / "key").touch()
    (ssh / "sub/more").touch()
    (ssh / "config").symlink_to("../store/config")
    (ssh / "dangling").symlink_to("nowhere")
    os.mkfifo(ssh / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{ssh}/master")

    entries = paths.tree(str(ssh), ".ssh")

    assert entries == [
        Entry(name=".ssh", kind="dir", source=str(ssh)),
        Entry(name=".ssh/config", kind="file", source=f"{tmp_path}/store/config"),
        Entry(name=".ssh/key", kind="file", source=f"{ssh}/key"),
        Entry(name=".ssh/sub", kind="dir", source=f"{ssh}/sub"),
        Entry(name=".ssh/sub/more", kind="file", source=f"{ssh}/sub/more"),
    ]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/up").symlink_to("..")

    assert len(paths.tree(str(tmp_path), "x")) < 5


def test_a_tree_is_bounded(tmp_path: Path) -> None:
    for number in range(paths.MAX_ENTRIES + 50):
        (tmp_path / str(number)).touch()

    assert len(paths.tree(str(tmp_path), "x")) == paths.MAX_ENTRIES


def test_a_dotfile_that_is_not_what_it_should_be_comes_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")

    for name, said in (("none", "there is no"), ("dir", "is not a file"), ("dangling", "dangling symlink")):
        entries, why = paths.dotfile(f"{tmp_path}/{name}", kind="file", name="x", shown="~/x")
        assert not entries
        assert said in why


def test_a_socket_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for name, said in (("none", "does not exist"), ("file", "is not a socket")):
        offer = paths.socket_offer(f"{tmp_path}/{name}", shown="$X", name="x", what="x11")
        assert not offer.entries
        assert said in offer.reason
        assert offer.note.startswith("x11 is off")
