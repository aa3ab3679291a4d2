"""Row home."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from conformance.checks.probes import readonly
from conformance.harness.cells import Cell, cells
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures.home import FILES
from fixtures.listeners import canary
from launcher.spec.load import load

HOME = "/home/sandbox"
# Where rows other than this one put what is the user's.
OF_ROWS = {
    "git-config": (".gitconfig", ".config/git"),
    "ssh-keys": (".ssh",),
    "gh-config": (".config/gh",),
    "claude-config": (".claude",),
    "claude-json": (".claude.json",),
}


def of_other_rows(cell: Cell) -> tuple[str, ...]:
    """What the table lets through of the home, by names below it."""
    words = {c.row: c.word for c in cells(load(), cell.backend, cell.variant)}
    return tuple(name for row, names in OF_ROWS.items() if words[row] != "absent" for name in names)


def bait(host: World) -> dict[str, str]:
    """What nobody grants: path below the home → its canary. A host without any gets one."""
    if not any(name in host.canaries for name in FILES):
        host.plant("Documents/taxes.txt", "{}\n")
    others = ("other-project/.env", "Documents/taxes.txt")
    return {name: word for name, word in host.canaries.items() if name in FILES or name in others}


# By the file's own path, below another home, and through every process's root and working directory.
BY_PATH = """
import os
tops = [""]
for pid in [*filter(str.isdigit, os.listdir("/proc")), "self"]:
    tops += [f"/proc/{pid}/root", f"/proc/{pid}/root/proc/1/root"]
    tops += [f"/proc/{pid}/cwd/../../../../../../../../../.."]
tops += ["/project/../../../../..", "/proc/self/fd/0/../../../../../.."]
homes = [given["home"], "/home/sandbox", "/root", "/project", os.path.dirname(given["home"])]
found = set()
for top in tops:
    for name in given["names"]:
        for home in homes:
            try:
                with open(f"{top}{home}/{name}", "rb") as file:
                    text = file.read(4000).decode(errors="replace")
            except OSError:
                continue
            found.update(word for word in given["words"] if word[::-1] in text)
print(ascii(sorted(found)))
"""


@covers("home", "own")
def test_no_secret_of_the_home_is_there_by_path(inside: Inside, host: World) -> None:
    """No secret in the home's usual places can be read, by its path or by any process's root or directory."""
    secrets = bait(host)
    # Backwards, so that the probe itself holds none of them.
    words = [word[::-1] for word in secrets.values()]
    how: dict[str, Any] = {"home": str(host.home), "names": list(secrets), "words": words}

    control = host.python(BY_PATH, **how)
    found = inside.python(BY_PATH, **how)

    with on_the_host():
        assert len(control) == len(secrets), "the same probe has to read each of them on the host"
    assert found == []


# Everything that can be read, on every mount, except what is the system's and is read-only for all.
WALK = """
import os, stat
skipped = {"/proc", "/sys", "/usr", "/nix", "/opt", "/dev"}
found, seen = set(), 0
for start in given["tops"]:
    for top, directories, files in os.walk(start):
        directories[:] = [name for name in directories if os.path.join(top, name) not in skipped]
        for name in files:
            path = os.path.join(top, name)
            try:
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode) or status.st_size > 1 << 20:
                    continue
                with open(path, "rb") as file:
                    text = file.read()
            except OSError:
                continue
            seen += 1
            if b"canary" in text:
                found.update(word for word in given["words"] if word[::-1].encode() in text)
print(ascii({"seen": seen, "found": sorted(found)}))
"""


@covers("home", "own")
def test_no_secret_of_the_home_is_anywhere(inside: Inside, host: World, cell: Cell) -> None:
    """No file that can be read inside, on any mount, holds what the home keeps and no row grants."""
    bait(host)
    granted = of_other_rows(cell)
    # In the project is what other checks have put there; variables are the business of another row.
    secrets = {
        name: word
        for name, word in host.canaries.items()
        if not name.startswith(("$", "/", *granted)) and (host.home / name).exists()
    }
    reverse = [word[::-1] for word in secrets.values()]

    control = host.python(WALK, tops=[str(host.home)], words=reverse)
    found = inside.python(WALK, tops=["/"], words=reverse)

    with on_the_host():
        assert len(control["found"]) == len(secrets) > 0, "the same probe finds each of them on the host"
    assert found["seen"] > 3
    assert [name for name, word in secrets.items() if word[::-1] in found["found"]] == []


LISTING = """
import os
found = {}
for path in given["paths"]:
    try:
        found[path] = sorted(os.listdir(path))
    except OSError as error:
        found[path] = error.errno
