"""systemd-nspawn: a container through sudo, for hosts that let nobody else make namespaces.

    systemd-nspawn   the namespaces; its root directory is a stub, the sandbox's own root lies in it
    └─ bwrap         makes that one the root, with a /proc of its own, and loads the system call filter
       └─ setpriv    from root to the user, without a capability in any set
          └─ the inner stage, as in every backend; it takes the environment

Until setpriv has given root up no variable of the user's is set: LD_PRELOAD would run what they like.

nspawn's own filter takes 37 ms to compile and lets io_uring, TIOCSTI and nested user namespaces through; it
can load no other. Descriptors come through nspawn by the protocol of sd_listen_fds(3), as 3 and upwards.
"""

from __future__ import annotations

from launcher.backends.base import Launch, Root
from launcher.filters import FILTERS
from launcher.plan.model import Mount
from launcher.plan.system import MACHINE_ID
from launcher.run.inner import TERMINAL
from launcher.run.inner import command as inner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.host.model import Host
    from launcher.plan.model import Plan

INNER = "/sandbox"
LATE = "/late"
SYSCTL = "/proc/sys"  # not the one that nspawn has made: boot_id in it is another
# With it what root would open for writing by its number alone, without a capability. bwrap covers some of it
# by itself, but not when it has no capability to get past modes.
COVERED = tuple(f"/proc/{name}" for name in ("sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr"))
NODES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = (
    ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"), ("core", "/proc/kcore"), ("ptmx", "pts/ptmx"),
)  # fmt: skip
FIRST = 3  # sd_listen_fds(3): the first descriptor that is passed on, the keeper's own; then `data` in order
DIRECTORY = "{directory}"  # stands for the root's directory, which the run makes
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
KEPT = ("setuid", "setgid", "setpcap")  # what setpriv needs to become the user and give all of them up
MACHINE = f"{MACHINE_ID.decode().strip()}"

SHARES_SOCKETS = True


def weaker(_host: Host) -> tuple[str, ...]:
    """Protections of the table that this machine cannot give: none."""
    return ()


def render(plan: Plan, host: Host, *, tty: bool) -> Launch:
    """The systemd-nspawn command line (systemd-nspawn(1)), and the root that it starts from. Pure."""
    mounts: list[Mount] = []
    options = [word for path in COVERED for word in ("--ro-bind-try", path, path)]
    writable = tuple(f"{m.target}/" for m in plan.mounts if m.kind == "tmpfs" or m.mode == "rw")
    for mount in (*plan.mounts, Mount(kind="bind", source=SYSCTL, target=SYSCTL, mode="ro")):
        if mount.kind == "dev":
            mounts += (m.replace(target=INNER + m.target) for m in _dev(mount.target, tty=tty))
        elif mount.target.startswith("/proc/"):
            late = f"{LATE}/{len(options)}"
            mounts.append(mount.replace(target=late))
            options += ["--dev-bind" if mount.mode == "dev" else "--bind", late, mount.target]
        else:
            shielded = not mount.target.startswith(writable)
            mode = "rw" if mount.kind == "data" and shielded else mount.mode
            mounts.append(mount.replace(target=INNER + mount.target, mode=mode))
    filtered = bytes.fromhex(FILTERS[host.machine, plan.userns])
    for name, value in plan.environment:
        if not _bash_takes(name):
            options += ["--setenv", name, value]
    taken = "".join(f"{name}={value}\0" for name, value in plan.environment if _bash_takes(name))
    variables = taken.encode("utf-8", "surrogateescape")
    data = (("seccomp", filtered), ("bwrap", _bwrap(options)), ("environment", variables))
    inherited = ",".join(f"+{capability}" for capability in ("sys_admin", *KEPT))
    groups = ",".join(str(group) for group in host.groups)
    return Launch(
        argv=(
            host.programs["systemd-nspawn"],
            "--quiet", "--keep-unit", "--register=no", "--settings=no", "--as-pid2", "--console=pipe",
            f"--directory={DIRECTORY}", f"--machine={DIRECTORY}", "--hostname=sandbox", f"--uuid={MACHINE}",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            *(() if plan.network else ("--private-network",)),
            "--",
            "/usr/bin/setpriv", "--reset-env", "--bounding-set=-all", f"--inh-caps=-all,{inherited}", "--",
            "/usr/bin/bwrap", "--args", "{bwrap}", "--",
            "/usr/bin/setpriv", f"--reuid={plan.identity.uid}", f"--regid={plan.identity.gid}",
            f"--groups={groups}" if groups else "--clear-groups",
            "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--",
            *inner(plan.command, tty=tty, cwd=plan.cwd),
        ),
        # Its own filter would be loaded before ours, and compiled at each start.
        environment=(("PATH", PATH), ("SYSTEMD_SECCOMP", "0")),
        data=data,
        proxies=plan.proxies,
        root=Root(
            mounts=(*_stub(plan), *mounts),
            inner=INNER,
            uid=plan.identity.uid,
            gid=plan.identity.gid,
            groups=host.groups,
            covers=plan.covers,
            limits=plan.limits,
            bus=host.programs["busctl"] if host.limiters.system else "",
            machined=host.limiters.machined,
        ),
    )  # fmt: skip


