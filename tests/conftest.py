# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests without servers share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

import tests.support.collection  # noqa: F401 # its effect is what counts

ROOT = Path(__file__).resolve().parents[1]

# The same examples on every run, so that a red run can be had again. GREENLIGHT_EXAMPLES=5000 looks further.
settings.register_profile(
    "greenlight",
    derandomize=True,
    deadline=None,
    max_examples=int(os.environ.get("GREENLIGHT_EXAMPLES", "50")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("greenlight")
set_hypothesis_home_dir(ROOT / "build" / "hypothesis")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where the machine has one, for a test that makes thousands of files."""
    place = Path("/dev/shm")
    where = place if os.access(place, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(prefix="greenlight-", dir=where) as made:
        yield Path(made)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test pulls the plug; that files are flushed before they get their name has a test of its own."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def _git_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Git as on a fresh machine: what the developer configured, or a hook that runs the tests set, doesn't count."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
