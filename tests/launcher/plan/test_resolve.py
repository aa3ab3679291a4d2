from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import explain
from launcher.errors import UserError
from launcher.host.model import Agent, Entry, Offer
from launcher.plan.model import Mount, Plan
from launcher.plan.resolve import PLANNERS, resolve
from launcher.request import Share
from launcher.spec.table import ROWS
from tests.launcher.subjects import PROJECT, context, host, layout


def at(plan: Plan, target: str) -> Mount:
    """The last mount at `target`: the one that counts."""
    return [m for m in plan.mounts if m.target == target][-1]


def targets(plan: Plan) -> set[str]:
    return {m.target for m in plan.mounts}


def with_offer(row: str, offer: Offer) -> dict[str, Offer]:
    return {**host().offers, row: offer}


def test_the_plan_has_every_row_of_the_spec_in_its_order() -> None:
    assert [g.row for g in resolve(context()).rows] == list(ROWS)


def test_every_planned_row_is_a_row_of_the_spec() -> None:
    assert set(PLANNERS) <= set(ROWS)


def test_the_project_is_writable_at_its_path_and_at_project() -> None:
    plan = resolve(context())

    assert at(plan, PROJECT) == Mount(kind="bind", source=PROJECT, target=PROJECT, mode="rw")
    assert at(plan, "/project").source == PROJECT
    assert plan.cwd == PROJECT


def test_hooks_are_read_only_by_either_path_and_come_after_the_project() -> None:
    plan = resolve(context(git=layout()))
    order = [m.target for m in plan.mounts]

    for root in (PROJECT, "/project"):
        assert at(plan, f"{root}/.git/hooks").mode == "ro"
        assert at(plan, f"{root}/.git").mode == "rw"
        assert order.index(root) < order.index(f"{root}/.git") < order.index(f"{root}/.git/hooks")


def test_a_git_directory_outside_comes_along_and_a_refused_one_is_said() -> None:
    plan = resolve(context(git=layout(outside=("/home/u/main/.git",))))
    refused = resolve(context(git=layout(refused=("/home/u/other/.git", "it does not point back"))))

    assert at(plan, "/home/u/main/.git").mode == "rw"
    assert any("does not point back" in note for note in refused.notes)
    assert "/home/u/other/.git" not in targets(refused)


def test_protected_triggers_are_read_only_and_their_directories_pinned() -> None:
    paths = (f"{PROJECT}/.vscode/tasks.json", f"{PROJECT}/.envrc", f"{PROJECT}/.git/config")
    subject = context(git=layout(), protect=True)
    plan = resolve(subject.replace(subject=subject.subject.replace(triggers=paths)))
    order = [m.target for m in plan.mounts]

    for root in (PROJECT, "/project"):
        assert at(plan, f"{root}/.vscode").mode == "rw"
        assert at(plan, f"{root}/.vscode/tasks.json").mode == "ro"
        assert at(plan, f"{root}/.git/config").mode == "ro"
        assert order.index(f"{root}/.vscode") < order.index(f"{root}/.vscode/tasks.json")
        assert order.count(f"{root}/.git") == 1


def test_husky_is_kept_from_writing_its_read_only_hooks() -> None:
    plan = resolve(context(git=layout(hooks=(f"{PROJECT}/.husky",))))

    assert dict(plan.environment)["HUSKY"] == "0"
    assert "HUSKY" not in dict(resolve(context(git=layout())).environment)


def test_only_listed_variables_are_in_the_environment() -> None:
    environment = dict(resolve(context()).environment)

    assert environment["ANTHROPIC_API_KEY"] == "sk-secret"
    assert environment["LANG"] == "de_DE.UTF-8"
    assert environment["HOME"] == "/home/sandbox"
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert "GH_TOKEN" not in environment


def test_gh_token_comes_when_asked_for() -> None:
    assert dict(resolve(context(also=frozenset({"gh-token"}))).environment)["GH_TOKEN"] == "gh-secret"


def test_env_forwards_one_more_and_says_which_is_not_set() -> None:
    plan = resolve(context(env=("AWS_SECRET_ACCESS_KEY", "NOPE")))

    assert dict(plan.environment)["AWS_SECRET_ACCESS_KEY"] == "canary"
    assert any("NOPE" in note for note in plan.notes)


