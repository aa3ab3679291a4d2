"""What a sandbox that checks share starts from, besides what rows forward, so that they need no other one.

A host that is made for one check has none of it: the check may plant these very files, and see them reported.
"""

from __future__ import annotations

from collections.abc import Collection

from conformance.harness.cells import OFF, Variant
from conformance.harness.world import KEYS, World
from fixtures.listeners import canary
from launcher.spec.load import load

# What shells, loaders and tools obey or what holds a secret, and what only looks like a name of the list.
# fmt: off
UNLISTED = (
    "PYTHONPATH", "PYTHONSTARTUP", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "BASH_ENV",
    "ENV", "PROMPT_COMMAND", "PS4", "CDPATH", "GLOBIGNORE", "BASH_FUNC_ls%%", "GIT_SSH_COMMAND",
    "GIT_ASKPASS", "GIT_CONFIG_PARAMETERS", "GIT_DIR", "SSH_ASKPASS", "SSH_CONNECTION", "GPG_AGENT_INFO",
    "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "GOOGLE_APPLICATION_CREDENTIALS",
    "DOCKER_HOST", "KUBECONFIG", "PGPASSWORD", "MYSQL_PWD", "OPENAI_API_KEY", "SUDO_ASKPASS", "LC_SECRET",
    "LANGUAGES", "TERMCAP", "ANTHROPIC_SECRET", "ANTHROPIC_API_KEYS", "CLAUDE_CODE_SSE_PORT",
    "CLAUDE_CODE_SHELL_PREFIX", "CLAUDE_CODE_ENTRYPOINT", "claude_code", "STY", "_SECRET",
)
# fmt: on
# What rows let through, where each that may be left out is.
LEFT_OUT = {
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C.UTF-8",
    "LC_TIME": "POSIX",
    "LANGUAGE": "de:en",
}
# Of the list of row host-triggers; read-only under --protect.
TRIGGERS = (".envrc", ".vscode/tasks.json", ".mcp.json", ".claude/settings.json", ".claude/hooks/hook.sh")


def furnish(world: World, rows: Collection[str]) -> None:
    """Files that are protected where the host has them."""
    if "host-triggers" in rows:
        for name in TRIGGERS:
            world.write(world.path / name, "of the host\n")
    if "claude-settings" in rows and not world.bare:
        for each in load().claude_settings:
            if not each.create:
                name = each.name if each.kind == "file" else f"{each.name}/bin/claude"
                world.write(world.home / ".claude" / name, "#!/bin/sh\n")


def siblings() -> tuple[str, ...]:
    """What goes with the API key, by each documented name; what ends in `*` with an end of its own."""
    of_row = [name for name, row in load().environment if row == "api-key" and name not in KEYS]
    return tuple(name.replace("*", "_FIXTURE") for name in of_row)


def exported(world: World, variant: Variant) -> dict[str, str]:
    """Name → value; of what no row lets through, each with a canary of its own."""
    authority = {"SSL_CERT_FILE": str(world.write("corp/ca.pem", "an authority\n"))}
    return {
        **{name: canary() for name in UNLISTED},
        **{name: f"{canary()} 'quoted' $dollar\nline" for name in (() if variant.bare else siblings())},
        **({**LEFT_OUT, **authority} if variant.name == OFF else {}),
    }
