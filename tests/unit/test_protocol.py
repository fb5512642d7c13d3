# SPDX-License-Identifier: GPL-3.0-or-later
"""Claim, prove, switch, retire, prune: each step repairs what it finds, killed at any instant or not."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd as _systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import Owner, give_back, take
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base import command as _command
from ansible_collections.greenlight.flask.plugins.module_utils._base import http as _http
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import UNFINISHED, Damaged, link
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, NoAnswer, Target
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import append, entries
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import MASK
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Contract, Patience
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import INSPECTION, Question
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import PAGE as PAGE_SAYS
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import FRONT_DOOR, REHEARSAL, Page
from ansible_collections.greenlight.flask.plugins.module_utils._proof.terms import Proved
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.front_door import (
    IRREVERSIBLE,
    check_front_door,
)
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.prove import prove_candidate
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.prune import prunable, prune
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.retire import retire
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rollback import find_rollback
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.switch import switch
from ansible_collections.greenlight.flask.plugins.module_utils._release import history, store
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import irreversible_since, record
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import serves, superfluous
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import (
    key,
    refuse_other_environment,
    stamped,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import BAD, PROVED, Releases
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cases import all_named, named
from tests.unit.fakes import SECRETS, WORD, Host, copied, create, installed, report, specification, state
from tests.unit.killing import killed

OLDER, OLD, NEW = (f"20261121T09442{second}Z" for second in range(3))
PATIENCE = Patience(start_seconds=0.02, probe_seconds=0.02, successes=1, probes=1, interval_seconds=0)
BOUNDS = Bounds(stop_seconds=1, drain_seconds=1)
FIELDS = {"environment": "env", "debug": "debug", "revision": "revision", "release": "release"}
PUBLIC = "http://127.0.0.1:80"
PAGE = Page("shop.example.org", "/health")


def healthy(release: str, **changes: object) -> Answer:
    document = {"status": "ok", "env": "staging", "debug": False, "revision": "r1", **changes}
    return Answer(200, json.dumps(document | ({"release": release} if release else {})), 0.01)


def contract(release: str) -> Contract:
    return Contract("staging", False, "r1", release, fields=FIELDS)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return installed(tmp_path, monkeypatch.setattr)


@pytest.fixture
def layout(host: Host) -> Layout:
    return host.layout


def prove(host: Host, release: str, answer: Answer | None = None) -> str:
    host.answers[release] = answer or healthy(release)
    prove_candidate(host.layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS)
    return release


def retired(layout: Layout) -> dict[str, float]:
    """Retire as after the front door, which has ended the trial of the live release."""
    layout.trial.unlink(missing_ok=True)
    return retire(layout, BOUNDS)


def go_live(host: Host, time: str, **changes: object) -> str:
    """Deploy a release, all of it but the pruning."""
    release = prove(host, create(host.layout, time, **changes))
    switch(host.layout, release)
    retired(host.layout)
    return release


def ask_at_the_front_door(host: Host, release: str) -> str:
    host.front_door = host.answers[release]
    revision = str(Releases(host.layout).get(release).manifest["revision"])  # type: ignore[union-attr]
    check_front_door(host.layout, replace(contract(release), revision=revision), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    return release


def deployed(host: Host, time: str, **changes: object) -> str:
    """Deploy a release with all that the ledger tells of it."""
    release = prove(host, create(host.layout, time, **changes))
    switch(host.layout, release)
    ask_at_the_front_door(host, release)
    retire(host.layout, BOUNDS)
    return release


RUN = Owner("0123456789ab", "carol@desk", "here", 1, "1")


def gone_back(host: Host, wanted: str = "", *, force: bool = False) -> str:
    """Do what the rollback does."""
    release = prove(host, find_rollback(host.layout, wanted, force=force).id)
    switch(host.layout, release)
    ask_at_the_front_door(host, release)
    retire(host.layout, BOUNDS)
    prune(host.layout, 5)
    ended(host.layout)
    return release


def ended(layout: Layout) -> None:
    """Do what a run does last."""
    take(layout, RUN, 60)
    give_back(layout, RUN.run, done=True)


def units(*releases: str) -> set[str]:
    return {f"shop@{release}.{kind}" for release in releases for kind in ("service", "socket")}


# Claim


def test_a_claim_creates_stamp_key_and_directories(layout: Layout) -> None:
    made = claim(layout, "staging")
    assert len(made) == 10
    assert layout.environment_id.read_text() == "staging\n"
    assert len(key(layout)) == 32
    assert layout.digest_key.stat().st_mode & 0o777 == layout.rehearsal.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r'"[0-9a-f]{32}" 1;\n', layout.rehearsal.read_text())
    assert layout.environment_files.stat().st_mode & 0o777 == 0o700
    for directory in (layout.etc, layout.srv, layout.sources, layout.venvs, layout.releases):
        assert directory.stat().st_mode & 0o777 == 0o755


def test_a_second_claim_changes_nothing(layout: Layout) -> None:
    claim(layout, "staging")
    before = key(layout)
    assert claim(layout, "staging") == []
    assert key(layout) == before


def test_each_host_has_its_own_key(tmp_path: Path) -> None:
    hosts = [Layout("shop", tmp_path / name) for name in "ab"]
    for each in hosts:
        claim(each, "staging")
    assert key(hosts[0]) != key(hosts[1])


def test_a_claim_in_check_mode_touches_nothing(layout: Layout) -> None:
    before = sorted(layout.root.rglob("*"))
    assert len(claim(layout, "staging", dry=True)) == 10
    assert sorted(layout.root.rglob("*")) == before


def test_a_claim_repairs_only_a_wrong_mode(layout: Layout) -> None:
    claim(layout, "staging")
    before = key(layout)
    layout.environment_files.chmod(0o755)
    assert claim(layout, "staging") == [str(layout.environment_files)]
    assert layout.environment_files.stat().st_mode & 0o777 == 0o700
    assert (key(layout), layout.environment_id.read_text()) == (before, "staging\n")


@pytest.mark.parametrize("name", ["pre prod", "x" * 101, "", "a\nb", "a\u200bb", "\x1b[31m"])
def test_a_claim_writes_only_readable_stamps(layout: Layout, name: str) -> None:
    with pytest.raises(Refused) as refused:
        claim(layout, name)
    assert all_named(refused) == [("unfit-environment", "flask_app_environment")]
    assert not layout.etc.exists()
    layout.etc.mkdir(parents=True)
    layout.environment_id.write_text(f"{name}\n")
    with pytest.raises(Damaged):
        stamped(layout)


@pytest.mark.parametrize("name", ["qa", "x" * 100, "pre-prod", "Prüfung", "a/b"])
def test_a_stamp_holds_the_environment_of_the_claim(layout: Layout, name: str) -> None:
    claim(layout, name)
    assert stamped(layout) == name


def test_a_claim_never_changes_the_stamp(layout: Layout) -> None:
    claim(layout, "staging")
    layout.digest_key.unlink()
    claim(layout, "production")
    assert layout.environment_id.read_text() == "staging\n"


def test_a_killed_claim_is_completed_by_the_next(tmp_path: Path) -> None:
    for change in itertools.count(1):
        layout = Layout("shop", tmp_path / f"{change}")
        ended = not killed(change, lambda layout=layout: claim(layout, "staging"))  # type: ignore[misc]
        if not layout.environment_id.exists():  # nothing of that name may come before it
            assert not layout.etc.exists()
            assert not layout.srv.exists()
        claim(layout, "staging")
        assert claim(layout, "staging", dry=True) == []
        assert len(key(layout)) == 32
        if ended:
            break
    assert change > 10


def test_a_missing_key_is_reported_with_the_fix(layout: Layout) -> None:
    with pytest.raises(Refused, match=r"site\.yml") as refused:
        key(layout)
    assert all_named(refused) == [("damaged-state", str(layout.digest_key))]


# Prove


def test_a_candidate_that_meets_its_contract_is_proved_and_runs(host: Host, layout: Layout) -> None:
    release = prove(host, create(layout, NEW))
    assert Releases(layout).get(release).proved  # type: ignore[union-attr]
    assert host.running() == units(release)
    assert host.enabled() == set()
    assert Releases(layout).live() == ""


def test_socket_and_service_start_together_after_a_daemon_reload(host: Host, layout: Layout) -> None:
    release = prove(host, create(layout, NEW))
    starts = [call[2:] for call in host.calls if call[1] == "start"]
    assert starts == [[layout.socket_unit(release), layout.service_unit(release)]]
    verbs = [call[1] for call in host.calls if call[0] == "systemctl"]
    assert verbs.index("daemon-reload") < verbs.index("start")


def test_systemctl_waits_a_little_longer_than_the_unit_timeouts(host: Host, layout: Layout) -> None:
    go_live(host, OLD)
    go_live(host, NEW)
    assert host.seconds["start"] == pytest.approx(PATIENCE.start_seconds + _systemd.GRACE_SECONDS)
    assert host.seconds["stop"] == pytest.approx(BOUNDS.stop_seconds + _systemd.GRACE_SECONDS)


def test_leftovers_of_a_killed_candidate_are_stopped_first(host: Host, layout: Layout) -> None:
    release = create(layout, NEW)
    (host.active / layout.socket_unit(release)).touch()
    (host.failed / layout.service_unit(release)).touch()
    prove(host, release)
    verbs = [call[1] for call in host.calls if call[0] == "systemctl" and call[1] in ("stop", "reset-failed", "start")]
    assert verbs == ["stop", "stop", "reset-failed", "start"]
    assert not list(host.failed.iterdir())


def test_a_candidate_that_still_runs_is_not_restarted(host: Host, layout: Layout) -> None:
    release = prove(host, create(layout, NEW))
    host.calls.clear()
    prove(host, release)
    assert not [call for call in host.calls if call[1] == "stop"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "health answer: expected within 0.1 seconds, got no connection (Connection refused)"),
        (Answer(500, "Internal Server Error", 0.01), "HTTP status: expected 200, got 500 Internal Server Error"),
        (healthy("", env="production"), 'env: expected "staging", got "production"'),
        (healthy("", debug=True), "debug: expected false, got true"),
        (healthy("", revision="r0"), 'revision: expected "r1", got "r0"'),
    ],
    ids=["no answer", "500", "environment", "debug", "revision"],
)
def test_a_candidate_that_breaks_its_contract_is_stopped_kept_and_marked_bad(
    host: Host, layout: Layout, answer: Answer | None, reason: str
) -> None:
    old = go_live(host, OLD)
    before = state(layout, host)
    release = create(layout, NEW)
    host.answers[release] = answer
    host.journal = "Traceback (most recent call last):\n\nKeyError: 'X'\n"
    with pytest.raises(Refused) as failed:
        prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS)
    [finding] = failed.value.findings
    assert named(finding) == ("candidate-failed", release)
    assert f"unix:{layout.socket(release)}" in finding.what
    assert reason in finding.what
    traffic, kept = failed.value.closing
    assert old in traffic
    assert f"journalctl -u shop@{release}.service" in kept
    assert failed.value.details["failures"] == reason
    assert failed.value.details["journal"] == "Traceback (most recent call last):\nKeyError: 'X'"
    assert failed.value.details["answer"] == (f"HTTP {answer.status} {answer.body}" if answer else "none")
    found = Releases(layout).get(release)
    assert found and found.bad and not found.proved
    assert json.loads((layout.release(release) / BAD).read_text()) == failed.value.details
    marks = {**before["marks"], release: (False, True)}  # type: ignore[dict-item]
    assert state(layout, host) == {**before, "marks": marks}


def test_a_failed_first_candidate_leaves_no_live_release(host: Host, layout: Layout) -> None:
    release = create(layout, NEW)
    with pytest.raises(Refused) as failed:
        prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS)
    assert all_named(failed) == [("candidate-failed", release)]
    assert "503" in failed.value.closing[0]
    assert (host.running(), Releases(layout).live()) == (set(), "")


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_a_unit_that_does_not_start_is_reported_at_once(host: Host, layout: Layout, kind: str) -> None:
    release = create(layout, NEW)
    host.failing = {f"shop@{release}.{kind}"}
    with pytest.raises(Refused, match="process: expected running, got ended by itself") as failed:
        prove(host, release)
    assert all_named(failed) == [("candidate-failed", release)]
    assert (host.running(), list(host.failed.iterdir())) == (set(), [])


def test_a_process_restarted_by_systemd_is_not_proved(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = create(layout, NEW)

    def start(units: list[str]) -> object:
        host.restarts += 1
        return Host._start(host, units)

    monkeypatch.setattr(host, "_start", start)
    with pytest.raises(Refused, match="process: expected running") as failed:
        prove(host, release)
    assert all_named(failed) == [("candidate-failed", release)]


def test_the_live_release_keeps_running_when_it_breaks_its_contract(host: Host, layout: Layout) -> None:
    release = go_live(host, NEW)
    host.answers[release] = Answer(500, "broken", 0.01)
    with pytest.raises(Refused) as failed:
        prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS)
    assert all_named(failed) == [("candidate-failed", release)]
    assert len(failed.value.closing) == 1  # not that it was stopped
    assert host.running() == host.enabled() == units(release)
    assert not Releases(layout).get(release).bad  # type: ignore[union-attr]


def test_an_incomplete_release_is_not_started(host: Host, layout: Layout) -> None:
    release = create(layout, NEW)
    layout.environment_file(release).unlink()
    with pytest.raises(Refused, match=f"{layout.environment_file(release)}") as refused:
        prove(host, release)
    assert all_named(refused) == [("damaged-release", release)]
    assert host.running() == set()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, f"cannot connect to {SECRETS['DATABASE_URL']} with {SECRETS['SECRET_KEY']}", 0.01),
        Answer(500, "x" * 180 + SECRETS["DATABASE_URL"], 0.01),
        Answer(500, "x" * 480 + SECRETS["SECRET_KEY"], 0.01),
        Answer(200, f"no JSON but {SECRETS['DATABASE_URL']}", 0.01),
        healthy("", env=SECRETS["SECRET_KEY"]),
        healthy("", revision=[SECRETS["DATABASE_URL"]]),
    ],
    ids=["answer", "cut at 200", "cut at 500", "no json", "field", "nested"],
)
def test_a_secret_leaked_by_the_app_is_in_no_message_or_file(host: Host, layout: Layout, answer: Answer) -> None:
    release = create(layout, NEW)
    host.answers[release] = answer
    host.journal = f"connecting to {SECRETS['DATABASE_URL']}\npassword pass-w0rd\nkey {SECRETS['SECRET_KEY']!r}\n"
    with pytest.raises(GreenlightError) as failed:
        prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS)
    said = str(failed.value) + json.dumps(failed.value.details) + (layout.release(release) / BAD).read_text()
    assert "********" in said
    for part in ("hunter2", "pass-w0rd", "postgresql://shop"):
        assert part not in said


def test_the_mark_of_a_proved_release_contains_no_secret(host: Host, layout: Layout) -> None:
    release = prove(host, create(layout, NEW), healthy(f"20261121T094422Z-{'a1' * 4}", key=SECRETS["SECRET_KEY"]))
    assert "hunter2" not in (layout.release(release) / PROVED).read_text()


def test_the_variables_of_a_release_are_read_once_per_step(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store.environment_of
    reads: list[str] = []
    monkeypatch.setattr(store, "environment_of", lambda layout, name: reads.append(name) or read(layout, name))  # type: ignore[func-returns-value]
    host.journal, host.reports = f"password {SECRETS['SECRET_KEY']}\n", [report()]
    release = create(layout, NEW)
    with pytest.raises(GreenlightError):
        prove(host, release, healthy(release, env="production"))
    assert reads == [release]
    release = create(layout, OLD)
    reads.clear()
    host.answers[release] = host.front_door = healthy(release)
    prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS, question=QUESTION)
    assert reads == [release]
    switch(layout, release)
    reads.clear()
    check_front_door(layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC, question=QUESTION)
    assert reads == [release]
    switch(layout, release)
    reads.clear()
    layout.trial.write_text(release)
    host.front_door = healthy(release, env="production")
    with pytest.raises(Refused):
        check_front_door(layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC, question=QUESTION)
    assert not os.path.lexists(layout.live)
    assert reads == [release]


def test_a_candidate_is_also_probed_through_nginx_before_it_gets_traffic(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = go_live(host, OLD)
    release = create(layout, NEW)
    host.answers[release] = host.front_door = healthy(release)
    asked: list[tuple[str, bool, str]] = []

    def get(target: Target, seconds: float, worth: object) -> Answer:
        leads = layout.candidate_socket.is_symlink() and os.readlink(layout.candidate_socket)
        asked.append((target.address, target.headers.get(REHEARSAL) == WORD, leads or ""))
        assert Releases(layout).live() == old
        return host.get(target, seconds, worth)

    monkeypatch.setattr(_http, "get", get)
    prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS, url=PUBLIC)
    socket = str(layout.socket(release))
    assert asked == [(socket, False, ""), (PUBLIC, True, socket)]
    assert not layout.candidate_socket.is_symlink()
    assert Releases(layout).get(release).proved  # type: ignore[union-attr]


def test_a_candidate_that_fails_only_behind_nginx_gets_no_traffic(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    release = create(layout, NEW)
    host.answers[release], host.front_door = healthy(release), Answer(400, "Bad Request", 0.01)
    with pytest.raises(Refused) as failed:
        prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS, url=PUBLIC)
    [finding] = failed.value.findings
    assert named(finding) == ("candidate-failed", release)
    assert f"{PUBLIC}/health (Host: shop.example.org" in finding.what
    assert "HTTP status: expected 200, got 400 Bad Request" in finding.what
    assert old in failed.value.closing[0]
    assert not layout.candidate_socket.is_symlink()
    found = Releases(layout).get(release)
    assert found and found.bad and not found.proved
    assert host.running() == units(old)


def test_a_candidate_is_not_judged_without_a_valid_rehearsal_word(host: Host, layout: Layout) -> None:
    """Nginx would lead the request to the live release, and a good candidate would be bad."""
    old, release = go_live(host, OLD), create(layout, NEW)
    before = state(layout, host)
    for text in ("", '"w0rd" 1;\n', "\x00"):
        layout.rehearsal.write_text(text)
        with pytest.raises(Refused) as refused:
            prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS, url="u")
        assert all_named(refused) == [("damaged-state", str(layout.rehearsal))]
        assert state(layout, host) == before
    assert Releases(layout).live() == old


# Prove, by what the workers report

QUESTION = Question(environment_keys=["ENVIRONMENT"])
REPORTED = report()


def prove_by_asking(
    host: Host, release: str, answer: Answer | None = None, question: Question = QUESTION, **more: Any
) -> Proved:
    """Prove a release whose health page says nothing but that it is there."""
    host.answers[release] = host.front_door = answer or Answer(200, "ok", 0.01)
    page = more.pop("page", PAGE)
    return prove_candidate(
        host.layout, release, contract(release), PATIENCE, page, bounds=BOUNDS, question=question, **more
    )


def refusal(host: Host, release: str, answer: Answer | None = None, **more: Any) -> Refused:
    with pytest.raises(Refused) as failed:
        prove_by_asking(host, release, answer, **more)
    assert all_named(failed) == [("candidate-failed", release)]
    assert not Releases(host.layout).get(release).proved  # type: ignore[union-attr]
    return failed.value


def imports(host: Host) -> list[list[str]]:
    """Each time that the app was imported beside Gunicorn."""
    return [call for call in host.calls if call[0] == "systemd-run"]


def test_workers_prove_what_the_page_omits_without_another_import(host: Host, layout: Layout) -> None:
    host.reports = [{**REPORTED, "workers": 2}] * 2
    release = create(layout, NEW)
    proved = prove_by_asking(host, release)
    assert proved.proved_by == {"environment": ["2 workers"], "debug": ["2 workers"]}
    assert proved.seen and proved.seen.environment == "staging"
    assert Releases(layout).get(release).proved  # type: ignore[union-attr]
    assert imports(host) == []
    switch(layout, release)
    again = check_front_door(layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC, question=QUESTION)
    assert again.proved_by == proved.proved_by


def test_page_and_workers_prove_together(host: Host, layout: Layout) -> None:
    host.reports = [report(environment="", environment_key="")]
    proved = prove_by_asking(host, create(layout, NEW), healthy(""))
    assert proved.proved_by == {"environment": [PAGE_SAYS], "debug": [PAGE_SAYS, "1 worker"]}


def test_an_app_is_not_inspected_if_inspection_is_off(host: Host, layout: Layout) -> None:
    host.reports = [report(debug=True)]
    proved = prove_by_asking(host, create(layout, NEW), healthy(""), replace(QUESTION, ask=False))
    assert (proved.seen, proved.proved_by["debug"]) == (None, [PAGE_SAYS])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"environment": "production"}, "app.config ENVIRONMENT"),
        ({"debug": True}, "app.debug"),
        ({"testing": True}, "app.config TESTING"),
        ({"database": "sqlite:///shop.db"}, "database in app.config DATABASE_URL"),
        ({"database": "postgresql://shop:pass-w0rd@db/other"}, "database in app.config DATABASE_URL"),
        ({"key": "dev"}, "app.secret_key"),
        ({"debuggers": ["flask_debug"]}, "package flask_debug"),
        ({"environment": SECRETS["SECRET_KEY"]}, "app.config ENVIRONMENT"),
    ],
)
@pytest.mark.parametrize(("page", "others"), [("ok", 0), ("ok", 1), ("all", 0), ("all", 1)])
def test_one_contradicting_worker_is_enough_to_refuse(  # noqa: PLR0917  # a case and how it is met
    host: Host, layout: Layout, change: dict[str, Any], about: str, page: str, others: int
) -> None:
    old = go_live(host, OLD)
    before = state(layout, host)
    release = create(layout, NEW)
    host.reports = [{**REPORTED, "workers": 1 + others}] * others + [{**report(**change), "workers": 1 + others}]
    failed = refusal(host, release, healthy(release) if page == "all" else None, url=PUBLIC)
    who = f"{about} in 1 of 2 workers: " if others else f"{about}: "
    assert str(failed.details["failures"]).startswith(who)
    assert "hunter2" not in str(failed) + str(failed.details)
    assert old in failed.closing[0]
    assert json.loads((layout.release(release) / BAD).read_text()) == failed.details
    marks = {**before["marks"], release: (False, True)}  # type: ignore[dict-item]
    assert state(layout, host) == {**before, "marks": marks}
    assert entries(layout.ledger)[-1]["event"] == "refused"


def test_contradictions_of_page_and_worker_are_both_named(host: Host, layout: Layout) -> None:
    host.reports = [report(environment="production")]
    failed = refusal(host, create(layout, NEW), healthy("", env="development"))
    assert "env:" in str(failed)
    assert "app.config ENVIRONMENT:" in str(failed)


def test_a_worker_without_a_report_is_awaited_and_then_counted_as_missing(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PATIENCE", replace(PATIENCE, start_seconds=0.1))
    host.reports = [{**REPORTED, "workers": 2}]
    failed = refusal(host, create(layout, NEW))
    assert str(failed.details["failures"]).startswith("workers that report: expected 2, got 1 ")


def test_a_release_with_one_worker_lacking_the_app_gets_no_traffic(host: Host, layout: Layout) -> None:
    host.reports = [{**REPORTED, "workers": 2}, {"no_app": "function", "workers": 2}]
    failed = refusal(host, create(layout, NEW))
    assert str(failed.details["failures"]).startswith("workers with a Flask app: expected 2, got 1; of 1: ")
    assert "function" in str(failed)


def test_an_unproved_environment_is_reported_with_every_fix(host: Host, layout: Layout) -> None:
    host.reports = [{"no_app": "function", "workers": 1}]
    failed = str(refusal(host, create(layout, NEW)))
    ways = (
        "flask_app_inspect_environment_keys",
        "flask_app_health_fields",
        "[unproved-environment]",
        "[unproved-debug]",
    )
    assert [way for way in ways if way not in failed] == []
    accepted = replace(QUESTION, accepted=["unproved-environment", "unproved-debug"])
    assert prove_by_asking(host, create(layout, OLD), question=accepted).proved_by == {"environment": [], "debug": []}


@pytest.mark.parametrize(
    ("change", "entry"),
    [
        ({"key": "dev"}, "other-key:SECRET_KEY"),
        ({"database": "sqlite:///x"}, "other-database:DATABASE_URL"),
        ({"debuggers": ["flask_debug"]}, "debug-toolbar:flask-debug"),
    ],
)
def test_an_accepted_finding_does_not_refuse_a_candidate(
    host: Host, layout: Layout, change: dict[str, Any], entry: str
) -> None:
    host.reports = [report(**change)]
    for accepted in (entry, entry.partition(":")[0]):
        question = replace(QUESTION, accepted=[accepted])
        assert prove_by_asking(host, create(layout, NEW if accepted == entry else OLD), question=question).seen
    host.reports = [report(debug=True)]
    refusal(host, create(layout, "20261121T094499Z"), question=question)


# Another page


OTHER = Page("shop.example.org", "/health", "/")


def answered_by_path(host: Host, monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, Answer]) -> list[str]:
    """Answer by path; return the paths that were asked for."""
    paths: list[str] = []

    def get(target: Target, seconds: float, worth: object) -> Answer:
        paths.append(target.path)
        return answers[target.path]

    monkeypatch.setattr(_http, "get", get)
    return paths


NOT_FOUND = Answer(404, "Not Found", 0.01)


@pytest.mark.parametrize("status", [200, 302])
def test_without_a_health_page_workers_and_another_page_prove_the_app(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    host.reports = [REPORTED]
    release = create(layout, NEW)
    paths = answered_by_path(host, monkeypatch, {"/health": NOT_FOUND, "/": Answer(status, "Welcome", 0.01)})
    assert prove_by_asking(host, release, page=OTHER, url=PUBLIC).path == "/"
    switch(layout, release)
    paths.clear()
    assert (
        check_front_door(layout, contract(release), PATIENCE, OTHER, BOUNDS, url=PUBLIC, question=QUESTION).path == "/"
    )
    assert set(paths) == {"/"}


@pytest.mark.parametrize(
    ("other_path", "reports", "home"),
    [("", [REPORTED], 200), ("/", [report(debug=True)], 200), ("/", [{"no_app": "f", "workers": 1}], 200),
     ("/", [REPORTED], 404), ("/", [REPORTED], 500)],
)  # fmt: skip
def test_a_missing_health_page_is_refused_unless_workers_prove_the_rest(  # noqa: PLR0917  # a case and how it is met
    host: Host,
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    other_path: str,
    reports: list[dict[str, Any]],
    home: int,
) -> None:
    host.reports = reports
    answered_by_path(host, monkeypatch, {"/health": NOT_FOUND, "/": Answer(home, "Welcome", 0.01)})
    failed = refusal(host, create(layout, NEW), page=replace(OTHER, other_path=other_path))
    assert "HTTP status" in str(failed) or home == 200
    assert ("flask_app_health_path" in str(failed)) == (home != 200)


def test_a_candidate_is_probed_with_the_headers_nginx_sends(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = create(layout, NEW)
    asked: list[Mapping[str, str]] = []

    def get(target: Target, seconds: float, worth: object) -> Answer:
        asked.append(target.headers)
        return healthy(release)

    monkeypatch.setattr(_http, "get", get)
    page = replace(PAGE, scheme="https")
    prove_candidate(layout, release, contract(release), PATIENCE, page, bounds=BOUNDS, url=PUBLIC)
    assert asked[0] == {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example.org",
        "X-Forwarded-For": "127.0.0.1",
    }
    assert asked[1]["X-Forwarded-Proto"] == "https"


@pytest.mark.parametrize("other_path", ["", "/"])
def test_an_app_with_a_url_prefix_is_probed_below_it_as_by_nginx(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch, other_path: str
) -> None:
    """Gunicorn takes the path from the request by itself; Nginx adds the header."""
    host.reports = [REPORTED]
    release = create(layout, NEW)
    asked: list[tuple[str, str]] = []

    def get(target: Target, seconds: float, worth: object) -> Answer:
        asked.append((target.path, target.headers.get("SCRIPT_NAME", "")))
        return NOT_FOUND if other_path and target.path == "/shop/health" else healthy(release)

    monkeypatch.setattr(_http, "get", get)
    page = replace(PAGE, prefix="/shop", other_path=other_path)
    proved = prove_candidate(
        layout, release, contract(release), PATIENCE, page, bounds=BOUNDS, url=PUBLIC, question=QUESTION
    )
    path = f"/shop{other_path or '/health'}"
    assert set(asked) == {("/shop/health", "/shop"), (path, "/shop"), (path, "")}
    assert proved.path == (other_path or "/health")  # as the app knows it
    switch(layout, release)
    asked.clear()
    check_front_door(layout, contract(release), PATIENCE, page, BOUNDS, url=PUBLIC, question=QUESTION)
    assert set(asked) == {(path, "")}


# Where Gunicorn can't report


def says(**change: object) -> Finished:
    return Finished(0, json.dumps({**REPORTED, **change}), "")


def test_the_app_is_imported_once_more_if_no_worker_reports(host: Host, layout: Layout) -> None:
    host.ended = says()
    release = create(layout, NEW)
    proved = prove_by_asking(host, release, url=PUBLIC)
    assert proved.proved_by == {"environment": [INSPECTION], "debug": [INSPECTION]}
    (words,) = imports(host)
    assert words[-1] == "ENVIRONMENT"
    assert host.seconds["systemd-run"] == pytest.approx(PATIENCE.start_seconds + _systemd.GRACE_SECONDS)
    switch(layout, release)
    again = check_front_door(layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC, question=QUESTION)
    assert again.proved_by == proved.proved_by
    assert len(imports(host)) == 1
    host.ended = says(debug=True)
    assert "app.debug" in str(refusal(host, create(layout, OLD)))


def test_an_app_that_fails_to_import_is_refused_unless_the_page_proves_all(host: Host, layout: Layout) -> None:
    release = create(layout, NEW)
    host.journal = "what Gunicorn said"
    host.ended = Finished(1, "", f"KeyError: 'X'\nin {SECRETS['DATABASE_URL']}\n")
    failed = refusal(host, release)
    assert failed.details["journal"] == "KeyError: 'X'\nin ********"
    assert "pass-w0rd" not in (layout.release(release) / BAD).read_text()
    assert host.running() == set()
    assert prove_by_asking(host, create(layout, OLD), healthy("")).proved_by["environment"] == [PAGE_SAYS]


def test_a_refusal_names_the_variable_hinted_at_anywhere_in_the_journal(host: Host, layout: Layout) -> None:
    host.journal = "ImportError: libpq.so.5: cannot open shared object file\n" + "and more\n" * 100
    failed = refusal(host, create(layout, NEW), None)
    assert "flask_app_packages: [libpq5]" in str(failed)
    assert "flask_app_packages: [libpq5]" in str(failed.details["hints"])
    assert len(str(failed.details["journal"]).splitlines()) == 40
    host.journal = "KeyError: 'MAIL_PASSWORD'"
    host.ended = Finished(1, "", "ModuleNotFoundError: No module named 'flask_login'\n")
    assert "flask-login" in str(refusal(host, create(layout, OLD)))


def test_a_failed_front_door_check_names_the_hinted_variable(host: Host, layout: Layout) -> None:
    release = go_live(host, NEW)
    host.front_door, host.journal = Answer(500, "broken", 0.01), "OSError: [Errno 24] Too many open files"
    with pytest.raises(Refused, match="LimitNOFILE") as failed:
        check_front_door(layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert all_named(failed) == [("front-door-failed", release)]


def test_an_unhealthy_candidate_is_refused_for_its_health(host: Host, layout: Layout) -> None:
    host.reports, host.journal = [report(debug=True)], "what Gunicorn said"
    failed = refusal(host, create(layout, NEW), Answer(500, "broken", 0.01))
    assert str(failed.details["failures"]).startswith("HTTP status")
    assert failed.details["journal"] == "what Gunicorn said"


# The front door, and what the workers report there


def test_contradicting_workers_move_traffic_back_only_during_the_trial(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    host.reports = [REPORTED]
    new = create(layout, NEW)
    prove_by_asking(host, new)
    switch(layout, new)

    def ask() -> None:
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC, question=QUESTION)

    ask()
    host.told(new, [report(key="another")])
    with pytest.raises(Refused) as failed:
        ask()
    assert all_named(failed) == [("front-door-failed", new)]
    assert "app.secret_key" in str(failed.value)
    assert Releases(layout).live() == new
    layout.trial.write_text(new)
    with pytest.raises(Refused) as failed:
        ask()
    assert all_named(failed) == [("front-door-failed", new)]
    assert Releases(layout).live() == old


# Switch


def test_a_switch_moves_traffic_and_boot_to_the_release(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    new = prove(host, create(layout, NEW))
    assert switch(layout, new) == old
    assert Releases(layout).live() == new
    assert os.readlink(layout.live) == f"releases/{new}"
    assert os.readlink(layout.live_socket) == str(layout.socket(new))
    assert Releases(layout).previous() == old
    assert units(new) <= host.enabled()
    assert host.running() == units(old, new)
    assert serves(layout, new)
    assert not serves(layout, old)


def test_a_first_switch_has_no_previous_release(host: Host, layout: Layout) -> None:
    new = prove(host, create(layout, NEW))
    assert switch(layout, new) == ""
    assert Releases(layout).previous() == ""


def test_a_switch_to_the_live_release_keeps_the_previous_one(host: Host, layout: Layout) -> None:
    old, new = go_live(host, OLD), go_live(host, NEW)
    assert switch(layout, new) == ""
    assert Releases(layout).previous() == old


@pytest.mark.parametrize("case", ["unproved", "bad", "gone"])
def test_a_switch_refuses_an_unproved_release(host: Host, layout: Layout, case: str) -> None:
    go_live(host, OLD)
    new = create(layout, NEW)
    if case != "unproved":
        prove(host, new)
    if case == "bad":
        Releases(layout).mark(new, BAD, {})
    if case == "gone":
        Releases(layout).destroy(new)
    before = state(layout, host)
    with pytest.raises(Refused) as refused:
        switch(layout, new)
    assert all_named(refused) == [("unproved-release", new)]
    assert state(layout, host) == before


@pytest.mark.parametrize(
    "fault",
    ["socket", "service", "enabled", "enabled socket", "live link", "live socket", "other socket", "file", "no socket"],
)
def test_a_release_serves_only_when_it_is_linked_running_and_enabled(host: Host, layout: Layout, fault: str) -> None:
    release = go_live(host, NEW)
    assert serves(layout, release)
    if fault in ("socket", "service"):
        (host.active / f"shop@{release}.{fault}").unlink()
    elif fault.startswith("enabled"):
        _systemd.disable(layout, [layout.socket_unit(release), layout.service_unit(release)][: len(fault.split())])
    elif fault == "other socket":
        link(layout.live_socket, f"/tmp/{release}.sock")
    elif fault in ("file", "no socket"):
        layout.socket(release).unlink()
        if fault == "file":
            layout.socket(release).write_text("")
    else:
        (layout.live if fault == "live link" else layout.live_socket).unlink()
    assert not serves(layout, release)


# Killed at any instant


def deploy(host: Host, time: str, **changes: object) -> None:
    """What the modules of the role do, in the order of main.yml: look at the host first."""
    layout = host.layout
    found = [release for release in Releases(layout).all() if release.manifest["revision"] == changes.get("revision")]
    release = found[0].id if found and not found[0].bad else create(layout, time, **changes)
    if not serves(layout, release):
        host.answers[release] = host.front_door = healthy(release, revision=changes["revision"])
        wanted = replace(contract(release), revision=str(changes["revision"]))
        prove_candidate(layout, release, wanted, PATIENCE, PAGE, bounds=BOUNDS, url="http://127.0.0.1:80")
        switch(layout, release)
    host.answers[release] = healthy(release, revision=changes["revision"])
    ask_at_the_front_door(host, release)
    retire(layout, BOUNDS)
    prune(layout, keep=2)


@pytest.mark.slow
def test_a_killed_deploy_keeps_the_site_up_and_the_next_run_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed(tmp_path / "0", monkeypatch.setattr)
    deploy(before, OLDER, revision="r0", source="c3" * 32)
    deploy(before, OLD, revision="r1", venv="d4" * 32)
    ends = []
    for change in itertools.count(1):
        copied(before.layout.root, tmp_path / f"{change}")
        host = installed(tmp_path / f"{change}", monkeypatch.setattr)
        layout = host.layout
        ended = not killed(change, lambda host=host: deploy(host, NEW, revision="r2", source="e5" * 32))  # type: ignore[misc]
        live = Releases(layout).live()
        assert units(live) <= host.running(), f"change {change}: the live release does not run"
        assert units(live) <= host.enabled(), f"change {change}: a reboot would not bring the live release back"
        assert Releases(layout).get(live), f"change {change}: the live release is not whole"
        assert os.readlink(layout.live).endswith(("a1a1a1a1", "e5e5e5e5"))
        deploy(host, NEW, revision="r2", source="e5" * 32)
        end = {
            **state(layout, host),
            "left": sorted(str(path.relative_to(layout.root)) for path in layout.srv.rglob("*")),
            "environments": sorted(os.listdir(layout.environment_files)),
            "ledger": events(layout),
        }
        ends.append(end)
        if ended:
            break
    assert change > 40
    assert ends[-1]["live"] == f"{NEW}-e5e5e5e5"
    assert ends[-1]["previous"] == f"{OLD}-a1a1a1a1"
    assert ends[-1]["running"] == ends[-1]["enabled"] == units(f"{NEW}-e5e5e5e5")
    assert ends[-1]["ledger"] == [
        ("live", f"{OLDER}-c3c3c3c3"),
        ("live", f"{OLD}-a1a1a1a1"),
        ("retired", f"{OLDER}-c3c3c3c3"),
        ("live", f"{NEW}-e5e5e5e5"),
        ("retired", f"{OLD}-a1a1a1a1"),
    ]
    for number, end in enumerate(ends, start=1):
        assert end == ends[-1], f"change {number}"


def test_a_killed_revert_leaves_a_running_release_and_is_completed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed(tmp_path / "0", monkeypatch.setattr)
    old = go_live(before, OLD)
    new = prove(before, create(before.layout, NEW, source="e5" * 32))
    switch(before.layout, new)
    for change in itertools.count(1):
        copied(before.layout.root, tmp_path / f"{change}")
        host = installed(tmp_path / f"{change}", monkeypatch.setattr)
        host.front_door = Answer(500, "broken", 0.01)
        layout = host.layout

        def ask(layout: Layout = layout) -> None:
            with pytest.raises(GreenlightError):
                check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)

        ended = not killed(change, ask)
        assert units(Releases(layout).live()) <= host.running()
        assert units(Releases(layout).live()) <= host.enabled()
        if Releases(layout).live() == new:  # the next run asks it again
            ask()
        assert Releases(layout).live() == old, f"change {change}: the traffic stays at the release that failed"
        if ended:
            break
    assert change > 8


def test_a_killed_switch_leaves_no_unjudged_release_with_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed(tmp_path / "0", monkeypatch.setattr)
    old = deployed(before, OLD)
    new = prove(before, create(before.layout, NEW, source="e5" * 32))
    for change in itertools.count(1):
        copied(before.layout.root, tmp_path / f"{change}")
        host = installed(tmp_path / f"{change}", monkeypatch.setattr)
        layout = host.layout
        ended = not killed(change, lambda layout=layout: switch(layout, new))  # type: ignore[misc]
        if Releases(layout).live() == new:
            host.front_door = Answer(500, "broken", 0.01)
            with pytest.raises(GreenlightError):
                check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
        assert Releases(layout).live() == old, f"change {change}: the traffic stays at a release that nobody judged"
        if ended:
            break
    assert change > 8


# The front door


def test_the_front_door_check_passes_for_the_live_release(host: Host, layout: Layout) -> None:
    release = go_live(host, NEW)
    host.front_door = healthy(release)
    proved = check_front_door(layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert proved.proof.answer == host.front_door


@pytest.mark.parametrize("text", ["", '"w0rd" 1;\n', "\x00"])
def test_a_release_on_trial_is_not_judged_without_a_rehearsal_word(host: Host, layout: Layout, text: str) -> None:
    """During maintenance Nginx would answer for it, and a good release would be bad."""
    old = go_live(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    layout.rehearsal.write_text(text)
    host.front_door = Answer(503, "maintenance", 0.01)
    before = state(layout, host)
    with pytest.raises(Refused) as refused:
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert all_named(refused) == [("damaged-state", str(layout.rehearsal))]
    assert state(layout, host) == before
    assert units(old) <= host.running()
    host.front_door = healthy(new)
    assert check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC, dry=True).path == PAGE.path


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"restarts": "0"}', '{"path": {}}', '{"proved_by": 1}', '{"proved_by": {"debug": 1}}']
)
def test_an_edited_proof_does_not_stop_the_front_door_check(host: Host, layout: Layout, text: str) -> None:
    host.reports = [REPORTED]
    new = create(layout, NEW)
    prove_by_asking(host, new)
    switch(layout, new)
    (layout.release(new) / PROVED).write_text(text)
    proved = check_front_door(layout, contract(new), PATIENCE, OTHER, BOUNDS, url=PUBLIC, question=QUESTION)
    assert (proved.path, proved.proved_by["debug"]) == (PAGE.path, ["1 worker"])
    assert "proved_by" not in entries(layout.ledger)[-1]


def test_a_secret_shown_by_a_healthy_app_is_masked(host: Host, layout: Layout) -> None:
    release = create(layout, NEW)
    telling = healthy(release, told=SECRETS["SECRET_KEY"])
    host.answers[release] = host.front_door = telling
    candidate = prove_candidate(layout, release, contract(release), PATIENCE, PAGE, bounds=BOUNDS)
    switch(layout, release)
    live = check_front_door(layout, contract(release), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    for said in (candidate.proof.answer, live.proof.answer):
        assert said is not None
        assert json.loads(said.body)["told"] == MASK


@pytest.mark.parametrize("stamp", ["production\n", "staging\n", None])
def test_only_a_host_stamped_for_another_environment_is_refused(layout: Layout, stamp: str | None) -> None:
    layout.etc.mkdir(parents=True)
    if stamp:
        layout.environment_id.write_text(stamp)
    if stamp != "production\n":
        refuse_other_environment(layout, "staging")
        if not stamp:
            layout.digest_key.write_text("what a deploy leaves")
            with pytest.raises(Damaged) as failed:
                refuse_other_environment(layout, "staging")
            assert all_named(failed) == [("damaged-state", str(layout.environment_id))]
        return
    with pytest.raises(Refused) as refused:
        refuse_other_environment(layout, "staging")
    [finding] = refused.value.findings
    assert named(finding) == ("wrong-environment", str(layout.environment_id))
    assert {"production", "shop", "staging"} <= set(re.findall(r"\w+", finding.what))


@pytest.mark.parametrize("trial", [True, False])
def test_a_front_door_that_leads_elsewhere_moves_the_traffic_back(host: Host, layout: Layout, trial: bool) -> None:
    old = go_live(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    if not trial:
        host.front_door = healthy(new)
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    host.front_door = healthy(old)
    host.journal = f"key {SECRETS['SECRET_KEY']}"
    with pytest.raises(Refused) as failed:
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    [finding] = failed.value.findings
    assert named(finding) == ("front-door-failed", new)
    assert f"{PUBLIC}/health (Host: shop.example.org, with {FRONT_DOOR})" in finding.what
    assert f'release: expected "{new}", got "{old}"' in finding.what
    assert "hunter2" not in str(failed.value) + str(failed.value.details)
    if trial:
        assert old in failed.value.closing[0]
        assert Releases(layout).live() == old
        assert os.readlink(layout.live) == f"releases/{old}"
        assert Releases(layout).previous() == ""
        assert Releases(layout).get(new).bad  # type: ignore[union-attr]
        assert host.running() == host.enabled() == units(old)
        assert serves(layout, old)
    else:
        assert failed.value.closing == ()
        assert Releases(layout).live() == new
        assert not Releases(layout).get(new).bad  # type: ignore[union-attr]
        assert host.running() == units(old, new)


@pytest.mark.parametrize("case", ["first", "previous stopped", "previous bad"])
def test_without_a_running_previous_release_the_site_returns_503(host: Host, layout: Layout, case: str) -> None:
    if case != "first":
        old = go_live(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    if case == "previous stopped":
        _systemd.stop(sorted(units(old)), 1)
    if case == "previous bad":
        Releases(layout).mark(old, BAD, {})
    with pytest.raises(Refused) as failed:
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert all_named(failed) == [("front-door-failed", new)]
    assert "503" in failed.value.closing[0]
    assert not layout.live_socket.is_symlink()
    assert not layout.live.is_symlink()
    assert not units(new) & (host.running() | host.enabled())


# Retire


def test_nothing_is_retired_while_the_live_release_is_on_trial(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    assert retire(layout, BOUNDS) == {}
    assert host.running() == units(old, new)
    assert units(old) <= host.enabled()


def test_an_unstarted_trial_keeps_no_other_release_running(host: Host, layout: Layout) -> None:
    """As after a run that was killed before the traffic moved, and a change of mind."""
    old = deployed(host, OLD)
    prove(host, create(layout, NEW))
    layout.trial.write_text(f"{NEW}-a1a1a1a1")
    ask_at_the_front_door(host, old)
    retire(layout, BOUNDS)
    assert host.running() == units(old)


def test_retiring_stops_all_but_the_live_release(host: Host, layout: Layout) -> None:
    older, old = (prove(host, create(layout, time)) for time in (OLDER, OLD))
    new = prove(host, create(layout, NEW))
    (host.failed / layout.service_unit(older)).touch()
    _systemd.enable(layout, [layout.service_unit(old)])
    switch(layout, new)
    assert superfluous(layout) == [older, old]
    assert sorted(retired(layout)) == [older, old]
    assert host.running() == host.enabled() == units(new)
    assert not list(host.failed.iterdir())
    assert retired(layout) == {}


def test_a_socket_stops_before_its_service_and_both_are_disabled(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    host.calls.clear()
    retired(layout)
    told = [
        [word for word in call[1:] if not word.startswith("--")]
        for call in host.calls
        if call[0] == "systemctl" and call[1] in ("disable", "stop")
    ]
    assert told == [
        ["disable", layout.socket_unit(old), layout.service_unit(old)],
        ["stop", layout.socket_unit(old)],
        ["stop", layout.service_unit(old)],
    ]


def test_a_release_is_stopped_only_when_its_queue_is_empty(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    switch(layout, prove(host, create(layout, NEW)))
    host.queues[str(layout.socket(old))] = [3, 2, 1]
    host.calls.clear()
    (seconds,) = retired(layout).values()
    programs = [call[0] if call[0] == "ss" else call[1] for call in host.calls]
    assert programs.count("ss") == 4
    assert max(number for number, name in enumerate(programs) if name == "ss") < programs.index("disable")
    assert 0.1 < seconds < 0.6


def test_a_queue_that_never_empties_is_awaited_only_up_to_the_limit(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    switch(layout, prove(host, create(layout, NEW)))
    host.queues[str(layout.socket(old))] = [1] * 1000
    layout.trial.unlink()
    (seconds,) = retire(layout, replace(BOUNDS, drain_seconds=0.2)).values()
    assert 0.2 <= seconds < 0.5
    assert units(old) & host.running() == set()


def test_without_a_live_release_nothing_is_stopped(host: Host, layout: Layout) -> None:
    release = prove(host, create(layout, NEW))
    assert superfluous(layout) == [release]
    assert retire(layout, BOUNDS) == {}
    assert host.running() == units(release)


def test_another_apps_units_are_left_alone(host: Host, layout: Layout) -> None:
    other = "shop-admin@20261121T094420Z-1a2b3c4d.service"
    (host.active / other).touch()
    _systemd.enable(layout, [other])
    go_live(host, NEW)
    assert other in host.running() & host.enabled()


# Prune


def kept(layout: Layout) -> set[str]:
    return {release.id for release in Releases(layout).all()}


def test_pruning_keeps_live_previous_newest_good_and_newest_bad(host: Host, layout: Layout) -> None:
    made = [create(layout, f"20261121T0944{second}Z") for second in range(10, 20)]
    for release in made:
        Releases(layout).mark(release, PROVED, {})
    for release in (made[3], made[5]):
        Releases(layout).mark(release, BAD, {})
    link(layout.live_socket, str(layout.socket(made[1])))
    link(layout.previous, f"releases/{made[0]}")
    prune(layout, keep=3)
    assert kept(layout) == {made[0], made[1], made[5], *made[7:]}
    assert prunable(layout, keep=3) == []


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_no_releases_still_keeps_live_and_previous(host: Host, layout: Layout, keep: int) -> None:
    go_live(host, OLDER)
    releases = {go_live(host, OLD), go_live(host, NEW)}
    prune(layout, keep=keep)
    assert kept(layout) == releases


def test_an_unproved_release_that_is_not_live_is_pruned(host: Host, layout: Layout) -> None:
    live = go_live(host, OLD)
    create(layout, NEW)
    prune(layout, keep=5)
    assert kept(layout) == {live}


def test_a_pruned_release_leaves_no_trace_and_a_kept_one_is_complete(host: Host, layout: Layout) -> None:
    old = go_live(host, OLDER, source="c3" * 32, venv="c3" * 32)
    releases = [go_live(host, OLD), go_live(host, NEW, revision="r1", venv="d4" * 32)]
    doomed = prunable(layout, keep=1)
    assert prune(layout, keep=1) == doomed
    assert {str(Path(path).relative_to(layout.root)) for path in doomed} == {
        f"srv/shop/releases/{old}",
        f"etc/shop/releases/{old}.env",
        f"etc/systemd/system/shop@{old}.service",
        f"etc/systemd/system/shop@{old}.service.d",
        f"etc/systemd/system/shop@{old}.socket",
        f"srv/shop/sources/{'c3' * 32}",
        f"srv/shop/venvs/{'c3' * 32}",
    }
    assert sorted(os.listdir(layout.sources)) == ["a1" * 32]
    assert sorted(os.listdir(layout.venvs)) == ["b2" * 32, "d4" * 32]
    assert sorted(os.listdir(layout.environment_files)) == [f"{release}.env" for release in releases]


def test_only_credentials_of_kept_releases_stay(host: Host, layout: Layout) -> None:
    names = sorted(SECRETS)
    old = go_live(host, OLDER, credentials=names)
    releases = [go_live(host, OLD, credentials=names), go_live(host, NEW)]
    doomed = prunable(layout, keep=1)
    assert str(layout.credentials(old)) in doomed
    assert str(layout.credentials(releases[0])) not in doomed
    assert prune(layout, keep=1) == doomed
    assert sorted(os.listdir(layout.environment_files)) == sorted(
        [f"{releases[0]}.credentials", *(f"{release}.env" for release in releases)]
    )
    assert Releases(layout).is_intact(Releases(layout).all()[0], specification(credentials=names))
    assert prunable(layout, keep=1) == []


@pytest.mark.parametrize("left", ["env", "credentials"])
def test_secrets_without_a_release_are_pruned(host: Host, layout: Layout, left: str) -> None:
    live = go_live(host, NEW, credentials=sorted(SECRETS))
    gone = create(layout, OLD, credentials=sorted(SECRETS))
    layout.release(gone).rename(layout.root / "away")
    for path in list(layout.environment_files.glob(f"{gone}.*")):
        if path.suffix != f".{left}":
            path.rename(layout.root / path.name)
    prune(layout, keep=5)
    assert sorted(os.listdir(layout.environment_files)) == [f"{live}.credentials", f"{live}.env"]


def test_leftovers_of_killed_runs_are_pruned(host: Host, layout: Layout) -> None:
    live = go_live(host, NEW)
    for directory in (
        layout.sources,
        layout.venvs,
        layout.releases,
        layout.environment_files,
        layout.srv,
        layout.etc,
        layout.units,
    ):
        (directory / f"{UNFINISHED}x").mkdir()
        (directory / f"{UNFINISHED}x/file").touch()
    prune(layout, keep=5)
    assert not list(layout.srv.rglob(f"{UNFINISHED}*"))
    assert not list(layout.etc.rglob(f"{UNFINISHED}*"))
    assert not list(layout.units.rglob(f"{UNFINISHED}*"))
    assert kept(layout) == {live}


def test_pruning_in_check_mode_only_lists(host: Host, layout: Layout) -> None:
    go_live(host, OLDER, source="c3" * 32)
    go_live(host, OLD)
    go_live(host, NEW)
    before = sorted(layout.root.rglob("*"))
    assert prunable(layout, keep=1)
    assert sorted(layout.root.rglob("*")) == before


def test_pruning_an_empty_host_does_nothing(layout: Layout) -> None:
    assert prune(layout, keep=5) == []


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a1", "b2", "c3"]),
            st.sampled_from(["d4", "e5", "f6"]),
            st.sampled_from(["proved", "bad", "proved and bad", "neither"]),
        ),
        max_size=7,
    ),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 4),
)
def test_no_source_or_venv_of_a_kept_release_is_ever_removed(
    tmp_path: Path,
    made: list[tuple[str, str, str]],
    live: int,
    previous: int,
    keep: int,
) -> None:
    layout = Layout("shop", tmp_path / f"{len(os.listdir(tmp_path))}")
    layout.root.mkdir()
    releases = Releases(layout)
    names = []
    for number, (source, venv, mark) in enumerate(made):
        name = create(layout, f"20261121T09442{number}Z", source=source * 32, venv=venv * 32)
        for one in {"proved": [PROVED], "bad": [BAD], "proved and bad": [PROVED, BAD]}.get(mark, []):
            releases.mark(name, one, {})
        names.append(name)
    layout.srv.mkdir(parents=True, exist_ok=True)
    if live < len(names):
        link(layout.live_socket, str(layout.socket(names[live])))
    if previous < len(names):
        link(layout.previous, f"releases/{names[previous]}")
    wanted = {releases.live(), releases.previous()} - {""}
    prune(layout, keep)
    left = releases.all()
    assert wanted <= {release.id for release in left}
    for release in left:
        home = layout.release(release.id)
        assert (home / "source").is_dir()
        assert (home / "venv").is_dir()
        assert layout.environment_file(release.id).exists()
        assert layout.part(release.id, "drop_in").exists()
    good = [release.id for release in left if release.proved and not release.bad and release.id not in wanted]
    assert len(good) <= keep
    assert sum(release.bad and release.id not in wanted for release in left) <= 1
    used = {str(release.manifest["venv"]) for release in left}
    assert set(os.listdir(layout.venvs) if layout.venvs.is_dir() else []) == used
    assert prunable(layout, keep) == []


def test_the_code_of_a_live_release_whose_manifest_is_damaged_stays(host: Host, layout: Layout) -> None:
    live = go_live(host, NEW, source="c3" * 32, venv="d4" * 32)
    (layout.release(live) / "release.json").write_text("{")
    prune(layout, 0)
    assert os.listdir(layout.sources) == ["c3" * 32]
    assert os.listdir(layout.venvs) == ["d4" * 32]
    assert layout.environment_file(live).exists()


@pytest.mark.parametrize("text", ["", "20261121T0944", "\x00"])
def test_nothing_is_retired_while_the_release_on_trial_is_unknown(host: Host, layout: Layout, text: str) -> None:
    old = deployed(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    layout.trial.write_text(text)
    assert retire(layout, BOUNDS) == {}
    assert units(old) <= host.running()
    ask_at_the_front_door(host, new)
    assert not layout.trial.exists()
    assert set(retire(layout, BOUNDS)) == {old}


@pytest.mark.parametrize("part", ["units", "service", "socket"])
def test_a_release_without_unit_files_is_still_retired(host: Host, layout: Layout, part: str) -> None:
    """systemctl disable fails for them, and systemctl stop for one that doesn't run."""
    old = deployed(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    ask_at_the_front_door(host, new)
    (host.active / layout.service_unit(old)).unlink()
    for unit in (layout.part(old, "service"), layout.part(old, "socket")):
        if part == "units" or unit.name.endswith(part):
            unit.unlink()
    assert set(retire(layout, BOUNDS)) == {old}
    assert host.running() == host.enabled() == units(new)


# Rollback


def test_rollback_goes_to_the_previously_live_release(host: Host, layout: Layout) -> None:
    old, new = go_live(host, OLD), go_live(host, NEW)
    assert find_rollback(layout).id == old
    switch(layout, old)
    ended(layout)
    assert find_rollback(layout).id == new


def test_rollback_uses_the_ledger_if_the_previous_link_is_unusable(host: Host, layout: Layout) -> None:
    # The newest by name was live first: names don't tell, a clock may have been set back.
    newest, oldest, live = go_live(host, NEW), go_live(host, OLDER), go_live(host, OLD)
    for release in (newest, oldest, live):
        append(layout.ledger, {"event": "live", "release": release})
    layout.previous.unlink()
    assert find_rollback(layout).id == oldest
    Releases(layout).mark(oldest, BAD, {})
    assert find_rollback(layout).id == newest


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("live", "live"),
        ("bad", "bad"),
        ("unproved", "proved"),
        ("half", r"\.env"),
        ("../../etc", "no release"),
    ],
)
def test_rollback_to_anything_but_a_good_release_is_refused(host: Host, layout: Layout, case: str, why: str) -> None:
    good, live = go_live(host, OLDER), go_live(host, NEW)
    wanted = create(layout, OLD)
    if case == "bad":
        Releases(layout).mark(wanted, PROVED, {})
        Releases(layout).mark(wanted, BAD, {})
    if case == "half":
        layout.environment_file(wanted).unlink()
    name = {"live": live, "../../etc": case}.get(case, wanted)
    with pytest.raises(Refused) as refused:
        find_rollback(layout, name)
    [finding] = refused.value.findings
    assert named(finding) == ("no-rollback", name)
    assert f"flask_app_rollback_to is {name}" in finding.what
    assert re.search(rf"{why}\b", finding.what)
    assert re.findall(r"\b[0-9]{8}T[0-9]{6}Z-\w+\b", finding.what.replace(name, "")) == [good]


