from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.backends import bubblewrap
from launcher.backends.base import Launch
from launcher.host.model import Bwrap, Limiters
from launcher.plan.resolve import resolve
from tests.launcher.subjects import context, host, layout

GOLDEN = Path(__file__).parents[1] / "golden"


def render(**request: Any) -> Launch:  # noqa: ANN401
    on = host()
    return bubblewrap.render(resolve(context(on, layout(), **request)), on, tty=False)


def lines(launch: Launch) -> list[str]:
    """The command line up to the inner stage, an option with its values a line."""
    out: list[str] = []
    for word in launch.argv[1 : launch.argv.index("--")]:
        if word.startswith("--"):
            out.append(word)
        else:
            out[-1] += f" {word}"
    return out


@pytest.mark.parametrize(
    ("name", "request_"),
    [("default", {}), ("no-network", {"network": False, "without": frozenset({"ssh-keys", "ssh-agent"})})],
    ids=["default", "no-network"],
)
def test_the_command_line_is_the_one_that_a_person_has_read(name: str, request_: dict[str, object]) -> None:
    rendered = "\n".join(lines(render(**request_))) + "\n"

    assert rendered == (GOLDEN / f"bubblewrap-{name}.txt").read_text()


def test_rendering_is_pure() -> None:
    assert render() == render()


def test_no_secret_and_no_variable_stands_in_argv() -> None:
    launch = render(also=frozenset({"gh-token"}))

    assert "sk-secret" in dict(launch.environment).values()
    assert not any("secret" in word or word == "--setenv" for word in launch.argv)


def test_every_placeholder_has_its_data() -> None:
    launch = render()
    named = {word[1:-1] for word in launch.argv if word.startswith("{") and word.endswith("}")}

    assert named - {"control", "stderr", "terminal", "environment", "orders"} == {
        name for name, _ in launch.data
    }


def test_nested_user_namespaces_are_shut_unless_asked_for() -> None:
    assert "--disable-userns" in render().argv
    assert "--disable-userns" not in render(also=frozenset({"userns"})).argv


def test_an_old_bubblewrap_is_told_what_it_knows_and_the_gap_is_said() -> None:
    on = host(bwrap=Bwrap(path="/usr/bin/bwrap", options=frozenset({"perms"})))

    assert "--disable-userns" not in bubblewrap.render(resolve(context(on)), on, tty=False).argv
    assert bubblewrap.weaker(on)
    assert not bubblewrap.weaker(host())


def test_limits_without_systemd_are_set_by_the_stage_and_the_affinity() -> None:
    launch = render(max_tasks=64, max_memory=1 << 30, cpus=1.5)

    assert "u64 d1048576" in launch.argv
    assert (launch.prefix, launch.processors) == ((), 2)


def test_limits_with_systemd_are_a_scope_s() -> None:
    everything = frozenset(("memory", "pids", "cpu"))
    on = host(limiters=Limiters(user=everything, memory=1 << 34))
    on = on.replace(programs={**on.programs, "systemd-run": "/usr/bin/systemd-run"})
    plan = resolve(context(on, layout(), max_tasks=64, max_memory=1 << 30, cpus=1.5))

    launch = bubblewrap.render(plan, on, tty=False)

    assert " ".join(launch.prefix) == (
        "/usr/bin/systemd-run --user --scope --quiet --collect --description=claude-sandbox"
        " -p Delegate=yes -p MemoryMax=1073741824 -p MemorySwapMax=0 -p TasksMax=64 -p CPUQuota=150% --"
    )
    assert launch.processors == 0
    assert not [word for word in launch.argv if word.startswith(("u64", "d1048"))]


def test_a_default_start_takes_no_other_program() -> None:
    launch = render()

    assert (launch.prefix, launch.processors) == ((), 0)
    assert "u4096" in launch.argv