def test_no_secret_stands_in_the_json_or_the_command() -> None:
    shown = explain.as_json(resolve(context(also=frozenset({"gh-token"}))))

    assert "sk-secret" not in shown
    assert "gh-secret" not in shown
    assert json.loads(shown)["environment"]["ANTHROPIC_API_KEY"] == "(secret)"


def test_only_root_is_told_that_it_is_in_a_sandbox() -> None:
    assert "IS_SANDBOX" not in dict(resolve(context()).environment)
    assert dict(resolve(context(host(uid=0, gid=0))).environment)["IS_SANDBOX"] == "1"


@pytest.mark.parametrize("uid", [0, 1000])
def test_passwd_names_root_sandbox_and_nobody_and_ours_answers_first(uid: int) -> None:
    lines = at(resolve(context(host(uid=uid, gid=uid))), "/etc/passwd").content.decode().splitlines()

    assert {line.split(":")[0] for line in lines} == {"root", "sandbox", "nobody"}
    assert next(line for line in lines if line.split(":")[2] == str(uid)).startswith("sandbox:")


def test_settings_lie_read_only_in_the_writable_directory() -> None:
    plan = resolve(context())

    assert at(plan, "/home/sandbox/.claude").mode == "rw"
    assert at(plan, "/home/sandbox/.claude/settings.json").mode == "ro"
    assert at(plan, "/home/sandbox/.claude/shell-snapshots").kind == "tmpfs"
    assert at(plan, "/home/u/.claude").kind == "symlink"


def test_settings_are_writable_when_asked_for() -> None:
    plan = resolve(context(also=frozenset({"claude-settings-write"})))

    assert "/home/sandbox/.claude/settings.json" not in targets(plan)


def test_a_setting_that_is_a_link_is_covered_where_that_can_be_done_and_else_said() -> None:
    source = "/home/u/dotfiles/settings.json"
    offer = Offer(
        entries=(
            Entry(name="settings.json", kind="link", source=source),
            Entry(name="skills", kind="link", source=""),
        )
    )
    on = host(offers=with_offer("claude-settings", offer))
    able, unable = resolve(context(on)), resolve(context(on.replace(can_cover=False)))

    assert able.covers == ((source, "/home/u/.claude/settings.json"),)
    assert at(able, "/home/sandbox/.claude/settings.json").mode == "ro"
    assert [n for n in able.notes if "skills" in n and "settings.json" not in n]
    assert not unable.covers
    assert [n for n in unable.notes if "settings.json, skills" in n]


def test_dotfiles_come_file_by_file_and_a_copied_config_is_ours() -> None:
    plan = resolve(context())

    assert at(plan, "/home/sandbox/.gitconfig").source == "/home/u/dotfiles/gitconfig"
    assert at(plan, "/home/sandbox/.ssh").kind == "dir"
    assert at(plan, "/home/sandbox/.ssh/id_ed25519").mode == "ro"
    assert at(plan, "/home/sandbox/.ssh/config").perms == 0o600


def test_etc_keeps_links_and_shows_the_content_of_others() -> None:
    plan = resolve(context())

    assert at(plan, "/etc/localtime") == Mount(
        kind="symlink", source="/usr/share/zoneinfo/Europe/Berlin", target="/etc/localtime"
    )
    assert at(plan, "/etc/resolv.conf").source == "/run/systemd/resolve/stub-resolv.conf"


@pytest.mark.parametrize("row", [row for row, values in ROWS.items() if values[2]])
def test_a_row_left_out_leaves_no_mount_and_no_variable(row: str) -> None:
    everything = resolve(context(git=layout()))
    without = resolve(context(git=layout(), without=frozenset({row})))
    granted = next(g for g in everything.rows if g.row == row)

    assert not next(g for g in without.rows if g.row == row).granted
    assert not {m.target for m in granted.mounts} & targets(without)
    assert not set(granted.environment) & set(without.environment)


