# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a candidate and prove that it keeps its contract, before it gets traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base import http
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import discard, link, remove
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused, refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Target
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import Secrets
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Contract, Patience, Proof, prove
from ansible_collections.greenlight.flask.plugins.module_utils._proof.evidence import (
    evidence,
    mark_bad,
    masked,
    with_hints,
)
from ansible_collections.greenlight.flask.plugins.module_utils._proof.hints import hints
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import (
    UNASKED,
    AppReport,
    Known,
    Question,
    inspect_app,
)
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import REHEARSAL, Page
from ansible_collections.greenlight.flask.plugins.module_utils._proof.terms import Proved
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import is_socket, rehearsal_word
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import PROVED, Releases, damaged_release


def prove_candidate(
    layout: Layout,
    release: str,
    contract: Contract,
    patience: Patience,
    page: Page,
    *,
    bounds: Bounds,
    url: str = "",
    question: Question = UNASKED,
) -> Proved:
    """Start ``release`` and prove it on its own socket, with its workers' reports, and through Nginx.

    Mark it proved, or stop it and mark it bad. Leave a live release that breaks its contract running: the site has no
    other.

    Args:
        url: where Nginx serves the site on this host; empty if there is nothing to rehearse.
        question: what to check in the workers' reports.

    Raises:
        Refused: not proved; the text has the failed assertions, the details have answer and journal, masked.
    """
    releases = Releases(layout)
    found, damage = releases.look(release)
    if not found:
        raise damaged_release(release, damage[0])
    word, secrets = rehearsal_word(layout) if url else "", found.secrets
    restarts, alive = _start(layout, release, patience, bounds)
    asking = _Asking(layout, release, patience, question, Known(found.variables, secrets), alive)
    proof, app_report, page, contract = _prove_on_own_socket(asking, page, contract)
    where = page.behind_nginx(asking.socket)
    if proof.kept and url:
        where = page.through_nginx(url, REHEARSAL, word)
        proof = _rehearsed(layout, release, proof, lambda: asking.prove(where, contract, again=True))
    if not proof.kept:
        raise _refused(layout, release, proof, where, secrets, journal=app_report.journal, bounds=bounds)
    return _marked(layout, release, proof, app_report, secrets, path=page.path, restarts=restarts)


@dataclass(frozen=True)
class _Asking:
    """The arguments that all questions to a candidate share."""

    layout: Layout
    release: str
    patience: Patience
    question: Question
    known: Known
    alive: Callable[[], bool]

    @property
    def socket(self) -> str:
        return str(self.layout.socket(self.release))

    def prove(self, target: Target, contract: Contract, *, again: bool = False) -> Proof:
        """Probe a page; ``again`` means that the app has answered before."""
        return prove(
            lambda seconds, worth: http.get(target, seconds, worth),
            contract,
            self.patience,
            alive=self.alive,
            started=again,
        )

    def inspect_app(self, contract: Contract, said: Sequence[str]) -> AppReport:
        """Inspect the app for the facts that the page has not ``said``."""
        return inspect_app(
            self.layout,
            self.release,
            self.question,
            contract,
            said,
            known=self.known,
            seconds=self.patience.start_seconds,
            alive=self.alive,
        )


def _prove_on_own_socket(asking: _Asking, page: Page, contract: Contract) -> tuple[Proof, AppReport, Page, Contract]:
    """Prove a candidate on its own socket, without visitors; return also the page that was used and its contract.

    If it has no health page, its workers prove the same facts, and then any page must answer.
    """
    proof = asking.prove(page.behind_nginx(asking.socket), contract)
    has_no_page = bool(page.other_path and proof.answer and proof.answer.status == HTTPStatus.NOT_FOUND)
    app_report = AppReport()
    if proof.answer and (has_no_page or contract.accepts_status(proof.answer)):
        app_report = asking.inspect_app(contract, [] if has_no_page else contract.said(proof.answer))
    if app_report.failures:
        proof = replace(proof, kept=False, failures=[*proof.failures, *app_report.failures])
    elif has_no_page:
        page, contract = page.at(page.other_path), contract.without_page()
        proof = _named(asking.prove(page.behind_nginx(asking.socket), contract, again=True))
    return proof, app_report, page, contract


def _start(layout: Layout, release: str, patience: Patience, bounds: Bounds) -> tuple[int, Callable[[], bool]]:
    """Start a release; return its number of restarts so far, and a function that says whether it still runs."""
    serving = Releases(layout).processes_taking(release, requests=True)
    units, service = layout.units_of(release, serving), layout.service_unit(release)
    systemd.reload_units()
    if release in systemd.loaded(layout):
        # systemd calls a socket unit active even if its file was removed: only a new start creates it again.
        reachable = is_socket(layout.socket(release))
        if not (reachable and systemd.state(service).is_active):
            systemd.stop(units, bounds.stop_seconds)
        if not reachable:
            remove(layout.socket(release))
    restarts = systemd.state(service).restarts
    started = systemd.start(units, patience.start_seconds)
    return restarts, lambda: started and systemd.runs_since(service, restarts)


def _rehearsed(layout: Layout, release: str, proof: Proof, ask: Callable[[], Proof]) -> Proof:
    """Probe once more through Nginx, which reaches the candidate while the link exists."""
    link(layout.candidate_socket, str(layout.socket(release)))
    try:
        rehearsal = ask()
    finally:
        discard(layout.candidate_socket)
    return replace(proof, seconds=proof.seconds + rehearsal.seconds) if rehearsal.kept else rehearsal


def _named(proof: Proof) -> Proof:
    """Add the variable that names another page to failures of a page that replaced a missing health page."""
    fix = "set flask_app_health_path to a page that answers 200"
    return replace(proof, failures=[replace(failure, fix=failure.fix or fix) for failure in proof.failures])


def _marked(
    layout: Layout, release: str, proof: Proof, app_report: AppReport, secrets: Secrets, *, path: str, restarts: int
) -> Proved:
    answer = masked(proof.answer, secrets) if proof.answer else None
    fact = {
        "health": answer.body if answer else "",
        "path": path,
        "proved_by": {name: list(who) for name, who in app_report.proved_by.items()},
        "start_seconds": round(proof.first_answer_seconds, 2),
        "candidate_seconds": round(proof.seconds, 2),
        "restarts": restarts,
    }
    Releases(layout).mark(release, PROVED, fact)
    return Proved(replace(proof, answer=answer), path, app_report.proved_by, app_report.seen)


def _refused(
    layout: Layout, release: str, proof: Proof, where: Target, secrets: Secrets, *, journal: str, bounds: Bounds
) -> Refused:
    """Stop a candidate that was not proved and mark it bad; return the error."""
    service = layout.service_unit(release)
    report = evidence(layout, release, proof, secrets)
    report["journal"] = journal or report["journal"]
    report["hints"] = hints(journal.splitlines(), layout.app) or report["hints"]
    what = with_hints(f"Release {release} was not proved on {where}: {report['failures']}", report)

    def error(*closing: str) -> Refused:
        return refused("candidate-failed", release, what, closing=closing, details=report)

    live = Releases(layout).live()
    if live == release:
        return error("It is the live release, so it was left running.")
    systemd.stop(Releases(layout).units(release), bounds.stop_seconds)
    traffic = f"Traffic stays with {live}." if live else "There is no live release: the site answers 503."
    kept = f"The candidate is stopped and kept for inspection: journalctl -u {service}"
    return error(traffic, kept, *mark_bad(layout, release, "refused", report))
