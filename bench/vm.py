"""`invoke bench vm`: what a start of the VM costs beside a bare boot of the same kernel, and virtme-ng."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import launch, peers, terminal
from bench.launch import Measure, ratio
from bench.timing import Times, in_turns, start_to_end_ms
from launcher.errors import HostError
from launcher.vm import accel, cache, kernel
from launcher.vm.cpio import Archive
from tooling import backends, machine, ordinary, prepare
from tooling.report import say

ROOT = Path(__file__).parent.parent
PEER = "virtme-ng"
INIT = b"#!/bin/busybox sh\necho up\nexec /bin/busybox poweroff -f\n"
BARE, OURS, PROMPT, THEIRS = "bare boot of the bzImage", "claude-sandbox-vm", "its first prompt", PEER
CPU_MEMORY = ("-m", "1024", "-smp", "1")


def run(*, runs: int, as_json: bool, yes: bool) -> int:
    """Measures and prints; 1 when a limit is broken. Root goes on as an ordinary user."""
    if os.geteuid() == 0:
        switches = [*(["--json"] if as_json else []), *(["--yes"] if yes else [])]
        return ordinary.go_on(ROOT, ["bench", "vm", f"--runs={runs}", *switches], yes=yes)
    prepare.prepare(backends.find("vm"), yes=yes, optional=False, needs_agent=False)
    peer = find_or_install(yes=yes)
    with launch.desk() as where:
        times, launcher = measured(where, peer, runs=runs)
    ours, prompt, bare, theirs = (times[name] for name in (OURS, PROMPT, BARE, THEIRS))
    measures = (
        ratio("vm: ours / bare boot of the bzImage", [ours], [bare], limit=0.6),
        ratio("vm: our first prompt / the same", [prompt], [bare], limit=0.6),
        ratio("vm: ours / virtme-ng", [ours], [theirs], limit=0.25),
        Measure(name="vm: memory of the launcher at its most", value=launcher.most_mib, limit=25, unit=" MB"),
    )
    print(json.dumps([asdict(one) for one in measures], indent=2) if as_json else text(measures, times))
    return 0 if all(one.kept for one in measures) else 1


def find_or_install(*, yes: bool) -> str:
    """virtme-ng, from PyPI into a venv of the benchmark's own, after one question when it is not here."""
    venv = peers.cache() / "virtme-ng"
    program = venv / "bin/vng"
    if not program.exists():
        machine.agree(
            f"To compare with, install {PEER} (pip, into {venv})?", yes=yes, retry="invoke bench vm --yes"
        )
        for command in (
            [sys.executable, "-m", "venv", str(venv)],
            [f"{venv}/bin/pip", "install", "-q", PEER],
        ):
            if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
                raise HostError(f"{PEER} cannot be installed", f"its own words are above; remove {venv}")
    return str(program)


def measured(where: launch.Desk, peer: str, *, runs: int) -> tuple[dict[str, Times], terminal.Process]:
    """Starts in turns: the same kernel, the same accelerator, one processor each; and our launcher."""
    home = str(Path.home())
    boots = kernel.find("", os.environ, home)
    qemu = machine.which("qemu-system-x86_64") or "qemu-system-x86_64"
    directory = cache.cache_dir(os.environ, home)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    able = accel.usable(qemu, "auto", directory, boot_id, os.uname().release)
    environment = {**where.environment, "XDG_CACHE_HOME": str(Path(directory).parent)}
    program = str(Path(sys.prefix) / "bin/claude-sandbox-vm")
    cwd = str(where.project)
    shell = [program, "--quiet", "--accel", able.name, "--shell", cwd]
    plain = [*shell, "--norc", "--noprofile"]
    say(f"{runs} starts of each, in turns, by {able.name}…")
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        bare = [qemu, "-M", f"pc,accel={able.name}", *CPU_MEMORY, *bare_boot(boots.image, Path(place))]
        theirs = as_theirs(peer, with_lists(boots, Path(place)), kvm=able.name == "kvm")
        times = in_turns(
            {
                BARE: lambda: start_to_end_ms(bare, environment),
                OURS: lambda: start_to_end_ms([*shell, "-c", "true"], environment),
                PROMPT: lambda: terminal.until_ms(plain, environment, cwd=cwd, ready=b"$ "),
                THEIRS: lambda: start_to_end_ms(
                    theirs, {**environment, "PATH": f"{Path(peer).parent}:{PATH}"}
                ),
            },
            rounds=runs,
        )
    return times, terminal.while_running(plain, environment, cwd=cwd, ready=b"$ ")[0]


def as_theirs(peer: str, image: str, *, kvm: bool) -> list[str]:
    """virtme-ng's command line for `true`. On a terminal: it refuses streams that it cannot open again by
    name, as a pipe of ours.
    """
    words = [peer, *([] if kvm else ["--disable-kvm"]), "--run", image]
    command = shlex.join([*words, "--memory", "1G", "--cpus", "1", "--", "true"])
    return [machine.which("script") or "script", "--quiet", "--return", "--command", command, os.devnull]


def with_lists(boots: kernel.Kernel, place: Path) -> str:
    """The image of the same kernel in a tree where depmod(8) has listed the modules.

    virtme-ng finds those that it needs by their aliases, of which a kernel that was never installed has no
    list. Raises HostError without depmod.
    """
    depmod = machine.which("depmod")
    if depmod is None:
        raise HostError(f"depmod is not here, and {PEER} needs its lists", "sudo apt-get install kmod")
    tree = place / "installed"
    image = tree / f"boot/vmlinuz-{boots.release}"
    image.parent.mkdir(parents=True)
    shutil.copy(boots.image, image)
    shutil.copytree(boots.modules, tree / "lib/modules" / boots.release)
    subprocess.run([depmod, "--basedir", str(tree), boots.release], check=True)
    return str(image)


PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def bare_boot(image: str, place: Path) -> list[str]:
    """QEMU's arguments for a kernel with an initrd of busybox alone, which says a word and powers off."""
    archive = Archive()
    archive.file("bin/busybox", Path(machine.which("busybox") or "/bin/busybox").read_bytes(), 0o755)
    archive.file("init", INIT, 0o755)
    archive.node("dev/console", "c", 0o600, 5, 1)
    initrd = place / "initrd"
    initrd.write_bytes(archive.close())
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", image, "-initrd", str(initrd), "-append", "console=ttyS0 quiet panic=-1"),
    ]


def text(measures: tuple[Measure, ...], times: dict[str, Times]) -> str:
    """The report for a person."""
    lines = [launch.line(one) for one in measures]
    lines += ["", f"{'milliseconds':38} {'median':>8} {'least':>8} {'runs':>5}"]
    lines += [
        f"{name:38} {taken.median_ms:8.0f} {taken.least_ms:8.0f} {len(taken.all_ms):5}"
        for name, taken in times.items()
    ]
    return "\n".join(lines)
