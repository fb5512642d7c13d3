# SPDX-License-Identifier: GPL-3.0-or-later
"""A release with a process that takes work by itself takes none before it has passed at the front door."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB, Process
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.front_door import check_front_door
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.prove import prove_candidate
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.retire import retire
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.switch import switch
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import serves
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases

from tests.unit.cases import all_named
from tests.unit.fakes import WORKER, WORKER_TEXTS, Host, copied, create, installed, specification, state
from tests.unit.killing import killed
from tests.unit.test_protocol import BOUNDS, NEW, OLD, PAGE, PATIENCE, PUBLIC, contract, healthy

OTHER = "e5" * 32
BEAT = Process("beat", ("service",), infix="_beat")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return playing(tmp_path, monkeypatch)


def playing(root: Path, monkeypatch: pytest.MonkeyPatch, *more: Process) -> Host:
    """Return a host whose releases have a worker."""
    return installed(root, monkeypatch.setattr, Host(Layout("shop", root, processes=(WEB, WORKER, *more))))


def create_all(layout: Layout, time: str, **changes: object) -> str:
    """Make a release with all processes, unless it exists."""
    release = f"{time}-{specification(**changes).source[:8]}"  # type: ignore[arg-type]
    if Releases(layout).get(release):
        return release
    more = {process.name: WORKER_TEXTS for process in layout.processes if process != WEB}
    return create(layout, time, processes={**specification().processes, **more}, **changes)


def web(release: str) -> set[str]:
    return {f"shop@{release}.socket", f"shop@{release}.service"}


def worker(release: str) -> str:
    return f"shop_worker@{release}.service"


def proved(host: Host, release: str) -> str:
    host.answers[release] = host.front_door = healthy(release)
    prove_candidate(host.layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS, url=PUBLIC)
    return release


def passed(host: Host, release: str, **more: Any) -> None:
    check_front_door(host.layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC, **more)


def deployed(host: Host, time: str, **changes: object) -> str:
    release = create_all(host.layout, time, **changes)
    if not serves(host.layout, release):
        switch(host.layout, proved(host, release))
    host.answers[release] = host.front_door = healthy(release)
    passed(host, release)
    retire(host.layout, BOUNDS)
    return release


def test_a_candidate_runs_no_background_worker(host: Host) -> None:
    release = proved(host, create_all(host.layout, NEW))
    assert host.running() == web(release)
    switch(host.layout, release)
    assert (host.running(), host.enabled()) == (web(release), web(release))  # nor after a reboot
    assert not serves(host.layout, release)


def test_background_workers_start_after_the_front_door_check_passes(host: Host) -> None:
    release = proved(host, create_all(host.layout, NEW))
    switch(host.layout, release)
    passed(host, release, dry=True)
    assert host.running() == web(release)
    passed(host, release)
    assert host.running() == host.enabled() == {*web(release), worker(release)}
    assert serves(host.layout, release)
    starts = len([call for call in host.calls if "start" in call])
    passed(host, release)
    assert len([call for call in host.calls if "start" in call]) == starts


def test_a_release_that_fails_the_front_door_check_runs_no_background_worker(host: Host) -> None:
    old = deployed(host, OLD)
    new = proved(host, create_all(host.layout, NEW, source=OTHER))
    switch(host.layout, new)
    host.front_door = Answer(500, "broken", 0.01)
    with pytest.raises(GreenlightError):
        passed(host, new)
    assert not any(worker(new) in call for call in host.calls if call[1] in ("start", "enable"))
    assert host.running() == host.enabled() == {*web(old), worker(old)}


def test_a_failing_background_worker_rolls_its_whole_release_back(host: Host) -> None:
    old = deployed(host, OLD)
    before = state(host.layout, host)
    new = proved(host, create_all(host.layout, NEW, source=OTHER))
    switch(host.layout, new)
    host.failing = {worker(new)}
    host.journal = "no such queue\n"
    with pytest.raises(Refused) as failed:
        passed(host, new)
    assert all_named(failed) == [("process-failed", new)]
    assert failed.value.details["failures"] == "process worker: expected running, got not running"
    assert failed.value.details["journal"] == "no such queue"
    assert ["journalctl", f"--unit={worker(new)}"] in [call[:2] for call in host.calls]
    found = Releases(host.layout).get(new)
    assert found and found.bad
    marks = {**before["marks"], new: (True, True)}  # type: ignore[dict-item]
    assert state(host.layout, host) == {**before, "marks": marks, "previous": ""}
    assert host.running() == {*web(old), worker(old)}


def test_a_stopped_background_worker_of_the_live_release_is_restarted(host: Host) -> None:
    release = deployed(host, OLD)
    (host.active / worker(release)).unlink()
    assert not serves(host.layout, release)
    host.failing = {worker(release)}
    with pytest.raises(Refused) as failed:
        passed(host, release)
    assert all_named(failed) == [("process-failed", release)]
    assert Releases(host.layout).live() == release  # a fault from now on isn't the deploy's
    host.failing = set()
    assert deployed(host, OLD) == release
    assert serves(host.layout, release)


def test_retiring_stops_background_workers_before_draining_requests(host: Host) -> None:
    old = deployed(host, OLD)
    host.calls.clear()
    new = deployed(host, NEW, source=OTHER)
    asked = [call for call in host.calls if call[0] == "ss" or call[1] in ("start", "stop", "disable")]
    order = [(call[1], call[-1]) for call in asked if call[0] == "ss" or "worker" in call[-1]]
    assert order[:4] == [("start", worker(new)), ("disable", worker(old)), ("stop", worker(old)), ("-xlH", "-xlH")]
    assert host.running() == host.enabled() == {*web(new), worker(new)}


@pytest.mark.slow
def test_a_killed_revert_leaves_no_background_worker_of_the_failed_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of its workers fails to start, when the first one is already running."""
    before = playing(tmp_path / "0", monkeypatch, BEAT)
    old = deployed(before, OLD)
    new = proved(before, create_all(before.layout, NEW, source=OTHER))
    switch(before.layout, new)
    for change in itertools.count(1):
        copied(before.layout.root, tmp_path / f"{change}")
        host = playing(tmp_path / f"{change}", monkeypatch, BEAT)
        host.failing, host.front_door = {host.layout.service_unit(new, BEAT)}, healthy(new)

        def ask(host: Host = host) -> None:
            with pytest.raises(GreenlightError):
                passed(host, new)

        ended = not killed(change, ask)
        if Releases(host.layout).live() == old:
            assert worker(new) not in {*host.running(), *host.enabled()}, f"change {change}"
        assert worker(old) in host.running()
        if ended:
            break
    assert change > 5


@pytest.mark.slow
def test_a_killed_deploy_leaves_background_workers_of_one_proved_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = playing(tmp_path / "0", monkeypatch)
    old = deployed(before, OLD)
    ends = []
    for change in itertools.count(1):
        copied(before.layout.root, tmp_path / f"{change}")
        host = playing(tmp_path / f"{change}", monkeypatch)
        ended = not killed(change, lambda host=host: deployed(host, NEW, source=OTHER))  # type: ignore[misc]
        live = Releases(host.layout).live()
        assert worker(old) in host.running() or worker(live) in host.running(), f"change {change}: nobody works"
        taking = {unit for unit in {*host.running(), *host.enabled()} if "worker" in unit}
        assert taking <= {worker(old), worker(live)}, f"change {change}: a candidate takes work"
        deployed(host, NEW, source=OTHER)
        ends.append(state(host.layout, host))
        if ended:
            break
    assert change > 20
    assert ends[-1]["running"] == ends[-1]["enabled"] == {*web(live), worker(live)}
    assert [number for number, end in enumerate(ends, start=1) if end != ends[-1]] == []
