from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.project import check, refused


def resolve(typed: str, home: str = "/home/u") -> str:
    return check(typed, home=home, runtime="/run/user/1", state=f"{home}/.local/state/claude-sandbox")


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "with space",
        "ünï",
        "quo'te\"",
        "com,ma",
        "new\nline",
        "co:lon",
        "-dash",
        os.fsdecode(b"\xff"),
    ],
)
def test_odd_names_resolve(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    assert resolve(f"{tmp_path}/{name}") == f"{tmp_path}/{name}"


def test_a_link_resolves_to_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert resolve(f"{tmp_path}/link") == f"{tmp_path}/real"


def test_missing_file_dangling_and_empty_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")

    for typed, said in (("none", "does not exist"), ("file", "is a file"), ("dangling", "dangling symlink")):
        with pytest.raises(UserError, match=said):
            resolve(f"{tmp_path}/{typed}")
    with pytest.raises(UserError, match="empty string"):
        resolve("")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/", "whole machine"),
        ("/home/u", "your home"),
        ("/home", "parent of your home"),
        ("/tmp", "system"),
        ("/etc", "system"),
        ("/proc/1", "system"),
        ("/run/dbus", "lies in /run, which belongs to the system"),
        ("/run/systemd/system", "system"),
        ("/run/user/2", "system"),
        ("/run/user/2/pulse", "system"),
        ("/run/user/2/systemd/user", "system"),
        ("/run/media/u", "system"),
        ("/etc/cron.d", "system"),
        ("/etc/nixosx", "system"),
        ("/boot/grub", "system"),
        ("/usr/bin", "system"),
        ("/usr/src", "system"),
        ("/usr/share/nginx", "system"),
        ("/usr/local", "system"),
        ("/usr/local/src", "system"),
        ("/usr/local/bin", "system"),
        ("/usr/local/lib/python3", "system"),
        ("/lib/systemd", "system"),
        ("/dev/shm", "system"),
        ("/run/user/1", "runtime directory"),
        ("/run/user/1/x", "runtime directory"),
        ("/home/u/.local", "own state"),
        ("/home/u/.local/state/claude-sandbox/projects", "own state"),
        ("/home/u/.ssh", "~/.ssh"),
        ("/home/u/.claude/projects", "~/.claude"),
    ],
)
def test_places_that_no_sandbox_is_given(path: str, why: str) -> None:
    assert why in refused(
        path, home="/home/u", runtime="/run/user/1", state="/home/u/.local/state/claude-sandbox"
    )


@pytest.mark.parametrize(
    "path",
    [
        *("/home/u/p", "/home/u2", "/tmp/p", "/srv/p", "/home/u/.sshx", "/opt/p", "/var/www/p", "/mnt/c/p"),
        *("/run/media/u/disk", "/run/media/u/disk/p", "/run/user/2/gvfs/p", "/etc/nixos", "/usr/src/app"),
        *("/usr/local/src/p", "/usr/local/app", "/usr/home/u/p", "/runs/p"),
    ],
)
def test_places_that_are_projects(path: str) -> None:
    home = "/usr/home/u" if path.startswith("/usr/home/") else "/home/u"
    assert not refused(path, home=home, runtime="/run/user/1", state="/home/u/.local/state/claude-sandbox")


@pytest.mark.parametrize("path", ["/run/dbus", "/etc/ssl", "/usr/share/doc"])
def test_what_is_only_read_may_lie_in_the_system(path: str) -> None:
    assert not refused(path, home="/home/u", runtime="", state="", writable=False)
    assert refused(path, home="/", runtime="", state="")
