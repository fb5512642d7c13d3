# SPDX-License-Identifier: GPL-3.0-or-later
"""The release protocol: claim, prove, switch, retire, prune. Each step looks at the host and mends it.

The order is the promise: a candidate is proved on its own socket while the live release serves; the switch is one
rename; the old release serves what it has accepted and is only then stopped (measured in the design's facts).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypedDict

from ansible_collections.greenlight.flask.plugins.module_utils import _systemd as systemd
from ansible_collections.greenlight.flask.plugins.module_utils._contract import Contract, Patience, Proof, prove
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._files import (
    Damaged,
    discard,
    leads,
    link,
    occupied,
    readable,
    remove,
    remove_unfinished,
    write,
)
from ansible_collections.greenlight.flask.plugins.module_utils._hints import hints
from ansible_collections.greenlight.flask.plugins.module_utils._history import (
    attempted,
    irreversible_since,
    live_once,
    proof_of,
    record,
    told_live,
)
from ansible_collections.greenlight.flask.plugins.module_utils._http import Answer, Target, get
from ansible_collections.greenlight.flask.plugins.module_utils._inspection import (
    INSPECTION,
    UNASKED,
    Heard,
    Question,
    Seen,
    hear,
)
from ansible_collections.greenlight.flask.plugins.module_utils._layout import RELEASE_ID, Layout, release_of
from ansible_collections.greenlight.flask.plugins.module_utils._masking import mask
from ansible_collections.greenlight.flask.plugins.module_utils._release import (
    BAD,
    PROVED,
    Release,
    Releases,
    noted_release,
)
from ansible_collections.greenlight.flask.plugins.module_utils._state import (
    KEY_BYTES,
    directories,
    faults,
    is_socket,
    lost_stamp,
    rehearsal_word,
    stamped,
)


def claim(layout: Layout, environment: str, *, dry: bool = False) -> list[str]:
    """Take the app's name on the host for this environment, and make the app's directories; return what was not as it
    must be.

    Also repair what somebody damaged, as far as nothing is lost by that. The rest stops a deploy before this step.

    Raises:
        GreenlightError: the host is not stamped, and somebody else has the app's name; or its stamp is damaged.
    """
    found = faults(layout, environment)
    for fault in () if dry else found:
        if fault.repair:
            fault.repair()
        elif fault.path == layout.environment_id:
            raise GreenlightError(f"{fault} {fault.cure}")
    return [str(fault.path) for fault in found if fault.repair]


def other_environment(layout: Layout, environment: str) -> str:
    """Say that this host is stamped with another environment than ``environment``, or nothing: then it isn't.

    Raises:
        Damaged: its stamp can't be read.
    """
    stamp = stamped(layout)
    if stamp in (None, environment):
        return ""
    return (
        f"This host is stamped {stamp} for {layout.app}, and flask_app_environment is {environment}: the wrong"
        " inventory, or the wrong host in it?"
    )


def refuse_other_environment(layout: Layout, environment: str) -> None:
    """Refuse to work on a host of another environment, or of nobody knows which.

    Raises:
        GreenlightError: it is one.
    """
    other = other_environment(layout, environment)
    if other:
        raise GreenlightError(f"{other} Nothing was changed. The stamp is {layout.environment_id}.")
    lost = lost_stamp(layout)
    if lost:
        raise lost


def refuse_damage(layout: Layout, environment: str) -> None:
    """Refuse to work with state that a deploy refuses, too; that of the site apart, which nobody publishes here.

    Raises:
        GreenlightError: there is some that only people can repair.
    """
    found = [f"{fault} {fault.cure}" for fault in faults(layout, environment, publishes=False) if not fault.repair]
    if found:
        raise GreenlightError("\n".join([*found, "Nothing was changed."]))


def key(layout: Layout) -> bytes:
    """Return the host's key for keyed digests.

    Raises:
        Damaged: there is none.
    """
    text = (readable(layout.digest_key) or "").strip()
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != KEY_BYTES:
        raise Damaged(layout.digest_key, "it holds no key", "Deploy with site.yml, which makes another.")
    return found


@dataclass(frozen=True)
class Bounds:
    """How long the steps of a release may take, in seconds.

    Args:
        stop_seconds: what systemd gives a release to finish its requests (TimeoutStopSec=).
        drain_seconds: how long the queue of a retiring socket may take to empty.
    """

    stop_seconds: float = 45
    drain_seconds: float = 30


def serves(layout: Layout, release: str) -> bool:
    """Say whether ``release`` is live in every sense: proved, linked, running, open, and started again by a reboot.

    A proof that can't be read is none: nobody knows by which page it was proved, and by whom.
    """
    units = (layout.socket_unit(release), layout.service_unit(release))
    found = Releases(layout).get(release)
    return (
        bool(found and proof_of(layout, release))
        and leads(layout.live_socket, str(layout.socket(release)))
        and leads(layout.live, f"releases/{release}")
        and is_socket(layout.socket(release))
        and all(systemd.state(unit).is_active for unit in units)
        and all(systemd.starts_at_boot(layout, unit) for unit in units)
    )


#: With the host's own word in this header Nginx leads to the candidate: the site's configuration says so.
REHEARSAL = "X-Greenlight-Rehearsal"
#: With the word in this one it serves during maintenance, too.
FRONT_DOOR = "X-Greenlight-Front-Door"
#: In this one Nginx tells Gunicorn, which believes nobody else, below which path the app is served.
PREFIX = "SCRIPT_NAME"


@dataclass(frozen=True)
class Page:
    """The page to request, and the site that it belongs to.

    Args:
        host: the site's public name.
        path: of the health page, as the app knows it.
        other_path: the page that is asked for in its place where an app has no page at ``path``; empty: none.
        scheme: ``http`` or ``https``, whichever visitors use.
        prefix: path of the site below which the app is served; empty: all of it.
    """

    host: str
    path: str
    other_path: str = ""
    scheme: str = "http"
    prefix: str = ""

    def at(self, path: str) -> Page:
        return replace(self, path=path)

    def behind_nginx(self, address: str) -> Target:
        """Ask an app on its socket as Nginx does for a visitor."""
        forwarded = {"X-Forwarded-Proto": self.scheme, "X-Forwarded-Host": self.host, "X-Forwarded-For": "127.0.0.1"}
        place = {PREFIX: self.prefix} if self.prefix else {}
        return Target(address, self.host, self.prefix + self.path, {**forwarded, **place})

    def through_nginx(self, url: str, header: str, word: str) -> Target:
        """Ask Nginx on this host; the word in this header says that it is us, who may name the visitors' scheme."""
        return Target(url, self.host, self.prefix + self.path, {header: word, "X-Forwarded-Proto": self.scheme})


