"""What root builds for a container: where it mounts, and where it does not let itself be led."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.contained import as_root, needs_sudo
from tests.launcher.program import ROOT

# In a mount namespace of its own; what a script says at `given["look"]` afterwards, or why there is nothing.
BUILD = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from launcher.backends.base import Root
from launcher.plan.model import Mount
from launcher.run.container import Builder
from launcher.run.mounts import MS_PRIVATE, MS_REC, Kernel
given = json.load(sys.stdin)
kernel = Kernel()
kernel.mount("", "/", flags=MS_REC | MS_PRIVATE)
os.system(given["before"])
mounts = tuple(Mount(**mount) for mount in given["mounts"])
uid, gid = given["ids"]
try:
    Builder(Root(mounts=mounts, inner="/sandbox", uid=uid, gid=gid), given["place"], "").build()
    os.chdir(given["place"] + given["look"])
    print(json.dumps(os.popen(given["script"]).read().splitlines()))
except OSError as error:
    print(json.dumps(error.errno))
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Below it `root`, to build at, and `project`, the user's."""
    needs_sudo()
    (tmp_path / "root").mkdir()
    (tmp_path / "project").mkdir()
    yield tmp_path
    assert os.listdir(tmp_path / "root") == []


def built(
    place: Path, look: str, *mounts: dict[str, object], script: str = "LC_ALL=C ls -A", before: str = ""
) -> object:
    """What root's script says in a directory of the root that was built; `before`: what root does first."""
    given = {
        "place": str(place / "root"),
        "mounts": mounts,
        "look": look,
        "ids": (os.getuid(), os.getgid()),
        "script": script,
        "before": before,
    }
    python = os.path.realpath(sys.executable)
    return json.loads(
        as_root("unshare", "--mount", python, "-IBc", BUILD, stdin=json.dumps(given).encode()).out
    )


def bind(source: Path | str, target: Path | str, mode: str = "ro") -> dict[str, object]:
    return {"kind": "bind", "source": str(source), "target": f"/sandbox{target}", "mode": mode}


@pytest.mark.parametrize("planted", ["git", "git/hooks"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_mount_point_that_has_become_a_symlink_is_refused(
    place: Path, planted: str, absolute: bool
) -> None:
    """It could lead to /usr/bin, where root is to start a program."""
    (place / "mine").mkdir()
    (place / "mine/setpriv").touch()
    (place / "programs/hooks").mkdir(parents=True)
    (place / "project/git/hooks").mkdir(parents=True)
    mounts = (
        bind(place / "programs", "/programs"),
        bind(place / "project", "/project", "rw"),
        bind(place / "mine", "/project/git/hooks"),
    )
    assert built(place, "/sandbox/project/git/hooks", *mounts) == ["setpriv"]

    (place / "project" / planted).rename(place / "former")
    real = "/programs" if planted == "git" else "/programs/hooks"
    up = ".." if planted == "git" else "../.."
    (place / "project" / planted).symlink_to(real if absolute else up + real)

    assert built(place, "/sandbox/programs/hooks", *mounts) == 40  # ELOOP


def test_symlinks_of_our_own_lead_where_they_would_inside(place: Path) -> None:
    (place / "project/file").touch()
    links: list[dict[str, object]] = [
        {"kind": "symlink", "source": source, "target": f"/sandbox{target}"}
        for source, target in (("usr/lib", "/lib"), ("/run", "/var/run"), ("/lib", "/lib64"))
    ]
    directories: list[dict[str, object]] = [
        {"kind": "dir", "target": f"/sandbox{name}", "perms": 0o755} for name in ("/usr", "/run")
    ]

    through = ("/lib64/a", "/usr/lib/a")
    for target, real in (("/lib/a/b", "/usr/lib/a/b"), ("/var/run/a", "/run/a"), through):
        found = built(place, f"/sandbox{real}", *directories, *links, bind(place / "project", target))
        assert found == ["file"]


def test_a_source_behind_a_symlink_is_refused(place: Path) -> None:
    (place / "link").symlink_to(place / "project")

    assert built(place, "/sandbox/project", bind(place / "link", "/project")) == 40


def test_nothing_is_made_in_what_is_the_users(place: Path) -> None:
    project = place / "project"

    found = built(place, "/", bind(project, "/project", "rw"), bind(place, "/project/missing/point"))

    assert found == 2  # ENOENT
    assert os.listdir(project) == []


def test_what_only_the_user_can_read_is_bound_and_what_only_root_can_is_not(place: Path) -> None:
    closed = place / "closed"
    (closed / "below").mkdir(parents=True)
    as_root("chown", "0:0", closed)
    as_root("chmod", "0700", closed)
    try:
        assert built(place, "/", bind(closed / "below", "/project")) == 13  # EACCES
    finally:
        as_root("chown", f"{os.getuid()}:{os.getgid()}", closed)
    assert built(place, "/sandbox/project", bind(closed / "below", "/project")) == []


# Each tries to make a file and a directory, and to write to the file that is there. On stdout who owns what.
TRIES = f"""
exec 2>&1
export LC_ALL=C
touch of-roots
mkdir of-roots-d
echo roots >there
setpriv --reuid={os.getuid()} --regid={os.getgid()} --clear-groups \\
    sh -c 'touch of-users; mkdir of-users-d; echo users >>there'
stat -c '%n %u' -- *
cat there
"""


def test_root_makes_nothing_where_the_user_writes_and_what_is_roots_is_nobodys(place: Path) -> None:
    """A file of root's with the setuid bit would be one outside, too."""
    project = place / "project"
    project.chmod(0o777)
    (project / "there").touch()
    (project / "there").chmod(0o666)
    as_root("chown", "0", project / "there")

    found = built(place, "/sandbox/project", bind(project, "/project", "rw"), script=TRIES)
    outside = as_root(
        "sh", "-c", f"cd {project}; touch of-roots-there; stat -c '%n %u' -- *"
    ).out.splitlines()

    assert found == [
        "touch: cannot touch 'of-roots': Value too large for defined data type",
        "mkdir: cannot create directory 'of-roots-d': Value too large for defined data type",
        f"of-users {os.getuid()}",
        f"of-users-d {os.getuid()}",
        "there 65534",
        "roots",
        "users",
    ]
    assert outside == [
        "of-roots-there 0",  # the control: nothing else keeps root from it
        f"of-users {os.getuid()}",
        f"of-users-d {os.getuid()}",
        "there 0",
    ]


def test_a_file_system_without_idmapped_mounts_is_bound_as_it_is(place: Path) -> None:
    project = place / "project"

    found = built(
        place,
        "/sandbox/project",
        bind(project, "/project", "rw"),
        before=f"mount -t ramfs -o mode=777 none '{project}'; chmod 777 '{project}'",
        script=f"touch of-roots; setpriv --reuid={os.getuid()} --clear-groups touch of-users;"
        " stat -c '%n %u' *",
    )

    assert found == ["of-roots 0", f"of-users {os.getuid()}"]


def test_where_no_user_namespace_can_be_made_there_is_no_mapping() -> None:
    needs_sudo()
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from launcher.run import owners, mounts; "
    program += "print(owners.mapping(mounts.Kernel()) >= 0)"
    python = (os.path.realpath(sys.executable), "-IBc", program)
    none = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'

    refused = subprocess.run(
        ("unshare", "--user", "--map-root-user", "sh", "-c", none, "sh", *python),
        capture_output=True, check=True,
    )  # fmt: skip

    assert as_root(*python).out == "True\n"
    assert refused.stdout == b"False\n"
