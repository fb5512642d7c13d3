# SPDX-License-Identifier: GPL-3.0-or-later
"""How long users of a server wait for answers during a good deploy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support import variants
from tests.support.deployed import APP, SITE, connect, run_play, servers
from tests.support.faults import NOTES
from tests.support.load.load import Latency, Load

ROUNDS = 3


def with_cold_build(source: Path) -> None:
    """Make the next deploy of ``source`` build a venv on both servers, as if nothing had been built before."""
    lock = source / "requirements.txt"
    lock.write_text(f"{lock.read_text()}\n# {time.time_ns()}\n")
    for name in servers():
        connect(name).root(f"rm -rf /opt/greenlight/* /var/cache/private/greenlight/{APP}/*")


@pytest.mark.alone
@pytest.mark.parametrize("build", ["no build", "a cold build"])
def test_a_good_deploy_keeps_the_p99_below_double(tmp_path: Path, build: str) -> None:
    """Compare with an idle server on the same busy machine, while the other server is deployed.

    The servers, the deploying machine and the users share two processors here. Without the other deploy, the cost of
    running the play would count as the server's. So that is the baseline for fast requests. All requests, of which one
    in twenty takes a second by itself, are compared with the idle machine.
    """
    windows = ("at rest", "at rest beside a deploy", "during a deploy")
    fast: dict[str, list[float]] = {window: [] for window in windows}
    every: dict[str, list[float]] = {window: [] for window in windows}
    for number in range(ROUNDS):
        source = variants.make("good_change", tmp_path / str(number), label=f"latency {time.time_ns()}")
        if build == "a cold build":
            with_cold_build(source)
        with Load(connect("debian13").url, SITE, 200) as load:
            time.sleep(8)
            marks = [0.5, load.elapsed()]
            for name in ("debian12", "debian13"):
                done = run_play(limit=name, flask_app_source_directory=str(source))
                assert done.code == 0, done.output
                marks.append(load.elapsed())
        assert load.result.failed == 0, str(load.result)
        for window, start, end in zip(windows, marks, marks[1:], strict=False):
            for due, latency, kind in load.result.samples:
                if start <= due < end:
                    every[window].append(latency)
                    if kind == "fast":
                        fast[window].append(latency)
    p99 = {}
    for what, told in (("all", every), ("fast", fast)):
        p99[what] = {window: Latency.of(values).p99 * 1000 for window, values in told.items()}
        said = ", ".join(f"{window} {value:.1f} ms" for window, value in p99[what].items())
        NOTES.append(f"p99 of {what} requests, {build}: {said}")
    assert p99["all"]["during a deploy"] < 2 * p99["all"]["at rest"], NOTES
    assert p99["fast"]["during a deploy"] < 2 * p99["fast"]["at rest beside a deploy"], NOTES