class Terms(TypedDict):
    """What a release is proved by: the arguments that both proofs take."""

    contract: Contract
    patience: Patience
    page: Page
    bounds: Bounds
    question: Question


def terms(params: Mapping[str, Any]) -> Terms:
    """Make them of a module's parameters, see :data:`._options.PROOF`."""
    return Terms(
        contract=Contract(**params["contract"]),
        patience=Patience(**params["patience"]),
        page=Page(**params["page"]),
        bounds=Bounds(**params["bounds"]),
        question=Question(**params["question"]),
    )


@dataclass(frozen=True)
class Proved:
    """How a release was proved.

    Args:
        proof: of its pages; the answer is masked.
        path: of the page that was asked for.
        proved_by: of ``environment`` and ``debug`` who says so.
        seen: what the app says of itself; None where it wasn't asked.
    """

    proof: Proof
    path: str
    proved_by: Mapping[str, Sequence[str]]
    seen: Seen | None = None


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
    """Start ``release``, prove it on its own socket, by what its workers report, and through Nginx.

    It is marked proved, or stopped and marked bad. A live release that doesn't keep its contract is left running: it is
    all the site has.

    Args:
        url: where Nginx serves the site on this host; empty where there is nothing to rehearse.
        question: what the workers are asked.

    Raises:
        GreenlightError: not proved; the text has the failing assertions, the details answer and journal, masked.
    """
    releases = Releases(layout)
    damage = releases.fault(release)
    if damage:
        raise GreenlightError(f"release {release} isn't whole: {damage}")
    word = rehearsal_word(layout) if url else ""
    socket, service = layout.socket_unit(release), layout.service_unit(release)
    systemd.reload_units()
    if release in systemd.loaded(layout):
        # To systemd, a socket is active also when somebody has removed it: only a new start makes it again.
        reachable = is_socket(layout.socket(release))
        if not (reachable and systemd.state(service).is_active):
            systemd.stop([socket, service], bounds.stop_seconds)
        if not reachable:
            remove(layout.socket(release))
    restarts = systemd.state(service).restarts
    started = systemd.start([socket, service], patience.start_seconds)

    def alive() -> bool:
        return started and _runs_since(service, restarts)

    def ask(target: Target, contract: Contract, *, again: bool = False) -> Proof:
        return prove(lambda seconds, worth: get(target, seconds, worth), contract, patience, alive=alive, started=again)

    def listen(said: Sequence[str]) -> Heard:
        return hear(layout, release, question, contract, said, seconds=patience.start_seconds, alive=alive)

    where = page.behind_nginx(str(layout.socket(release)))
    proof = ask(where, contract)
    has_no_page = bool(page.other_path and proof.answer and proof.answer.status == HTTPStatus.NOT_FOUND)
    heard = Heard()
    if proof.answer and (has_no_page or contract.accepts_status(proof.answer)):
        heard = listen([] if has_no_page else contract.said(proof.answer))
    if has_no_page and not heard.failures:
        # The workers prove what the page would; now any page must answer.
        page, contract = page.at(page.other_path), contract.without_page()
        where = page.behind_nginx(str(layout.socket(release)))
        proof = _named(ask(where, contract, again=True))
    elif heard.failures:
        proof = replace(proof, kept=False, failures=[*proof.failures, *heard.failures])
    if proof.kept and url:
        target = page.through_nginx(url, REHEARSAL, word)
        link(layout.candidate_socket, str(layout.socket(release)))
        try:
            rehearsal = ask(target, contract, again=True)
        finally:
            discard(layout.candidate_socket)
        where = target
        proof = replace(proof, seconds=proof.seconds + rehearsal.seconds) if rehearsal.kept else rehearsal
    if not proof.kept:
        raise _refused(layout, release, proof, where, journal=heard.journal, bounds=bounds)
    answer = _masked(layout, release, proof.answer) if proof.answer else None
    fact = {
        "health": answer.body if answer else "",
        "path": page.path,
        "proved_by": {name: list(who) for name, who in heard.proved_by.items()},
        "start_seconds": round(proof.first_answer_seconds, 2),
        "candidate_seconds": round(proof.seconds, 2),
        "restarts": restarts,
    }
    releases.mark(release, PROVED, fact)
    return Proved(replace(proof, answer=answer), page.path, heard.proved_by, heard.seen)