def test_rollback_without_an_earlier_good_release_is_refused(host: Host, layout: Layout) -> None:
    go_live(host, NEW)
    Releases(layout).mark(create(layout, OLD), BAD, {})
    with pytest.raises(Refused) as refused:
        find_rollback(layout)
    assert all_named(refused) == [("no-rollback", str(layout.releases))]


# Rollback across a release command


def migrated(host: Host, time: str, *, told: bool = True, **changes: object) -> str:
    """Deploy a release whose command can't be undone; ``told``: on the host that ran it."""
    release = create(host.layout, time, command="flask db upgrade", reversible=False, **changes)
    if told:
        record(host.layout, "command", release, seconds=1)
    prove(host, release)
    switch(host.layout, release)
    ask_at_the_front_door(host, release)
    retire(host.layout, BOUNDS)
    return release


@pytest.mark.parametrize("told", [True, False], ids=["ran here", "ran on another host"])
@pytest.mark.parametrize("asked", [True, False])
def test_rollback_across_an_irreversible_command_is_refused(
    host: Host, layout: Layout, told: bool, asked: bool
) -> None:
    old = deployed(host, OLD)
    new = migrated(host, NEW, told=told)
    assert irreversible_since(layout, old) == new
    with pytest.raises(Refused, match=old) as refused:
        find_rollback(layout, old if asked else "")
    [finding] = refused.value.findings
    assert named(finding) == ("irreversible-command", new)
    assert "-e flask_app_rollback_force=true" in finding.fix
    assert find_rollback(layout, old if asked else "", force=True).id == old


