"""What holds for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

from conformance.harness.plugin import heed_signals

# In a script's background a shell has them ignored, and so would everything that tests start.
heed_signals()
# Other work on the machine makes no example fail.
settings.register_profile("busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
if os.geteuid() == 0:
    # In the checkout, its owner's tests could not write what root's have made.
    set_hypothesis_home_dir(Path.home() / ".cache/hypothesis")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are told apart by their place alone.

    What they hold may differ between two of xdist's workers (gzip writes the second into its header), and
    these have to collect the same names.
    """
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root skip elsewhere; `invoke test` runs them apart, through sudo."""
    for item in items:
        if item.get_closest_marker("as_root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: invoke test runs it through sudo"))