def _bash_takes(name: str) -> bool:
    """Whether bash can export it. No program that root runs here knows a variable of another name."""
    return name.isascii() and name.isidentifier()


def _bwrap(options: list[str]) -> bytes:
    """bwrap's options, as `--args` reads them."""
    words = [
        # Once more: those of nspawn's processes that stay root would be seen inside.
        "--unshare-pid",
        "--clearenv", "--setenv", "PATH", PATH,
        "--dev-bind", INNER, "/", "--proc", "/proc", *options, "--remount-ro", "/",
        "--json-status-fd", str(FIRST), "--seccomp", str(FIRST + 1),
        "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        *(word for capability in KEPT for word in ("--cap-add", f"CAP_{capability.upper()}")),
    ]  # fmt: skip
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def _dev(at: str, *, tty: bool) -> tuple[Mount, ...]:
    """A minimal /dev, as bwrap makes it (where it takes a look at all mounts for each node)."""
    console = (Mount(kind="bind", source=TERMINAL, target=f"{at}/console", mode="dev"),) if tty else ()
    return (
        Mount(kind="tmpfs", target=at, perms=0o755),
        *(Mount(kind="bind", source=f"/dev/{n}", target=f"{at}/{n}", mode="dev") for n in NODES),
        *(Mount(kind="symlink", source=to, target=f"{at}/{name}") for name, to in LINKS),
        Mount(kind="devpts", target=f"{at}/pts"),
        Mount(kind="tmpfs", target=f"{at}/shm", perms=0o1777),
        *console,
    )


def _stub(plan: Plan) -> tuple[Mount, ...]:
    """What nspawn wants to see in a root directory, and what bwrap and setpriv need to run in it."""
    release = b'ID=claude-sandbox\nNAME="claude-sandbox"\n'
    userland = [m for m in plan.mounts if m.target in USERLAND]
    directories = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var", "/root", LATE)
    return (
        *userland,
        Mount(kind="data", target="/etc/os-release", content=release, perms=0o644, mode="rw"),
        Mount(kind="data", target="/etc/machine-id", content=MACHINE_ID, perms=0o644, mode="rw"),
        *(Mount(kind="dir", target=name, perms=0o755) for name in directories),
        *(m for m in plan.mounts if m.target == "/etc/ld.so.cache"),
        Mount(kind="data", target="/etc/passwd", content=b"root:x:0:0::/:/bin/sh\n", perms=0o644, mode="rw"),
        Mount(kind="data", target="/etc/group", content=b"root:x:0:\n", perms=0o644, mode="rw"),
    )


USERLAND = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
