"""resources.toml → Spec, checked. Never imported on the way to a running sandbox: that reads table.py."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path

from launcher.spec.model import Cell, Denied, Named, Package, Row, Seccomp, Setting, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, NoReturn

RESOURCES = Path(__file__).with_name("resources.toml")
LISTS = ("etc", "environment", "packages", "claude", "triggers", "git_triggers", "seccomp", "chromium")


class SpecError(Exception):
    """A mistake in the spec's file; the message names file, place and what would be right."""


def load(path: Path | None = None) -> Spec:
    """Read and check `path` (resources.toml by default).

    Raises SpecError for the first mistake found, OSError when the file cannot be read.
    """
    path = path or RESOURCES
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    # A key that is there twice is among them.
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path.name}: {error}") from error
    return _spec(_Reader(path.name, "", document))


class _Reader:
    """A table of the document that knows where it stands, so that each complaint can say it."""

    def __init__(self, file: str, place: str, table: object) -> None:
        self.file = file
        self.place = place
        if not isinstance(table, dict):
            self.fail("", f"must be a table, not {_kind(table)}")
        self.table: dict[str, Any] = table

    def fail(self, key: str, what: str) -> NoReturn:
        where = ".".join(part for part in (self.place, key) if part)
        raise SpecError(f"{self.file}: {where}: {what}" if where else f"{self.file}: {what}")

    def known(self, what: str, names: Iterable[str]) -> None:
        """Every key must be one of `names`."""
        names = list(names)
        for key in self.table:
            if key not in names:
                self.fail(key, unknown(key, what, names))

    def get(self, key: str, kind: type, default: object = None) -> Any:  # noqa: ANN401  (of `kind`)
        value: object = self.table.get(key, default)
        if value is None:
            self.fail(key, "is missing")
        if type(value) is not kind:
            self.fail(key, f"must be {_KINDS[kind]}, not {_kind(value)}")
        if isinstance(value, str) and key != "empty" and not value.strip():
            self.fail(key, "is empty")
        return value

    def sub(self, key: str, default: object = None) -> _Reader:
        return _Reader(self.file, f"{self.place}.{key}" if self.place else key, self.get(key, dict, default))

    def each(self) -> list[_Reader]:
        return [self.sub(key) for key in self.table]

    @property
    def name(self) -> str:
        return self.place.rpartition(".")[2]

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of different, non-empty strings."""
        values = self.get(key, list)
        for value in values:
            if not isinstance(value, str) or not value:
                self.fail(key, f"must hold strings, not {value!r}")
        self.unique(key, values)
        return tuple(values)

    def tables(self, key: str) -> list[_Reader]:
        """A list of tables, each placed by its number from 1."""
        return [
            _Reader(self.file, f"{self.place}.{key}[{number}]", item)
            for number, item in enumerate(self.get(key, list), 1)
        ]

    def unique(self, key: str, values: Iterable[str]) -> None:
        seen = set()
        for value in values:
            if value in seen:
                self.fail(key, f"{value!r} is there twice")
            seen.add(value)


_KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "a table", int: "a number"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def unknown(name: str, what: str, names: Iterable[str]) -> str:
    """As in: 'forwardd' is not a word; did you mean 'forwarded'? All that there are when none is near."""
    names = list(names)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    return f"{name!r} is not a {what}; {hint}"


def _spec(root: _Reader) -> Spec:
    root.known("section", ("words", "backends", "groups", "variants", "rows", "lists"))
    named = {key: _strings(root.sub(key)) for key in ("words", "backends", "groups", "variants")}
    rows = {row.name: _row(row, **named) for row in root.sub("rows").each()}
    lists = root.sub("lists")
    lists.known("list", LISTS)
    claude = lists.sub("claude")
    claude.known("list", ("settings", "private", "planted"))
    return Spec(
        **named,
        rows=rows,
        etc=_by_key(lists.sub("etc"), "row", rows, _etc),
        environment=_by_key(lists.sub("environment"), "row", rows, _variable),
        packages=_packages(lists, tuple(named["backends"])),
        claude_settings=_settings(claude),
        claude_private=_named(claude, "private"),
        claude_planted=_named(claude, "planted"),
        triggers=_by_key(lists.sub("triggers"), "tool", None, _pattern),
        git_triggers=_by_key(lists.sub("git_triggers"), "tool", None, _pattern),
        seccomp=_seccomp(lists.sub("seccomp")),
        chromium=lists.sub("chromium").table,
    )


def _strings(reader: _Reader) -> dict[str, str]:
    return {key: reader.get(key, str) for key in reader.table}


def _row(
    row: _Reader,
    *,
    words: Mapping[str, str],
    backends: Mapping[str, str],
    groups: Mapping[str, str],
    variants: Mapping[str, str],
) -> Row:
    row.known("key", ("group", "promise", "without", "default", *backends, "variants"))
    group = row.get("group", str)
    if group not in groups:
        row.fail("group", unknown(group, "group", groups))
    differing = row.sub("variants", {})
    differing.known("variant", variants)
    for variant in differing.each():
        variant.known("backend", backends)
    return Row(
        name=row.name,
        group=group,
        promise=row.get("promise", str),
        without=row.get("without", bool),
        default=row.get("default", bool, True),
        cells={backend: _cell(row.sub(backend), words) for backend in backends},
        variants={v.name: {cell.name: _cell(cell, words) for cell in v.each()} for v in differing.each()},
    )


def _cell(cell: _Reader, words: Mapping[str, str]) -> Cell:
    cell.known("key", ("word", "means"))
    word = cell.get("word", str)
    if word not in words:
        cell.fail("word", unknown(word, "word", words))
    return Cell(word=word, means=cell.get("means", str))


def _by_key(
    reader: _Reader, what: str, keys: Mapping[str, object] | None, check: Callable[[str], str]
) -> tuple[tuple[str, str], ...]:
    """`{key: [value, …]}` flattened to (value, key). `check` says what is wrong with a value, or ""."""
    pairs = []
    for key in reader.table:
        if keys is not None and key not in keys:
            reader.fail(key, unknown(key, what, keys))
        for value in reader.strings(key):
            if wrong := check(value):
                reader.fail(key, f"{value!r} {wrong}")
            pairs.append((value, key))
    reader.unique("", [value for value, _ in pairs])
    return tuple(pairs)


def _etc(path: str) -> str:
    if path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
        return "must be a plain path relative to /etc"
    return ""


def _variable(name: str) -> str:
    stem = name.removesuffix("*")
    return "" if stem.isidentifier() and stem.isascii() else "is not the name of a variable"


def _pattern(pattern: str) -> str:
    if pattern.startswith("/") or {"", ".", ".."} & set(pattern.split("/")):
        return "must be a plain path relative to the project"
    return "needs no /** at the end: a directory stands for all below it" if pattern.endswith("**") else ""


def _packages(lists: _Reader, backends: tuple[str, ...]) -> tuple[Package, ...]:
    packages = []
    for item in lists.tables("packages"):
        item.known("key", Package._fields)
        texts = {k: item.get(k, str) for k in ("program", "needed_for", "apt", "dnf", "pacman")}
        backend = item.get("backend", str, "*").replace("*", "")
        if backend and backend not in backends:
            item.fail("backend", f"there is no backend {backend!r}")
        packages.append(Package(**texts, required=item.get("required", bool), backend=backend))
    lists.unique("packages", [p.program for p in packages])
    return tuple(packages)


def _settings(claude: _Reader) -> tuple[Setting, ...]:
    settings = []
    for item in claude.tables("settings"):
        item.known("key", Setting._fields)
        kind, create = item.get("kind", str), item.get("create", bool, True)
        if kind not in ("file", "dir"):
            item.fail("kind", unknown(kind, "kind", ("file", "dir")))
        if ("empty" in item.table) != (kind == "file" and create):
            item.fail("empty", "belongs to a file that is made when it is missing, and only to that")
        settings.append(
            Setting(
                name=item.get("name", str),
                kind=kind,
                why=item.get("why", str),
                empty=item.get("empty", str, ""),
                create=create,
            )
        )
    claude.unique("settings", [s.name for s in settings])
    return tuple(settings)


def _named(claude: _Reader, key: str) -> tuple[Named, ...]:
    items = claude.tables(key)
    for item in items:
        item.known("key", Named._fields)
    named = tuple(Named(name=item.get("name", str), why=item.get("why", str)) for item in items)
    claude.unique(key, [n.name for n in named])
    return named


def _seccomp(seccomp: _Reader) -> Seccomp:
    seccomp.known("key", Seccomp._fields)
    denied = []
    for item in seccomp.tables("deny"):
        item.known("key", Denied._fields)
        denied.append(Denied(why=item.get("why", str), calls=item.strings("calls")))
    seccomp.unique("deny", [call for d in denied for call in d.calls])
    return Seccomp(
        deny=tuple(denied), families=_numbers(seccomp.sub("families")), ioctls=_numbers(seccomp.sub("ioctls"))
    )


def _numbers(reader: _Reader) -> dict[str, int]:
    numbers = {key: reader.get(key, int) for key in reader.table}
    reader.unique("", [str(n) for n in numbers.values()])
    return numbers
