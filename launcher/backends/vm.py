"""QEMU: a machine with a kernel of its own, booted from the host's own /usr.

    QEMU             as the user; the host's directories over 9p, streams over virtio-serial ports
    └─ init          busybox in an initramfs that is made for each start (launcher/vm/init.py)
       └─ setpriv    to the user
          └─ bwrap   builds the same root as in the other backends, from what is mounted in the guest
             └─ the inner stage, the agent

What lies in the initramfs needs no share: /etc, staged files, links. A directory is a share of its own,
unless it lies in one. A single file is copied into a staged directory: QEMU shares directories alone.
"""

from __future__ import annotations

import os

from launcher.backends.base import Guest, Launch, Share
from launcher.errors import UserError
from launcher.plan.model import Mount
from launcher.plan.vm import SCREEN, X11
from launcher.run.inner import command as inner
from launcher.untrusted import inside, printable
from launcher.vm import screen
from launcher.vm.files import INNER, SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.host.model import Host
    from launcher.plan.model import Plan

SHARES = "/shares"
FILES = "/files"
OVERLAYS = "/overlays"
USERLAND = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# The tags of the first directory of a row (seeds, "9p filesystem shares"), and of its staged files.
TAGS = {"project": "project_share", "claude-config": "claude_auth"}
NAMED = {"/usr": "usr", "/nix/store": "nix_store", "/nix/var/nix/db": "nix_db"}
STAGED = {"git-config": "git_config", "gh-config": "gh_config_dir", "ssh-keys": "ssh_dir"}
META = "claude_meta"

SHARES_SOCKETS = False  # 9p carries none


def weaker(_host: Host) -> tuple[str, ...]:
    """Protections of the table that this machine cannot give: none."""
    return ()


def render(plan: Plan, host: Host, *, tty: bool, is_file: Callable[[str], bool] = os.path.isfile) -> Launch:
    """The guest, for launcher.run.guest to boot. Pure, but for what `is_file` looks at.

    Raises UserError for what 9p cannot share.
    """
    assert plan.machine is not None
    made = Layout(plan, host.agent.trees if host.agent else (), is_file)
    for mount in plan.mounts:
        made.place(mount)
    covers = tuple(made.cover(source, link) for source, link in plan.covers)
    tasks = (f"u{plan.limits.tasks}",) if plan.limits.tasks else ()
    guest = Guest(
        machine=plan.machine,
        shares=made.all_shares(),
        tree=(*_stub(plan), *made.tree),
        groups=host.groups,
        options=(
            "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
            "--uid", str(plan.identity.uid), "--gid", str(plan.identity.gid), "--hostname", "sandbox",
            "--cap-drop", "ALL",
            "--bind", INNER, "/", *made.options,
            *(_screen() if plan.machine.screen else ()),
            "--remount-ro", "/", "--chdir", plan.cwd, "--die-with-parent", "--new-session",
        ),
        command=inner(plan.command, tty=tty, limits=tasks),
        environment=plan.environment,
        network=plan.network,
        identity=plan.identity,
        hypervisor=host.hypervisor,
        covers=covers,
        agent=next((m.source for m in plan.mounts if m.kind == "socket"), ""),
        overlays=tuple(made.overlays),
        name=plan.name,
    )  # fmt: skip
    return Launch(argv=guest.command, environment=plan.environment, guest=guest)