def _named(proof: Proof) -> Proof:
    """Say of a page that was only asked for because there is no health page which variable names another."""
    fix = "name a page that answers 200 in flask_app_health_path"
    return replace(proof, failures=[replace(failure, fix=failure.fix or fix) for failure in proof.failures])


def _refused(
    layout: Layout, release: str, proof: Proof, where: Target, *, journal: str, bounds: Bounds
) -> GreenlightError:
    """Stop a candidate that was not proved and mark it bad; return the error that says why."""
    service = layout.service_unit(release)
    report = _evidence(layout, release, proof)
    report["journal"] = journal or report["journal"]
    report["hints"] = hints(journal.splitlines(), layout.app) or report["hints"]
    headline = _with_hints(f"release {release} was not proved on {where}: {report['failures']}", report)
    live = Releases(layout).live()
    if live == release:
        return GreenlightError(f"{headline}\nIt is the live release, so it was left running.", **report)
    systemd.stop([layout.socket_unit(release), service], bounds.stop_seconds)
    traffic = f"Traffic stays with {live}." if live else "There is no live release: the site answers 503."
    kept = f"The candidate is stopped and kept for inspection: journalctl -u {service}"
    return GreenlightError(
        "\n".join([headline, traffic, kept, *_condemn(layout, release, "refused", report)]), **report
    )


def _runs_since(service: str, restarts: int) -> bool:
    """Say whether the service runs and systemd had to start it again no more than ``restarts`` times."""
    now = systemd.state(service)
    return now.is_running and now.restarts <= restarts


