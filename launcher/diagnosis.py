"""Why a sandbox could not be built, from what its program said and what the machine is set to.

bubblewrap says what failed; the same words have several causes, each with a mend of its own. Pure: the log
and the Confinement are arguments.
"""

from __future__ import annotations

from launcher.errors import HostError, LauncherError, UserError
from launcher.untrusted import inside, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.errors import SandboxError
    from launcher.host.confinement import Confinement

MANY = 15000  # what distributions set user.max_user_namespaces to, about
PROFILE = "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict"  # Ubuntu's package apparmor-profiles


def explain(error: SandboxError, around: Confinement, project: str) -> LauncherError | None:
    """The cause with its mend as an error of its own, or None when nothing is known that `error` does not
    say.
    """
    # bubblewrap's words, and what run/cover.py's system calls say.
    said = error.log.splitlines()[-1] if error.log else ""
    if "No permissions to create new namespace" in said or "not permitted: 'unshare'" in said:
        return _refused(around)
    if "(ENOSPC)" in said or ("unshare" in said and "No space left" in said):
        return _too_many(around)
    if "does not support user namespaces" in said or "CONFIG_SECCOMP" in said:
        what = "a system call filter" if "CONFIG_SECCOMP" in said else "user namespaces"
        return HostError(f"this kernel was built without {what}", "use a distribution's own kernel")
    if _denied(said) and around.ours:
        return HostError(
            "this is inside a claude-sandbox already, and it lets no such sandbox be made in it",
            "start it outside; as root not even --with userns helps, root cannot be mapped twice",
        )
    if _denied(said) and around.apparmor == "1":
        return _apparmor(error.argv[0] if error.argv else "")
    if _denied(said) and around.container:
        return _contained(around.container, said)
    if "Unexpected capabilities but not setuid" in said:
        what = "bubblewrap refuses to start with capabilities that are not root's"
        return HostError(what, "start without them: setpriv --ambient-caps -all --inh-caps -all …")
    return _gone(said, project) or _arguments(said) or _too_old(said) or _unstartable(error, said)


def _denied(said: str) -> bool:
    """A step that needs the new namespace's capabilities was refused, though the namespace was made."""
    steps = (
        "setting up uid map", "setting up gid map", "Failed to make / slave", "Failed to mount tmpfs",
        "Can't mount", "loopback: ", "pivot_root", "/proc/self/uid_map", "denied: 'mount'",
    )  # fmt: skip
    return ("Permission denied" in said or "not permitted" in said) and any(step in said for step in steps)


def _refused(around: Confinement) -> LauncherError:
    """EPERM from the kernel or from a filter around us."""
    if around.ours:
        return HostError(
            "this is inside a claude-sandbox already, and no sandbox can be made in it",
            "start it outside, or start the outer one with: --with userns",
        )
    if around.clone == "0":
        return HostError(
            "user namespaces are off on this machine: kernel.unprivileged_userns_clone is 0",
            "switch them on: sudo sysctl -w kernel.unprivileged_userns_clone=1"
            "   (to keep it, write that setting to a file in /etc/sysctl.d)",
        )
    if around.chroot:
        return HostError(
            "user namespaces cannot be made in a chroot", "start outside of it, or use systemd-nspawn for it"
        )
    if around.container:
        return _contained(around.container, "")
    if around.filtered:
        return HostError(
            "a system call filter around this process refuses user namespaces",
            "start it outside of that sandbox; a systemd unit has it from RestrictNamespaces=",
        )
    return HostError(
        "the kernel refuses user namespaces to you, and its settings do not say why",
        "ask who runs this machine: `unshare --user true` has to work (a security module may forbid it)",
    )


def _too_many(around: Confinement) -> LauncherError:
    """ENOSPC: a limit of user namespaces(7)."""
    off = [name for name, limit in around.limits if limit == 0]
    if not off:
        count = dict(around.limits).get("user", 0)
        return HostError(
            "no more namespaces can be made: there are too many, or they are nested too deep (32 levels)",
            "end some sandboxes or containers, or allow more:"
            f" sudo sysctl -w user.max_user_namespaces={max(2 * count, MANY)}",
        )
    what = "user namespaces are" if off[0] == "user" else f"namespaces of the kind {off[0]} are"
    setting = f"user.max_{off[0]}_namespaces"
    return HostError(
        f"{what} off on this machine: {setting} is 0",
        f"switch them on: sudo sysctl -w {setting}={MANY}"
        "   (to keep it, write that setting to a file in /etc/sysctl.d)",
    )