def test_no_network_is_in_the_plan_and_x_over_tcp_goes_with_it() -> None:
    offer = Offer(
        entries=(Entry(name="tcp", kind="link", source="localhost:10.0"),), shown="DISPLAY=localhost:10.0"
    )
    on = host(offers=with_offer("x11", offer), environ={"DISPLAY": "localhost:10.0"})

    assert dict(resolve(context(on)).environment)["DISPLAY"] == "localhost:10.0"
    closed = resolve(context(on, network=False))
    assert not closed.network
    assert "DISPLAY" not in dict(closed.environment)


def test_buses_go_through_a_proxy_or_not_at_all() -> None:
    offer = Offer(
        entries=(Entry(name="bus", kind="socket", source="unix:path=/run/user/1000/bus"),), shown="bus"
    )
    on = host(offers=with_offer("dbus-session", offer))

    (proxy,) = resolve(context(on)).proxies
    assert proxy.address == "unix:path=/run/user/1000/bus"
    assert all(
        rule.startswith(("--call=org.freedesktop.secrets", "--broadcast=org.freedesktop.secrets"))
        for rule in proxy.rules
    )
    bare = resolve(context(on.replace(programs={})))
    assert not bare.proxies
    assert "DBUS_SESSION_BUS_ADDRESS" not in dict(bare.environment)
    assert any("xdg-dbus-proxy is not installed" in note for note in bare.notes)


def test_a_share_is_bound_as_asked() -> None:
    plan = resolve(context(shares=(Share(path="/data", mode="rw"), Share(path="/docs"))))

    assert (at(plan, "/data").mode, at(plan, "/docs").mode) == ("rw", "ro")


@pytest.mark.parametrize(
    "path", ["/", "/home/u", "/home", "/proc", "/home/u/.local/state/claude-sandbox", "/home/u/.local"]
)
def test_a_share_that_would_undo_the_sandbox_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="--share"):
        resolve(context(shares=(Share(path=path),)))


def test_the_agent_gets_a_note_on_where_it_is_before_the_users_arguments() -> None:
    command = resolve(context(args=("-p", "hi"))).command

    assert command[:2] == ("/home/u/.local/share/claude/1", "--append-system-prompt")
    assert "claude-sandbox" in command[2]
    assert command[3:] == ("-p", "hi")


def test_the_users_own_system_prompt_takes_the_notes_place() -> None:
    args = ("--append-system-prompt", "x")

    assert resolve(context(args=args)).command[1:] == args


def test_shell_is_bash_with_the_arguments() -> None:
    shell = context(shell=True, args=("-c", "id"))  # noqa: S604  (a flag of ours)
    assert resolve(shell).command == ("/bin/bash", "-c", "id")


def test_an_agent_inside_the_project_is_not_bound_again() -> None:
    agent = Agent(name="claude", path=f"{PROJECT}/bin/claude", trees=(f"{PROJECT}/bin/claude",))

    assert f"{PROJECT}/bin/claude" not in targets(resolve(context(host(agent=agent))))


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=()), min_size=1, max_size=50))
def test_any_name_of_a_project_that_linux_allows_arrives_whole(name: str) -> None:
    path = f"/home/u/{name}"
    plan = resolve(context(project=path))

    assert at(plan, path).source == path
    assert plan.cwd == path


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=())))
def test_any_value_of_a_variable_arrives_whole(value: str) -> None:
    plan = resolve(context(host(environ={"ANTHROPIC_API_KEY": value})))

    assert dict(plan.environment)["ANTHROPIC_API_KEY"] == value


def test_explain_says_what_is_granted_and_why_the_rest_is_not() -> None:
    text = explain.text(resolve(context()), colour=False)

    assert "ssh-agent" in text
    assert "$SSH_AUTH_SOCK → /run/user/1000/ssh-agent.sock" in text
    assert "\033" not in text
    assert all(row in text for row in ROWS)


def test_a_share_in_the_system_is_read_only_or_refused() -> None:
    assert resolve(context(shares=(Share(path="/run/docker.sock"),))).project

    with pytest.raises(UserError, match="lies in /run, which belongs to the system") as caught:
        resolve(context(shares=(Share(path="/run/dbus", mode="rw"),)))
    assert caught.value.hint == "share it read-only, without :rw"