def _condemn(layout: Layout, release: str, event: str, report: dict[str, object], **facts: object) -> list[str]:
    """Mark a release bad and tell the ledger; return what there is to say of that.

    One that was live before, with success, is not marked: what is wrong now, such as a database that is down, may be
    right again tomorrow, and it must be there to go back to.
    """

    def write_down() -> None:
        if release not in told_live(layout):
            Releases(layout).mark(release, BAD, report)
        record(layout, event, release, failures=report["failures"], **facts)

    return attempted(write_down)


def _masked(layout: Layout, release: str, answer: Answer) -> Answer:
    """An answer as it may be shown: an app may repeat a secret even where it is well."""
    return replace(answer, body=mask(answer.body, Releases(layout).secrets(release)))


def _evidence(layout: Layout, release: str, proof: Proof) -> dict[str, object]:
    """Why a proof failed, secrets masked: the assertions, the HTTP answer, what the journal ends with."""
    secret_values = Releases(layout).secrets(release)
    unit = layout.service_unit(release)
    journal = mask("\n".join(systemd.journal(unit, systemd.JOURNAL_LINES)), secret_values).splitlines()
    answer = proof.answer
    # Masked before it is cut: half a secret is no longer found, and still tells half of it.
    failures = [replace(failure, got=mask(failure.got, secret_values)) for failure in proof.failures]
    body = mask(answer.body, secret_values) if answer else ""
    return {
        "failures": "; ".join(map(str, failures)),
        "answer": f"HTTP {answer.status} {body.strip()[:500]}" if answer else "none",
        "journal": "\n".join(journal[-systemd.SHOWN_LINES :]),
        "hints": hints([*journal, *systemd.memory_events(unit)], layout.app),
    }


def _with_hints(headline: str, report: dict[str, object]) -> str:
    found = report["hints"]
    return "\n".join([headline, *found]) if isinstance(found, list) else headline


def switch(layout: Layout, release: str) -> str:
    """Give ``release`` the traffic; return the id of the release that had it before, or an empty text.

    Raises:
        GreenlightError: it was never proved, or is bad.
    """
    releases = Releases(layout)
    found = releases.get(release)
    if found is None or found.bad or not found.proved:
        raise GreenlightError(f"release {release} was not proved, so it gets no traffic; deploy again")
    before = releases.live()
    if noted_release(layout.rollback) != release:
        discard(layout.rollback)
    systemd.enable(layout, [layout.socket_unit(release), layout.service_unit(release)])
    if before and before != release:
        link(layout.previous, f"releases/{before}")
    if before != release:
        write(layout.trial, release)
    link(layout.live_socket, str(layout.socket(release)))
    link(layout.live, f"releases/{release}")
    return before if before != release else ""


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
    """Prove the live release once more, as a user reaches it and as its workers report it; answers are masked.

    A release that was switched to and not yet asked is on trial, also when the run that switched was killed before it
    asked: if it fails, the traffic goes back to the release that had it before. One that passed earlier stays, for
    what is wrong now is not the deploy's doing. With ``dry`` nothing is written or moved.

    Raises:
        GreenlightError: the contract is broken at the front door.
    """
    release = contract.release
    on_trial = not dry and noted_release(layout.trial) == release
    service = layout.service_unit(release)
    proved = proof_of(layout, release)
    # As often as systemd had started it again when it was proved: a release may have lived long before.
    restarts = proved.get("restarts", 0)
    if page.other_path and proved.get("path") == page.other_path:
        page, contract = page.at(page.other_path), contract.without_page()
    try:
        word = rehearsal_word(layout)
    except Damaged:
        if not dry:  # in check mode, the claim that makes it anew has made nothing
            raise
        word = ""
    target = page.through_nginx(url, FRONT_DOOR, word)

    def alive() -> bool:
        return not on_trial or _runs_since(service, restarts)

    proof = prove(lambda seconds, worth: get(target, seconds, worth), contract, patience, alive=alive, started=True)
    heard = Heard()
    if proof.kept and proof.answer:
        imported = [name for name, who in proved.get("proved_by", {}).items() if INSPECTION in who]
        said = contract.said(proof.answer)
        seconds = patience.start_seconds
        heard = hear(layout, release, question, contract, said, seconds=seconds, alive=alive, imported=imported)
    if proof.kept and proof.answer and not heard.failures:
        if not dry:
            # The ledger decides, not the trial: a run may have been killed in between, or the ledger lost.
            if told_live(layout)[-1:] != [release]:
                record(layout, "live", release, previous=Releases(layout).previous())
            discard(layout.trial)
        answer = _masked(layout, release, proof.answer)
        return Proved(replace(proof, answer=answer), page.path, heard.proved_by, heard.seen)
    report = _evidence(layout, release, replace(proof, failures=[*proof.failures, *heard.failures]))
    text = _with_hints(f"the front door {target} does not lead to release {release}: {report['failures']}", report)
    if on_trial:
        text += "\n" + "\n".join(_switch_back(layout, release, report, bounds))
    raise GreenlightError(text, **report)


