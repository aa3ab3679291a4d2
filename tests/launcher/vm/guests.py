"""A guest written by hand."""

from __future__ import annotations

from typing import Any

from launcher.backends.base import Guest, Share
from launcher.host.model import Hypervisor
from launcher.plan.model import Identity, Machine
from launcher.run.inner import command

SHARES = (
    Share(tag="usr", at="/usr", source="/usr", steady=True),
    Share(tag="project_share", at="/shares/project_share", source="/home/u/a,b", writable=True),
    Share(tag="git_config", at="/shares/git_config", files=(("0", "/home/u/.gitconfig"),)),
)
MACHINE = Machine(memory_mib=1024, cores=2, accel="tcg", console="virtio")


def guest(**changes: Any) -> Guest:  # noqa: ANN401
    """One with a project, a staged file, and an agent whose words need quoting."""
    values: dict[str, Any] = {
        "machine": MACHINE,
        "shares": SHARES,
        "tree": (),
        "options": ("--bind", "/sandbox", "/"),
        "command": command(("/bin/bash", "-c", "echo 'it''s' \"$HOME\"\n"), tty=True),
        "environment": (("SECRET", "sk-canary"),),
        "network": False,
        "identity": Identity(uid=1000, gid=1001),
        "hypervisor": Hypervisor(qemu="/usr/bin/qemu-system-x86_64", kernel="/k/vmlinux"),
    }
    return Guest(**{**values, **changes})
