from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.host.probe import probe


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", **more}


def test_the_host_is_looked_up_whole(tmp_path: Path) -> None:
    host = probe(environ(tmp_path))

    assert (host.uid, host.gid, host.home) == (os.getuid(), os.getgid(), str(tmp_path))
    assert host.offer("userland").entries[0].source == "/usr"
    assert host.state == f"{tmp_path}/.local/state/claude-sandbox"
    assert "bash" in host.programs


def test_etc_is_the_specs_list_without_secrets(tmp_path: Path) -> None:
    names = {e.name for e in probe(environ(tmp_path)).offer("etc").entries}

    assert "/etc/hosts" in names
    assert not names & {"/etc/shadow", "/etc/passwd", "/etc/sudoers", "/etc/ssl"}


def test_home_must_be_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a directory"):
        probe({"HOME": f"{tmp_path}/none", "PATH": ""})
    if os.getuid():
        with pytest.raises(UserError, match="belongs to uid 0"):
            probe({"HOME": "/", "PATH": ""})


def test_a_home_that_is_not_set_is_the_passwd_entrys() -> None:
    host = probe({"PATH": ""})

    assert host.home == os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)
    assert any("HOME is not set" in note for note in host.notes)


def test_a_runtime_directory_of_anothers_is_not_taken(tmp_path: Path) -> None:
    host = probe(environ(tmp_path, XDG_RUNTIME_DIR=f"{tmp_path}/none", WAYLAND_DISPLAY="wayland-0"))

    assert any("XDG_RUNTIME_DIR" in note for note in host.notes)
    assert not host.offer("wayland").entries


def test_dotfiles_of_all_shapes(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles/gitconfig").write_text("[user]\n")
    (tmp_path / ".gitconfig").symlink_to("dotfiles/gitconfig")
    (tmp_path / ".config/gh").mkdir(parents=True)
    (tmp_path / ".config/gh/hosts.yml").touch()

    host = probe(environ(tmp_path))

    assert host.offer("git-config").paths == (f"{tmp_path}/dotfiles/gitconfig",)
    assert {e.name for e in host.offer("gh-config").entries} == {".config/gh", ".config/gh/hosts.yml"}
    assert "no ~/.ssh" in host.offer("ssh-keys").reason


def test_files_that_the_git_configuration_names_come_along(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("[core]\n\texcludesFile = ~/.ignore\n")
    (tmp_path / ".ignore").touch()
    (tmp_path / ".gitconfig").write_text(f"[include]\n\tpath = {tmp_path}/work\n\tpath = /nowhere\n")

    names = {e.name for e in probe(environ(tmp_path)).offer("git-config").entries}

    assert names == {".gitconfig", "work", ".ignore", f"{tmp_path}/work", f"{tmp_path}/.ignore"}


@pytest.mark.parametrize("shape", ["dangling", "directory"])
def test_a_gitconfig_that_is_none_is_said(tmp_path: Path, shape: str) -> None:
    if shape == "dangling":
        (tmp_path / ".gitconfig").symlink_to("nowhere")
    else:
        (tmp_path / ".gitconfig").mkdir()

    assert "gitconfig" in probe(environ(tmp_path)).offer("git-config").note


def test_claude_config_dir_takes_the_place_of_dot_claude(tmp_path: Path) -> None:
    host = probe(environ(tmp_path, CLAUDE_CONFIG_DIR=f"{tmp_path}/elsewhere"))

    assert host.offer("claude-config").paths == (f"{tmp_path}/elsewhere",)
    assert host.offer("claude-json").paths == (f"{tmp_path}/elsewhere/.claude.json",)


def test_settings_that_are_links_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    (tmp_path / "settings").write_text("{}")
    (tmp_path / ".claude/settings.json").symlink_to("../settings")

    kinds = {e.name: e.kind for e in probe(environ(tmp_path)).offer("claude-settings").entries}

    assert kinds["settings.json"] == "link"
    assert kinds["hooks"] == "dir"
