# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by all tests that need no servers."""

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

# The same examples on every run, so that a failure can be repeated. GREENLIGHT_EXAMPLES=5000 looks further.
settings.register_profile(
    "greenlight",
    derandomize=True,
    deadline=None,
    max_examples=int(os.environ.get("GREENLIGHT_EXAMPLES", "50")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("greenlight")
set_hypothesis_home_dir(ROOT / "build" / "hypothesis")


def _temporary_files_in_memory() -> None:
    """Put the temporary files of the tests and their programs in memory, if the machine has some to spare.

    A disk costs three times the processor time and ten times the wait. Setting TMPDIR overrides it.
    """
    place = "/dev/shm"
    if "TMPDIR" not in os.environ and os.access(place, os.W_OK):
        about = os.statvfs(place)
        if not about.f_flag & os.ST_NOEXEC and about.f_bavail * about.f_frsize > 2**30:
            os.environ["TMPDIR"] = tempfile.tempdir = place


_temporary_files_in_memory()


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Skip fsync: no test cuts the power, and other tests check that files are flushed before they get their name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _clean_git_configuration() -> Iterator[None]:
    """Use git as on a fresh machine, without the developer's configuration or the variables that hooks set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GIT_")]:
            patch.delenv(name)
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
        yield
