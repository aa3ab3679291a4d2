"""Every way of writing that an ordinary process has, tried on a path; the host says what came of it.

`attack` tries them inside, `control` tries the same on a twin on the host, where they have to work.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.checks.probes.network import PYTHON, outside
from conformance.harness.errors import HarnessError
from conformance.harness.inside import Inside
from conformance.harness.world import World
from fixtures import users

# given: paths (to attack), out (directories where one may write), keep (ancestors of a path that lie above or
# at one of these are not renamed), bound (attempts by mounts alone, each on a read-only mount of one's own).
# Prints {"tried": {"attempt path": "ok" | errno's name}, "undo": […]}.
SOURCE = r"""
import ctypes, errno, os, stat

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW, RENAME_EXCHANGE = -100, 0x400, 2
MS_RDONLY, MS_REMOUNT, MS_BIND, MNT_DETACH = 1, 32, 4096, 2
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
MOUNT_SETATTR, MOUNT_ATTR_RDONLY, OPEN_TREE, OPEN_TREE_CLONE, AT_EMPTY_PATH = 442, 1, 428, 1, 0x1000
tried, undo, number = {}, [], 0


def attempt(name, path, act):
    try:
        act(path)
        tried[name + " " + path] = "ok"
    except OSError as error:
        tried[name + " " + path] = errno.errorcode.get(error.errno, str(error.errno))


def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def spare(directory):
    global number
    number += 1
    return f"{directory}/.attack-{os.getpid()}-{number}"


def put(path, text, flags=os.O_WRONLY):
    fd = os.open(path, flags | os.O_CLOEXEC, 0o755)
    try:
        os.write(fd, f"#!/bin/sh\n# attacked by {text}\n".encode())
    finally:
        os.close(fd)


def first(acts):
    # The first way that works is enough; if none does, the first reason is the one to tell.
    reasons = []
    for act in acts:
        try:
            return act()
        except OSError as error:
            reasons.append(error)
    raise reasons[0]


def made(directory, text):
    path = spare(directory)
    put(path, text, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    return path


def over(path, by):
    def from_(directory):
        source = made(directory, "rename")
        try:
            by(source, path)
        finally:
            if os.path.lexists(source):
                os.unlink(source)

    first([lambda d=d: from_(d) for d in (os.path.dirname(path), *given["out"])])


def exchange(source, path):
    call(libc.renameat2(AT_FDCWD, source.encode(), AT_FDCWD, path.encode(), RENAME_EXCHANGE))


def recreate(path):
    os.unlink(path)
    put(path, "unlink", os.O_WRONLY | os.O_CREAT)


def link_out(path):
    def to(directory):
        name = spare(directory)
        os.link(path, name)
        put(name, "hard link", os.O_WRONLY | os.O_APPEND)
        os.unlink(name)

    first([lambda d=d: to(d) for d in (*given["out"], os.path.dirname(path))])


def through_symlink(path):
    def at(directory):
        name = spare(directory)
        os.symlink(path, name)
        try:
            put(name, "symlink", os.O_WRONLY | os.O_APPEND)
        finally:
            os.unlink(name)

    first([lambda d=d: at(d) for d in (*given["out"], "/tmp")])


def tmpfile(directory, name):
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o755)
    try:
        os.write(fd, b"#!/bin/sh\n# attacked by O_TMPFILE\n")
        # Python's os.link would make a link to the link in /proc.
        source = f"/proc/self/fd/{fd}".encode()
        call(libc.linkat(AT_FDCWD, source, AT_FDCWD, name.encode(), AT_SYMLINK_FOLLOW))
    finally:
        os.close(fd)


def tmpfile_over(path):
    def at(directory):
        name = spare(directory)
        tmpfile(directory, name)
        try:
            os.rename(name, path)
        finally:
            if os.path.lexists(name):
                os.unlink(name)

    first([lambda d=d: at(d) for d in (os.path.dirname(path), *given["out"])])