class Layout:
    """Where in the guest each Mount of a Plan comes from: initramfs, a share, or bwrap alone."""

    def __init__(self, plan: Plan, steady: tuple[str, ...], is_file: Callable[[str], bool]) -> None:
        self._steady = (*USERLAND, "/nix/store", *steady)
        self._is_file = is_file
        self.tree: list[Mount] = []
        self.options: list[str] = []
        self.overlays: list[tuple[str, str]] = []
        self._shares: list[Share] = []
        self._staged: dict[str, list[tuple[str, str]]] = {}
        self._rows = {m: granted.row for granted in plan.rows for m in granted.mounts}
        self._covered: list[str] = []  # targets that are mount points: what lies in them bwrap has to place

    def place(self, mount: Mount) -> None:
        """One Mount, in the Plan's order."""
        below = any(inside(mount.target, top) for top in self._covered)
        option = {"ro": "--ro-bind", "rw": "--bind", "dev": "--dev-bind"}[mount.mode]
        if mount.kind == "bind" and mount.target.startswith("/etc/") and not below and mount.mode == "ro":
            self.tree.append(mount.replace(target=INNER + mount.target))
        elif mount.kind == "bind" and mount.mode == "dev":
            self.options += [option, mount.source, mount.target]
        elif mount.kind == "bind":
            self._covered.append(mount.target)
            self.options += [option, self._source(mount), mount.target]
        elif mount.kind in ("overlay", "snapshot"):
            self._overlay(mount)
        elif mount.kind in ("tmpfs", "dev", "proc"):
            self._covered.append(mount.target)
            perms = ["--perms", f"{mount.perms:04o}"] if mount.perms else []
            self.options += [*perms, f"--{mount.kind}", mount.target]
        elif mount.kind == "socket":
            self.options += ["--bind", SOCKET, mount.target]
        elif not below:
            self.tree.append(mount.replace(target=INNER + mount.target))
        elif mount.kind == "data":
            at = f"{FILES}/{len(self.tree)}"
            self.tree.append(mount.replace(target=at))
            self.options += ["--ro-bind", at, mount.target]
        elif mount.kind == "symlink":
            self.options += ["--symlink", mount.source, mount.target]
        else:
            perms = ["--perms", f"{mount.perms:04o}"] if mount.perms else []
            self.options += [*perms, "--dir", mount.target]

    def cover(self, source: str, link: str) -> tuple[str, str]:
        """A file of the host's and the link in a share that it is to be mounted on, as the guest has them."""
        share = next(share for share in self._shares if inside(link, share.source))
        return self._staged_file(source, META), share.at + link[len(share.source) :]

    def all_shares(self) -> tuple[Share, ...]:
        """Those of directories, and the staged ones."""
        staged = (
            Share(tag=tag, at=f"{SHARES}/{tag}", files=tuple(files)) for tag, files in self._staged.items()
        )
        return (*self._shares, *staged)

    def _source(self, mount: Mount) -> str:
        """A bind mount's source as the guest has it."""
        for share in self._shares:
            fits = share.writable or mount.mode == "ro"
            if fits and not share.snapshot and inside(mount.source, share.source):
                return share.at + mount.source[len(share.source) :]
        row = self._rows.get(mount, "")
        if self._is_file(mount.source):
            if mount.mode == "rw":
                raise UserError(
                    f"{printable(mount.source)} cannot be written from a VM: 9p shares directories alone",
                    "share the directory that it lies in, or share it read-only",
                )
            return self._staged_file(mount.source, STAGED.get(row, META))
        tag = TAGS.get(row) or NAMED.get(mount.source, "")
        if not tag or any(share.tag == tag for share in self._shares):
            tag = f"share{len(self._shares)}"
        # bwrap itself needs the userland, in the guest's own root.
        at = mount.target if mount.target in USERLAND else f"{SHARES}/{tag}"
        share = Share(
            tag=tag,
            at=at,
            source=mount.source,
            writable=mount.mode == "rw",
            steady=mount.mode == "ro" and mount.source in self._steady,
        )
        self._shares.append(share)
        return at

    def _overlay(self, mount: Mount) -> None:
        """An overlay of a share, or of the copy of a database. Of what nobody has granted there is none."""
        if mount.kind == "snapshot":
            tag = NAMED[mount.source]
            self._shares.append(Share(tag=tag, at=f"{SHARES}/{tag}", source=mount.source, snapshot=True))
        for share in self._shares:
            if share.source == mount.source:
                at = f"{OVERLAYS}/{len(self.overlays)}"
                self.overlays.append((share.at, at))
                self._covered.append(mount.target)
                self.options += ["--bind", at, mount.target]

    def _staged_file(self, path: str, tag: str) -> str:
        files = self._staged.setdefault(tag, [])
        name = next((name for name, source in files if source == path), "")
        if not name:
            name = str(len(files))
            files.append((name, path))
        return f"{SHARES}/{tag}/{name}"


def _screen() -> tuple[str, ...]:
    """The display's socket, and beside what Xorg says of itself."""
    return ("--bind", screen.SOCKET, X11, "--ro-bind", screen.PLACE, SCREEN)


def _stub(plan: Plan) -> tuple[Mount, ...]:
    """What bwrap and setpriv need to run in the guest, whose own root is that of the initramfs."""
    links = (m for m in plan.mounts if m.target in USERLAND and m.kind == "symlink")
    return (
        *links,
        *(m for m in plan.mounts if m.target == "/etc/ld.so.cache"),
        Mount(kind="data", target="/etc/passwd", content=b"root:x:0:0::/:/bin/sh\n", perms=0o644),
        Mount(kind="data", target="/etc/group", content=b"root:x:0:\n", perms=0o644),
        *(Mount(kind="dir", target=name, perms=0o755) for name in ("/tmp", "/run", SHARES, INNER)),
    )
