"""A Plan for people (one line a row) and for scripts (JSON)."""

from __future__ import annotations

from launcher.spec.table import ENVIRONMENT, GROUPS, ROWS
from launcher.untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from launcher.plan.model import Granted, Plan


# Of the row environment: what the sandbox sets itself, and what its list names.
PUBLIC = frozenset(
    ("HOME", "PATH", "SHELL", "XDG_RUNTIME_DIR", "CLAUDE_SANDBOX", "DISABLE_AUTOUPDATER", "IS_SANDBOX")
    + ENVIRONMENT["environment"]
)


def cell(plan: Plan, row: str) -> tuple[str, str]:
    """The word and the means that the spec gives this row here, in the variants of this plan."""
    _, _, _, _, cells, variants = ROWS[row]
    for variant in plan.variants:
        if plan.backend in variants.get(variant, {}):
            return variants[variant][plan.backend]
    return cells[plan.backend]


def text(plan: Plan, *, colour: bool) -> str:
    """Every row, grouped and aligned; what is granted with source, target and means, or why it is not."""
    lines: list[str] = []
    shown = {granted.row: _columns(plan, granted) for granted in plan.rows}
    name_width = max(len(row) for row in shown)
    word_width = max(len(word) for word, _ in shown.values())
    for group, title in GROUPS.items():
        lines += ["", f"\033[1m{title}\033[0m" if colour else title]
        for row, (word, rest) in shown.items():
            if ROWS[row][0] == group:
                line = f"  {row:{name_width}}  {word:{word_width}}  {rest}".rstrip()
                lines.append(f"\033[2m{line}\033[0m" if colour and word == "not granted" else line)
    return "\n".join(lines[1:])


def _columns(plan: Plan, granted: Granted) -> tuple[str, str]:
    word, means = cell(plan, granted.row)
    if not granted.granted:
        return ("absent" if word == "absent" else "not granted"), printable(granted.reason)
    arrow = (
        f"{granted.source} → {granted.target}"
        if granted.source and granted.target
        else granted.source or granted.target
    )
    return word, "  ".join(printable(p) for p in (arrow, means) if p)


def _secret(row: str, name: str, value: str) -> bool:
    """Whether nobody should read it over a shoulder: keys, what --env forwards, a proxy's password."""
    if row == "environment":
        return name not in PUBLIC
    return row in ("api-key", "gh-token") or (row == "network" and "@" in value)


def as_json(plan: Plan) -> str:
    """The whole Plan. Values of secret variables and staged contents are not in it: their names and sizes
    are.
    """
    import json

    def mount(m: object) -> dict[str, object]:
        values = {k: v for k, v in m.fields().items() if v}  # type: ignore[attr-defined]
        if "content" in values:
            values["content"] = f"{len(values['content'])} bytes"
        if "perms" in values:
            values["perms"] = f"{values['perms']:04o}"
        return values

    rows = []
    for granted in plan.rows:
        word, means = cell(plan, granted.row)
        row = {k: v for k, v in granted.fields().items() if k not in ("mounts", "environment", "proxies")}
        row |= {"word": word, "means": means, "environment": [name for name, _ in granted.environment]}
        rows.append({**row, "mounts": [mount(m) for m in granted.mounts]})
    secret = {n for g in plan.rows for n, v in g.environment if _secret(g.row, n, v)}
    document = {
        **{
            k: v
            for k, v in plan.fields().items()
            if k not in ("rows", "mounts", "environment", "identity", "proxies", "limits")
        },
        "identity": plan.identity.fields(),
        "limits": {**plan.limits.fields(), "by": dict(plan.limits.by)},
        "proxies": [p.fields() for p in plan.proxies],
        "environment": {n: ("(secret)" if n in secret else v) for n, v in plan.environment},
        "mounts": [mount(m) for m in plan.mounts],
        "rows": rows,
    }
    return json.dumps(document, indent=2, ensure_ascii=True)
