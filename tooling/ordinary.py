"""From root to an ordinary user with sudo, as the launcher's users are: made once, then reused.

The checkout may lie where that user cannot look (below /root), so it works on a copy with a venv of its own.
What is left at the end is the user and its home, no right to sudo.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HostError
from tooling import machine
from tooling.report import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAME = "claude-sandbox-test"
# What is needed to reach a package registry and to print as they like; nothing else of root's.
REVISION = "CONFORMANCE_REVISION"
LAST = ("build/matrix/matrix.json", "build/matrix/sabotage.json")
KEPT = ("CI", "TERM", "LANG", "LC_ALL", "NO_COLOR", "http_proxy", "https_proxy", "no_proxy")
KEPT_CERTIFICATES = (
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
KEPT_PREFIXES = ("PIP_", "npm_config_", "NPM_CONFIG_")


def go_on(checkout: Path, arguments: Sequence[str], *, yes: bool) -> int:
    """`invoke ARGUMENTS` on a copy of `checkout`, as the ordinary user; its exit status.

    Raises HostError when the user, the copy or its venv cannot be made.
    """
    needed = [program for program in ("sudo", "git", "useradd") if not machine.which(program)]
    if needed:
        packages = ["passwd" if program == "useradd" else program for program in needed]
        machine.agree(f"Install {' '.join(packages)}?", yes=yes, retry=f"{shlex.join(sys.argv)} --yes")
        machine.install(packages)
    user = ensure_user()
    say(f"started by root: going on as the ordinary user {NAME}, on a copy of the checkout")
    with ExitStack() as stack:
        stack.enter_context(_terminated_as_exit())
        left: list[Path] = [_rule(), Path(tempfile.mkdtemp(prefix="checkout-", dir=user.pw_dir))]
        stack.enter_context(_outlived(left))
        stack.enter_context(_sudo_without_password(left[0]))
        copy = stack.enter_context(_copy(checkout, left[1], user))
        _install_venv(copy, user)
        try:
            # The copy has no .git to ask.
            more = {REVISION: _revision(checkout)}
            return _as(user, [str(copy / ".venv/bin/invoke"), *arguments], cwd=copy, more=more)
        finally:
            _bring_back(copy / "build", checkout / "build")
            if (checkout / "build/matrix/index.html").is_file():
                say(f"what was drawn is now at {checkout / 'build/matrix'}")


def _bring_back(made: Path, build: Path) -> None:
    """What the run has drawn outlives the copy. Not through links: the tests ran as somebody else."""
    if made.is_dir() and not made.is_symlink():
        shutil.copytree(made, build, symlinks=True, dirs_exist_ok=True)


def ensure_user() -> pwd.struct_passwd:
    """The ordinary user's passwd entry; made when it is not there."""
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        pass
    command = [machine.which("useradd") or "useradd", "--create-home", "--shell", "/bin/bash", NAME]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        return pwd.getpwnam(NAME)  # also when another run has made it in between
    except KeyError:
        raise HostError(
            f"cannot make the user {NAME}: {done.stderr.strip()}", f"see: {shlex.join(command)}"
        ) from None


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """SIGTERM unwinds what was set up, as Ctrl-C does."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# Waits for the end of its stdin, which is ours: killed or not, nothing of ours goes on or stays.
_OUTLIVE = """
import os, shutil, signal, sys, time
sys.stdin.read()
copy = os.fsencode(sys.argv[2]) + b"/"
end = time.monotonic() + 20
while time.monotonic() < end:
    left = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line:
                words = line.read()
            # These two tidy up, and end by themselves.
            careful = b"reaper.py" in words or b"conformance.harness.as_root" in words
            if copy in words and int(pid) != os.getpid():
                left.append((int(pid), careful))
        except OSError:
            pass
    for pid, careful in left:
        try:
            if not careful or time.monotonic() > end - 5:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if not left:
        break
    time.sleep(0.2)
if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


@contextmanager
def _outlived(left: Sequence[Path]) -> Iterator[None]:
    """When we are killed, what we have started ends, and the rule and the copy (`left`) go."""
    argv = [sys.executable, "-I", "-c", _OUTLIVE, *map(str, left)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True):
        yield


def _rule() -> Path:
    """A file per run: another one's must not end with ours."""
    return Path(f"/etc/sudoers.d/{NAME}-{os.getpid()}")


@contextmanager
def _sudo_without_password(rule: Path) -> Iterator[None]:
    """sudo for the user while this run lasts."""
    rule.parent.mkdir(mode=0o750, exist_ok=True)
    descriptor = os.open(rule, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o440)
    try:
        with open(descriptor, "w") as file:
            file.write(f"{NAME} ALL=(ALL:ALL) NOPASSWD: ALL\n")
        yield
    finally:
        rule.unlink(missing_ok=True)


@contextmanager
def _copy(checkout: Path, copy: Path, user: pwd.struct_passwd) -> Iterator[Path]:
    """A directory of the user's with the checkout's files, tracked or new; of what git ignores, it has the
    last matrix, which a sabotage begins with, and its score, which the next matrix shows.
    """
    # -c safe.directory: root looks at a checkout that may be somebody else's.
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, cwd=checkout, check=False, capture_output=True)
    if listed.returncode:
        raise HostError(
            f"{checkout} is not a git checkout",
            listed.stderr.decode(errors="replace").strip().replace("\n", " "),
        )
    try:
        for name in (*os.fsdecode(listed.stdout).split("\0"), *LAST):
            source, target = checkout / name, copy / name
            if name and (source.is_symlink() or source.is_file()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        for path in (copy, *copy.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _install_venv(copy: Path, user: pwd.struct_passwd) -> None:
    """The README's own two steps, with the extra that this interpreter has, too."""
    extra = "dev" if importlib.util.find_spec("mypy") else "test"
    system = "/usr/bin/python3"  # ours may lie where the user cannot read it
    python = system if os.access(system, os.X_OK) else os.path.realpath(sys.executable)
    for command in (
        [python, "-m", "venv", str(copy / ".venv")],
        [str(copy / ".venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", f".[{extra}]"],
    ):
        if _as(user, command, cwd=copy):
            raise HostError(f"as {NAME}: {shlex.join(command)} failed", "its output is above")


def _revision(checkout: Path) -> str:
    command = ["git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, cwd=checkout, check=False, capture_output=True, text=True).stdout.strip()


def _as(
    user: pwd.struct_passwd, command: Sequence[str], *, cwd: Path, more: Mapping[str, str] | None = None
) -> int:
    names = (*KEPT, *KEPT_CERTIFICATES)
    kept = {k: v for k, v in os.environ.items() if k in names or k.startswith(KEPT_PREFIXES)}
    who = {
        "HOME": user.pw_dir,
        "USER": NAME,
        "LOGNAME": NAME,
        "SHELL": "/bin/bash",
        "PATH": machine.SYSTEM_PATH,
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **who, **(more or {})},
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=os.getgrouplist(NAME, user.pw_gid),
        umask=0o022,
        check=False,
    )
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
