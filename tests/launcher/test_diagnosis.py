"""What bubblewrap's words mean under which settings: as values, for kernels that no test machine has at once.

test_bad_machine.py produces those that can be produced.
"""

from __future__ import annotations

import pytest

from launcher.diagnosis import explain
from launcher.errors import HostError, SandboxError, UserError
from launcher.host.confinement import Confinement, confinement

# As bubblewrap 0.8 (Debian's and upstream's) and run/cover.py say it.
NO_PERMISSION = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged"
    " user namespaces. See <https://deb.li/bubblewrap> or <file:///usr/share/doc/bubblewrap/README.Debian.gz>."
)
UPSTREAM = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged"
    " user namespaces. On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'."
)
COVER = "/usr/bin/bwrap: [Errno 1] Operation not permitted: 'unshare'"
NO_SPACE = (
    "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)"
)
UID_MAP = "bwrap: setting up uid map: Permission denied"
LOOPBACK = "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted"
SLAVE = "bwrap: Failed to make / slave: Permission denied"
PROC = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
PROJECT = "/home/u/p"
GONE = "No such file or directory"
NO_SOURCE = "bwrap: Can't find source path"


def failed(log: str, *, bwrap: str = "/usr/bin/bwrap", ended: int = 1) -> SandboxError:
    return SandboxError("bwrap ended", "again: …", argv=(bwrap, "--unshare-user"), ended=ended, log=log)


REFUSED = [
    (Confinement(clone="0"), "kernel.unprivileged_userns_clone is 0", "kernel.unprivileged_userns_clone=1"),
    (Confinement(ours=True, filtered=True), "inside a claude-sandbox already", "--with userns"),
    (Confinement(container="docker", filtered=True), "this docker container", "seccomp=unconfined"),
    (Confinement(container="podman"), "this podman container", "unmask=ALL"),
    (Confinement(container="kubernetes"), "this kubernetes container", "seccompProfile"),
    (Confinement(container="flatpak"), "this flatpak container", "flatpak-spawn --host claude-sandbox"),
    (Confinement(container="lxc"), "this lxc container", "outside"),
    (Confinement(chroot=True), "in a chroot", "outside"),
    (Confinement(filtered=True), "a system call filter around this process", "RestrictNamespaces="),
    (Confinement(), "its settings do not say why", "unshare --user true"),
    # The machine's setting is what to mend first, wherever one sits.
    (Confinement(clone="0", container="docker", filtered=True), "userns_clone is 0", "sysctl"),
    (Confinement(chroot=True, container="docker"), "in a chroot", "outside"),
]  # fmt: skip


@pytest.mark.parametrize("log", [NO_PERMISSION, UPSTREAM, COVER])
@pytest.mark.parametrize(("around", "what", "hint"), REFUSED)
def test_a_refusal_has_the_cause_that_is_set_here(
    log: str, around: Confinement, what: str, hint: str
) -> None:
    error = explain(failed(log), around, PROJECT)

    assert isinstance(error, HostError)
    assert what in error.what
    assert hint in error.hint
    assert "\n" not in error.what + error.hint


@pytest.mark.parametrize("log", [NO_SPACE, "bwrap: unshare user ns: No space left on device"])
@pytest.mark.parametrize(
    ("limits", "what", "hint"),
    [
        ((("user", 0), ("mnt", 9)), "user.max_user_namespaces is 0", "user.max_user_namespaces=15000"),
        ((("user", 9), ("net", 0)), "user.max_net_namespaces is 0", "user.max_net_namespaces=15000"),
        ((("user", 9), ("mnt", 9)), "too many, or they are nested too deep", "max_user_namespaces=15000"),
        ((("user", 60000),), "too many", "max_user_namespaces=120000"),
        ((), "too many", "max_user_namespaces=15000"),
    ],
)
def test_no_more_namespaces_is_a_setting_or_a_number(
    log: str, limits: tuple[tuple[str, int], ...], what: str, hint: str
) -> None:
    error = explain(failed(log), Confinement(limits=limits), PROJECT)

    assert isinstance(error, HostError)
    assert what in error.what
    assert hint in error.hint


@pytest.mark.parametrize(
    "log", [UID_MAP, LOOPBACK, "/usr/bin/bwrap: [Errno 13] Permission denied: '/proc/self/uid_map'"]
)
def test_ubuntus_restriction_is_named_with_bubblewraps_profile(log: str) -> None:
    error = explain(failed(log), Confinement(apparmor="1", clone="1"), PROJECT)

    assert isinstance(error, HostError)
    assert error.what.startswith("AppArmor keeps bubblewrap from using user namespaces")
    assert error.what.endswith("kernel.apparmor_restrict_unprivileged_userns is 1")
    assert "apparmor-profiles" in error.hint
    assert "bwrap-userns-restrict /etc/apparmor.d/" in error.hint


