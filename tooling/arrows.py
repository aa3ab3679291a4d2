"""Which part of the project may import which, found by reading the sources."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTS = (
    "launcher",
    "manager_min",
    "fixtures",
    "conformance",
    "sabotage",
    "tests",
    "tooling",
    "bench",
    "tasks",
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Modules below `source` import, of ours, only what lies below `allowed`, and others if `third_party`.

    The longest `source` that fits a module is the rule that counts for it.
    """

    source: str
    allowed: tuple[str, ...]
    third_party: bool = True


RULES = (
    Rule(source="launcher.spec", allowed=("launcher.spec", "launcher.record"), third_party=False),
    Rule(source="launcher", allowed=("launcher",), third_party=False),
    Rule(source="launcher.vm", allowed=("launcher",), third_party=False),
    Rule(source="manager_min", allowed=("manager_min",)),
    Rule(source="fixtures", allowed=("fixtures",)),
    Rule(source="conformance", allowed=("conformance", "fixtures", "launcher.spec")),
    Rule(source="sabotage", allowed=("sabotage", "launcher")),
    Rule(source="sabotage.together", allowed=("sabotage", "launcher", "conformance.harness")),
    Rule(source="sabotage.score", allowed=("sabotage", "launcher", "fixtures", "conformance.harness")),
    Rule(source="tooling", allowed=("tooling", "launcher", "fixtures", "sabotage")),
    Rule(source="bench", allowed=("bench", "tooling", "launcher")),
    Rule(source="tasks", allowed=("tooling", "bench", "launcher")),
)


def violations(root: Path) -> list[str]:
    """Every import below `root` that goes against RULES, as `file:line: MODULE imports OTHER`."""
    found = []
    for path in sources(root):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        rule = rule_for(module)
        if rule is None:
            continue
        for line, imported in imports(path, module):
            if not allows(rule, imported):
                found.append(f"{path.relative_to(root)}:{line}: {module} imports {imported}")
    return found


def sources(root: Path) -> Iterator[Path]:
    """The Python files of the project's parts, generated and cached ones left out."""
    for part in PARTS:
        if (root / f"{part}.py").is_file():
            yield root / f"{part}.py"
        yield from sorted((root / part).rglob("*.py"))


def rule_for(module: str) -> Rule | None:
    """The most particular rule for `module`, or None for tests, which may import everything."""
    fitting = [rule for rule in RULES if _below(module, rule.source)]
    return max(fitting, key=lambda rule: len(rule.source), default=None)


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported in the file, at its top or late, for types or for use.

    `from a.b import c` counts as `a.b` and, when c may be a module of ours, as `a.b.c`; so the name that is
    allowed or not is the most particular one.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def allows(rule: Rule, imported: str) -> bool:
    """Whether a module under `rule` may import `imported`."""
    top = imported.partition(".")[0]
    if top in PARTS:
        return any(_below(imported, allowed) for allowed in rule.allowed)
    return rule.third_party or top in sys.stdlib_module_names


def _below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")
