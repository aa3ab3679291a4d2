"""Row userns."""

from __future__ import annotations

from errno import EINVAL, ENOSYS, EPERM

from conformance.checks.probes.calls import PRELUDE, numbers
from conformance.harness.cells import Cell
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World

CALLS = ["clone", "clone3", "setns", "unshare"]

# CLONE_NEWUSER alone and with others, by each call that makes or enters a user namespace.
ATTACKS = """
NEWUSER, NEWNS, NEWPID, NEWNET, NEWTIME = 0x10000000, 0x20000, 0x20000000, 0x40000000, 0x80
def clone(flags):
    pid = call(given["clone"], flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
    return min(pid, 0)
def clone3(flags):
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    arguments = ctypes.create_string_buffer(struct.pack("8Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    pid = call(given["clone3"], ctypes.addressof(arguments), 64)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
    return min(pid, 0)
def setns():
    # Into a namespace of a child's own making.
    release, hold = os.pipe()
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        os.write(tell, struct.pack("q", call(given["unshare"], NEWUSER)))
        os.read(release, 1)
        os._exit(0)
    os.read(ready, 8)
    file = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    result = in_child(lambda: call(given["setns"], file, NEWUSER))
    os.close(hold)
    os.waitpid(pid, 0)
    return result
print(ascii({
    "unshare": in_child(lambda: call(given["unshare"], NEWUSER)),
    "unshare with mounts": in_child(lambda: call(given["unshare"], NEWUSER | NEWNS | NEWPID | NEWNET)),
    "unshare with high bits": in_child(lambda: call(given["unshare"], NEWUSER | 1 << 40)),
    "clone": in_child(lambda: clone(NEWUSER)),
    "clone with mounts": in_child(lambda: clone(NEWUSER | NEWNS)),
    "clone3": in_child(lambda: clone3(NEWUSER)),
    "setns": setns(),
}))
"""
PROGRAMS = {
    "unshare": "unshare --user --map-root-user id -u",
    "bwrap": "bwrap --unshare-user --uid 0 --ro-bind / / id -u",
}


@covers("userns", "absent")
def test_no_user_namespace_is_made_or_entered(inside: Inside, host: World) -> None:
    """unshare, clone, clone3 and setns make and enter no user namespace, alone or with others."""
    how = numbers(CALLS)

    control = host.python(PRELUDE + ATTACKS, **how)
    found = inside.python(PRELUDE + ATTACKS, **how)

    works = [name for name in control if "high bits" not in name]
    with on_the_host():
        assert {name: control[name] for name in works if control[name] != 0} == {}, "each works on the host"
    assert {n: r for n, r in found.items() if r not in (-EPERM, -ENOSYS, -EINVAL)} == {}
    # EINVAL: of the child that has no namespace of its own, where the call itself is not refused.
    assert [name for name, result in found.items() if result == -EINVAL and name != "setns"] == []


@covers("userns", "absent")
def test_programs_that_need_user_namespaces_fail(inside: Inside, host: World) -> None:
    """Nobody becomes root by `unshare --user --map-root-user` or a nested bwrap."""
    outside = {name: host.run(("sh", "-c", line)) for name, line in PROGRAMS.items()}
    control = [name for name, done in outside.items() if done.stdout.strip() == "0"]

    found = {name: inside.sh(PROGRAMS[name]) for name in control}

    with on_the_host():
        assert "unshare" in control, "on the host it works"
    assert [name for name, done in found.items() if done.rc == 0 or done.stdout.strip() == "0"] == []


# The process of the same user namespace, as the host numbers it; then that namespace, without the filter.
FROM_OUTSIDE = """
import os, subprocess
def namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/user")
    except OSError:
        return ""
def made(*enter):
    done = subprocess.run([*enter, "unshare", "--user", "true"], capture_output=True, text=True)
    return [done.returncode, done.stderr]
pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and namespace(pid) == given["namespace"]]
enter = ["nsenter", f"--user=/proc/{pids[0]}/ns/user", "--preserve-credentials"] if pids else ["false"]
print(ascii({"pids": len(pids), "here": made(), "there": made(*enter)}))
"""


@covers("userns", "absent", means=True)
def test_the_limit_of_user_namespaces_is_used_up(inside: Inside, host: World, cell: Cell) -> None:
    """Past the filter, which is on pid 1 too, the kernel refuses a nested namespace by its own limit."""
    seccomp = "print(ascii([l.split()[1] for l in open('/proc/1/status') if l.startswith('Seccomp:')]))"
    parts = {part for part in ("seccomp filter", "limit of user namespaces") if part in cell.means}

    filtered = inside.python(seccomp)
    found = host.python(FROM_OUTSIDE, namespace=inside.output("readlink /proc/self/ns/user"))

    assert parts
    assert filtered == ["2"]
    if "limit of user namespaces" in parts:
        assert found["here"][0] == 0
        assert found["pids"] > 0
        # ENOSPC, user_namespaces(7)
        assert "No space left on device" in found["there"][1], found


@covers("userns", "own")
def test_a_user_namespace_can_be_made(inside: Inside, host: World) -> None:
    """A nested user namespace has a root of its own, who may mount in it, and is nobody special outside."""
    script = """
        echo here > /project/nested-before
        exec unshare --user --map-root-user --mount --pid --fork sh -ec '
            id -u; mount -t tmpfs none /tmp; echo x > /tmp/x; cat /tmp/x; echo nested > /project/nested'
    """
    control = host.run(("unshare", "--user", "--map-root-user", "id", "-u"))

    done = inside.sh(script)
    mine = inside.sh("test -e /tmp/x")

    with on_the_host():
        assert control.stdout.strip() == "0"
    assert (done.rc, done.stdout.split()) == (0, ["0", "x"]), done.stderr
    assert mine.rc != 0
    assert (host.path / "nested").stat().st_uid == host.user.uid


@covers("userns", "own")
def test_a_nested_root_gets_no_further(inside: Inside, host: World) -> None:
    """Root in a nested namespace reads no secret of the host's home, and writes nothing that is read-only."""
    secret = host.plant("nested-bait", "{}\n")
    where = str(host.home / "nested-bait")
    nested = "unshare --user --map-root-user --mount sh -c"
    tries = (
        f"cat '{where}'; cat /proc/1/root/'{where}'; umount -l /home /etc /usr; umount -l /home/sandbox;"
        f" cat '{where}'; mount -o remount,rw,bind /usr && touch /usr/planted; echo done"
    )

    control = host.run(("cat", where)).stdout.strip()
    done = inside.sh(f"{nested} {inside.backend.quote('%s', tries)}")

    with on_the_host():
        assert control == secret
    assert done.stdout.strip() == "done", done.stderr
    assert inside.sh("test -e /usr/planted").rc != 0


@covers("userns", "own", means=True)
def test_the_nested_namespace_is_another(inside: Inside, host: World, cell: Cell) -> None:
    """The nested user namespace is neither the host's nor that of the sandbox, where that has one."""
    look = "readlink /proc/self/ns/user"

    outside = host.output(("sh", "-c", look))
    here = inside.output(look)
    nested = inside.output(f"unshare --user {look}")

    assert "user namespace" in cell.means
    assert nested not in (outside, here)
