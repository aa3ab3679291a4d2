"""Hosts and requests written by hand: what planning and rendering are given in tests."""

from __future__ import annotations

from typing import Any

from launcher.git import GitLayout
from launcher.host.model import Agent, Bwrap, Entry, Host, Offer
from launcher.plan.context import Context, Subject
from launcher.request import Request

HOME = "/home/u"
PROJECT = "/home/u/p"


def host(**changes: Any) -> Host:  # noqa: ANN401
    """A small Debian with an ssh agent, dotfiles and nothing of a desktop."""
    offers = {
        "userland": Offer(
            entries=(
                Entry(name="/usr", kind="dir", source="/usr"),
                Entry(name="/bin", kind="link", source="usr/bin"),
                Entry(name="/lib", kind="link", source="usr/lib"),
            )
        ),
        "etc": Offer(
            entries=(
                Entry(name="/etc/resolv.conf", kind="file", source="/run/systemd/resolve/stub-resolv.conf"),
                Entry(name="/etc/hosts", kind="file", source="/etc/hosts"),
                Entry(name="/etc/localtime", kind="link", source="/usr/share/zoneinfo/Europe/Berlin"),
                Entry(name="/etc/ssl/certs", kind="dir", source="/etc/ssl/certs"),
            )
        ),
        "claude-config": Offer(
            entries=(Entry(name=".claude", kind="dir", source="/home/u/.claude"),), shown="/home/u/.claude"
        ),
        "claude-settings": Offer(
            entries=(
                Entry(name="settings.json", kind="file", source="/home/u/.claude/settings.json"),
                Entry(name="hooks", kind="dir", source="/home/u/.claude/hooks"),
            )
        ),
        "claude-json": Offer(
            entries=(Entry(name=".claude.json", kind="file", source="/home/u/.claude.json"),)
        ),
        "git-config": Offer(
            entries=(Entry(name=".gitconfig", kind="file", source="/home/u/dotfiles/gitconfig"),)
        ),
        "ssh-keys": Offer(
            entries=(
                Entry(name=".ssh", kind="dir", source="/home/u/.ssh"),
                Entry(name=".ssh/id_ed25519", kind="file", source="/home/u/.ssh/id_ed25519"),
                Entry(name=".ssh/config", kind="content", content=b"Host *\n"),
            ),
            shown="~/.ssh",
        ),
        "ssh-agent": Offer(
            entries=(Entry(name="ssh-agent.sock", kind="socket", source="/tmp/ssh-x/agent.1"),),
            shown="$SSH_AUTH_SOCK",
        ),
    }
    values: dict[str, Any] = {
        "uid": 1000,
        "gid": 1000,
        "home": HOME,
        "machine": "x86_64",
        "environ": {
            "TERM": "xterm-256color",
            "LANG": "de_DE.UTF-8",
            "ANTHROPIC_API_KEY": "sk-secret",
            "AWS_SECRET_ACCESS_KEY": "canary",
            "GH_TOKEN": "gh-secret",
            "PATH": "/usr/bin",
        },
        "offers": offers,
        "programs": {
            "bash": "/usr/bin/bash",
            "setsid": "/usr/bin/setsid",
            "xdg-dbus-proxy": "/usr/bin/xdg-dbus-proxy",
        },
        "bwrap": Bwrap(path="/usr/bin/bwrap", options=frozenset({"perms", "disable-userns"})),
        "agent": Agent(
            name="claude", path="/home/u/.local/share/claude/1", trees=("/home/u/.local/share/claude/1",)
        ),
        "state": "/home/u/.local/state/claude-sandbox",
    }
    return Host(**{**values, **changes})


def layout(**changes: Any) -> GitLayout:  # noqa: ANN401
    """A plain repository."""
    values: dict[str, Any] = {
        "project": PROJECT,
        "dot_git": f"{PROJECT}/.git",
        "kind": "dir",
        "git_dir": f"{PROJECT}/.git",
        "common_dir": f"{PROJECT}/.git",
        "hooks": (f"{PROJECT}/.git/hooks",),
        "pins": ((f"{PROJECT}/.git", "rw"),),
    }
    return GitLayout(**{**values, **changes})


def context(
    on: Host | None = None,
    git: GitLayout | None = None,
    *,
    project: str = PROJECT,
    **request: Any,  # noqa: ANN401
) -> Context:
    """What resolve() is given for a request on `on`."""
    return Context(
        request=Request(**{"backend": "bubblewrap", "project": project, **request}),
        host=on or host(),
        subject=Subject(path=project, git=git, state="/state/p"),
    )
