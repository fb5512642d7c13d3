# SPDX-License-Identifier: GPL-3.0-or-later
"""What users of a server wait while it gets a good deploy."""

from __future__ import annotations

import time
from pathlib import Path

from tests.apps import variants
from tests.deployed import SITE, connect, run_play
from tests.faults import NOTES
from tests.load.load import Latency, Load

ROUNDS = 3


def test_a_good_deploy_less_than_doubles_the_p99(tmp_path: Path) -> None:
    """Held against a server at rest on the same busy machine: the other one is deployed meanwhile.

    The servers, the machine that deploys and the users share two processors here. Without the other deploy, what the
    play costs the machine that runs it would be counted as the server's.
    """
    windows: dict[str, list[float]] = {"at rest": [], "at rest beside a deploy": [], "during a deploy": []}
    for number in range(ROUNDS):
        source = variants.make("good_change", tmp_path / str(number), label=f"latency {time.time_ns()}")
        with Load(connect("debian13").url, SITE, 200) as load:
            time.sleep(8)
            marks = [0.5, load.elapsed()]
            for name in ("debian12", "debian13"):
                done = run_play(limit=name, flask_app_source_directory=str(source))
                assert done.code == 0, done.output
                marks.append(load.elapsed())
        assert load.result.failed == 0, str(load.result)
        for window, start, end in zip(windows, marks, marks[1:], strict=False):
            windows[window] += [latency for due, latency in load.result.fast_samples if start <= due < end]
    p99 = {window: Latency.of(values).p99 * 1000 for window, values in windows.items()}
    NOTES.append("p99 of fast requests: " + ", ".join(f"{window} {value:.1f} ms" for window, value in p99.items()))
    assert p99["during a deploy"] < 2 * p99["at rest beside a deploy"], NOTES[-1]