def test_a_bubblewrap_elsewhere_has_no_profile_by_ubuntus() -> None:
    error = explain(failed(UID_MAP, bwrap="/opt/bin/bwrap"), Confinement(apparmor="1"), PROJECT)

    assert error
    assert "/opt/bin/bwrap has no profile" in error.what
    assert "install" in error.hint


@pytest.mark.parametrize("log", [UID_MAP, SLAVE, PROC])
def test_a_container_that_refuses_mounts_is_quoted(log: str) -> None:
    error = explain(failed(log), Confinement(container="docker", apparmor="0"), PROJECT)

    assert error
    assert error.what == f"this docker container refuses what a sandbox is made of: {log}"
    assert "apparmor=unconfined" in error.hint
    assert "systempaths=unconfined" in error.hint


@pytest.mark.parametrize("log", [UID_MAP, SLAVE, PROC, LOOPBACK, "", "bwrap: Unknown option --x", "\n\n"])
def test_what_nothing_here_explains_stays_as_it_was_said(log: str) -> None:
    assert explain(failed(log), Confinement(), PROJECT) is None


@pytest.mark.parametrize(
    ("log", "kind", "what"),
    [
        (f"{NO_SOURCE} {PROJECT}: {GONE}", UserError, f"{PROJECT} went away"),
        (f"bwrap: Can't get type of source {PROJECT}/.git: {GONE}", UserError, f"{PROJECT}/.git went away"),
        (f"bwrap: Can't chdir to {PROJECT}: {GONE}", UserError, f"{PROJECT} went away"),
        (
            f"bwrap: Can't bind mount /oldroot{PROJECT}/.git/hooks on /newroot{PROJECT}/.git/hooks: Unable"
            f' to find "/newroot{PROJECT}/.git/hooks" in mount table',
            UserError,
            f"{PROJECT}/.git/hooks went away",
        ),
        (f"{NO_SOURCE} {PROJECT}: Permission denied", HostError, f"{PROJECT} cannot be mounted"),
        (f"{NO_SOURCE} /home/u/.ssh/x: {GONE}", HostError, "/home/u/.ssh/x cannot be mounted"),
        (f"{NO_SOURCE} /a: b: {GONE}", HostError, "/a: b cannot be mounted"),
        ("bwrap: Exceeded maximum number of arguments 9000", UserError, "more to share than bubblewrap"),
        ("/usr/bin/bwrap: [Errno 7] Argument list too long: '/usr/bin/bwrap'", UserError, "more to share"),
        (
            "bwrap: Creating new namespace failed, likely because the kernel does not support user"
            " namespaces.  bwrap must be installed setuid on such systems.",
            HostError,
            "this kernel was built without user namespaces",
        ),
        (
            "bwrap: Unable to set up system call filtering as requested: prctl(PR_SET_SECCOMP) reported"
            " EINVAL. (Hint: this requires a kernel configured with CONFIG_SECCOMP and"
            " CONFIG_SECCOMP_FILTER.)",
            HostError,
            "without a system call filter",
        ),
        (
            "bwrap: Unexpected capabilities but not setuid, old file caps config?",
            HostError,
            "capabilities that are not root's",
        ),
    ],
)  # fmt: skip
def test_other_words_of_bubblewrap_mean_one_thing(log: str, kind: type[Exception], what: str) -> None:
    error = explain(failed(f"an earlier line\n{log}"), Confinement(apparmor="1", container="docker"), PROJECT)

    assert type(error) is kind
    assert what in error.what


def test_a_program_that_does_not_execute_is_told_from_one_that_fails() -> None:
    log = "/opt/bwrap: [Errno 8] Exec format error: '/opt/bwrap'"

    error = explain(failed(log, bwrap="/opt/bwrap", ended=127), Confinement(), PROJECT)

    assert error
    assert error.what == "/opt/bwrap does not run: Exec format error"
    assert explain(failed(log, bwrap="/opt/bwrap", ended=1), Confinement(), PROJECT) is None


def test_this_process_is_not_inside_a_claude_sandbox_unless_it_says_so() -> None:
    assert not confinement({}).ours
    assert confinement({"CLAUDE_SANDBOX": "1"}).ours
    assert confinement({"container": "lxc"}).container == "lxc"
    limits = dict(confinement({}).limits)
    assert set(limits) <= {"user", "mnt", "pid", "ipc", "uts", "cgroup", "net"}
    assert limits["user"] > 0
