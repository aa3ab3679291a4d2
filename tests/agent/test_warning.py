"""Who is spared claude's warning of --dangerously-skip-permissions, as values of the plan."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.host.model import Entry, Offer
from launcher.plan.claude import MANAGED
from launcher.plan.resolve import resolve
from tests.agent.desk import SKIP
from tests.launcher.subjects import context, host


def answers(**request: Any) -> list[bytes]:  # noqa: ANN401  (as the subjects take them)
    return [m.content for m in resolve(context(**request)).mounts if m.target.startswith(MANAGED)]


def test_who_gives_the_flag_has_answered() -> None:
    (content,) = answers(args=(SKIP, "-p", "hello"))

    assert json.loads(content) == {"skipDangerousModePermissionPrompt": True}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"args": ("-p", "hello")}, id="without-the-flag"),
        pytest.param({"args": (SKIP,), "shell": True}, id="bash-has-no-such-flag"),
        pytest.param({"args": (SKIP,), "also": frozenset({"claude-settings-write"})}, id="can-be-kept"),
    ],
)
def test_nobody_else_has(request_: dict[str, Any]) -> None:
    assert answers(**request_) == []


def test_an_organisations_settings_are_left_alone() -> None:
    etc = Offer(entries=(Entry(name=MANAGED, kind="dir", source=MANAGED),))
    managed = host(offers={**host().offers, "etc": etc})

    assert answers(on=managed, args=(SKIP,)) == [b""], "the bind mount of theirs"
