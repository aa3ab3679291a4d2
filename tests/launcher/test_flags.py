from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import UserError
from launcher.flags import FLAGS, help_text, known, parse
from launcher.request import Request, Share
from launcher.spec.table import BACKENDS
from launcher.untrusted import printable


def request(*words: str) -> Request:
    return parse(list(words), backend="bubblewrap", program="claude-sandbox")


def test_all_after_project_belongs_to_the_agent() -> None:
    parsed = request("--quiet", "p", "--no-network", "-p", "--", "x", "--shell")

    assert (parsed.project, parsed.args) == ("p", ("--no-network", "-p", "--", "x", "--shell"))
    assert parsed.network
    assert not parsed.shell


@given(st.lists(st.text(), max_size=5))
def test_arguments_of_the_agent_arrive_untouched_whatever_they_are(words: list[str]) -> None:
    assert request("p", *words).args == tuple(words)


def test_two_dashes_end_the_flags() -> None:
    assert request("--", "--shell").project == "--shell"


def test_values_stand_apart_or_behind_an_equals_sign() -> None:
    assert request("--without", "x11", "--without=audio", "p").without == {"x11", "audio"}


def test_gh_token_is_its_row() -> None:
    assert request("--gh-token", "p").also == {"gh-token"}


@pytest.mark.parametrize(
    ("word", "share"),
    [
        ("/a", Share(path="/a")),
        ("/a:rw", Share(path="/a", mode="rw")),
        ("/a:b:ro", Share(path="/a:b", mode="ro")),
        ("/a:b", Share(path="/a:b")),
        ("/a\nb:rw", Share(path="/a\nb", mode="rw")),
    ],
)
def test_a_share_has_its_mode_behind_the_last_colon(word: str, share: Share) -> None:
    assert request("--share", word, "p").shares == (share,)


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        (["--max-memory", "512M"], {"max_memory": 512 << 20}),
        (["--max-memory=4g"], {"max_memory": 4 << 30}),
        (["--max-memory", "1073741824"], {"max_memory": 1 << 30}),
        (["--max-memory", "50%"], {"memory_share": 50}),
        (["--max-tasks", "100", "--cpus", "1.5"], {"max_tasks": 100, "cpus": 1.5}),
        (["--cpus", ".5"], {"cpus": 0.5}),
        (["--max-tasks", "100", "--max-tasks", "200"], {"max_tasks": 200}),
        ([], {"max_memory": 0, "memory_share": 0, "max_tasks": 0, "cpus": 0.0}),
    ],
)
def test_limits_are_numbers(words: list[str], limits: dict[str, float]) -> None:
    parsed = request(*words, "p")

    assert {name: getattr(parsed, name) for name in limits} == limits


@given(st.sampled_from(("--max-memory", "--max-tasks", "--cpus")), st.text())
def test_whatever_a_limit_is_said_to_be_it_is_taken_or_refused(flag: str, value: str) -> None:
    with suppress(UserError):
        request(f"{flag}={value}", "p")


def test_explain_takes_a_form() -> None:
    assert (request("--explain=json", "p").action, request("--explain=json", "p").json) == ("explain", True)


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ([], "PROJECT is missing", "claude-sandbox ~/proj"),
        (["--shel", "p"], "unknown flag --shel", "--shell"),
        (["-xyzzy", "p"], "unknown flag -xyzzy", "--help"),
        (["--without", "x12", "p"], "there is no such row", "x11"),
        (["--without", "processes", "p"], "part of what a sandbox is", "--without takes"),
        (["--without", "network", "p"], "part of what a sandbox is", "--no-network"),
        (["--with", "x11", "p"], "on by default", "userns"),
        (["--with", "usrns", "p"], "there is no such row", "userns"),
        (["--env", "A=b", "p"], "not a variable's name", "name alone"),
        (["--env"], "needs a value", "--env NAME"),
        (["--shell=yes", "p"], "takes no value", "--shell"),
        (["--max-memory", "lots", "p"], "--max-memory lots is not a size", "512M"),
        (["--max-memory", "1.5G", "p"], "is not a size", "4G"),
        (["--max-memory", "0", "p"], "too little", "32M"),
        (["--max-memory", "-1", "p"], "is not a size", "bytes"),
        (["--max-memory", "101%", "p"], "no share", "100%"),
        (["--max-memory", "99999999999T", "p"], "more than any machine has", "512M"),
        (["--max-memory"], "needs a value", "--max-memory SIZE"),
        (["--max-tasks", "many", "p"], "not a number", "16"),
        (["--max-tasks", "3", "p"], "too few", "16"),
        (["--max-tasks", "99999999", "p"], "more than a kernel counts", "4194304"),
        (["--cpus", "nan", "p"], "not a number", "0.5"),
        (["--cpus", "1e9", "p"], "not a number", "0.5"),
        (["--cpus", "0", "p"], "too little", "0.01"),
        (["--cpus", "2", "--without", "limits", "p"], "--cpus is a limit", "leave one out"),
        (["--explain=xml", "p"], "not a form of output", "--explain=json"),
        (["--\x1b[31m", "p"], r"unknown flag --\x1b[31m", "--help"),
    ],
)
def test_a_mistake_is_named_with_its_mend(words: list[str], what: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        request(*words)

    assert what in caught.value.what
    assert hint in caught.value.hint
    assert "\n" not in caught.value.what + caught.value.hint


def test_the_help_names_every_flag() -> None:
    text = help_text("claude-sandbox", "bubblewrap")

    assert all(flag.name in text and flag.help in text for flag in known("bubblewrap"))
    assert {f.name for f in FLAGS} == {f.name for backend in BACKENDS for f in known(backend)}
    assert "--user" not in text
    assert "--user" in help_text("claude-sandbox-container", "container")
    assert max(map(len, text.splitlines())) <= 110


@given(st.text())
def test_what_is_printable_commands_no_terminal(text: str) -> None:
    assert all(c.isprintable() for c in printable(text))
