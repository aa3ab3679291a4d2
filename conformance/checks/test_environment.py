"""Rows about what of the caller's environment comes along."""

from __future__ import annotations

from conformance.harness.covers import covers
from conformance.harness.inside import Inside
from conformance.harness.world import TOKENS, World

# Every process that can be seen, with what its memory says and not only what it passes on.
ENVIRONMENTS = """
import os
found = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            found[pid] = file.read().decode(errors="replace")
    except OSError as error:
        found[pid] = f"errno {error.errno}"
print(json.dumps(found))
"""


@covers("environment", "own")
def test_no_process_inside_has_the_hosts_secrets(inside: Inside, host: World) -> None:
    """A secret exported on the host is in no process's environment inside, that of pid 1 included."""
    secrets = [
        name
        for name in host.canaries
        if name.startswith("$") and name[1:] not in (*TOKENS, "ANTHROPIC_API_KEY")
    ]

    control = host.found_in("\n".join(host.python(ENVIRONMENTS).values()))
    found = inside.python(ENVIRONMENTS)

    assert set(secrets) <= set(control), "the same probe has to see them on the host"
    assert "1" in found
    assert not set(secrets) & set(host.found_in("\n".join(found.values())))


@covers("gh-token", "absent")
def test_tokens_stay_outside(inside: Inside, host: World) -> None:
    """Without --gh-token no process inside has GH_TOKEN or GITHUB_TOKEN, by name or by value."""
    found = "\n".join(inside.python(ENVIRONMENTS).values())

    assert not {f"${name}" for name in TOKENS} & set(host.found_in(found))
    assert not [name for name in TOKENS if f"{name}=" in found]


@covers("gh-token", "same")
def test_tokens_come_along_when_asked_for(inside: Inside, host: World) -> None:
    """With --gh-token both variables are equal inside and outside."""
    values = inside.python(
        "import os; print(json.dumps([os.environ.get(n) for n in given['names']]))", names=TOKENS
    )

    assert values == [host.environ[name] for name in TOKENS]
