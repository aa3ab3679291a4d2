"""Row etc."""

from __future__ import annotations

import pwd

from conformance.checks.probes import readonly
from conformance.harness.cells import BARE, DEFAULT, OPTIONAL, Cell, cells
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from launcher.spec.load import load

# Made by the launcher, and not on the list: names, and what belongs to a row that adds files of its own.
SYNTHESISED = {"passwd", "group", "hostname", "machine-id", "mtab"}
OF_ROWS = {"chromium": ("chromium/policies", "opt/chrome/policies")}
# Secrets, and what runs or is exported: the table's comment says why each is left out on purpose.
LEFT_OUT = (
    "shadow", "gshadow", "shadow-", "gshadow-", "sudoers", "sudoers.d", "ssl/private", "pki/tls/private",
    "npmrc", "pip.conf", "wgetrc", "environment", "profile", "profile.d", "bash.bashrc", "ld.so.preload",
    "pam.d", "security", "login.defs", "ssh/sshd_config", "crontab", "fstab", "subuid", "apt", "systemd",
    "cron.d",
)  # fmt: skip

TREE = """
import os
found = []
for top, directories, files in os.walk("/etc"):
    links = [name for name in directories if os.path.islink(os.path.join(top, name))]
    found += [os.path.relpath(os.path.join(top, name), "/etc") for name in [*files, *links]]
print(ascii(found))
"""


def listed(cell: Cell) -> dict[str, str]:
    """What the table lets through, and for which row: the entries of those that are not left out."""
    spec = load()
    # A bare host lacks the user's things; of /etc it has what every host has.
    variant = DEFAULT if cell.variant == BARE else cell.variant
    words = {c.row: c.word for c in cells(spec, cell.backend, variant)}
    entries = {name: row for name, row in spec.etc if words.get(row) != "absent"}
    return entries | {name: row for row, names in OF_ROWS.items() if words[row] != "absent" for name in names}


@covers("etc", "filtered")
def test_nothing_else_of_etc_is_there(inside: Inside, host: World, cell: Cell) -> None:
    """Every file below /etc is on the table's list of a row that is there, or made for the sandbox."""
    allowed = listed(cell)

    def stray(paths: list[str]) -> list[str]:
        below = tuple(f"{name}/" for name in allowed)
        return [p for p in paths if p not in allowed and p not in SYNTHESISED and not p.startswith(below)]

    control = stray(host.python(TREE))
    found = inside.python(TREE)

    with on_the_host():
        assert len(control) > 20, "the same probe sees more on the host"
    assert stray(found) == []
    assert "passwd" in found


@covers("etc", "filtered")
def test_what_was_left_out_on_purpose_is_not_there(inside: Inside, host: World) -> None:
    """No shadow, sudoers, private key, profile or registry's password has a name inside."""
    exists = "import os\nprint(ascii([n for n in given['names'] if os.path.lexists(f'/etc/{n}')]))"

    control = host.python(exists, names=LEFT_OUT)
    found = inside.python(exists, names=LEFT_OUT)

    with on_the_host():
        assert {"shadow", "gshadow", "environment", "profile"} & set(control), "some of them are on the host"
    assert found == []


CONTENT = """
import hashlib, os
found = {}
for name in given["names"]:
    path = f"/etc/{name}"
    if os.path.isdir(path):
        found[name] = sorted(os.listdir(path))
    elif os.path.exists(path):
        try:
            with open(path, "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
        except OSError:
            pass
print(ascii(found))
"""


@covers("etc", "filtered")
def test_what_is_listed_is_as_on_the_host(inside: Inside, host: World, cell: Cell) -> None:
    """What the host has of the list, and its user can read, is there with the same content. (Of resolv.conf,
    in whose place a relay may stand, row dns says what it has.)
    """
    of_others = (*OPTIONAL, *OF_ROWS)
    names = [n for n, row in listed(cell).items() if row not in of_others and n != "resolv.conf"]

    outside = host.python(CONTENT, names=names)
    found = inside.python(CONTENT, names=names)

    with on_the_host():
        assert len(outside) > 5
    assert [name for name in outside if found.get(name) != outside[name]] == []


@covers("etc", "filtered")
def test_only_three_names_are_in_passwd_and_group(inside: Inside, host: World) -> None:
    """passwd and group name root, sandbox and nobody alone; no user of the host is known by name."""
    real = [entry for entry in pwd.getpwall() if entry.pw_name not in ("root", "nobody")]
    names = [entry.pw_name for entry in real]
    look = "print(ascii([[e[0] for e in pwd.getpwall()], [e[0] for e in grp.getgrall()]]))"
    by_name = """
import pwd
found = []
for name in given["names"]:
    try:
        found.append(pwd.getpwnam(name).pw_name)
    except KeyError:
        pass
print(ascii(found))
"""
    if not names:
        raise HarnessError("this host has no user but root", "useradd somebody")

    control, known = host.python(by_name, names=names), inside.python(by_name, names=names)
    users, groups = inside.python(f"import grp, pwd\n{look}")

    with on_the_host():
        assert control == names
    assert known == []
    assert sorted(users) == sorted(groups) == ["nobody", "root", "sandbox"]


@covers("etc", "filtered")
def test_the_user_is_sandbox(inside: Inside, host: World) -> None:
    """The uid's name is sandbox, with the sandbox's home; the user's own name and home are on no line."""
    look = "import os, pwd\ne = pwd.getpwuid(os.getuid())\nprint(ascii([e.pw_name, e.pw_dir, e.pw_uid]))"

    name, home, uid = inside.python(look)
    text = inside.output("cat /etc/passwd /etc/group")

    assert (name, home, uid) == ("sandbox", "/home/sandbox", host.user.uid)
    with on_the_host():
        assert host.python(look)[0] == host.user.name
    assert not {host.user.name, str(host.user.home)} & set(text.replace(":", "\n").splitlines())


@covers("etc", "filtered")
def test_the_machines_names_are_the_sandboxs(inside: Inside, host: World) -> None:
    """hostname and machine-id are not the host's."""
    for name in ("hostname", "machine-id"):
        outside = host.run(("cat", f"/etc/{name}")).stdout.strip()
        found = inside.check_output(f"cat /etc/{name}").strip()

        assert found
        assert found != outside


@covers("etc", "filtered")
def test_nothing_is_added_to_etc_or_taken_away(inside: Inside, host: World) -> None:
    """Inside, nobody adds a name to /etc, where programs look for settings, nor changes what is there."""
    blind = readonly.names_control(host)
    there = ["/etc/passwd", "/etc/group", "/etc/hostname", "/etc/machine-id"]

    found = inside.python(readonly.NAMES, directories=["/etc"], there=there)

    with on_the_host():
        assert blind == []
    assert {name: came for name, came in found.items() if came not in readonly.REFUSED} == {}


@covers("etc", "filtered", means=True)
def test_each_entry_is_what_the_table_says(inside: Inside, cell: Cell) -> None:
    """An entry of the list is a mount of its own, read-only, where the table says so."""
    mounted = inside.mount_point("/etc/services")

    if "read-only bind mount" in cell.means:
        assert mounted.exists
        assert "ro" in mounted.options
