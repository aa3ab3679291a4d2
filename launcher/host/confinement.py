"""What on this machine can keep a process from making namespaces; read only after a start has failed."""

from __future__ import annotations

import os

from launcher.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CONTAINERS = (
    # a file that is there inside, whose; docker's last: images of virtual machines are made of its containers
    ("/run/.containerenv", "podman"),
    ("/.flatpak-info", "flatpak"),
    ("/run/host/container-manager", "systemd-nspawn"),
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
    ("/.dockerenv", "docker"),
)


class Confinement(Record):
    """The kernel's settings and this process's own surroundings, as far as they decide on namespaces.

    clone      kernel.unprivileged_userns_clone, of Debian's and Arch's hardened kernels; "" without it
    apparmor   kernel.apparmor_restrict_unprivileged_userns, of Ubuntu's
    limits     user.max_NAME_namespaces by NAME: how many this user namespace may hold
    container  what kind of container this is, "" when it is none that can be told
    ours       it is claude-sandbox's own
    filtered   a seccomp filter is on this process
    chroot     its root is no mount point, as after chroot(2)
    """

    clone: str = ""
    apparmor: str = ""
    limits: tuple[tuple[str, int], ...] = ()
    container: str = ""
    ours: bool = False
    filtered: bool = False
    chroot: bool = False


def confinement(environ: Mapping[str, str]) -> Confinement:
    """That of this process. What cannot be read counts as not there."""
    return Confinement(
        clone=_setting("kernel/unprivileged_userns_clone"),
        apparmor=_setting("kernel/apparmor_restrict_unprivileged_userns"),
        limits=tuple(
            (name, int(value))
            for name in ("user", "mnt", "pid", "ipc", "uts", "cgroup", "net")
            if (value := _setting(f"user/max_{name}_namespaces")).isdecimal()
        ),
        container=_container(environ),
        ours=environ.get("CLAUDE_SANDBOX") == "1",
        filtered=b"\nSeccomp:\t2" in _read("/proc/self/status"),
        chroot=_chroot(_read("/proc/self/mountinfo")),
    )


def _container(environ: Mapping[str, str]) -> str:
    named = environ.get("container", "")  # systemd's container interface; docker sets it nowhere
    found = next((kind for path, kind in CONTAINERS if os.path.exists(path)), "")
    return named or found or ("kubernetes" if "KUBERNETES_SERVICE_HOST" in environ else "")


def _chroot(mounts: bytes) -> bool:
    """No mount at `/`, of those that this process can see (proc_pid_mountinfo(5))."""
    points = [fields[4] for line in mounts.splitlines() if len(fields := line.split(b" ")) > 4]
    return bool(points) and b"/" not in points


def _setting(name: str) -> str:
    return _read(f"/proc/sys/{name}").decode("ascii", "replace").strip()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
