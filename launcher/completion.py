"""Completion scripts, made from the table of flags: `eval "$(claude-sandbox --completion bash)"`."""

from __future__ import annotations

from launcher.errors import UserError
from launcher.flags import FLAGS
from launcher.spec.table import ROWS
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.flags import Flag

PROGRAMS = "claude-sandbox claude-sandbox-container claude-sandbox-vm"
SHELLS = "bash zsh fish"


def script(shell: str) -> str:
    """The script for `shell`. Raises UserError for a shell that there is none for."""
    makers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    if shell not in makers:
        hint = f"shells: {SHELLS.replace(' ', ', ')}"
        raise UserError(f"--completion {printable(shell)}: there is none for it", hint)
    return makers[shell]()


def _rows(*, default: bool) -> str:
    return " ".join(
        row for row, (_, _, without, on, *_) in ROWS.items() if (without and on if default else not on)
    )


def _choices(flag: Flag) -> str:
    """The words that its value is one of; "" when it is a name or a path of the user's."""
    known = {"--without": _rows(default=True), "--with": _rows(default=False), "--completion": SHELLS}
    return "json" if flag.metavar == "[=json]" else known.get(flag.name, "")


def _valued(flag: Flag) -> bool:
    return bool(flag.metavar) and not flag.metavar.startswith("[")


def _bash() -> str:
    """readline splits at `=` and `:` (COMP_WORDBREAKS), so a flag and its value may be three words."""
    flags = " ".join(flag.name for flag in FLAGS)
    valued = "|".join(flag.name for flag in FLAGS if _valued(flag))
    choices = "\n".join(
        f'        {flag.name}) COMPREPLY=($(compgen -W "{_choices(flag)}" -- "$word")); return ;;'
        for flag in FLAGS
        if _valued(flag) and _choices(flag)
    )
    forms = "|".join(f"{flag.name}=" for flag in FLAGS if flag.metavar == "[=json]")
    return f"""\
_claude_sandbox_paths() {{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}}
_claude_sandbox() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} joined= i
    COMPREPLY=()
    if [[ $word == = ]]; then
        word= joined==
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}} joined==
    fi
    case $before$joined in
        {forms}) COMPREPLY=($(compgen -W json -- "$word")); return ;;
    esac
    case $before in
{choices}
        --env) COMPREPLY=($(compgen -e -- "$word")); return ;;
        --share) _claude_sandbox_paths -f "$word"; return ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            {valued}) [[ ${{COMP_WORDS[i+1]}} == = ]] && ((i++)); ((i++)) ;;
            =|:) ((i++)) ;;
            --) ((i + 1 < COMP_CWORD)) || break; _claude_sandbox_paths -f "$word"; return ;;
            -*) ;;
            *) _claude_sandbox_paths -f "$word"; return ;;
        esac
    done
    if [[ $word == -* && ${{COMP_WORDS[COMP_CWORD-1]}} != -- ]]; then
        COMPREPLY=($(compgen -W "{flags}" -- "$word"))
    else
        _claude_sandbox_paths -d "$word"
    fi
}}
complete -F _claude_sandbox {PROGRAMS}"""


def _zsh() -> str:
    lines = []
    for flag in FLAGS:
        about = "".join(f"\\{c}" if c in "[]:\\" else c for c in flag.help).replace("'", "'\\''")
        values = {"--env": "_parameters -g '*export*'", "--share": "_files"}.get(flag.name, "")
        value = values.replace("'", "'\\''") or f"({_choices(flag)})"
        spec = {True: f"'*{flag.name}=[{about}]:{flag.metavar.split('[')[0].lower()}:{value}'"}.get(
            _valued(flag), f"'{flag.name}[{about}]'"
        )
        if flag.metavar == "[=json]":
            spec = f"'{flag.name}=-[{about}]::form:(json)'"
        lines.append(f"        {spec} \\")
    flags = "\n".join(lines)
    return f"""\
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
_claude_sandbox() {{
    _arguments -S \\
{flags}
        '(-)1:project:_directories' '(-)*:argument:_files'
}}
compdef _claude_sandbox {PROGRAMS}"""


def _fish() -> str:
    lines = []
    for program in PROGRAMS.split():
        lines.append(f"complete -c {program} -f -a '(__fish_complete_directories (commandline -ct))'")
        for flag in FLAGS:
            needs = ""
            if _valued(flag):
                values = {"--env": "(set --names --export)"}.get(flag.name, _choices(flag))
                needs = f" -x -a '{values}'" if values else " -r -F"
            about = flag.help.replace("\\", "\\\\").replace("'", "\\'")
            lines.append(f"complete -c {program} -l {flag.name[2:]}{needs} -d '{about}'")
    return "\n".join(lines)
