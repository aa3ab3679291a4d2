"""Probes that root runs: on the host, as the control; in a sandbox's namespaces, as who became root there.

That one has no capability, as nothing there has one; and no filter, but where it is asked for: then that of
the sandbox's own processes, which stays with all that they start, whoever they become (seccomp(2)).
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

from conformance.harness import inside
from conformance.harness.errors import HarnessError
from conformance.harness.inside import answer, probe
from conformance.harness.sandbox import Sandbox

PYTHON = tuple(inside.PYTHON.split())
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
BARE = ("/usr/bin/setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
ON_THE_HOST = ("unshare", "--mount", "--propagation", "private", "--")

# The filters of a process, oldest first, by ptrace(2): PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH and
# PTRACE_SECCOMP_GET_FILTER (a kernel with CONFIG_CHECKPOINT_RESTORE).
FILTERS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
def trace(request, address=None, data=None):
    result = libc.ptrace(request, given["pid"], address, data)
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
found = []
trace(0x4206)
try:
    trace(0x4207)
    os.waitpid(given["pid"], 0x40000000)
    try:
        while True:
            code = ctypes.create_string_buffer(8 * trace(0x420C, len(found)))
            trace(0x420C, len(found), ctypes.addressof(code))
            found.append(code.raw.hex())
    except FileNotFoundError:
        pass
finally:
    trace(17)
print(ascii(found[::-1]))
"""
# Has them loaded, before anything else: PR_SET_SECCOMP with struct sock_fprog.
LOADED = """
import ctypes, struct
for text in given["filters"]:
    code = ctypes.create_string_buffer(bytes.fromhex(text), len(text) // 2)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(text) // 16, ctypes.addressof(code)))
    program = ctypes.c_ulong(ctypes.addressof(head))
    assert ctypes.CDLL(None).prctl(22, ctypes.c_ulong(2), program, ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0
"""


def inside_as_root(sandbox: Sandbox, source: str, *, filtered: bool = False, **given: Any) -> Any:  # noqa: ANN401
    """What a probe prints that root runs in the sandbox's namespaces, with what a process there can have."""
    processes = sandbox.inner()
    target = next((pid for number, pid in processes.items() if number != 1), None)
    if target is None:
        raise HarnessError("none of the sandbox's processes is in a PID namespace of its own")
    if filtered:
        source = LOADED + source
        given["filters"] = outside_as_root(FILTERS, pid=target)
        if not given["filters"]:
            raise HarnessError("the sandbox's processes have no system call filter")
    return by_root(("nsenter", f"--target={target}", *NAMESPACES, "--", *BARE, "--", *PYTHON), source, given)


def outside_as_root(source: str, **given: Any) -> Any:  # noqa: ANN401  (JSON)
    """The same by root on the host; what it mounts goes with it."""
    return by_root((*ON_THE_HOST, *PYTHON), source, given)


def by_root(argv: tuple[str, ...], source: str, given: dict[str, Any]) -> Any:  # noqa: ANN401  (JSON)
    """What a probe prints that a command line of root's runs. Raises HarnessError where nobody is root."""
    sudo = () if os.geteuid() == 0 else ("sudo", "-n", "--")
    if subprocess.run((*sudo, "true"), capture_output=True, check=False).returncode:
        raise HarnessError("nobody here is root", "as root, or by sudo")
    done = subprocess.run((*sudo, *argv), input=probe(source, given), capture_output=True, check=False)
    return answer(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"), "as root")
