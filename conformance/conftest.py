"""Options and fixtures of the conformance suite; what they do is in harness/."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import boot, plugin
from conformance.harness.cells import Cell
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World

NAME = "conformance-plugin"


def pytest_addoption(parser: pytest.Parser) -> None:
    plugin.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(plugin.Conformance(config, Path(__file__).parent), NAME)


@pytest.fixture(autouse=True)
def cell(request: pytest.FixtureRequest) -> Cell:
    """The cell that is proven here: its row, word, backend, variant and means."""
    return request.node.stash[plugin.CELL]  # type: ignore[no-any-return]


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """The running sandbox that all checks of this backend and variant share."""
    return _plugin(request).sandbox(request.node)


@pytest.fixture
def inside(sandbox: Sandbox) -> Inside:
    """The sandbox from inside, with testinfra's vocabulary."""
    return sandbox.inside


@pytest.fixture
def host(sandbox: Sandbox) -> World:
    """The host's side of the same sandbox: its user's home, project, environment, and services."""
    return sandbox.world


@pytest.fixture
def fresh(request: pytest.FixtureRequest, cell: Cell) -> Iterator[Callable[..., Sandbox]]:
    """Starts a sandbox of the check's own: `fresh("--protect", world=…, environ={…})`. It ends with it.

    The flags of the cell's variant come first. Without a `world`, it gets one that has what the row forwards.
    """
    conformance = _plugin(request)
    boots = conformance.host()
    started: list[Sandbox] = []

    def start(*flags: str, world: World | None = None, **how: Any) -> Sandbox:  # noqa: ANN401
        there = world or boots.world([cell.row], bare=conformance.variant(cell).bare)
        all_flags = (*conformance.variant(cell).flags, *flags)
        started.append(boots.sandbox(cell.backend, there, flags=all_flags, **how))
        request.node.stash[plugin.SANDBOX] = started[-1]
        return started[-1]

    yield start
    for sandbox in started:
        sandbox.close()


@pytest.fixture
def new_world(request: pytest.FixtureRequest, cell: Cell) -> Callable[..., World]:
    """Makes a host of the check's own, to be changed before a start: `new_world("ssh-agent", bare=…)`."""
    conformance = _plugin(request)

    def make(*rows: str, bare: bool = conformance.variant(cell).bare) -> World:
        world = conformance.host().world([cell.row, *rows], bare=bare)
        if error := world.missing.get(cell.row):
            raise error
        return world

    return make


@pytest.fixture
def command(request: pytest.FixtureRequest, cell: Cell) -> tuple[str, ...]:
    """The command line, to be gone on with: `(*command, "--shell", path)`. It has the variant's flags."""
    conformance = _plugin(request)
    return (*conformance.host().argv(cell.backend), *conformance.variant(cell).flags)


@pytest.fixture
def launch(command: tuple[str, ...], cell: Cell) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the command line to its end, without a terminal: `launch(world, "--shell", path, "-c", "id")`.

    The flags of the cell's variant come first.
    """
    return partial(boot.launch, command, pace=boot.kind(cell.backend).pace)


def _plugin(request: pytest.FixtureRequest) -> plugin.Conformance:
    found = request.config.pluginmanager.get_plugin(NAME)
    assert isinstance(found, plugin.Conformance)
    return found