def _switch_back(layout: Layout, release: str, report: dict[str, object], bounds: Bounds) -> list[str]:
    """Take the traffic from ``release``, mark it bad and stop it; return what became of it, in sentences.

    Where no earlier release runs, the link is removed, so that Nginx answers 503 instead of a release in doubt.
    """
    releases = Releases(layout)
    previous = releases.previous()
    if previous and systemd.state(layout.socket_unit(previous)).is_active:
        link(layout.live_socket, str(layout.socket(previous)))
        link(layout.live, f"releases/{previous}")
        discard(layout.previous)
        said = [f"Traffic is back at {previous}."]
    else:
        previous = ""
        discard(layout.live_socket)
        discard(layout.live)
        said = ["No earlier release runs: the site answers 503."]
    found = releases.get(release)
    if previous and found and not found.reversible:
        said.append("The release command of the failed one can't be undone: look whether the earlier one bears it.")
    said += _condemn(layout, release, "taken back", report, previous=previous)
    discard(layout.rollback)
    discard(layout.trial)
    _stop_release(layout, release, bounds)
    return said


def rollback_target(layout: Layout, wanted: str = "", *, force: bool = False, dry: bool = False) -> Release:
    """Return the release to go back to: ``wanted``, or the one that was live before the live one.

    Which was live before says the link to the previous release, and where it leads nowhere good, the ledger; times
    and names are never asked. A rollback that was begun and not ended goes on to the release it was begun for, even if
    that has the traffic already: from there, "the one before" would be the one that was fled.

    Args:
        force: also go back across a release command that can't be undone.
        dry: don't note that the rollback is begun.

    Raises:
        GreenlightError: there is none, or ``wanted`` is live, bad, half-made or was never proved; or a release command
            that can't be undone has run since it was live.
    """
    releases = Releases(layout)
    live = releases.live()
    begun = releases.get(noted_release(layout.rollback))
    if begun and wanted in ("", begun.id) and begun.proved and not begun.bad:
        return begun
    if wanted:
        found, damage = releases.look(wanted)
        why = f"{damage[0].path}: {damage[0].why}" if damage else ""
        faults = {
            "it is the live one": wanted == live,
            "this host has no release of that name": found is None and wanted not in releases.names(),
            f"it isn't whole ({why})": found is None,
            "it was found bad": bool(found and found.bad),
            "it was never proved": bool(found and not found.proved),
        }
        for fault, holds in faults.items():
            if holds:
                raise GreenlightError(f"flask_app_rollback_to is {wanted}: {fault}. {_choices(releases, live)}")
    for name in (wanted,) if wanted else (releases.previous(), *reversed(told_live(layout))):
        found = releases.get(name)
        if found and found.proved and not found.bad and name != live:
            across = irreversible_since(layout, found.id)
            if across and not force:
                raise GreenlightError(
                    f"release {found.id} was live before the release command of {across}, which can't be undone: the"
                    " old code may not fit the data any more. If it does: -e flask_app_rollback_force=true"
                )
            if not dry:
                write(layout.rollback, found.id)
            return found
    raise GreenlightError(f"{layout.releases} has no earlier good release. {_choices(releases, live)}")


def _choices(releases: Releases, live: str) -> str:
    good = [each.id for each in releases.all() if each.proved and not each.bad and each.id != live]
    if good:
        return f"Releases to go back to: {', '.join(good)}."
    damages = filter(None, map(releases.fault, releases.names()))
    lost = "".join(f" {damage.path}: {damage.why}." for damage in damages)
    return f"No release is kept that one could go back to.{lost and f' Not whole any more:{lost}'}"


