"""Row kvm."""

from __future__ import annotations

from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.world import World

# KVM_GET_API_VERSION and KVM_CREATE_VM, linux/kvm.h; by the node, wherever it may be.
KVM = """
import errno, fcntl, os, stat
found = {"node": os.path.exists("/dev/kvm"), "elsewhere": []}
try:
    kvm = os.open("/dev/kvm", os.O_RDWR)
    found["version"] = fcntl.ioctl(kvm, 0xAE00, 0)
    found["machine"] = fcntl.ioctl(kvm, 0xAE01, 0) > 0
except OSError as error:
    found["error"] = errno.errorcode[error.errno]
for top, _, files in os.walk("/dev"):
    for name in files:
        status = os.lstat(os.path.join(top, name))
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(10, 232):
            found["elsewhere"].append(os.path.join(top, name))
print(ascii(found))
"""


@covers("kvm", "absent")
def test_kvm_is_not_there(inside: Inside, host: World) -> None:
    """Without `--with kvm` there is no /dev/kvm, under no name."""
    control = host.python(KVM)

    found = inside.python(KVM)

    with on_the_host():
        assert control["elsewhere"] == ["/dev/kvm"], "the same probe has to see it on the host"
    assert found == {"node": False, "elsewhere": [], "error": "ENOENT"}


@covers("kvm", "shared")
def test_kvm_makes_a_machine(inside: Inside, host: World) -> None:
    """With it a virtual machine can be made, as on the host."""
    outside = host.python(KVM)

    found = inside.python(KVM)

    with on_the_host():
        assert outside["version"] == 12
    assert found == outside
