"""The sandboxes that the launcher is measured against, set to do what comes nearest to the table."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import HostError
from tooling import agent, machine
from tooling.report import say

SANDBOX_RUNTIME = "@anthropic-ai/sandbox-runtime"
# sandbox-runtime starts these; firejail is the other peer.
PROGRAMS = {"firejail": "firejail", "rg": "ripgrep", "socat": "socat", "npm": "npm", "node": "nodejs"}


@dataclass(frozen=True, kw_only=True)
class Peers:
    """Where the two programs are."""

    firejail: str
    srt: str


def find_or_install(*, yes: bool, retry: str) -> Peers:
    """firejail from apt and sandbox-runtime from npm, installed after one question when they are not here."""
    own = cache() / "node_modules/.bin/srt"
    srt = machine.which("srt") or (str(own) if own.exists() else "")
    packages = [package for program, package in PROGRAMS.items() if not machine.which(program)]
    if packages or not srt:
        wanted = [*packages, *([] if srt else [f"{SANDBOX_RUNTIME} (npm, into {cache()})"])]
        machine.agree(f"To compare with, install {', '.join(wanted)}?", yes=yes, retry=retry)
        machine.install(packages)
    if not srt:
        agent.npm_install(SANDBOX_RUNTIME, where=cache())
        srt = str(own)
    firejail = machine.which("firejail")
    if firejail is None:
        raise HostError("firejail is not on PATH", "install firejail with your package manager")
    say(f"peers: {firejail}, {srt}")
    return Peers(firejail=firejail, srt=srt)


def cache() -> Path:
    """Where what is only measured against is installed."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "claude-sandbox/bench"


def firejail_argv(peers: Peers, project: str) -> list[str]:
    """An own home with the project in it, no capability, seccomp, own /dev, /tmp, IPC and /etc, no bus."""
    return [
        *(
            peers.firejail,
            "--quiet",
            "--noprofile",
            f"--whitelist={project}",
            "--private-tmp",
            "--private-dev",
        ),
        *("--seccomp", "--caps.drop=all", "--nonewprivs", "--nogroups", "--ipc-namespace"),
        "--private-etc=passwd,group,hosts,resolv.conf,ssl,fonts,localtime,nsswitch.conf,alternatives,ld.so.cache",
        *("--dbus-user=none", "--dbus-system=none"),
        *("--", "/bin/bash", "-c", "true"),
    ]


def srt_argv(peers: Peers, project: str, settings: Path) -> list[str]:
    """Writes nowhere but in the project, the home's secrets not read, the network as it has it."""
    settings.write_text(
        json.dumps(
            {
                "network": {"allowedDomains": [], "deniedDomains": []},
                "filesystem": {"denyRead": ["~/.ssh"], "allowWrite": [project], "denyWrite": []},
            }
        )
    )
    return [peers.srt, "--settings", str(settings), "/bin/bash", "-c", "true"]