def superfluous(layout: Layout) -> list[str]:
    """Return the releases other than the live one that run or would be started by a reboot."""
    return sorted((systemd.loaded(layout) | systemd.enabled(layout)) - {Releases(layout).live()})


def retire(layout: Layout, bounds: Bounds) -> dict[str, float]:
    """Stop every release but the live one, after its accepted requests; return the seconds for each.

    Without a live release nothing is stopped: whatever runs is of more use than nothing. Nor while the live one is on
    trial, for the one before it is the way back. A trial that can't be read may be the live one's.
    """
    live = Releases(layout).live()
    if not live or (os.path.lexists(layout.trial) and noted_release(layout.trial) in ("", live)):
        return {}
    seconds = {release: _stop_release(layout, release, bounds) for release in superfluous(layout)}
    # Asked of the ledger, not of this run: one that was killed may have stopped a release and not have told.
    for release in live_once(layout):
        facts = {"seconds": seconds[release]} if release in seconds else {}
        record(layout, "retired", release, **facts)
    return seconds


def _stop_release(layout: Layout, release: str, bounds: Bounds) -> float:
    """Let ``release`` serve what it has accepted, then stop it and keep it from starting again; return the seconds."""
    began = time.monotonic()
    socket, service = layout.socket_unit(release), layout.service_unit(release)
    systemd.wait_until_queue_is_empty(layout.socket(release), bounds.drain_seconds)
    systemd.disable(layout, [socket, service])
    systemd.stop([socket, service], bounds.stop_seconds)
    return round(time.monotonic() - began, 2)


def prunable(layout: Layout, keep: int) -> list[str]:
    """Return what nobody needs, as paths: releases beyond ``keep`` good ones and the newest bad one, their environment
    files and drop-ins, the sources and venvs that no kept release uses, the link to a candidate, and one to a previous
    release that is gone. Live and previous always stay. Where one of the app's directories is a link, that is nothing:
    what is there may be somebody else's."""
    if _leads_elsewhere(layout):
        return []
    releases = Releases(layout)
    found = releases.all()
    good = [release.id for release in found if release.proved and not release.bad]
    bad = [release.id for release in found if release.bad]
    kept = {releases.live(), releases.previous(), *good[max(len(good) - keep, 0) :], *bad[-1:]} - {""}
    used = {str(release.manifest.get(kind)) for release in found if release.id in kept for kind in ("source", "venv")}
    # By the links, too: the live release's manifest may be damaged.
    homes = [layout.release(name) / kind for name in kept for kind in ("source", "venv")]
    used |= {home.readlink().name for home in homes if home.is_symlink()}
    links = [layout.candidate_socket, *([] if releases.previous() else [layout.previous])]
    doomed: list[Path] = [path for path in links if os.path.lexists(path) and not occupied(path)]
    doomed += _entries_except(layout.releases, kept)
    parts = {path.name for name in kept for path in (layout.environment_file(name), layout.credentials(name))}
    doomed += _entries_except(layout.environment_files, parts)
    units = [path for path in layout.units.glob(f"{layout.app}@*") if RELEASE_ID.match(release_of(path.name))]
    doomed += sorted(path for path in units if release_of(path.name) not in kept)
    doomed += _entries_except(layout.sources, used) + _entries_except(layout.venvs, used)
    return [str(path) for path in doomed]


def _leads_elsewhere(layout: Layout) -> bool:
    return any(map(Path.is_symlink, directories(layout)))


def prune(layout: Layout, keep: int) -> list[str]:
    """Remove what :func:`prunable` names; return the paths."""
    doomed = prunable(layout, keep)
    if _leads_elsewhere(layout):
        return []
    releases = Releases(layout)
    for path in map(Path, doomed):
        if path.parent == layout.releases:
            releases.destroy(path.name)
        remove(path)
    places = [layout.sources, layout.venvs, layout.releases, layout.environment_files, layout.srv, layout.etc]
    places.append(layout.units)
    for release in releases.all():
        places += [layout.release(release.id), layout.drop_in(release.id).parent]
    for directory in places:
        remove_unfinished(directory)
    return doomed


def _entries_except(directory: Path, kept: set[str]) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.name not in kept) if directory.is_dir() else []