def test_rollback_is_not_refused_for_the_command_of_its_target(host: Host, layout: Layout) -> None:
    deployed(host, OLDER)
    migration = migrated(host, OLD)
    deployed(host, NEW)
    assert find_rollback(layout).id == migration
    assert irreversible_since(layout, migration) == ""


def test_a_release_works_with_its_own_command_before_going_live(host: Host, layout: Layout) -> None:
    deployed(host, OLD)
    new = prove(host, create(layout, NEW, command="flask db upgrade", reversible=False))
    record(layout, "command", new)
    assert find_rollback(layout, new).id == new


def test_rollback_over_two_releases_is_refused_for_a_command_in_between(host: Host, layout: Layout) -> None:
    oldest = deployed(host, OLDER)
    migration = migrated(host, OLD)
    deployed(host, NEW)
    with pytest.raises(Refused, match=oldest) as refused:
        find_rollback(layout, oldest)
    assert all_named(refused) == [("irreversible-command", migration)]


def test_a_command_counts_even_if_its_release_was_refused_later(host: Host, layout: Layout) -> None:
    old, live = deployed(host, OLDER), deployed(host, OLD)
    release = create(layout, NEW, command="flask db upgrade", reversible=False)
    record(layout, "command", release)
    with pytest.raises(GreenlightError):
        prove(host, release, Answer(500, "broken", 0.01))
    assert Releases(layout).live() == live
    with pytest.raises(Refused) as refused:
        find_rollback(layout, old)
    assert all_named(refused) == [("irreversible-command", release)]


