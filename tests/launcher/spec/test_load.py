"""The loader's complaints, one mistake at a time, in an otherwise right file."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.spec.load import SpecError, load
from launcher.spec.model import Cell

TINY = """
[words]
own = "a private instance"
absent = "not there"
forwarded = "a live peer answers"
[backends]
bubblewrap = "bwrap"
vm = "QEMU"
[groups]
credentials = "Credentials"
system = "System"
[variants]
no-network = "--no-network"
[rows.ssh-agent]
group = "credentials"
promise = "The agent signs"
without = true
bubblewrap = { word = "forwarded", means = "bind mount" }
vm = { word = "forwarded", means = "virtio-serial relay" }
[rows.network]
group = "system"
promise = "The network"
without = false
default = false
bubblewrap = { word = "own", means = "passt" }
vm = { word = "own", means = "passt" }
variants.no-network.bubblewrap = { word = "absent", means = "network namespace" }
[lists.etc]
network = ["hosts", "ssl/certs"]
[lists.environment]
ssh-agent = ["SSH_AUTH_SOCK", "LC_*"]
[[lists.packages]]
program = "bwrap"
needed_for = "the sandbox"
required = true
apt = "bubblewrap"
dnf = "bubblewrap"
pacman = "bubblewrap"
[lists.claude]
settings = [
  { name = "settings.json", kind = "file", empty = "{}", why = "hooks" },
  { name = "local", kind = "dir", create = false, why = "updates" },
]
private = [{ name = "ide", why = "tokens" }]
planted = [{ name = ".config.json", why = "obeyed" }]
[lists.triggers]
direnv = [".envrc"]
[lists.git_triggers]
git = ["config"]
[[lists.seccomp.deny]]
why = "keyrings"
calls = ["keyctl", "add_key"]
[lists.seccomp.families]
AF_ALG = 38
[lists.seccomp.ioctls]
TIOCSTI = 0x5412
[lists.chromium]
ExtensionInstallBlocklist = ["*"]
"""

AGENT = "rows.ssh-agent"

# What is right → what stands there instead, and the whole complaint after the file's name.
MISTAKES = {
    "unknown word": (
        '{ word = "forwarded", means = "virtio-serial relay" }',
        '{ word = "forwardd", means = "relay" }',
        f"{AGENT}.vm.word: 'forwardd' is not a word; did you mean 'forwarded'?",
    ),
    "unknown word, none near": (
        '{ word = "forwarded", means = "virtio-serial relay" }',
        '{ word = "zzz", means = "relay" }',
        f"{AGENT}.vm.word: 'zzz' is not a word; there are own, absent, forwarded",
    ),
    "word of another type": (
        '{ word = "forwarded", means = "bind mount" }',
        '{ word = 1, means = "bind mount" }',
        f"{AGENT}.bubblewrap.word: must be a string, not a number",
    ),
    "empty means": ('means = "bind mount"', 'means = " "', f"{AGENT}.bubblewrap.means: is empty"),
    "missing means": (', means = "bind mount"', "", f"{AGENT}.bubblewrap.means: is missing"),
    "cell of another type": (
        '{ word = "forwarded", means = "bind mount" }',
        '"forwarded"',
        f"{AGENT}.bubblewrap: must be a table, not a string",
    ),
    "unknown key of a cell": (
        'means = "bind mount"',
        'means = "bind mount", mean = "x"',
        f"{AGENT}.bubblewrap.mean: 'mean' is not a key; did you mean 'means'?",
    ),
    "missing cell": (
        'vm = { word = "forwarded", means = "virtio-serial relay" }',
        "",
        f"{AGENT}.vm: is missing",
    ),
    "unknown backend": (
        'vm = { word = "forwarded"',
        'wm = { word = "forwarded"',
        f"{AGENT}.wm: 'wm' is not a key; did you mean 'vm'?",
    ),
    "unknown group": (
        'group = "credentials"',
        'group = "credential"',
        f"{AGENT}.group: 'credential' is not a group; did you mean 'credentials'?",
    ),
    "missing promise": ('promise = "The agent signs"', "", f"{AGENT}.promise: is missing"),
    "missing without": ("without = true", "", f"{AGENT}.without: is missing"),
    "without is no bool": (
        "without = true",
        "without = 1",
        f"{AGENT}.without: must be true or false, not a number",
    ),
    "unknown variant": (
        "variants.no-network",
        "variants.no-net",
        "rows.network.variants.no-net: 'no-net' is not a variant; did you mean 'no-network'?",
    ),
    "unknown backend of a variant": (
        "variants.no-network.bubblewrap",
        "variants.no-network.bubble",
        "rows.network.variants.no-network.bubble: 'bubble' is not a backend; did you mean 'bubblewrap'?",
    ),
    "unknown word of a variant": (
        '"absent", means = "network namespace"',
        '"absnt", means = "network namespace"',
        "rows.network.variants.no-network.bubblewrap.word: 'absnt' is not a word; did you mean 'absent'?",
    ),
    "unknown section": (
        "[variants]",
        "[variant]",
        "variant: 'variant' is not a section; did you mean 'variants'?",
    ),
    "unknown list": (
        "[lists.triggers]",
        "[lists.trigers]",
        "lists.trigers: 'trigers' is not a list; did you mean 'triggers'?",
    ),
    "etc for an unknown row": (
        "network = [",
        "netwrk = [",
        "lists.etc.netwrk: 'netwrk' is not a row; did you mean 'network'?",
    ),
    "etc path is absolute": (
        '"hosts"',
        '"/etc/hosts"',
        "lists.etc.network: '/etc/hosts' must be a plain path relative to /etc",
    ),
    "etc path climbs": (
        '"hosts"',
        '"ssl/../shadow"',
        "lists.etc.network: 'ssl/../shadow' must be a plain path relative to /etc",
    ),
    "etc path twice": ('"ssl/certs"', '"hosts"', "lists.etc.network: 'hosts' is there twice"),
    "etc path of two rows": (
        "[lists.environment]",
        'ssh-agent = ["hosts"]\n[lists.environment]',
        "lists.etc: 'hosts' is there twice",
    ),
    "etc entry is no string": ('"hosts"', "1", "lists.etc.network: must hold strings, not 1"),
    "not a variable": (
        '"SSH_AUTH_SOCK"',
        '"SSH-AUTH"',
        "lists.environment.ssh-agent: 'SSH-AUTH' is not the name of a variable",
    ),
    "all variables": ('"LC_*"', '"*"', "lists.environment.ssh-agent: '*' is not the name of a variable"),
    "package without apt": ('apt = "bubblewrap"', "", "lists.packages[1].apt: is missing"),
    "unknown key of a package": (
        'dnf = "bubblewrap"',
        'dnf = "bubblewrap"\napk = "bubblewrap"',
        "lists.packages[1].apk: 'apk' is not a key; did you mean 'apt'?",
    ),
    "setting of an unknown kind": (
        'kind = "file"',
        'kind = "fil"',
        "lists.claude.settings[1].kind: 'fil' is not a kind; did you mean 'file'?",
    ),
    "file that is made, without content": (
        ' empty = "{}",',
        "",
        "lists.claude.settings[1].empty: belongs to a file that is made when it is missing, and only to that",
    ),
    "directory with content": (
        'kind = "dir",',
        'kind = "dir", empty = "x",',
        "lists.claude.settings[2].empty: belongs to a file that is made when it is missing, and only to that",
    ),
    "setting twice": (
        'name = "local"',
        'name = "settings.json"',
        "lists.claude.settings: 'settings.json' is there twice",
    ),
    "private without a reason": (', why = "tokens"', "", "lists.claude.private[1].why: is missing"),
    "pattern climbs": (
        '".envrc"',
        '"../.envrc"',
        "lists.triggers.direnv: '../.envrc' must be a plain path relative to the project",
    ),
    "pattern ends in **": (
        '".envrc"',
        '".direnv/**"',
        "lists.triggers.direnv: '.direnv/**' needs no /** at the end: a directory stands for all below it",
    ),
    "call denied twice": ('"add_key"', '"keyctl"', "lists.seccomp.deny[1].calls: 'keyctl' is there twice"),
    "call denied for two reasons": (
        "[lists.seccomp.families]",
        '[[lists.seccomp.deny]]\nwhy = "again"\ncalls = ["keyctl"]\n[lists.seccomp.families]',
        "lists.seccomp.deny: 'keyctl' is there twice",
    ),
    "family twice": (
        "AF_ALG = 38",
        "AF_ALG = 38\nAF_VSOCK = 38",
        "lists.seccomp.families: '38' is there twice",
    ),
    "family is no number": (
        "AF_ALG = 38",
        'AF_ALG = "38"',
        "lists.seccomp.families.AF_ALG: must be a number, not a string",
    ),
    "row twice": (
        "[lists.etc]",
        "[rows.network]\n[lists.etc]",
        "Cannot declare ('rows', 'network') twice",
    ),
    "not TOML": ("[groups]", "[groups", "Expected ']' at the end of a table declaration"),
}


def written(directory: Path, text: str) -> Path:
    path = directory / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("right", "wrong", "complaint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_file_place_and_what_would_be_right(
    tmp_path: Path, right: str, wrong: str, complaint: str
) -> None:
    assert right in TINY
    with pytest.raises(SpecError) as caught:
        load(written(tmp_path, TINY.replace(right, wrong, 1)))
    message = str(caught.value)
    if complaint.startswith(("Cannot", "Expected")):  # tomllib's own words, which add line and column
        assert message.startswith(f"tiny.toml: {complaint}")
    else:
        assert message == f"tiny.toml: {complaint}"


def test_bytes_that_are_not_utf8_are_a_spec_error(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_bytes(b'[words]\nown = "\xff"\n')
    with pytest.raises(SpecError, match=r"tiny\.toml: 'utf-8' codec can't decode"):
        load(path)


def test_the_file_becomes_values(tmp_path: Path) -> None:
    spec = load(written(tmp_path, TINY))
    assert list(spec.rows) == ["ssh-agent", "network"]
    assert spec.rows["ssh-agent"].default is True
    assert spec.rows["network"].default is False
    assert spec.etc == (("hosts", "network"), ("ssl/certs", "network"))
    assert spec.environment == (("SSH_AUTH_SOCK", "ssh-agent"), ("LC_*", "ssh-agent"))
    assert [(s.name, s.kind, s.empty, s.create) for s in spec.claude_settings] == [
        ("settings.json", "file", "{}", True),
        ("local", "dir", "", False),
    ]
    assert spec.seccomp.deny[0].calls == ("keyctl", "add_key")
    assert spec.seccomp.ioctls == {"TIOCSTI": 0x5412}


def test_a_variant_changes_only_the_cells_it_names(tmp_path: Path) -> None:
    row = load(written(tmp_path, TINY)).rows["network"]
    assert row.cell("bubblewrap", "no-network") == Cell(word="absent", means="network namespace")
    assert row.cell("vm", "no-network") == row.cell("vm") == Cell(word="own", means="passt")
