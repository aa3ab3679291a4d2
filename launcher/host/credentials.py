"""Claude's own files, git's, ssh's and gh's: what of them this home has."""

from __future__ import annotations

import os

from launcher import gitconfig
from launcher.host.model import Entry, Offer
from launcher.host.paths import dotfile, kind_of, socket_offer
from launcher.project import refused
from launcher.spec.table import CLAUDE_SETTINGS
from launcher.untrusted import CONFIG_LIMIT, inside, read

# Keys of git-config(1) whose value is a file that git reads; by their last part, in lower case.
NAMING = (b"excludesfile", b"attributesfile", b"allowedsignersfile", b"template")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def offers(environ: Mapping[str, str], home: str, uid: int) -> dict[str, Offer]:
    """The rows about identity and credentials."""
    config = environ.get("XDG_CONFIG_HOME", "")
    config = config if config.startswith("/") else f"{home}/.config"
    return {
        "claude-config": claude_config(environ, home, uid),
        "claude-settings": claude_settings(environ, home),
        "claude-json": claude_json(environ, home),
        "git-config": git_config(home, config),
        "ssh-keys": ssh_keys(home, uid),
        "ssh-agent": ssh_agent(environ),
        "gh-config": gh_config(config, environ, home),
    }


def claude_directory(environ: Mapping[str, str], home: str) -> str:
    """~/.claude, or what CLAUDE_CONFIG_DIR names."""
    named = environ.get("CLAUDE_CONFIG_DIR", "")
    return named if named.startswith("/") else f"{home}/.claude"


def claude_config(environ: Mapping[str, str], home: str, uid: int) -> Offer:
    """The directory of the login. One that is not there yet is made by the launcher; one of another's is not
    taken.
    """
    path = claude_directory(environ, home)
    kind = kind_of(path)
    if kind not in ("", "dir") or (not kind and os.path.islink(path)):
        why = "is a dangling symlink" if not kind else "is not a directory"
        return Offer(reason=f"{path} {why}", note=f"the login is not forwarded: {path} {why}")
    if kind and os.stat(path).st_uid != uid:
        return Offer(
            reason=f"{path} is not yours", note=f"the login is not forwarded: {path} belongs to another user"
        )
    real = os.path.realpath(path)
    # CLAUDE_CONFIG_DIR=$HOME, or a ~/.claude that leads there.
    why = "" if inside(real, f"{home}/.claude") else refused(real, home=home, runtime="", state="")
    if why:
        return Offer(reason=f"{path} {why}", note=f"the login is not forwarded: {path} {why}")
    return Offer(entries=(Entry(name=".claude", kind="dir", source=real),), shown=path)


def claude_settings(environ: Mapping[str, str], home: str) -> Offer:
    """What the host's own claude would execute or obey from its directory, and how each is to be
    protected.
    """
    base = os.path.realpath(claude_directory(environ, home))
    entries = []
    for name, kind, _content, create in CLAUDE_SETTINGS:
        path = f"{base}/{name}"
        if os.path.islink(path):
            # Of the names that are always made, and so are always mount points inside, a link is the user's
            # own:
            # a dotfile manager's. Any other may be a former agent's, who would choose by it what is shown.
            if create:
                source = os.path.realpath(path) if os.path.isfile(path) else ""
                entries.append(Entry(name=name, kind="link", source=source))
        elif create or os.path.exists(path):
            entries.append(Entry(name=name, kind="dir" if kind == "dir" else "file", source=path))
    named = ", ".join(e.name for e in entries[:3])
    return Offer(entries=tuple(entries), shown=f"{base}: {named}, … ({len(entries)} names)")


def claude_json(environ: Mapping[str, str], home: str) -> Offer:
    """~/.claude.json, which lies in CLAUDE_CONFIG_DIR when that is set."""
    named = environ.get("CLAUDE_CONFIG_DIR", "")
    path = f"{named}/.claude.json" if named.startswith("/") else f"{home}/.claude.json"
    shown = path if os.path.exists(path) else "an empty one"
    dangling = "~/.claude.json is a dangling symlink" if os.path.islink(path) and shown != path else ""
    return Offer(
        entries=(Entry(name=".claude.json", kind="file", source=path),),
        shown=shown,
        note=_said("claude-json", dangling),
    )