def test_a_release_that_was_live_after_a_command_works_with_it(host: Host, layout: Layout) -> None:
    old = deployed(host, OLDER)
    migrated(host, OLD)
    assert gone_back(host, force=True) == old
    deployed(host, NEW)
    assert irreversible_since(layout, old) == ""
    assert gone_back(host) == old


def test_a_reversible_command_does_not_prevent_a_rollback(host: Host, layout: Layout) -> None:
    old = deployed(host, OLD)
    new = create(layout, NEW, command="flask db upgrade")
    record(layout, "command", new)
    switch(layout, prove(host, new))
    ask_at_the_front_door(host, new)
    assert find_rollback(layout).id == old


@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_moving_traffic_back_after_an_irreversible_command_asks_for_a_check(
    host: Host, layout: Layout, reversible: bool, first: bool
) -> None:
    if not first:
        deployed(host, OLD)
    new = prove(host, create(layout, NEW, command="flask db upgrade", reversible=reversible))
    switch(layout, new)
    host.front_door = None
    with pytest.raises(GreenlightError) as failed:
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert (IRREVERSIBLE in str(failed.value)) is (not reversible and not first)


def test_rolling_forward_again_is_not_refused_for_an_earlier_command(host: Host, layout: Layout) -> None:
    deployed(host, OLDER)
    migration = migrated(host, OLD)
    new = deployed(host, NEW)
    assert gone_back(host) == migration
    assert find_rollback(layout).id == new


