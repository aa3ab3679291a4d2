"""Completion scripts, made from the table of flags: `eval "$(claude-sandbox --completion bash)"`."""

from __future__ import annotations

from launcher.errors import UserError
from launcher.flags import FLAGS
from launcher.spec.table import ROWS
from launcher.untrusted import printable

PROGRAMS = "claude-sandbox claude-sandbox-container claude-sandbox-vm"


def script(shell: str) -> str:
    """The script for `shell`. Raises UserError for a shell that there is none for."""
    makers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    if shell not in makers:
        raise UserError(f"--completion {printable(shell)}: there is none for it", "shells: bash, zsh, fish")
    return makers[shell]()


def _rows(*, default: bool) -> str:
    return " ".join(
        row for row, (_, _, without, on, *_) in ROWS.items() if (without and on if default else not on)
    )


def _bash() -> str:
    flags = " ".join(flag.name for flag in FLAGS)
    return f"""\
_claude_sandbox() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    case $before in
        --without) COMPREPLY=($(compgen -W "{_rows(default=True)}" -- "$word")) ;;
        --with) COMPREPLY=($(compgen -W "{_rows(default=False)}" -- "$word")) ;;
        --env) COMPREPLY=($(compgen -v -- "$word")) ;;
        --completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")) ;;
        --share) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        *)
            if [[ $word == -* ]]; then
                COMPREPLY=($(compgen -W "{flags}" -- "$word"))
            else
                compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word")
            fi ;;
    esac
}}
complete -F _claude_sandbox {PROGRAMS}"""


def _zsh() -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = []
    for program in PROGRAMS.split():
        for flag in FLAGS:
            needs = " -x" if flag.metavar and not flag.metavar.startswith("[") else ""
            values = {"--without": _rows(default=True), "--with": _rows(default=False)}.get(flag.name, "")
            choices = f" -a '{values}'" if values else ""
            about = flag.help.replace("\\", "\\\\").replace("'", "\\'")
            lines.append(f"complete -c {program} -l {flag.name[2:]}{needs}{choices} -d '{about}'")
    return "\n".join(lines)