def _apparmor(bwrap: str) -> LauncherError:
    """Ubuntu 23.10 and later: namespaces for programs with an AppArmor profile alone."""
    what = (
        "AppArmor keeps bubblewrap from using user namespaces: kernel.apparmor_restrict_unprivileged_userns"
    )
    if bwrap != "/usr/bin/bwrap":  # the profile goes by the path
        return HostError(
            f"{what} is 1, and {bwrap} has no profile",
            "install your distribution's bubblewrap: sudo apt-get install -y bubblewrap apparmor-profiles",
        )
    return HostError(
        f"{what} is 1",
        f"give it its profile: sudo apt-get install -y apparmor-profiles && sudo ln -s {PROFILE}"
        " /etc/apparmor.d/ && sudo systemctl reload apparmor",
    )


def _contained(container: str, said: str) -> LauncherError:
    """A container whose engine shuts namespaces, or what is done in them."""
    what = f"this {container} container lets nobody make user namespaces"
    if said:
        what = f"this {container} container refuses what a sandbox is made of: {printable(said)}"
    unconfined = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    hints = {
        "docker": f"start the container with {unconfined} --security-opt systempaths=unconfined",
        "podman": f"start the container with {unconfined} --security-opt unmask=ALL",
        "kubernetes": "give the pod seccompProfile and appArmorProfile Unconfined, and procMount Unmasked",
        "flatpak": "start it on the host: flatpak-spawn --host claude-sandbox …",
    }
    return HostError(what, hints.get(container, "start it outside, or have the container allow them"))


def _gone(said: str, project: str) -> LauncherError | None:
    """What was there when it was planned, and was not when it was to be mounted."""
    path, why = _source(said)
    if not path:
        return None
    if inside(path, project) and ("No such file" in why or "in mount table" in why):
        return UserError(
            f"{printable(path)} went away while the sandbox was being built",
            "look where PROJECT is now, and start again",
        )
    return HostError(
        f"{printable(path)} cannot be mounted: {printable(why)}",
        "start again; if it stays so, look at its mode",
    )


def _source(said: str) -> tuple[str, str]:
    """The source that bubblewrap could not mount, and why; two empty strings when it is about no source."""
    for words in ("Can't find source path ", "Can't get type of source ", "Can't chdir to "):
        path, _, why = said.partition(words)[2].rpartition(": ")
        if path:
            return path, why
    both, _, why = said.partition("Can't bind mount /oldroot")[2].rpartition(": ")
    return both.partition(" on /newroot")[0], why


def _arguments(said: str) -> LauncherError | None:
    """More mounts than bubblewrap, or the kernel, takes."""
    if "Argument list too long" in said or "maximum number of arguments" in said:
        return UserError(
            "there is more to share than bubblewrap takes in one start",
            "share a directory above, by one --share",
        )
    return None


def _too_old(said: str) -> LauncherError | None:
    """A systemd-nspawn from before 242 (--console): getopt_long(3) names what it does not know."""
    _, found, option = said.partition("systemd-nspawn: unrecognized option ")
    if not found:
        return None
    return HostError(
        f"systemd-nspawn is too old: it lacks {printable(option)}",
        "use a distribution that has systemd 242 or newer; or claude-sandbox, which takes none",
    )


def _unstartable(error: SandboxError, said: str) -> LauncherError | None:
    """execve(2) failed (run/spawn.py writes `PROGRAM: [Errno N] WHY: ...`)."""
    program, found, why = said.partition(": [Errno ")
    if error.ended != 127 or not found or not error.argv or program != error.argv[0]:
        return None
    reason = why.partition("] ")[2].partition(": ")[0]
    return HostError(
        f"{printable(program)} does not run: {reason}", "install your distribution's package of it again"
    )