def test_without_a_command_nothing_is_irreversible(host: Host, layout: Layout) -> None:
    old = deployed(host, OLD)
    deployed(host, NEW, command="", reversible=False)
    assert find_rollback(layout).id == old


# The ledger


def events(layout: Layout) -> list[tuple[object, object]]:
    return [(entry["event"], entry["release"]) for entry in entries(layout.ledger)]


def test_the_ledger_records_a_deploy_once(host: Host, layout: Layout) -> None:
    old = deployed(host, OLD)
    for _ in range(2):
        host.front_door = healthy(old)
        check_front_door(layout, contract(old), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    host.front_door = healthy(new)
    check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    retire(layout, BOUNDS)
    assert events(layout) == [("live", old), ("live", new), ("retired", old)]
    live = entries(layout.ledger)[1]
    assert (live["revision"], live["environment"], live["by"], live["previous"]) == ("r1", "staging", "tester", old)
    assert json.loads(str(live["health"]))["env"] == "staging"
    assert isinstance(live["start_seconds"], float)


def test_the_ledger_records_what_was_refused_and_why(host: Host, layout: Layout) -> None:
    old = go_live(host, OLD)
    release = create(layout, NEW)
    with pytest.raises(GreenlightError):
        prove(host, release, Answer(500, f"key {SECRETS['SECRET_KEY']}", 0.01))
    refused = entries(layout.ledger)[-1]
    assert (refused["event"], refused["release"]) == ("refused", release)
    assert refused["failures"] == "HTTP status: expected 200, got 500 key ********"
    assert Releases(layout).live() == old


def test_the_ledger_records_which_release_lost_and_regained_the_traffic(host: Host, layout: Layout) -> None:
    old = deployed(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    host.front_door = None
    with pytest.raises(GreenlightError):
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert Releases(layout).live() == old
    # It has been live all the time, so it isn't said to be so again.
    assert events(layout) == [("live", old), ("taken back", new)]
    taken = entries(layout.ledger)[-1]
    assert taken["previous"] == old
    assert "health answer" in str(taken["failures"])


def test_the_ledger_records_that_no_release_got_the_traffic_back(host: Host, layout: Layout) -> None:
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    with pytest.raises(GreenlightError):
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert events(layout) == [("taken back", new)]
    assert entries(layout.ledger)[0]["previous"] == ""


def test_going_live_is_recorded_once_even_after_a_killed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for change in itertools.count(1):
        host = installed(tmp_path / f"{change}", monkeypatch.setattr)
        old = deployed(host, OLD)
        new = prove(host, create(host.layout, NEW))
        switch(host.layout, new)
        ended = not killed(change, lambda host=host, new=new: ask_at_the_front_door(host, new))  # type: ignore[misc]
        ask_at_the_front_door(host, new)
        assert events(host.layout) == [("live", old), ("live", new)], f"change {change}"
        assert not host.layout.trial.exists()
        if ended:
            break
    assert change > 2


def test_a_release_that_is_live_again_is_recorded_again(host: Host, layout: Layout) -> None:
    old, new = deployed(host, OLD), deployed(host, NEW)
    assert gone_back(host) == old
    assert events(layout) == [("live", old), ("live", new), ("retired", old), ("live", old), ("retired", new)]


def test_the_next_run_records_a_release_stopped_by_a_killed_run(host: Host, layout: Layout) -> None:
    old = deployed(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    ask_at_the_front_door(host, new)
    stopped = [layout.socket_unit(old), layout.service_unit(old)]
    _systemd.disable(layout, stopped)
    _systemd.stop(stopped, 1)
    assert superfluous(layout) == []
    for _ in range(2):
        assert retire(layout, BOUNDS) == {}
        assert events(layout) == [("live", old), ("live", new), ("retired", old)]
    assert "seconds" not in entries(layout.ledger)[-1]


def test_only_releases_that_were_live_are_recorded_as_retired(host: Host, layout: Layout) -> None:
    for release in (older := create(layout, OLDER), old := create(layout, OLD)):
        append(layout.ledger, {"event": "live", "release": release})
    gone = f"{OLDER}-00000000"
    append(layout.ledger, {"event": "live", "release": gone})  # and pruned since
    never = prove(host, create(layout, "20261121T094425Z"))
    new = deployed(host, NEW)
    assert host.running() == units(new)
    assert events(layout)[3:] == [("live", new), ("retired", older), ("retired", old), ("retired", gone)]
    assert never not in layout.ledger.read_text()


def test_the_ledger_records_how_long_a_release_took_to_retire(host: Host, layout: Layout) -> None:
    deployed(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    (seconds,) = retired(layout).values()
    assert entries(layout.ledger)[-1]["seconds"] == seconds


def test_without_a_live_release_no_retirement_is_recorded(host: Host, layout: Layout) -> None:
    release = deployed(host, NEW)
    layout.live_socket.unlink()
    retire(layout, BOUNDS)
    assert events(layout) == [("live", release)]


@pytest.mark.parametrize("reversible", [True, False])
def test_the_ledger_marks_only_irreversible_releases(host: Host, layout: Layout, reversible: bool) -> None:
    deployed(host, NEW, command="flask db upgrade", reversible=reversible)
    (live,) = entries(layout.ledger)
    assert live.get("reversible", "absent") == ("absent" if reversible else False)


# A full disk


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("full", ["mark", "append"])
def test_a_full_disk_does_not_hide_why_a_candidate_was_refused(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    old = deployed(host, OLD)
    release = create(layout, NEW)
    monkeypatch.setattr(Releases if full == "mark" else history, full, no_space)
    with pytest.raises(Refused) as failed:
        prove(host, release, Answer(500, "broken", 0.01))
    assert all_named(failed) == [("candidate-failed", release)]
    assert "HTTP status: expected 200, got 500 broken" in str(failed.value)
    assert old in failed.value.closing[0]
    assert "No space left on device" in failed.value.closing[-1]
    assert failed.value.details["failures"] == "HTTP status: expected 200, got 500 broken"
    assert host.running() == units(old)


def test_a_ledger_that_is_none_does_not_hide_why_a_candidate_was_refused(host: Host, layout: Layout) -> None:
    release = create(layout, NEW)
    layout.ledger.mkdir()
    with pytest.raises(Refused) as failed:
        prove(host, release, Answer(500, "broken", 0.01))
    assert all_named(failed) == [("candidate-failed", release)]
    assert str(layout.ledger) in failed.value.closing[-1]
    assert "\n" not in failed.value.closing[-1]


@pytest.mark.parametrize("full", ["mark", "append"])
def test_a_full_disk_does_not_keep_traffic_on_a_broken_release(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    old = deployed(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    host.front_door = Answer(500, "broken", 0.01)
    monkeypatch.setattr(Releases if full == "mark" else history, full, no_space)
    with pytest.raises(Refused) as failed:
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    assert all_named(failed) == [("front-door-failed", new)]
    assert "HTTP status: expected 200, got 500 broken" in str(failed.value)
    assert old in failed.value.closing[0]
    assert "No space left on device" in failed.value.closing[-1]
    assert host.running() == host.enabled() == units(old)
    assert serves(layout, old)
    assert not layout.trial.exists()


# Systemd's answers


@pytest.mark.parametrize(
    ("shown", "active", "running"),
    [
        ("ActiveState=active\nSubState=running\n", True, True),
        ("ActiveState=activating\nSubState=start\n", False, True),
        ("ActiveState=activating\nSubState=auto-restart\n", False, False),
        ("ActiveState=deactivating\nSubState=stop-sigterm\n", False, True),
        ("ActiveState=failed\nSubState=failed\n", False, False),
        ("ActiveState=inactive\nSubState=dead\n", False, False),
        ("", False, False),
        ("ActiveState=\nNRestarts=\nMainPID=[not set]\n".replace("[not set]", ""), False, False),
    ],
)
def test_a_units_state_is_read(monkeypatch: pytest.MonkeyPatch, shown: str, active: bool, running: bool) -> None:
    monkeypatch.setattr(_systemd, "run", lambda argv, **_: _command.Finished(0, shown, ""))
    found = _systemd.state("shop@x.service")
    assert (found.is_active, found.is_running, found.restarts) == (active, running, 0)


MASTER = """\
Traceback (most recent call last):
  File "/srv/shop/venv/bin/gunicorn", line 8, in <module>
    sys.exit(run())

  File "arbiter.py", line 200, in run
    self.manage_workers()
gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>
"""
WORKER = """\
[1] [INFO] Starting gunicorn 27.0.1
Traceback (most recent call last):
  File "wsgi.py", line 1, in <module>
    import absent
ModuleNotFoundError: No module named 'absent'
[1] [ERROR] Shutting down: Master
"""


@pytest.mark.parametrize(
    "between", ["", "During handling of the above exception, another exception occurred:\n\n"], ids=["alone", "chained"]
)
def test_the_journal_excerpt_is_the_traceback_of_the_worker(monkeypatch: pytest.MonkeyPatch, between: str) -> None:
    monkeypatch.setattr(_systemd, "run", lambda argv, **_: _command.Finished(0, WORKER + between + MASTER, ""))
    assert _systemd.journal("shop@x.service") == WORKER.splitlines()
    assert _systemd.journal("shop@x.service", lines=2) == WORKER.splitlines()[-2:]


def test_a_failed_systemctl_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_command, "run", lambda argv, **_: _command.Finished(1, "", "Failed to connect to bus\n"))
    with pytest.raises(GreenlightError, match=r"(?s)daemon-reload failed \(exit code 1\):\nFailed to connect to bus"):
        _systemd.reload_units()


# What a critic found


def test_one_slow_response_at_the_front_door_does_not_fail_it(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_live(host, OLD)
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    answers = [None, healthy(new), healthy(new), healthy(new)]

    def get(target: Target, seconds: float, worth: object) -> Answer:
        answer = answers.pop(0)
        if answer is None:
            time.sleep(seconds)
            raise NoAnswer("no complete answer in time")
        return answer

    monkeypatch.setattr(_http, "get", get)
    patience = replace(PATIENCE, successes=3, probes=5)
    check_front_door(layout, contract(new), patience, PAGE, BOUNDS, url=PUBLIC)
    assert Releases(layout).live() == new


def test_a_release_that_was_live_before_is_refused_but_stays_good(host: Host, layout: Layout) -> None:
    """What it suffers from now, such as a database that is down, may be over tomorrow."""
    old = deployed(host, OLD)
    deployed(host, NEW)
    with pytest.raises(Refused) as refused:
        prove(host, old, Answer(500, "the database is down", 0.01))
    assert all_named(refused) == [("candidate-failed", old)]
    assert find_rollback(layout).id == old
    assert entries(layout.ledger)[-1]["event"] == "refused"


def test_a_foreign_unit_with_the_name_of_the_app_is_not_pruned(host: Host, layout: Layout) -> None:
    go_live(host, NEW)
    theirs = [layout.units / name for name in ("shop@.service", "shop@celery.service", "shop@celery.service.d")]
    for path in theirs:
        path.write_text("")
    assert prunable(layout, 1) == []
    prune(layout, 1)
    assert all(path.exists() for path in theirs)


def test_a_release_restarted_long_ago_can_be_live_again(host: Host, layout: Layout) -> None:
    go_live(host, OLD)
    host.restarts = 1
    new = prove(host, create(layout, NEW))
    switch(layout, new)
    host.front_door = healthy(new)
    check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)
    host.restarts = 2
    layout.trial.write_text(new)
    with pytest.raises(Refused, match="process: expected running"):
        check_front_door(layout, contract(new), PATIENCE, PAGE, BOUNDS, url=PUBLIC)


def test_the_ledger_names_who_rolled_back_not_who_created_the_release(host: Host, layout: Layout) -> None:
    old = deployed(host, OLD)
    deployed(host, NEW)
    take(layout, RUN, 60)
    gone_back(host)
    last = [entry for entry in entries(layout.ledger) if entry["event"] == "live"][-1]
    assert (last["release"], last["by"]) == (old, "carol@desk")


def test_an_unfinished_rollback_continues_to_its_target(host: Host, layout: Layout) -> None:
    old = deployed(host, OLD)
    new = deployed(host, NEW)
    for step in ("begun", "switched", "asked"):
        assert find_rollback(layout).id == old, step
        if step == "begun":
            switch(layout, prove(host, old))
        if step == "switched":
            ask_at_the_front_door(host, old)
    retire(layout, BOUNDS)
    prune(layout, 5)
    assert find_rollback(layout).id == old
    ended(layout)
    assert find_rollback(layout).id == new


def test_an_unfinished_rollback_does_not_affect_later_deploys(host: Host, layout: Layout) -> None:
    old = deployed(host, OLDER)
    deployed(host, OLD)
    assert find_rollback(layout).id == old
    middle = Releases(layout).live()
    deployed(host, NEW)
    assert find_rollback(layout).id == middle


def test_a_named_release_overrides_an_unfinished_rollback(host: Host, layout: Layout) -> None:
    older, _, live = deployed(host, OLDER), deployed(host, OLD), deployed(host, NEW)
    assert find_rollback(layout).id != older
    assert find_rollback(layout, older).id == older
    assert Releases(layout).live() == live


def test_rollback_in_check_mode_starts_none(host: Host, layout: Layout) -> None:
    deployed(host, OLD)
    deployed(host, NEW)
    find_rollback(layout, dry=True)
    assert not layout.rollback.exists()
