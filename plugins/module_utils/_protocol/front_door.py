# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove the live release as users reach it, let it start work, and move the traffic back if that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB, Process
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base import http
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged, discard, link
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused, refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Target
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import Secrets
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import (
    Contract,
    Failure,
    Patience,
    Proof,
    prove,
)
from ansible_collections.greenlight.flask.plugins.module_utils._proof.evidence import (
    evidence,
    mark_bad,
    masked,
    with_hints,
)
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import (
    INSPECTION,
    UNASKED,
    AppReport,
    Known,
    Question,
    inspect_app,
)
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import FRONT_DOOR, Page
from ansible_collections.greenlight.flask.plugins.module_utils._proof.terms import Proved
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import proof_of, record, recorded_live
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import rehearsal_word
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases, noted_release

from .retire import stop_release
from .work import refuse_work, start_work

IRREVERSIBLE = "The failed release ran a release command that can't be undone."


def check_front_door(
    layout: Layout,
    contract: Contract,
    patience: Patience,
    page: Page,
    bounds: Bounds,
    *,
    url: str,
    question: Question = UNASKED,
    dry: bool = False,
) -> Proved:
    """Prove the live release once more, as users reach it and as its workers report it; answers are masked.

    After the switch, a release is on trial until it is proved here, even if the run that switched was killed. If it
    fails, the traffic moves back to the release that had it before. A release that passed earlier stays live, because
    the deploy did not cause the failure. Only a release that passes starts the processes that take work; if one of
    them doesn't run, the release fails. With ``dry``, write, move and start nothing.

    Raises:
        Refused: the contract is broken at the front door.
    """
    release = contract.release
    on_trial = not dry and noted_release(layout.trial) == release
    proved = proof_of(layout, release)
    # Number of restarts when it was proved: the release may have run for a long time since.
    restarts = proved.get("restarts", 0)
    page, contract = _as_proved(page, contract, proved)
    target = page.through_nginx(url, FRONT_DOOR, _word(layout, dry=dry))

    def alive() -> bool:
        return not on_trial or systemd.runs_since(layout.service_unit(release), restarts)

    proof = prove(
        lambda seconds, worth: http.get(target, seconds, worth), contract, patience, alive=alive, started=True
    )
    releases, seconds = Releases(layout), patience.start_seconds
    found = releases.get(release)
    secrets = found.secrets if found else releases.secrets(release)

    def known() -> Known:
        return Known(found.variables if found else releases.variables(release), secrets)

    reported = _app_report(layout, proof, proved, question, contract, known=known, seconds=seconds, alive=alive)
    passes = proof.kept and proof.answer and not reported.failures
    idle = start_work(layout, release, seconds) if passes and not dry else None
    if not (passes and proof.answer) or idle:
        proof = replace(proof, failures=[*proof.failures, *reported.failures])
        back = _Revert(bounds, undoes=not found or found.reversible) if on_trial else None
        raise _failed(layout, release, target, proof, secrets, idle=idle, back=back)
    if not dry:
        _passed(layout, release)
    return Proved(replace(proof, answer=masked(proof.answer, secrets)), page.path, reported.proved_by, reported.seen)


def _as_proved(page: Page, contract: Contract, proved: Mapping[str, Any]) -> tuple[Page, Contract]:
    """Return the page that proved the candidate, and what it must answer."""
    if page.other_path and proved.get("path") == page.other_path:
        return page.at(page.other_path), contract.without_page()
    return page, contract


@dataclass(frozen=True)
class _Revert:
    """How to move the traffic back.

    Args:
        bounds: for stopping the release that failed.
        undoes: whether the previous release still works with what the failed one's command did.
    """

    bounds: Bounds
    undoes: bool


def _failed(
    layout: Layout,
    release: str,
    target: Target,
    proof: Proof,
    secrets: Secrets,
    *,
    idle: Process | None,
    back: _Revert | None,
) -> Refused:
    """Return the error that says why; of a release on trial, move the traffic back first."""
    kind, what = "front-door-failed", f"The front door {target} does not reach release {release}"
    if idle:
        kind, what = "process-failed", f"A process of release {release} does not run"
        proof = replace(proof, failures=[Failure(f"process {idle.name}", "running", "not running")])
    report = evidence(layout, release, proof, secrets, idle or WEB)
    closing = _switch_back(layout, release, report, back) if back else ()
    return refused(kind, release, with_hints(f"{what}: {report['failures']}", report), closing=closing, details=report)


def _word(layout: Layout, *, dry: bool) -> str:
    try:
        return rehearsal_word(layout)
    except Damaged:
        if not dry:  # in check mode, the claim has not recreated it
            raise
        return ""


def _app_report(
    layout: Layout,
    proof: Proof,
    proved: Mapping[str, Any],
    question: Question,
    contract: Contract,
    *,
    known: Callable[[], Known],
    seconds: float,
    alive: Callable[[], bool],
) -> AppReport:
    """Inspect the app, if the page keeps the contract.

    Args:
        proved: what was recorded when the release was proved.
        known: reads the release's variables; raises Damaged if they can't be read.
    """
    if not (proof.kept and proof.answer):
        return AppReport()
    imported = [name for name, who in proved.get("proved_by", {}).items() if INSPECTION in who]
    said = contract.said(proof.answer)
    return inspect_app(
        layout,
        contract.release,
        question,
        contract,
        said,
        known=known(),
        seconds=seconds,
        alive=alive,
        imported=imported,
    )


def _passed(layout: Layout, release: str) -> None:
    """End the trial. Check the ledger, not the trial: a run may have been killed in between, or the ledger lost."""
    if recorded_live(layout)[-1:] != [release]:
        record(layout, "live", release, previous=Releases(layout).previous())
    discard(layout.trial)


def _switch_back(layout: Layout, release: str, report: dict[str, object], back: _Revert) -> list[str]:
    """Move the traffic away from ``release``, mark it bad and stop it; return sentences to report.

    If no earlier release runs, remove the link, so that Nginx answers 503 instead of serving a doubtful release.
    """
    releases = Releases(layout)
    previous = releases.previous()
    refuse_work(layout, release)  # before anything reports that the release was reverted
    if previous and systemd.state(layout.socket_unit(previous)).is_active:
        link(layout.live_socket, str(layout.socket(previous)))
        link(layout.live, f"releases/{previous}")
        discard(layout.previous)
        said = [f"Traffic is back on {previous}."]
    else:
        previous = ""
        discard(layout.live_socket)
        discard(layout.live)
        said = ["No earlier release runs: the site answers 503."]
    if previous and not back.undoes:
        said.append(f"{IRREVERSIBLE} Check that the earlier release still works with its changes.")
    said += mark_bad(layout, release, "taken back", report, previous=previous)
    discard(layout.rollback)
    discard(layout.trial)
    stop_release(layout, release, back.bounds)
    return said
