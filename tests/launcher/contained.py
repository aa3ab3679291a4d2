"""The container's launcher as its users meet it, and a few programs that the tests have root run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.process import wait_until
from fixtures.users import User, current_user, ordinary_user, scratch
from tests.launcher.program import ROOT, Ended, Machine, machine

PREFIX = "claude-nspawn."
MAKER = re.compile(r"claude-(?:nspawn\.|sandbox-)(\d+)-")
SUDO = ("sudo", "-n", "--")


def needs_sudo() -> None:
    """Skip the test where it may not become root without a password, or there is no systemd-nspawn."""
    if os.geteuid() == 0:
        pytest.skip("as an ordinary user who may use sudo: invoke test")
    if subprocess.run((*SUDO, "true"), capture_output=True, check=False).returncode:
        pytest.skip("root starts containers: sudo without a password")
    if not os.path.exists("/usr/bin/systemd-nspawn"):
        pytest.skip("no systemd-nspawn: apt-get install systemd-container")


@contextmanager
def contained() -> Iterator[Machine]:
    """A Machine whose program is `claude-sandbox-container`, by this checkout's launcher."""
    needs_sudo()
    with scratch() as place:
        program = place / "claude-sandbox-container"
        lines = (
            f"#!{os.path.realpath(sys.executable)} -IB",
            f"import sys; sys.path.insert(0, {str(ROOT)!r})",
            "from launcher.cli import program; program('container')",
        )
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)
        made = replace(machine(place), program=(str(program),))
        try:
            yield made
            # Who puts a terminal back looks at it once sudo has ended.
            wait_until(lambda: " ".join(made.processes()) or None, "end of all processes")
        finally:
            made.reopen()


def as_root(*command: str | Path, stdin: bytes = b"", check: bool = True) -> Ended:
    """What a command gives that root runs."""
    done = subprocess.run((*SUDO, *command), input=stdin, capture_output=True, check=False)
    ended = Ended(status=done.returncode, out=os.fsdecode(done.stdout), err=os.fsdecode(done.stderr))
    assert not check or ended.status == 0, ended
    return ended


def in_own_mounts(script: str) -> tuple[str, ...]:
    """What goes before a command line: root runs the script (sh) in a mount namespace of its own, then gives
    the rest the user's ids again.
    """
    user = user_of_tests()
    environ = " ".join(f'{name}="${name}"' for name in ("HOME", "XDG_STATE_HOME", "PATH", "LANG"))
    back = f"exec setpriv --reuid={user.uid} --regid={user.gid} --init-groups env {environ}"
    # sudo takes most variables away; env(1) brings them through.
    words = ("unshare", "--mount", "--propagation", "private", "sh", "-c", f'{script}\n{back} "$@"', "sh")
    return ("sh", "-c", f'exec sudo -n -- env {environ} {shlex.join(words)} "$@"', "sh")


def under_rules(*rules: str) -> tuple[str, ...]:
    """What goes before a command line of the user's where sudoers(5) has these lines and no other; {user} is
    the user's name.
    """
    text = "\n".join(rules).format(user=user_of_tests().name)
    return in_own_mounts(
        f"""
        mount -t tmpfs none /mnt && printf '%s\\n' {shlex.quote(text)} >/mnt/sudoers
        chmod 440 /mnt/sudoers
        mount --bind /mnt/sudoers /etc/sudoers && mount -t tmpfs -o mode=0750 none /etc/sudoers.d
        umount --lazy /mnt
        """
    )


def user_of_tests() -> User:
    """Who runs them."""
    return current_user() if os.geteuid() else ordinary_user()


def parts(top: int) -> dict[str, int]:
    """Who is who in one run: sudo, its monitor where it has a pty of its own, launcher, keeper, nspawn."""
    found = [top]
    names: dict[str, int] = {}
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            name = Path(f"/proc/{parent}/comm").read_text().strip()
            uid = os.stat(f"/proc/{parent}/status").st_uid, Path(f"/proc/{parent}/status").read_text()
        except OSError:
            continue
        found += map(int, children)
        real = uid[1].partition("\nUid:")[2].split()[0]
        if name == "sudo":
            names.setdefault("monitor" if "sudo" in names else "sudo", parent)
        elif name == "systemd-nspawn":
            names.setdefault("nspawn", parent)
        elif "sudo" in names and "launcher" not in names and real != "0":
            names["launcher"] = parent
        elif "launcher" in names and real == "0":
            names.setdefault("keeper", parent)
    return names


def left() -> set[str]:
    """Of `there`, what is of containers whose launcher has ended: its number is in each name."""
    makers = {path: MAKER.search(path) for path in there()}
    return {path for path, maker in makers.items() if not (maker and os.path.exists(f"/proc/{maker[1]}"))}


def there() -> set[str]:
    """What containers have among the cgroups, and nowhere else; those of other tests included."""
    found = {f"{top}/{name}" for top in ("/tmp", "/run") for name in os.listdir(top) if PREFIX in name}
    for top in ("/sys/fs/cgroup", "/run/systemd/nspawn", "/run/systemd/machines"):
        for directory, directories, files in os.walk(top):
            found |= {
                f"{directory}/{n}" for n in (*directories, *files) if PREFIX in n or "claude-sandbox" in n
            }
    return found
