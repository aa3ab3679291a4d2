"""Machines that cannot build a sandbox, and disks that take nothing more: really produced, in namespaces."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.filters import FILTERS
from launcher.state import VERSION, project_path
from tests.launcher.program import PROGRAM, ROOT, TIMEOUT_S, Ended, Machine, assert_refused, notes

# -- programs


def stand_in(machine: Machine, content: str | bytes, mode: int = 0o755) -> dict[str, str]:
    """A PATH on which `bwrap` is this file."""
    directory = machine.directory(machine.home / "bin")
    file = directory / "bwrap"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    machine.own(file).chmod(mode)
    return {"PATH": f"{directory}:{machine.environ['PATH']}"}


def without(machine: Machine, *programs: str) -> dict[str, str]:
    """A PATH with what the launcher looks for, but for these."""
    directory = machine.directory(machine.home / "bin")
    for program in {"bwrap", "bash", "setsid", "git", "xdg-dbus-proxy"} - {*programs}:
        found = shutil.which(program, path=machine.environ["PATH"])
        if found:
            (directory / program).symlink_to(found)
    return {"PATH": str(directory)}


def test_without_bubblewrap_it_says_how_to_get_it(here: Machine) -> None:
    env = without(here, "bwrap")
    before = here.files()

    assert_refused(here.shell("true", env=env), 125, "there is no bwrap on PATH", "bubblewrap")
    assert here.files() == before


@pytest.mark.parametrize(
    ("content", "mode", "what", "hint"),
    [
        (
            "#!/bin/sh\necho 'usage: bwrap [OPTIONS...]'; echo '  --args FD'; echo '  --seccomp FD'\n",
            0o755,
            "bin/bwrap is older than 0.5: it lacks --perms",
            "a newer release of your distribution has it",
        ),
        (b"\0\1\2 no program", 0o755, "bin/bwrap does not run: Exec format error", "bubblewrap"),
        ("#!/no/such/interpreter\n", 0o755, "bin/bwrap does not run: No such file", "bubblewrap"),
        ("#!/bin/sh\nexec sleep 60\n", 0o755, "does not run: --help does not end", "bubblewrap"),
        ("#!/bin/sh\nexit 3\n", 0o755, "bin/bwrap does not run: --help ends with status 3", "bubblewrap"),
        (
            "#!/bin/sh\n",
            0o755,
            "bin/bwrap does not run: --help ends with status 0 and lists no",
            "bubblewrap",
        ),
        ("#!/bin/sh\nexec /none/bwrap\n", 0o755, "/none/bwrap: not found", "bubblewrap"),
        (
            b"\x7fELF for another machine; bwrap perms disable-userns" + bytes(64),
            0o755,
            "bin/bwrap does not run: Exec format error",
            "distribution's package",
        ),
    ],
    ids=[
        "too old",
        "no program",
        "no interpreter",
        "hangs",
        "fails",
        "is empty",
        "leads nowhere",
        "another machine's",
    ],
)
def test_a_bubblewrap_that_is_of_no_use_is_named(
    here: Machine, content: str | bytes, mode: int, what: str, hint: str
) -> None:
    assert_refused(here.shell("true", env=stand_in(here, content, mode)), 125, what, hint)
    assert not list(here.project.iterdir())


def test_a_bubblewrap_that_is_not_executable_is_named(here: Machine) -> None:
    env = {"PATH": without(here, "bwrap")["PATH"]}
    here.write(here.home / "bin/bwrap", "#!/bin/sh\n", 0o644)

    assert_refused(
        here.shell("true", env=env), 125, "bin/bwrap does not run: it is not executable", "bubblewrap"
    )


def test_a_bubblewrap_behind_a_wrapper_script_works(here: Machine) -> None:
    real = shutil.which("bwrap", path=here.environ["PATH"])

    ended = here.shell("echo ran", env=stand_in(here, f'#!/bin/sh\nexec {real} "$@"\n'))

    assert (ended.out, notes(ended)) == ("ran\n", [])


def test_without_the_agent_it_says_how_to_get_it_and_a_shell_works(here: Machine) -> None:
    env = without(here, "claude")

    ended = here.run(here.project, env=env)

    assert_refused(ended, 125, "there is no claude on PATH (--shell works without)", "npm install")
    assert not here.state.exists()
    assert here.shell("echo ran", env=env).out == "ran\n"
    assert here.run("--explain", here.project, env=env).status == 0


def test_without_a_bus_proxy_a_bus_is_not_forwarded_and_that_is_said(here: Machine) -> None:
    bus = here.home / "bus"
    listener = subprocess.Popen(
        [sys.executable, "-c", "import socket, sys; s = socket.socket(1); s.bind(sys.argv[1]); s.listen();"
         " print(flush=True); sys.stdin.read()", bus],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert listener.stdout
        listener.stdout.readline()
        env = {**without(here, "xdg-dbus-proxy"), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}"}

        ended = here.shell("echo ran $DBUS_SESSION_BUS_ADDRESS", env=env)
    finally:
        listener.communicate(b"")

    assert ended.out == "ran\n", ended
    assert "dbus-session is off: xdg-dbus-proxy is not installed" in notes(ended)[0]


# -- user namespaces


NAMESPACE = ("unshare", "-Urm", "--propagation", "private", "sh", "-c")


def in_namespace(machine: Machine, before: str, *arguments: str | Path) -> Ended:
    """The program after a script in a user and mount namespace of its own, as its root."""
    script = f'set -e; {before}; exec "$@"'
    return machine.run(
        *arguments, prefix=["unshare", "-Urm", "--propagation", "private", "sh", "-c", script, "sh"]
    )


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("user", "user namespaces are off on this machine: user.max_user_namespaces is 0"),
        ("mnt", "namespaces of the kind mnt are off on this machine: user.max_mnt_namespaces is 0"),
        ("pid", "namespaces of the kind pid are off on this machine: user.max_pid_namespaces is 0"),
    ],
)
def test_namespaces_that_are_switched_off_are_named_with_the_setting(
    here: Machine, kind: str, what: str
) -> None:
    off = f"echo 0 >/proc/sys/user/max_{kind}_namespaces"

    ended = in_namespace(here, off, "--shell", here.project, "-c", "true")
    checked = in_namespace(here, off, "--check", "--shell")

    mend = f"sudo sysctl -w user.max_{kind}_namespaces=15000"
    assert_refused(ended, 125, what, mend)
    assert (checked.status, checked.err) == (125, "")
    assert what in checked.out
    assert mend in checked.out
    # The same with nothing switched off.
    assert in_namespace(here, "true", "--shell", here.project, "-c", "echo ran").out == "ran\n"


def test_a_limit_that_is_reached_is_told_from_one_that_is_zero(here: Machine) -> None:
    ended = in_namespace(
        here, "echo 1 >/proc/sys/user/max_user_namespaces", "--shell", here.project, "-c", "true"
    )

    assert_refused(ended, 125, "there are too many, or they are nested too deep", "end some sandboxes")


def test_inside_itself_it_says_so_and_what_would_help(ordinary: Machine) -> None:
    """The program is shared with the sandbox, and started there on a project there."""
    base = Path(sys.base_prefix)
    flags = ["--quiet", "--share", str(ROOT)]
    if not base.is_relative_to("/usr"):
        flags += ["--share", str(base)]
    inner = f"mkdir ~/p; {shlex.join(PROGRAM)} --quiet --shell ~/p -c 'echo ran'"

    refused = ordinary.shell(inner, *flags)
    granted = ordinary.shell(inner, "--with", "userns", *flags)

    what = "this is inside a claude-sandbox already, and no sandbox can be made in it"
    assert_refused(refused, 125, what, "start the outer one with: --with userns")
    assert (granted.status, granted.out) == (0, "ran\n"), granted


def in_container(
    machine: Machine, flags: str, *arguments: str | Path, env: dict[str, str] | None = None
) -> Ended:
    """The program in a namespace that looks like a container's, with a filter such as docker's default."""
    filter_file = machine.home / "filter"
    filter_file.write_bytes(bytes.fromhex(FILTERS[(platform.machine(), False)]))
    script = f'exec bwrap --dev-bind / / {flags} --seccomp 9 -- "$@" 9<{shlex.quote(str(filter_file))}'
    return machine.run(*arguments, prefix=["sh", "-c", script, "sh"], env=env)


def test_a_container_that_refuses_namespaces_is_named_with_the_flag_that_allows_them(
    ordinary: Machine,
) -> None:
    start = ("--shell", ordinary.project, "-c", "true")

    podman = in_container(ordinary, "--tmpfs /run --file 8 /run/.containerenv 8</dev/null", *start)
    docker = in_container(ordinary, "", *start, env={"container": "docker"})
    unknown = in_container(ordinary, "", *start, env={"container": "lxc"})

    what = "this {} container lets nobody make user namespaces"
    assert_refused(podman, 125, what.format("podman"), "--security-opt unmask=ALL")
    assert_refused(docker, 125, what.format("docker"), "--security-opt seccomp=unconfined")
    assert_refused(unknown, 125, what.format("lxc"), "start it outside")


def test_a_container_that_masks_proc_is_named_with_its_flag(here: Machine) -> None:
    """As docker does: something lies on parts of /proc, and the kernel then lets nobody mount a fresh one."""
    # In a second namespace the mask cannot be taken off again.
    masked = 'mount --bind /dev/null /proc/timer_list; export container=docker; set -- unshare -Urm "$@"'

    ended = in_namespace(here, masked, "--shell", here.project, "-c", "true")

    what = "this docker container refuses what a sandbox is made of: bwrap: Can't mount proc on /newroot/proc"
    assert_refused(ended, 125, what, "--security-opt systempaths=unconfined")


def test_a_chroot_is_named(here: Machine) -> None:
    new = here.directory(here.home / "new")
    top = " ".join(shlex.quote(str(p)) for p in Path("/").iterdir() if p.is_dir() and not p.is_symlink())
    links = " ".join(shlex.quote(str(p)) for p in Path("/").iterdir() if p.is_symlink())
    mounts = f'for d in {top}; do mkdir "{new}$d"; mount --rbind "$d" "{new}$d"; done'
    copies = f'cp -P {links} "{new}"' if links else "true"

    ended = in_namespace(here, f'{mounts}; {copies}; set -- chroot "{new}" "$@"', "--shell", here.project)

    assert_refused(ended, 125, "user namespaces cannot be made in a chroot", "start outside of it")


# -- disks


def on_disk(machine: Machine, options: str, place: Path, fill: str, script: str) -> tuple[Ended, list[str]]:
    """A start with a small file system at `place`, then the names of the files that are in it."""
    place.mkdir(exist_ok=True)
    machine.own(place)
    mount = f"mount -t tmpfs -o mode=700,{options} none {shlex.quote(str(place))}; mkdir -p {machine.project}"
    found = machine.write(machine.home.parent / "found", "")
    # The list goes to a file beside, which the mount may hide: hence its descriptor.
    listed = f'find {shlex.quote(str(place))} -printf "%P\\n" >&7'
    run = f'exec 7>{found}; set -e; {mount}; {fill}; s=0; "$@" || s=$?; {listed}; exit $s'
    ended = machine.run("--shell", machine.project, "-c", script, prefix=[*NAMESPACE, run, "sh"])
    return ended, found.read_text().splitlines()


FULL = "head -c 100M /dev/zero >{}/fill 2>/dev/null || true"


def test_a_full_disk_of_the_state_is_refused(here: Machine) -> None:
    ended, _ = on_disk(here, "size=64k", here.state, FULL.format(here.state), "true")

    assert_refused(ended, 125, f"{here.state}/claude-sandbox/", "set XDG_STATE_HOME to a disk that has some")
    assert "No space left on device" in ended.err


@pytest.mark.parametrize("inodes", [2, 3, 4, 6, 8])
def test_wherever_the_disk_is_full_in_a_start_it_is_refused_and_nothing_half_written(
    here: Machine, inodes: int
) -> None:
    ended, found = on_disk(here, f"size=1m,nr_inodes={inodes}", here.state, "true", "true")

    assert_refused(ended, 125, "No space left on device", "set XDG_STATE_HOME to a disk that has some")
    assert not [name for name in found if name.endswith(".tmp")]


def test_a_full_home_is_refused_and_leaves_no_empty_settings(here: Machine) -> None:
    ended, found = on_disk(here, "size=64k", here.home, FULL.format(here.home), "true")

    assert_refused(
        ended, 125, f"{here.home}/.claude/settings.json cannot be made: No space left", "free some"
    )
    assert ".claude/settings.json" not in found


def test_an_agent_that_fills_the_disk_silences_no_report(here: Machine) -> None:
    """Its copy of ~/.claude.json lies on the same disk as what the launcher keeps."""
    script = "head -c 10M /dev/zero >~/.claude.json; echo planted >.envrc; exit 7"

    ended, found = on_disk(here, "size=256k", here.state, "true", script)

    said = [line for line in notes(ended) if "head:" not in line]
    assert ended.status == 7
    assert said[0] == "claude-sandbox: 1 file that your tools run changed: .envrc (appeared)"
    assert "what is kept between runs cannot be written" in said[2]
    assert [name for name in found if name.endswith("/snapshot")]  # the next start compares with it


# -- the state directory


def test_a_state_of_a_newer_program_is_refused_and_not_touched(here: Machine) -> None:
    state = here.state / "claude-sandbox"
    state.mkdir(parents=True)
    here.write(state / "version", f"{VERSION + 1}\n")
    before = here.files()

    for flags in (["--shell"], ["--restore"]):
        ended = here.run(*flags, here.project, "-c", "true")

        what = f"{state} was written by a newer claude-sandbox (layout {VERSION + 1}; "
        assert_refused(ended, 125, what, "use the newer claude-sandbox, or another XDG_STATE_HOME")
    assert here.files() == before
    assert here.run("--explain", here.project).status == 0


@pytest.mark.parametrize("version", ["", "nonsense", "-1\n", "\0"])
def test_a_version_that_is_none_is_written_anew(here: Machine, version: str) -> None:
    here.shell("true")
    (here.state / "claude-sandbox/version").write_text(version)

    assert here.shell("echo ran").out == "ran\n"
    assert (here.state / "claude-sandbox/version").read_text() == f"{VERSION}\n"


@pytest.mark.parametrize("kind", ["unwritable", "a file", "a dangling symlink", "the project's a file"])
def test_a_state_directory_that_cannot_be_used_is_refused(ordinary: Machine, kind: str) -> None:
    if kind == "unwritable":
        ordinary.directory(ordinary.state, 0o500)
    elif kind == "a file":
        ordinary.write(ordinary.state, "")
    elif kind == "a dangling symlink":
        ordinary.state.symlink_to("/proc/no such")
    else:
        ordinary.directory(ordinary.state)
        ordinary.directory(ordinary.state / "claude-sandbox")
        ordinary.write(Path(project_path(f"{ordinary.state}/claude-sandbox", str(ordinary.project))), "")
    before = ordinary.files()

    ended = ordinary.shell("true")

    assert_refused(
        ended, 125, "what is kept between runs cannot be written: ", "set XDG_STATE_HOME to one that is"
    )
    assert {path: v for path, v in ordinary.files().items() if not path.endswith("/version")} == before


def test_twenty_first_starts_at_once_all_work(here: Machine) -> None:
    subprocess.run(["git", "init", "-q", "--template=", here.project], env=here.environ, check=True)

    started = [here.start("--shell", here.project, "-c", f"exit {n}") for n in range(20)]
    ended = [(p.communicate(timeout=TIMEOUT_S)[1], p.returncode) for p in started]

    assert [status for _, status in ended] == list(range(20)), ended
    assert all(err.count(b"\n") == 1 for err, _ in ended), ended


def test_a_failing_start_can_be_replayed(here: Machine) -> None:
    """A cause that nobody has diagnosed: bubblewrap's own words, and a command that shows them again."""
    real = shutil.which("bwrap", path=here.environ["PATH"])
    script = f'#!/bin/sh\n[ "$1" = --help ] && exec {real} --help\nexec {real} --no-such-option "$@"\n'

    ended = here.shell("true", env=stand_in(here, script))

    assert_refused(ended, 125, "Unknown option --no-such-option", f"to see it again: {here.home}/bin/bwrap ")
    again = ended.said[1].partition(": ")[2]
    shown = subprocess.run(["sh", "-c", again], env=here.environ, capture_output=True, text=True, check=False)
    assert "Unknown option --no-such-option" in shown.stderr


def test_check_tells_scripts_the_same(here: Machine) -> None:
    ended = in_namespace(here, "echo 0 >/proc/sys/user/max_user_namespaces", "--check=json", "--shell")

    (found,) = [m for m in json.loads(ended.out) if m["required"]]
    assert ended.status == 125
    assert found["what"] == "a sandbox"
    assert found["fix"].startswith("switch them on: sudo sysctl -w user.max_user_namespaces=")
