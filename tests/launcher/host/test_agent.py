from __future__ import annotations

from pathlib import Path

import pytest

from launcher.host.agent import find, install_tree, interpreter, which


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("path", "tree"),
    [
        (
            "/home/u/.npm/lib/node_modules/@anthropic-ai/claude-code/cli.js",
            "/home/u/.npm/lib/node_modules/@anthropic-ai",
        ),
        ("/home/u/.npm/lib/node_modules/agent/cli.js", "/home/u/.npm/lib/node_modules/agent"),
        ("/home/u/.nvm/versions/node/v20/bin/node", "/home/u/.nvm/versions/node/v20"),
        ("/home/u/.local/share/claude/versions/2.1", "/home/u/.local/share/claude/versions/2.1"),
        ("/home/u/.local/bin/claude", "/home/u/.local/bin/claude"),
        ("/home/u/bin/claude", "/home/u/bin/claude"),
        ("/usr/local/bin/claude", "/usr/local/bin/claude"),
        ("/opt/agent/bin/claude", "/opt/agent"),
    ],
)
def test_the_tree_is_what_a_program_needs_and_never_the_home(path: str, tree: str) -> None:
    assert install_tree(path, "/home/u") == tree


def test_links_are_followed_to_where_the_agent_lives(tmp_path: Path) -> None:
    real = program(tmp_path / "home/.local/share/claude/versions/2")
    (tmp_path / "home/.local/bin").mkdir()
    (tmp_path / "home/.local/bin/claude").symlink_to(real)

    agent = find("claude", {"PATH": f"{tmp_path}/home/.local/bin"}, f"{tmp_path}/home")

    assert agent
    assert agent.path == str(real)
    assert agent.trees == (str(real),)


def test_a_script_brings_the_interpreter_that_env_finds(tmp_path: Path) -> None:
    home = tmp_path / "home"
    node = program(home / ".nvm/versions/node/v20/bin/node")
    script = program(
        home / ".nvm/versions/node/v20/lib/node_modules/@a/claude/cli.js", "#!/usr/bin/env node\n"
    )
    (node.parent / "claude").symlink_to(script)

    agent = find("claude", {"PATH": f"{node.parent}:/usr/bin"}, str(home))

    assert agent
    assert agent.trees == (
        f"{home}/.nvm/versions/node/v20/lib/node_modules/@a",
        f"{home}/.nvm/versions/node/v20",
    )
    assert agent.bin_dirs == (str(node.parent),)


def test_what_setup_installed_is_found_without_being_on_path_and_what_is_on_path_comes_first(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    ours = program(home / ".local/share/claude-sandbox/npm/node_modules/.bin/claude")
    elsewhere = program(tmp_path / "data/claude-sandbox/npm/node_modules/.bin/claude")
    theirs = program(tmp_path / "bin/claude")

    for environ, wanted in (
        ({"PATH": "/nowhere"}, ours),
        ({"PATH": "/nowhere", "XDG_DATA_HOME": f"{tmp_path}/data"}, elsewhere),
        ({"PATH": str(theirs.parent)}, theirs),
    ):
        agent = find("claude", environ, str(home))
        assert agent
        assert agent.path == str(wanted)


@pytest.mark.parametrize(
    ("line", "programs"),
    [
        (b"#!/bin/sh\n", ["/bin/sh"]),
        (b"#!/usr/bin/env -S node --x\n", ["/usr/bin/env", "node"]),
        (b"#!/usr/bin/env A=1 python3\n", ["/usr/bin/env", "python3"]),
        (b"\x7fELF", []),
        (b"", []),
    ],
)
def test_the_first_line_names_the_interpreter(tmp_path: Path, line: bytes, programs: list[str]) -> None:
    (tmp_path / "x").write_bytes(line)

    assert interpreter(f"{tmp_path}/x") == programs


def test_which_takes_the_first_executable_file_on_path(tmp_path: Path) -> None:
    (tmp_path / "a/claude").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/claude").touch(0o644)
    wanted = program(tmp_path / "c/claude")

    assert which("claude", {"PATH": f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c"}) == str(wanted)
    assert which("claude", {"PATH": f"{tmp_path}/a"}) == ""
