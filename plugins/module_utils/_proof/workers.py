# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the reports in which each worker of a release describes the app that it has loaded; see :mod:`.inspector`.

The files belong to the app's account, so follow no links, and trust no type in them.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector

#: Maximum number of bytes to read of a report. A truncated one isn't valid JSON, so it doesn't count.
MAXIMUM_BYTES = 64 * 1024
#: Seconds for the first report after the app has answered: workers report before they accept requests.
FIRST_SECONDS = 2.0
INTERVAL_SECONDS = 0.05


@dataclass(frozen=True)
class Reports:
    """The existing reports.

    Args:
        by_worker: the report of each worker; only ``no_app`` if it found no Flask app.
        workers: Gunicorn's number of workers.
    """

    by_worker: list[dict[str, Any]]
    workers: int

    @property
    def complete(self) -> bool:
        return bool(self.by_worker) and len(self.by_worker) >= self.workers

    @property
    def of_apps(self) -> list[dict[str, Any]]:
        return [each for each in self.by_worker if "no_app" not in each]

    @property
    def without_app(self) -> list[str]:
        """The type of the WSGI object of each worker that found no Flask app."""
        return [str(each["no_app"]) for each in self.by_worker if "no_app" in each]


def reports(layout: Layout, release: str) -> Reports:
    """Read the reports of a release's running workers; none if there is no directory."""
    by_worker = []
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        above = os.open(layout.runtime(release), flags | os.O_DIRECTORY)
    except OSError:
        return Reports([], 0)
    try:
        directory = os.open(inspector.DIRECTORY, flags | os.O_DIRECTORY, dir_fd=above)
    except OSError:
        return Reports([], 0)
    finally:
        os.close(above)
    try:
        for name in sorted(os.listdir(directory)):  # noqa: PTH208  # of the open directory, whatever its path is now
            report = _read(name, directory, flags) if name.endswith(".json") else None
            if report is not None:
                by_worker.append(report)
    finally:
        os.close(directory)
    counts = [each["workers"] for each in by_worker if isinstance(each.get("workers"), int)]
    return Reports(by_worker, max(counts, default=0))


def wait(layout: Layout, release: str, seconds: float, alive: Callable[[], bool]) -> Reports:
    """Return the reports once they are complete, after ``seconds``, or if there is none in :data:`FIRST_SECONDS`.

    Args:
        alive: called while waiting; a release that has ended reports nothing more.
    """
    began = time.monotonic()
    while True:
        found = reports(layout, release)
        waited = time.monotonic() - began
        if found.complete or waited >= (seconds if found.by_worker else min(seconds, FIRST_SECONDS)) or not alive():
            return found
        time.sleep(INTERVAL_SECONDS)


def _read(name: str, directory: int, flags: int) -> dict[str, Any] | None:
    try:
        handle = os.open(name, flags, dir_fd=directory)
    except OSError:  # the worker has ended meanwhile, or it is a link
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        report = json.loads(os.read(handle, MAXIMUM_BYTES))
    except (ValueError, RecursionError, OSError):
        return None
    finally:
        os.close(handle)
    return report if isinstance(report, dict) else None