print(ascii(found))
"""


@covers("home", "own")
def test_homes_are_empty_but_for_what_is_granted(inside: Inside, host: World, cell: Cell) -> None:
    """/home names the sandbox's home and the way to the project; other homes and /root are not there."""
    way = [str(path) for path in host.path.parents if str(path) != "/"]

    outside = host.python(LISTING, paths=["/home", str(host.home)])
    found = inside.python(LISTING, paths=["/home", "/root", *way])

    # On the way to the project, each directory holds the next one alone.
    expected = {path: [Path(child).name] for path, child in zip(way, [str(host.path), *way], strict=False)}
    if "/home" in expected:
        expected["/home"] = sorted([*expected["/home"], "sandbox"])
    with on_the_host():
        assert host.path.name in outside[str(host.home)]
        assert len(outside[str(host.home)]) > 1 or host.bare
    mine = {name.partition("/")[0] for name in of_other_rows(cell)}
    assert set(found[str(host.home)]) - mine == {host.path.name}
    del expected[str(host.home)]
    assert {path: names for path, names in found.items() if path in expected} == expected
    assert found["/root"] in (2, 13, [])


@covers("home", "own")
def test_home_is_the_sandboxs(inside: Inside, host: World) -> None:
    """HOME, ~ and the passwd entry lead to /home/sandbox, the user's own and mode 0700."""
    del host
    look = "printf '%s\\n' \"$HOME\" ~; getent passwd \"$(id -u)\" | cut -d: -f6; stat -c '%a %u' ~; id -u"

    home, tilde, entry, stat, uid = inside.check_output(look).splitlines()

    assert home == tilde == entry == HOME
    assert stat == f"700 {uid}"


@covers("home", "own")
def test_what_is_written_at_home_never_reaches_the_host(inside: Inside, host: World) -> None:
    """A file or a program that starts shells, written at home inside, is nowhere in the host's home."""
    word = canary()
    names = [".bashrc", ".profile", ".config/autostart/x.desktop", ".local/bin/git", "bin/ls", word]

    for name in names:
        inside.output(f"mkdir -p ~/$(dirname {name}); echo '# {word}' >> ~/{name}")
    read = inside.output(f"cat ~/{word}")

    # Under some variants the console lies in the project.
    paths = [path for path in host.home.rglob("*") if host.path not in path.parents]
    below = [path for path in paths if path.is_file() and not path.is_symlink()]
    assert read == f"# {word}"
    assert [path for path in below if word.encode() in path.read_bytes()] == []
    inside.output(f"rm -f {' '.join(f'~/{name}' for name in names)}")


@covers("home", "own", variant=("default", "no-network", "bare", "off"))
def test_what_is_written_at_home_is_gone(
    host: World, new_world: Callable[..., World], launch: Callable[..., CompletedProcess[bytes]]
) -> None:
    """What is written at home is not there at the next start, as what is written in the project is."""
    del host
    world, word = new_world(), canary()
    shell = ("--quiet", "--shell", str(world.path), "-c")

    first = launch(world, *shell, f"echo {word} | tee ~/note ~/.note /project/note && cat ~/note")
    second = launch(world, *shell, "cat ~/note ~/.note; cat /project/note")

    assert first.stdout.decode().split() == [word, word], first.stderr
    assert second.stdout.decode().split() == [word], second.stderr
    assert sorted(path.name for path in world.home.rglob("*note")) == ["note"]


@covers("home", "own", means=True)
def test_home_is_a_file_system_of_its_own(inside: Inside, cell: Cell) -> None:
    """/home/sandbox is the file system that the table names."""
    assert inside.mount_point(HOME).filesystem == cell.means


# Every mount that shows something of the file system that the home is on: its source's path there.
SOURCES = """
import os
found = []
with open("/proc/self/mountinfo") as file:
    for line in file:
        fields = line.split()
        found.append([fields[2], fields[3], fields[4]])
print(ascii(found))
"""


@covers("home", "own")
def test_nothing_is_put_beside_it(inside: Inside, host: World) -> None:
    """Beside what is granted nothing can be written: not in /, /home, /usr, /usr/local, /var or /run."""
    blind = readonly.names_control(host)
    places = ["/", "/home", "/usr", "/usr/local", "/usr/bin", "/var", "/run"]

    found = inside.python(readonly.NAMES, directories=[p for p in places if inside.file(p).exists], there=[])

    with on_the_host():
        assert blind == []
    assert len(found) >= 4 * 5
    assert {name: came for name, came in found.items() if came not in readonly.REFUSED} == {}


@covers("home", "own", means=True)
def test_no_mount_shows_the_home(inside: Inside, host: World) -> None:
    """No mount inside has the host's home, or a directory above it, as its source."""
    device = host.home.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    above = [str(path) for path in (host.home, *host.home.parents)]

    outside, mounts = host.python(SOURCES), inside.python(SOURCES)

    def shows(mounts: list[list[str]]) -> list[str]:
        return [target for device, root, target in mounts if device == number and root in above]

    with on_the_host():
        assert shows(outside), "on the host there is one"
    assert shows(mounts) == []
