from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

import pytest

from launcher.host import desktop


def xauth(*entries: tuple[int, bytes, bytes, bytes]) -> bytes:
    """An Xauthority file: family, address, display number, key."""
    out = b""
    for family, address, number, key in entries:
        out += struct.pack(">H", family)
        for field in (address, number, b"MIT-MAGIC-COOKIE-1", key):
            out += struct.pack(">H", len(field)) + field
    return out


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_the_cookie_is_the_displays_own_and_freed_from_the_hostname(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_bytes(
        xauth(
            (256, b"myhost", b"7", b"mine"),
            (256, b"myhost", b"8", b"other"),
            (0, b"\x7f\0\0\1", b"7", b"tcp"),
        )
    )

    offer = desktop.x11({"DISPLAY": "elsewhere:7.0", "XAUTHORITY": str(file)}, "/home/u")

    assert offer.entries[-1].content == xauth((65535, b"", b"7", b"mine"))


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x01\x00\xff\xff", b"\0" * 100, bytes(range(256)) * 8])
def test_a_broken_xauthority_gives_no_cookie_and_no_crash(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "auth"
    file.write_bytes(content)

    assert desktop.x11({"DISPLAY": "elsewhere:7", "XAUTHORITY": str(file)}, "/home/u").entries


@pytest.mark.parametrize(
    ("display", "said"),
    [
        ("", "DISPLAY is not set"),
        (":99999", "does not exist"),
        ("nonsense", "no display number"),
        (":", "no display number"),
    ],
)
def test_a_display_that_is_not_there_comes_with_the_reason(display: str, said: str) -> None:
    offer = desktop.x11({"DISPLAY": display}, "/home/u")

    assert not offer.entries
    assert said in offer.reason


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "[::1]"])
def test_a_display_over_tcp_on_this_machine_is_one_that_somebody_listens_at(host: str) -> None:
    family = socket.AF_INET6 if "::1" in host else socket.AF_INET
    with socket.socket(family) as listener:
        # A port of the kernel's choice: nobody else will take it right after us.
        listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        listener.listen()
        number = listener.getsockname()[1] - 6000
        assert desktop.x11({"DISPLAY": f"{host}:{number}.0"}, "/home/u").entries

    gone = desktop.x11({"DISPLAY": f"{host}:{number}.0"}, "/home/u")

    assert not gone.entries
    assert gone.note == f"x11 is off: DISPLAY={host}:{number}.0 has nobody listening"


@pytest.mark.parametrize("display", ["localhost:99999", f"localhost:{'9' * 5000}", "localhost:²"])
def test_a_display_number_that_no_port_has_is_off(display: str) -> None:
    assert not desktop.x11({"DISPLAY": display}, "/home/u").entries


def test_a_display_on_another_machine_is_not_waited_for() -> None:
    begun = time.monotonic()

    # TEST-NET-1: nobody ever answers there (RFC 5737).
    assert desktop.x11({"DISPLAY": "192.0.2.1:10.0"}, "/home/u").entries
    assert time.monotonic() - begun < 0.1


def test_wayland_is_a_name_in_the_runtime_directory_or_a_path(tmp_path: Path) -> None:
    with listening(tmp_path / "wl"):
        by_name = desktop.wayland({"WAYLAND_DISPLAY": "wl"}, str(tmp_path))
        by_path = desktop.wayland({"WAYLAND_DISPLAY": f"{tmp_path}/wl"}, "")

    assert by_name.paths == by_path.paths == (f"{tmp_path}/wl",)
    assert "no XDG_RUNTIME_DIR" in desktop.wayland({"WAYLAND_DISPLAY": "wl"}, "").reason
    # What a compositor that was killed leaves.
    assert "nobody listening" in desktop.wayland({"WAYLAND_DISPLAY": "wl"}, str(tmp_path)).reason


def test_audio_is_whichever_sockets_are_there(tmp_path: Path) -> None:
    (tmp_path / "pulse").mkdir()
    with listening(tmp_path / "pulse/native"):
        offer = desktop.audio({}, str(tmp_path))

    assert [e.name for e in offer.entries] == ["pulse/native"]
    assert not desktop.audio({}, "").entries
    assert "not a unix socket" in desktop.audio({"PULSE_SERVER": "tcp:host"}, str(tmp_path / "none")).note


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp:host=x", "not a unix address"),
        ("unix:path=/nowhere/bus", "no bus at"),
        ("", "no bus at"),
        ("unix:abstract=/nowhere/bus,guid=1", "no bus at @/nowhere/bus"),
    ],
)
def test_a_bus_that_cannot_be_had_comes_with_the_reason(address: str, said: str) -> None:
    offer = desktop.bus({"B": address}, variable="B", default="/nowhere/default", row="dbus-session")

    assert not offer.entries
    assert said in offer.reason
    assert bool(offer.note) == bool(address)


def test_an_abstract_bus_is_one_that_somebody_listens_at() -> None:
    name = f"/claude-sandbox/{os.getpid()}/bus"
    address = f"unix:abstract={name}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        assert desktop.bus({"B": address}, variable="B", default="/nowhere", row="dbus-session").entries
    gone = desktop.bus({"B": address}, variable="B", default="/nowhere", row="dbus-session")
    assert not gone.entries
    assert gone.note == f"dbus-session is off: B points at @{name}, where nobody listens"
