"""`invoke test`: as an ordinary user who has what the tests need; those that need root run apart."""

from __future__ import annotations

import glob
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fixtures import packages
from launcher.errors import HostError, UserError
from tooling import backends, machine, ordinary, prepare
from tooling.report import say

ROOT = Path(__file__).parent.parent
NO_TESTS = 5  # pytest's own status for "nothing was collected"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for. `backends`: whose columns are proven, all without any; `jobs` 0: as
    many as there are cores.

    `rows`, `variants`, `command`: only these cells, or another program's; then the unit tests do not run.
    `matrix`: the column alone.
    """

    backends: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    command: str = ""
    matrix: bool = False
    jobs: int = 0
    must_run: bool = False
    yes: bool = False
    arguments: tuple[str, ...] = ()

    def argv(self) -> list[str]:
        """The same again as arguments of `invoke`."""
        switches = [name for name, on in (("--must-run", self.must_run), ("--yes", self.yes)) if on]
        narrowed = [f"--row={row}" for row in self.rows] + [f"--variant={v}" for v in self.variants]
        narrowed += [f"--command={self.command}"] if self.command else []
        rest = ["--", *self.arguments] if self.arguments else []
        task = "matrix" if self.matrix else "test"
        columns = [f"--backend={name}" for name in self.backends]
        return [task, *columns, f"--jobs={self.jobs}", *narrowed, *switches, *rest]

    @property
    def narrow(self) -> bool:
        """Whether the conformance suite alone is wanted."""
        return bool(self.matrix or self.rows or self.variants or self.command)


def run(options: Options) -> int:
    """pytest's exit status, the worst of them: tests that need root, or a machine of their own, run apart.

    Raises UserError for a backend that is not there, HostError when something cannot be installed.
    """
    columns = backends.chosen(options.backends)
    require_pytest()
    if os.geteuid() == 0:
        return ordinary.go_on(ROOT, options.argv(), yes=options.yes)
    require_fresh_install()
    again = f"{shlex.quote(sys.argv[0])} {shlex.join(replace(options, yes=True).argv())}"
    prepare_all(columns, yes=options.yes, retry=again)
    if options.narrow:
        return conformance(options)
    return max(run_as_root(options), run_alone(options), unit_tests(options), conformance(options))


def prepare_all(columns: Sequence[backends.Backend], *, yes: bool, retry: str) -> None:
    """What the backends and the fixtures need, installed after one question for all of it."""
    lacking = [lack for backend in columns for lack in prepare.lacks(backend)]
    more = list(dict.fromkeys([*prepare.packages_for(lacking), *missing_packages()]))
    for backend in columns:
        prepare.prepare(backend, yes=yes, more_packages=more, retry=retry)
        more = []


def require_pytest() -> None:
    """Raises HostError where the extra `test` is not installed."""
    if importlib.util.find_spec("xdist") is None:
        raise HostError(
            "pytest is not installed here",
            f"{shlex.join([sys.executable, '-m', 'pip', 'install'])} '.[test]'",
        )


def unit_tests(options: Options) -> int:
    """Everything below tests/ that an ordinary user can run beside the rest."""
    return _pytest([*_parallel(options), "tests", "-m", "not as_root and not alone", *_common(options)])


def run_alone(options: Options) -> int:
    """The tests marked `alone`, one after the other."""
    status = _pytest([sys.executable, "-m", "pytest", "tests", "-m", "alone", *_common(options)])
    return 0 if status == NO_TESTS else status


def conformance(options: Options) -> int:
    """The columns of the backends, proven cell by cell; build/matrix has the result."""
    columns = [f"--backend={backend.name}" for backend in backends.chosen(options.backends)]
    narrowed = [f"--row={row}" for row in options.rows] + [f"--variant={v}" for v in options.variants]
    narrowed += [f"--command={options.command}"] if options.command else []
    must = ["--must-run"] if options.must_run else []
    command = [*_parallel(options), "conformance", *columns, *narrowed, *must]
    return _pytest([*command, *(options.arguments if options.narrow else ())])


def _parallel(options: Options) -> list[str]:
    jobs = str(options.jobs or "auto")
    return [sys.executable, "-m", "pytest", "-n", jobs, "--dist", "loadgroup"]


def run_as_root(options: Options) -> int:
    """The few tests marked `as_root`, through sudo when that asks no question; leaves no file of root's."""
    if subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        say("the tests marked as_root are left out: they need sudo without a password (or: sudo invoke test)")
        return 1 if options.must_run else 0
    path = prepare.environment()["PATH"]
    command = [
        *("sudo", "-n", "env", f"PATH={path}", "HOME=/root", "PYTHONDONTWRITEBYTECODE=1"),
        *(sys.executable, "-m", "pytest", "-m", "as_root", "-p", "no:cacheprovider", *_common(options)),
    ]
    status = _pytest(command)
    return 0 if status == NO_TESTS else status


def _common(options: Options) -> list[str]:
    return [*(["-p", "tooling.must_run"] if options.must_run else []), *options.arguments]


def _pytest(command: list[str]) -> int:
    say(f"$ {shlex.join(command)}")
    return subprocess.run(command, cwd=ROOT, env=prepare.environment(), check=False).returncode


def missing_packages() -> list[str]:
    """The packages with what fixtures start beyond what the launcher itself needs, if it is not here."""
    programs = [program for program in packages.DEBIAN if not machine.which(program)]
    files = [pattern for pattern in packages.FILES if not glob.glob(pattern)]
    modules = [name for name in packages.PYTHON if not _system_python_has(name)]
    lacking = [*programs, *files, *modules]
    if not lacking:
        return []
    say(f"  missing for the tests: {', '.join(lacking)}")
    if machine.manager().name != "apt":
        say("  their packages are known by Debian's names only: install them by hand, or their tests skip")
        return []
    return packages.debian_packages(lacking)


def _system_python_has(module: str) -> bool:
    command = ["/usr/bin/python3", "-c", f"import {module}"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def require_fresh_install() -> None:
    """Raises UserError when the installed launcher is a copy that differs from this checkout's.

    The programs in the venv's bin/ run the copy, so their tests would grade code that is gone.
    """
    installed = Path(sysconfig.get_path("purelib")) / "launcher"
    if not installed.is_dir():
        return
    here = {
        path.relative_to(ROOT / "launcher"): path.read_bytes() for path in (ROOT / "launcher").rglob("*.py")
    }
    there = {path.relative_to(installed): path.read_bytes() for path in installed.rglob("*.py")}
    if here != there:
        again = shlex.join([sys.executable, "-m", "pip", "install", "--force-reinstall", "--no-deps", "."])
        raise UserError(
            "the launcher that is installed here is not the one of this checkout",
            f"install it again: {again}",
        )
