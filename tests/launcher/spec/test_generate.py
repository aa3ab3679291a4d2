"""What is rendered from resources.toml is in the tree as it would be rendered now."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.spec import generate, render, table
from launcher.spec.load import SpecError, load

ROOT = generate.ROOT


def test_nothing_has_drifted() -> None:
    stale = [str(path.relative_to(ROOT)) for path in generate.drifted(load(), ROOT)]
    assert stale == [], "run python -m launcher.spec.generate"


def test_the_literals_are_what_the_module_says() -> None:
    namespace: dict[str, object] = {}
    exec(compile(generate.module(load()), "table.py", "exec"), namespace)
    for name, value in generate.literals(load()).items():
        assert namespace[name] == value == getattr(table, name), name


def test_the_module_is_literals_and_imports_nothing() -> None:
    tree = ast.parse(generate.module(load()))
    for node in tree.body[1:]:
        if isinstance(node, ast.ImportFrom):
            assert node.module == "__future__"
        else:
            assert isinstance(node, ast.AnnAssign), ast.dump(node)
            assert node.value is not None
            ast.literal_eval(node.value)


def test_ruff_leaves_the_module_alone(tmp_path: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("no ruff; pip install '.[dev]' brings it")
    path = tmp_path / "table.py"
    path.write_text(generate.module(load()), encoding="utf-8")
    subprocess.run([ruff, "format", "--config", str(ROOT / "pyproject.toml"), "--no-cache", path], check=True)
    assert path.read_text(encoding="utf-8") == generate.module(load())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((), "()"),
        (("a",), '("a",)'),
        ({"a": (True, 1)}, '{"a": (True, 1)}'),
        ('say "x"\n', "'say \"x\"\\n'"),
        ("it's é", '"it\'s é"'),
    ],
    ids=repr,
)
def test_a_short_literal_is_one_line(value: object, text: str) -> None:
    assert generate.literal(value, column=0, indent=0) == text
    assert ast.literal_eval(text) == value


def test_a_long_literal_breaks_at_each_item() -> None:
    value = {"k": ("x" * 60, "y" * 60), "short": (1,)}
    text = generate.literal(value, column=0, indent=0)
    assert text.splitlines() == [
        "{",
        '    "k": (',
        f'        "{"x" * 60}",',
        f'        "{"y" * 60}",',
        "    ),",
        '    "short": (1,),',
        "}",
    ]
    assert ast.literal_eval(text) == value


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project's rendered files and their source."""
    for name in ("launcher/spec/resources.toml", "launcher/spec/table.py", "docs/resources.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "README.md").write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    return tmp_path


def test_check_names_what_has_drifted_and_writes_nothing(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resources = tree / "launcher/spec/resources.toml"
    resources.write_text(resources.read_text().replace('means = "passt NAT"', 'means = "slirp"'))
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}

    assert generate.main(["--check"], tree) == 1

    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == [
        "launcher/spec/table.py",
        "docs/resources.md",
        "README.md",
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_generate_mends_what_has_drifted(tree: Path) -> None:
    (tree / "docs/resources.md").unlink()
    (tree / "launcher/spec/table.py").write_text("x = 1\n")

    assert generate.main([], tree) == 0

    assert (tree / "docs/resources.md").read_bytes() == (ROOT / "docs/resources.md").read_bytes()
    assert (tree / "launcher/spec/table.py").read_bytes() == (ROOT / "launcher/spec/table.py").read_bytes()
    readme = (tree / "README.md").read_text()
    assert readme == f"before\n<!-- table -->\n\n{render.table(load())}\n\n<!-- /table -->\nafter\n"
    assert generate.main(["--check"], tree) == 0


def test_a_readme_without_marks_is_said(tree: Path) -> None:
    (tree / "README.md").write_text("nothing here\n")
    with pytest.raises(
        SpecError, match=r"README\.md: the marks <!-- table --> and <!-- /table --> are missing"
    ):
        generate.drifted(load(), tree)


def test_a_mistake_in_the_spec_is_one_line_on_stderr(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "launcher/spec/resources.toml").write_text("[words\n")
    assert generate.main([], tree) == 1
    assert capsys.readouterr().err.startswith("resources.toml: Expected ']'")


def test_an_unknown_argument_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_policy_is_json() -> None:
    assert json.loads(table.CHROMIUM_POLICY)["ExtensionInstallBlocklist"] == ["*"]