def git_config(home: str, config: str) -> Offer:
    """~/.gitconfig and ~/.config/git; either may be a file, a link into a dotfile manager's store, or not
    there.
    """
    first, why_first = dotfile(f"{home}/.gitconfig", kind="file", name=".gitconfig", shown="~/.gitconfig")
    second, why_second = dotfile(f"{config}/git", kind="dir", name=".config/git", shown="~/.config/git")
    entries = (*first, *second)
    entries += _named([e.source for e in entries if e.kind == "file"], home)
    note = _said("git-config", why_first, why_second)
    if not entries:
        return Offer(reason=f"{why_first}, {why_second}", note=note)
    return Offer(
        entries=entries,
        shown=" and ".join(n for n, e in (("~/.gitconfig", first), ("~/.config/git", second)) if e),
        note=note,
    )


def _named(configs: list[str], home: str) -> tuple[Entry, ...]:
    """Files that git's configuration includes or names, under the home by both of its names: ~/x
    and /home/u/x.
    """
    files = gitconfig.collect(configs, home).files
    for config in (*configs, *files):
        content = read(config, CONFIG_LIMIT, follow=True) or b""
        if any(key in content.lower() for key in NAMING):
            files += [
                gitconfig.home_path(value, home)
                for key, value in gitconfig.values(os.fsdecode(content))
                if key.rpartition(".")[2].encode() in NAMING
            ]
    found = []
    for path in dict.fromkeys(files):
        if path.startswith("/") and kind_of(path) == "file" and os.access(path, os.R_OK):
            real = os.path.realpath(path)
            found.append(Entry(name=path, kind="file", source=real))
            if path.startswith(home + "/"):
                found.append(Entry(name=path[len(home) + 1 :], kind="file", source=real))
    return tuple(found)


def ssh_keys(home: str, uid: int) -> Offer:
    """~/.ssh file by file. ssh refuses a config of another owner, and root is nobody inside: such a one is
    copied.
    """
    entries, why = dotfile(f"{home}/.ssh", kind="dir", name=".ssh", shown="~/.ssh")
    if not entries:
        return Offer(reason=why, note=_said("ssh-keys", why))
    return Offer(entries=tuple(_owned(e, uid) for e in entries), shown="~/.ssh")


def _owned(entry: Entry, uid: int) -> Entry:
    if entry.kind != "file" or os.stat(entry.source).st_uid == uid:
        return entry
    with open(entry.source, "rb") as file:
        return Entry(name=entry.name, kind="content", source=entry.source, content=file.read(1 << 20))


def ssh_agent(environ: Mapping[str, str]) -> Offer:
    """The agent's socket."""
    path = environ.get("SSH_AUTH_SOCK", "")
    if not path:
        return Offer(reason="SSH_AUTH_SOCK is not set")
    return socket_offer(path, shown="$SSH_AUTH_SOCK", name="ssh-agent.sock", what="ssh-agent")


def gh_config(config: str, environ: Mapping[str, str], home: str) -> Offer:
    """The directory of GitHub's CLI: GH_CONFIG_DIR, or gh under the XDG configuration; never the home."""
    named = environ.get("GH_CONFIG_DIR", "")
    path = named if named.startswith("/") else f"{config}/gh"
    if inside(home, os.path.realpath(path)):
        return Offer(reason=f"{path} holds your home", note=f"gh-config: {path} holds your home")
    entries, why = dotfile(path, kind="dir", name=".config/gh", shown=path if named else "~/.config/gh")
    return (
        Offer(entries=tuple(entries), shown=path if named else "~/.config/gh")
        if entries
        else Offer(reason=why, note=_said("gh-config", why))
    )


def _said(row: str, *reasons: str) -> str:
    """The note for what is there and cannot be used; that nothing is there is only explained."""
    shown = [why for why in reasons if why and not why.startswith("there is no ")]
    return f"{row}: {', '.join(shown)}" if shown else ""