def reopen(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        put(f"/proc/self/fd/{fd}", "reopening", os.O_WRONLY | os.O_APPEND)
    finally:
        os.close(fd)


def mark(path, text):
    if os.path.isdir(path):
        put(spare(path), text, os.O_WRONLY | os.O_CREAT)
    else:
        put(path, text, os.O_WRONLY | os.O_APPEND)


def kept(path):
    # What else a remount has to say again: statvfs's flags as mount's, which differ in relatime alone.
    has = os.statvfs(path).f_flag
    return has & (2 | 4 | 8 | 1024 | 2048) | (1 << 21 if has & 4096 else 0)


def set_writable(fd, path, flags):
    attributes = (ctypes.c_uint64 * 4)(0, MOUNT_ATTR_RDONLY, 0, 0)
    call(libc.syscall(MOUNT_SETATTR, fd, path.encode(), flags, attributes, ctypes.sizeof(attributes)))


def remount(path):
    call(libc.mount(None, path.encode(), None, MS_REMOUNT | MS_BIND | kept(path), None))
    mark(path, "remount")


def writable_by_attribute(path):
    set_writable(AT_FDCWD, path, 0)
    mark(path, "mount_setattr")


def cloned(path):
    fd = call(libc.syscall(OPEN_TREE, AT_FDCWD, path.encode(), OPEN_TREE_CLONE))
    try:
        set_writable(fd, "", AT_EMPTY_PATH)
    except OSError:
        pass  # a mount of somebody else's stays as it was, which may be writable
    mark(f"/proc/self/fd/{fd}", "open_tree")


def unmount(path):
    call(libc.umount2(path.encode(), MNT_DETACH))
    mark(path, "umount")


def on_read_only(act):
    # On a mount of our own over the path, which is seen to be read-only before it is attacked.
    def attack(path):
        call(libc.mount(path.encode(), path.encode(), None, MS_BIND, None))
        try:
            call(libc.mount(None, path.encode(), None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept(path), None))
            try:
                mark(path, "nothing at all")
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
            else:
                raise OSError(errno.EEXIST, "")
            act(path)
        finally:
            libc.umount2(path.encode(), MNT_DETACH)

    return attack


def nested(path):
    # A fresh child each time: what it changes of its namespaces ends with it.
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            call(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
            first([lambda act=act: act(path) for act in (unmount, remount, writable_by_attribute, cloned)])
        except OSError as error:
            code = error.errno
        os.write(write, str(code).encode())
        os._exit(0)
    os.close(write)
    code = int(os.read(read, 16) or b"5")
    os.close(read)
    os.waitpid(child, 0)
    if code:
        raise OSError(code, "")


def processes():
    return [pid for pid in os.listdir("/proc") if pid.isdigit()]


def by_roots(path):
    first([lambda p=p: mark(f"/proc/{p}/root{path}", "root of a process") for p in ("self", *processes())])


def by_descriptors(path):
    # What others hold open: the target itself, or a directory in which its name is the same file.
    there, name, ways = os.stat(path), os.path.basename(path), []
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    held = os.open(path, os.O_RDONLY)
    try:
        for pid in processes():
            try:
                names = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{n}" for n in os.listdir(f"/proc/{pid}/fd"))]
            except OSError:
                continue
            for way in names:
                for found in (way, f"{way}/{name}"):
                    try:
                        status = os.stat(found)
                    except OSError:
                        continue
                    if (status.st_dev, status.st_ino) == (there.st_dev, there.st_ino):
                        ways.append(found)
        first([lambda way=way: mark(way, "descriptor of a process") for way in ways])
    finally:
        os.close(directory)
        os.close(held)


def replant(directory):
    # Moved away, with files of ours in its place, whatever is mounted below.
    gone = f"{directory}.attack-{os.getpid()}"
    os.rename(directory, gone)
    undo.append([gone, directory])
    os.mkdir(directory)
    put(spare(directory), "replanting", os.O_WRONLY | os.O_CREAT)
    for path in given["paths"]:
        if path.startswith(directory + "/") and path not in directories:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            put(path, "replanting", os.O_WRONLY | os.O_CREAT)


def ways_down(path):
    # The path itself when it is a directory, and those that it lies in.
    found = [path] if path in directories else []
    while len(path := os.path.dirname(path)) > 1:
        found.append(path)
    return [d for d in found if not any((kept + "/").startswith(d + "/") for kept in given["keep"])]


def move_in(path):
    def from_(directory):
        source = made(directory, "moving in")
        try:
            os.rename(source, spare(path))
        finally:
            if os.path.lexists(source):
                os.unlink(source)

    first([lambda d=d: from_(d) for d in given["out"]])


mounts = {
    "remount": remount,
    "mount_setattr": writable_by_attribute,
    "open_tree": cloned,
    "umount": unmount,
}
if given["bound"]:
    for path in given["paths"]:
        for name, act in mounts.items():
            attempt(name, path, on_read_only(act))
    given["paths"] = []

directories = [path for path in given["paths"] if os.path.isdir(path)]
for path in given["paths"]:
    both = {
        "chmod": lambda p: os.chmod(p, stat.S_IMODE(os.stat(p).st_mode) ^ 0o010),
        "chown": lambda p: os.chown(p, os.getuid(), os.getgid()),
        "utimes": lambda p: os.utime(p, (1, 1)),
        "setxattr": lambda p: os.setxattr(p, "user.attack", b"1"),
        "proc-root": by_roots,
        "proc-fd": by_descriptors,
        **mounts,
        "nested-mount": nested,
    }
    of_directories = {
        "create": lambda p: put(spare(p), "creating", os.O_WRONLY | os.O_CREAT),
        "mkdir": lambda p: os.mkdir(spare(p)),
        "symlink-in": lambda p: os.symlink("/etc/passwd", spare(p)),
        "mkfifo": lambda p: os.mkfifo(spare(p)),
        "tmpfile": lambda p: tmpfile(p, spare(p)),
        "move-in": move_in,
        **both,
    }
    of_files = {
        "write": lambda p: put(p, "writing"),
        "append": lambda p: put(p, "appending", os.O_WRONLY | os.O_APPEND),
        "truncate": lambda p: os.truncate(p, 0),
        "open-truncated": lambda p: put(p, "truncating", os.O_RDWR | os.O_TRUNC),
        "symlink": through_symlink,
        "reopen": reopen,
        "link-out": link_out,
        **both,
        "rename-over": lambda p: over(p, os.rename),
        "exchange": lambda p: over(p, exchange),
        "tmpfile-over": tmpfile_over,
        "unlink": recreate,
    }
    for name, act in (of_directories if path in directories else of_files).items():
        attempt(name, path, act)

# At last what moves things from under the other attempts, the deepest first.
ways = {way for path in given["paths"] for way in ways_down(path)}
for way in sorted(ways, key=lambda way: (-way.count("/"), way)):
    attempt("replant", way, replant)

print(ascii({"tried": tried, "undo": undo}))
"""

UNDO = r"""
import os, shutil
for gone, back in reversed(given["undo"]):
    if os.path.isdir(back) and not os.path.islink(back):
        shutil.rmtree(back)
    elif os.path.lexists(back):
        os.unlink(back)
    os.rename(gone, back)
print(ascii(None))
"""

# Ways of adding a name to directories, and of changing what has one there.
# given: directories, there (files that exist). Prints {"attempt path": "ok" | errno's name}.
NAMES = r"""
import errno, os
spare = f".attack-{os.getpid()}"
tried = {}
def attempt(name, path, act):
    try:
        act(path)
        tried[f"{name} {path}"] = "ok"
    except OSError as error:
        tried[f"{name} {path}"] = errno.errorcode.get(error.errno, str(error.errno))
def created(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    os.unlink(path)
def made(path):
    os.mkdir(path)
    os.rmdir(path)
def linked(path):
    os.symlink("/etc/passwd", path)
    os.unlink(path)
def piped(path):
    os.mkfifo(path)
    os.unlink(path)
def renamed(path):
    os.rename(path, path + ".attack")
    os.rename(path + ".attack", path)
for directory in given["directories"]:
    for name, act in {"create": created, "mkdir": made, "symlink": linked, "mkfifo": piped}.items():
        attempt(name, f"{directory.rstrip('/')}/{spare}", act)
for path in given["there"]:
    attempt("chmod", path, lambda p: os.chmod(p, 0o666))
    attempt("append", path, lambda p: os.close(os.open(p, os.O_WRONLY | os.O_APPEND)))
    attempt("rename", path, renamed)
    attempt("unlink", path, os.unlink)
print(ascii(tried))
"""
# What says that one may not. Not ENOENT, which says that there was nothing to be tried, nor a full disk.
REFUSED = {"EROFS", "EACCES", "EPERM", "EBUSY"}

# What an ordinary user can do to files of their own on any Linux; and to mounts, in a namespace of their own.
# fmt: off
FILES = (
    "write", "append", "truncate", "open-truncated", "symlink", "reopen", "link-out", "chmod", "chown",
    "utimes", "proc-root", "proc-fd", "rename-over", "exchange", "tmpfile-over", "unlink", "replant",
)
DIRECTORIES = (
    "create", "mkdir", "symlink-in", "mkfifo", "tmpfile", "move-in", "chmod", "chown", "utimes",
    "proc-root", "proc-fd", "replant",
)
MOUNTS = ("remount", "mount_setattr", "open_tree", "umount")
# fmt: on
# Where one may mount: for any user, or where user namespaces are shut to them, for who has sudo.
UNSHARED = ("unshare", "--user", "--map-root-user", "--mount")
BY_ROOT = ("sudo", "-n", "unshare", "--mount", "--propagation", "private")
_MOUNT = ("mount", "-t", "tmpfs", "none", "/tmp")  # in that namespace alone


@dataclass(frozen=True, kw_only=True)
class Attack:
    """`tried`: "attempt path" → "ok" or an errno's name, as it looked to the attacker.

    `reached`: what the host sees of it, one sentence each; empty when nothing came through.
    """

    tried: dict[str, str]
    reached: list[str]

    def failed(self, names: Iterable[str]) -> list[str]:
        """Which of these attempts worked on no path."""
        worked = {name.partition(" ")[0] for name, result in self.tried.items() if result == "ok"}
        return sorted(name for name in names if name not in worked)


def attack(
    inside: Inside, hosts: Path | Iterable[Path], paths: Sequence[str], *, out: Sequence[str] = ("/tmp",)
) -> Attack:
    """Attack `paths` (names inside, files or directories); `hosts` is what they are on the host.

    `out`: directories inside that may be written, best on the same file system. What moved is moved back
    once the host has looked.
    """
    hosts = [hosts] if isinstance(hosts, Path) else list(hosts)
    before = [seen(path) for path in hosts]
    found = inside.python(SOURCE, paths=list(paths), out=list(out), keep=[], bound=False, timeout_s=60)
    reached = [line for old, path in zip(before, hosts, strict=True) for line in changed(old, seen(path))]
    if found["undo"]:
        inside.python(UNDO, undo=found["undo"])
    worked = [name for name, result in found["tried"].items() if result == "ok"]
    reached = [f"{line} (what worked inside: {', '.join(worked) or 'nothing'})" for line in reached]
    return Attack(tried=found["tried"], reached=reached)


def control(host: World) -> list[str]:
    """The attempts that do not even work on the host, on files of the user's own: there should be none.

    Those by mounts are tried where the user may mount. Raises HarnessError when that is nowhere.
    """
    mounting = next((p for p in (UNSHARED, BY_ROOT) if host.run((*p, *_MOUNT)).returncode == 0), None)
    if mounting is None:
        raise HarnessError(
            "nowhere can a mount be tried here: neither in a user namespace nor with sudo",
            "sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0",
        )
    nested = ("nested-mount",) if mounting is UNSHARED else ()
    twin = users.directory(host.home / f"twin-{uuid.uuid4().hex[:8]}", host.user)
    out = users.directory(twin / "out", host.user)
    try:
        target = host.write(twin / "a/b/file", "content")
        directory = host.write(twin / "c/d/of-directory", "content").parent
        wrong: list[str] = []
        how: dict[str, Any] = {"out": [str(out)], "keep": [str(twin)]}
        for path, names in ((target, (*FILES, *nested)), (directory, (*DIRECTORIES, *nested))):
            before = seen(path)
            by_mounts = outside(host, (*mounting, *PYTHON), SOURCE, paths=[str(path)], bound=True, **how)
            wrong += Attack(tried=by_mounts["tried"], reached=[]).failed(MOUNTS)
            if not changed(before, between := seen(path)):
                wrong.append(f"nothing by mounts is seen at {path}")
            found = host.python(SOURCE, paths=[str(path)], bound=False, **how)
            wrong += Attack(tried=found["tried"], reached=[]).failed(names)
            if not changed(between, seen(path)):
                wrong.append(f"nothing of it is seen at {path}")
        return wrong
    finally:
        shutil.rmtree(twin)


def names_control(host: World) -> list[str]:
    """What of NAMES does not work on the host, in a directory of the user's own: there should be nothing."""
    twin = users.directory(host.home / f"twin-{uuid.uuid4().hex[:8]}", host.user)
    try:
        there = str(host.write(twin / "file", "content"))
        found = host.python(NAMES, directories=[str(twin)], there=[there])
        return [name for name, came in found.items() if came != "ok"]
    finally:
        shutil.rmtree(twin)


def seen(path: Path) -> dict[str, str]:
    """What the host sees at and below a path: each name, with all that a write would change of it."""
    found: dict[str, str] = {}
    queue = [path]
    while queue:
        at = queue.pop()
        try:
            status = at.lstat()
        except OSError as error:
            found[str(at)] = f"errno {error.errno}"
            continue
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(at.read_bytes()).hexdigest()[:16]
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(at)
        elif stat.S_ISDIR(status.st_mode):
            queue += [at / name for name in os.listdir(at)]
        attributes: list[str] = []
        with suppress(OSError):
            attributes = os.listxattr(at, follow_symlinks=False)
        found[str(at)] = (
            f"inode {status.st_ino} mode {status.st_mode:o} owner {status.st_uid}:{status.st_gid} "
            f"links {status.st_nlink} size {status.st_size} mtime {status.st_mtime_ns} "
            f"ctime {status.st_ctime_ns} attributes {attributes} content {content}"
        )
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """One sentence for each difference of two looks."""
    return [
        f"{path} was {before.get(path, 'not there')} and is {after.get(path, 'gone')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
