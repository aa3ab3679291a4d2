"""The real resources.toml: what holds of the table whatever its rows say."""

from __future__ import annotations

import fnmatch
import json

import pytest

from launcher.spec.load import load
from launcher.spec.model import Cell, Spec
from launcher.syscalls import number

# design of the command line: these have a flag of their own or are what makes it a sandbox
NEVER_LEFT_OUT = {
    *("project", "git-hooks", "host-triggers", "uid", "claude-settings", "environment"),
    *("home", "tmp", "etc", "network", "host-loopback", "terminal", "exit"),
    *("processes", "privileges", "syscalls", "inheritance", "devices", "host-sockets", "kernel"),
}
SECRETS = (
    *("*shadow*", "*private*", "*.key", "*secret*", "*passw*", "*credential*", "*token*", "*netrc*"),
    *("ssh_host_*", "sudoers*", "krb5*", "opasswd", "*.keytab", "machine-id", "group", "hostname"),
)


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load()


def cells(spec: Spec) -> list[Cell]:
    return [
        cell
        for row in spec.rows.values()
        for by_backend in (row.cells, *row.variants.values())
        for cell in by_backend.values()
    ]


def test_every_word_is_used_by_a_cell(spec: Spec) -> None:
    assert set(spec.words) == {cell.word for cell in cells(spec)}


def test_every_group_and_variant_is_used(spec: Spec) -> None:
    assert {row.group for row in spec.rows.values()} == set(spec.groups)
    assert {variant for row in spec.rows.values() for variant in row.variants} == set(spec.variants)


def test_every_promise_is_one_short_line(spec: Spec) -> None:
    assert [r.name for r in spec.rows.values() if len(r.promise) > 110 or not r.promise.isprintable()] == []


def test_a_variant_says_something_that_the_plain_cell_does_not(spec: Spec) -> None:
    for row in spec.rows.values():
        for variant, by_backend in row.variants.items():
            for backend, cell in by_backend.items():
                assert cell != row.cells[backend], f"{row.name} {variant} {backend}"


def test_rows_that_are_off_by_default_are_absent_until_a_variant_brings_them(spec: Spec) -> None:
    off = {row.name for row in spec.rows.values() if not row.default}
    assert off == {"gh-token", "claude-settings-write", "userns", "kvm"}
    for name in off:
        row = spec.rows[name]
        assert row.cell("bubblewrap").word == "absent"
        assert row.cell("bubblewrap", name).word != "absent"


def test_isolation_cannot_be_left_out(spec: Spec) -> None:
    assert {row.name for row in spec.rows.values() if row.default and not row.without} == NEVER_LEFT_OUT


def test_without_a_network_nothing_of_it_is_promised_by_any_backend(spec: Spec) -> None:
    for row in ("network", "host-loopback"):
        words = {spec.rows[row].cell(backend, "no-network").word for backend in spec.backends}
        assert words == {"absent"}, row


def looks_secret(path: str) -> bool:
    return any(fnmatch.fnmatch(part, pattern) for part in path.split("/") for pattern in SECRETS)


def test_nothing_secret_of_etc_is_listed(spec: Spec) -> None:
    # The control: the patterns do catch what they are for.
    for bait in ("shadow", "gshadow-", "ssl/private", "ssh/ssh_host_rsa_key", "sudoers.d", "nix/netrc"):
        assert looks_secret(bait), bait
    assert [path for path, _ in spec.etc if looks_secret(path)] == []


@pytest.mark.parametrize("parent", ["ssl", "pki", "pki/tls", "ssh", "security", "nix", "pulse", "maven"])
def test_directories_of_etc_that_hold_secrets_too_are_not_listed_whole(spec: Spec, parent: str) -> None:
    assert parent not in dict(spec.etc)


def test_no_etc_path_lies_below_another(spec: Spec) -> None:
    paths = [path for path, _ in spec.etc]
    assert [p for p in paths for q in paths if p.startswith(f"{q}/")] == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "ANTHROPIC_ADMIN_KEY",
        ),
        *(
            "NPM_TOKEN",
            "SSH_AUTH_SOCK",
            "DBUS_SESSION_BUS_ADDRESS",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "PATH",
            "HOME",
        ),
        *("CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_SHELL_PREFIX", "CLAUDE_CONFIG_DIR", "LC_SECRET"),
    ],
)
def test_a_variable_that_is_not_meant_matches_no_entry(spec: Spec, name: str) -> None:
    entries = [entry for entry, _ in spec.environment]
    assert [entry for entry in entries if fnmatch.fnmatchcase(name, entry)] == []


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("ANTHROPIC_API_KEY", "api-key"),
        ("ANTHROPIC_DEFAULT_OPUS_MODEL", "api-key"),
        ("GH_TOKEN", "gh-token"),
        ("LC_ALL", "locale"),
        ("TERM", "terminal"),
        ("TZ", "timezone"),
    ],
)
def test_a_variable_belongs_to_one_row(spec: Spec, name: str, row: str) -> None:
    assert [owner for entry, owner in spec.environment if fnmatch.fnmatchcase(name, entry)] == [row]


def test_what_is_made_empty_is_valid_for_its_reader(spec: Spec) -> None:
    for setting in spec.claude_settings:
        if setting.create and setting.name.endswith(".json"):
            assert isinstance(json.loads(setting.empty), dict), setting.name


def test_a_name_below_claude_has_one_treatment(spec: Spec) -> None:
    made = {s.name for s in spec.claude_settings if s.create}
    private, planted = ({n.name for n in names} for names in (spec.claude_private, spec.claude_planted))
    assert not made & private
    assert not made & planted
    assert not private & planted


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_denied_call_is_known_and_some_are_numbered(spec: Spec, machine: str) -> None:
    numbers = [number(call, machine) for denied in spec.seccomp.deny for call in denied.calls]
    assert len([n for n in numbers if n is not None]) > 20


def test_the_families_that_programs_live_on_are_not_denied(spec: Spec) -> None:
    unix, inet, inet6, netlink = 1, 2, 10, 16
    packet, alg, vsock = 17, 38, 40
    assert not {unix, inet, inet6, netlink} & set(spec.seccomp.families.values())
    assert {packet, alg, vsock} <= set(spec.seccomp.families.values())
