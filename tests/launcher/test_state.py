"""The state directory: keys, versions, what happens when it cannot be written; the copy of ~/.claude.json."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import state
from launcher.errors import HostError, LauncherError, UserError

names = st.binary(min_size=1, max_size=60).filter(
    lambda b: b"\0" not in b and b"/" not in b and b not in (b".", b"..")
)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/home/u/.local/state/claude-sandbox"),
        ({"XDG_STATE_HOME": "/s"}, "/s/claude-sandbox"),
        ({"XDG_STATE_HOME": "relative"}, "/home/u/.local/state/claude-sandbox"),
        ({"XDG_STATE_HOME": ""}, "/home/u/.local/state/claude-sandbox"),
    ],
)
def test_the_state_directory_is_where_xdg_says(environ: dict[str, str], expected: str) -> None:
    assert state.state_dir(environ, "/home/u") == expected


def test_a_projects_key_can_be_read_by_a_person() -> None:
    assert state.project_key("/nonexistent/user/my proj") == "+nonexistent+user+my%20proj"


@given(st.lists(names, min_size=1, max_size=8), st.lists(names, min_size=1, max_size=8))
def test_two_paths_never_share_a_key_and_every_key_is_a_file_name(one: list[bytes], two: list[bytes]) -> None:
    paths = [os.fsdecode(b"/nonexistent/" + b"/".join(p)) for p in (one, two)]
    keys = [state.project_key(p) for p in paths]

    assert (keys[0] == keys[1]) == (paths[0] == paths[1])
    assert all(k.isascii() and k.isprintable() and "/" not in k and len(k) <= state.MAX_KEY for k in keys)


def test_a_project_reached_by_a_symlink_has_the_key_of_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert state.project_key(str(tmp_path / "link")) == state.project_key(str(tmp_path / "real"))


def test_directories_are_private_and_the_version_is_written(tmp_path: Path) -> None:
    path = state.project_dir(str(tmp_path / "a/state"), "/nonexistent/p")

    assert [os.stat(p).st_mode & 0o777 for p in (path, tmp_path / "a/state")] == [0o700, 0o700]
    assert (tmp_path / "a/state/version").read_text() == f"{state.VERSION}\n"
    assert state.project_dir(str(tmp_path / "a/state"), "/nonexistent/p") == path


def test_a_state_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("99\n")

    with pytest.raises(HostError) as caught:
        state.project_dir(str(tmp_path), "/nonexistent/p")

    assert "99" in caught.value.what
    assert f"knows {state.VERSION}" in caught.value.what
    assert os.listdir(tmp_path) == ["version"]


def assert_two_lines(error: LauncherError) -> None:
    assert error.what
    assert error.hint
    assert "\n" not in error.what + error.hint


def test_a_full_disk_is_said_with_what_to_do_and_the_old_file_stays(tmp_path: Path) -> None:
    # A file size limit is the full disk that needs no mount; the error it gives is EFBIG instead of ENOSPC.
    error = state.unwritable("/s/f", OSError(28, os.strerror(28)))
    assert_two_lines(error)
    assert "No space left" in error.what
    assert "free some space" in error.hint

    program = (
        "import resource, signal, sys\n"
        "from launcher import state, errors\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try: state.write_atomic(sys.argv[1], b'x' * 100)\n"
        "except errors.HostError as e: print(e.what)\n"
    )
    (tmp_path / "f").write_text("old")
    environment = {"PYTHONPATH": str(Path(state.__file__).parents[1])}
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", program, str(tmp_path / "f")],
        env={**environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert "File too large" in done.stdout
    assert (tmp_path / "f").read_text() == "old"
    assert os.listdir(tmp_path) == ["f"], "the temporary file is gone"


@pytest.mark.as_root
def test_a_really_full_disk_ends_in_two_lines(tmp_path: Path) -> None:
    program = (
        f"mount -t tmpfs -o size=4k none {tmp_path} && head -c 4096 /dev/zero > {tmp_path}/full && "
        "exec python3 -c 'import sys; from launcher import state, errors\n"
        'try: state.project_dir(sys.argv[1], "/p")\n'
        "except errors.HostError as e: print(e.what); print(e.hint)' "
        f"{tmp_path}"
    )
    environment = {"PYTHONPATH": str(Path(state.__file__).parents[1]), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr}")

    what, hint = done.stdout.splitlines()
    assert "No space left" in what
    assert "free some space" in hint


@pytest.mark.parametrize("obstacle", ["file", "symlink"])
def test_something_else_in_the_place_of_the_state_ends_in_two_lines(tmp_path: Path, obstacle: str) -> None:
    place = tmp_path / state.project_key("/nonexistent/p")
    place.write_text("") if obstacle == "file" else place.symlink_to("/")

    with pytest.raises(HostError) as caught:
        state.project_dir(str(tmp_path), "/nonexistent/p")

    assert_two_lines(caught.value)


# -- claude.json


@pytest.fixture
def project_state(tmp_path: Path) -> str:
    return state.project_dir(str(tmp_path / "state"), "/nonexistent/p")


def test_the_copy_is_seeded_once_and_then_its_own(tmp_path: Path, project_state: str) -> None:
    host = tmp_path / ".claude.json"
    host.write_text('{"a": 1}')

    path = Path(state.claude_json(project_state, str(host)))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"a": 1}

    path.write_text('{"a": 2}')
    assert Path(state.claude_json(project_state, str(host))).read_text() == '{"a": 2}'
    assert host.read_text() == '{"a": 1}'


@pytest.mark.parametrize("dangling", [False, True])
def test_without_a_host_file_nothing_is_seeded(tmp_path: Path, project_state: str, dangling: bool) -> None:
    if dangling:
        (tmp_path / ".claude.json").symlink_to("gone")

    path = state.claude_json(project_state, str(tmp_path / ".claude.json"))

    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{", b"null", b'"' + b"\x1b[2J"])
def test_a_host_file_that_is_no_object_is_named_with_the_fix(
    tmp_path: Path, project_state: str, content: bytes
) -> None:
    host = tmp_path / ".claude.json"
    host.write_bytes(content)

    with pytest.raises(UserError) as caught:
        state.claude_json(project_state, str(host))

    assert_two_lines(caught.value)
    assert str(host) in caught.value.what
    assert "\x1b" not in caught.value.what
    assert host.read_bytes() == content


def test_a_host_file_that_is_a_directory_is_named(tmp_path: Path, project_state: str) -> None:
    (tmp_path / ".claude.json").mkdir()

    with pytest.raises(UserError):
        state.claude_json(project_state, str(tmp_path / ".claude.json"))


@pytest.mark.parametrize("planted", ["symlink", "dangling", "directory", "fifo"])
def test_what_an_agent_planted_in_place_of_the_copy_is_replaced_unfollowed(
    tmp_path: Path, project_state: str, planted: str
) -> None:
    host, victim = tmp_path / ".claude.json", tmp_path / "victim"
    host.write_text("{}")
    victim.write_text("mine")
    directory = Path(project_state) / "claude"
    directory.mkdir()
    place = directory / "claude.json"
    if planted == "symlink":
        place.symlink_to(victim)
    elif planted == "dangling":
        place.symlink_to(tmp_path / "made")
    elif planted == "fifo":
        os.mkfifo(place)
    else:
        (place / "x").mkdir(parents=True)
    (directory / f"claude.json.{os.getpid()}.tmp").symlink_to(victim)

    path = Path(state.claude_json(project_state, str(host)))

    assert path.is_file()
    assert not path.is_symlink()
    assert path.read_text() == "{}"
    assert victim.read_text() == "mine"
    assert not (tmp_path / "made").exists()


def test_the_directory_of_the_copy_is_no_symlink(tmp_path: Path, project_state: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (Path(project_state) / "claude").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(HostError):
        state.claude_json(project_state, str(tmp_path / "none"))
