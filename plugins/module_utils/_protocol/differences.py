# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what a deploy would change on a host, and complete the deploy of a host on which nothing differs.

An unchanged host needs only this. On any other, the steps of the deploy look again at their own part, so nothing here
has to be right for them to be.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._build import git
from ansible_collections.greenlight.flask.plugins.module_utils._build.from_git import examined, named
from ansible_collections.greenlight.flask.plugins.module_utils._build.instance import provide_instance_folders
from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import Choice
from ansible_collections.greenlight.flask.plugins.module_utils._build.venv import venv_digest
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import Edge, Site
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Contract, Patience
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import Question
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import Page
from ansible_collections.greenlight.flask.plugins.module_utils._release.live import serves
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Code, Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.stamp import key
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Release, Releases

from .front_door import check_front_door
from .reach import Reach
from .survey import Host


@dataclass(frozen=True)
class Source:
    """The wanted source.

    Args:
        digest: of a directory on the controller; empty for a source from git.
        git_url: address of its repository.
        git_ref: branch, tag or commit.
        git_key_file: a private key on the host for SSH, or empty.
        subdirectory: the part of the commit that is the source.
        static: directories of the source that Nginx serves.
        revision: what the app reports as its revision; empty for the source's own.
    """

    digest: str
    git_url: str
    git_ref: str
    git_key_file: str
    subdirectory: str
    static: Sequence[str]
    revision: str


@dataclass(frozen=True)
class Desired:
    """The state that a deploy makes; without it, nothing is compared.

    Args:
        source: the code.
        requirements: the lock's path in the source.
        choice: which packages of the lock are installed.
        plan: the release without its code.
        contract: what the release must prove, without its id and revision.
        page: the page that proves it.
        url: where Nginx serves the site on this host.
        patience: how long and how often to probe.
        bounds: how long stopping a release takes at most.
        question: what the workers have to report.
    """

    source: Source
    requirements: str
    choice: Choice
    plan: Plan
    contract: Contract
    page: Page
    url: str
    patience: Patience
    bounds: Bounds
    question: Question


@dataclass(frozen=True)
class Difference:
    """What differs on a host.

    Args:
        parts: what a deploy has to change: ``packages``, ``account``, ``source``, ``venv``, ``release``, ``live``,
            ``site``, ``front-door`` and ``leftovers``, in the order of its steps. After one of the first four, those
            that depend on it were not looked at.
        live: a sentence that says which release is live and who proved it at the front door, if nothing differs.
        examined: what the controller examines of a source from git, if the host has it.
    """

    parts: Sequence[str]
    live: str = ""
    examined: dict[str, Any] = field(default_factory=dict)


def difference(layout: Layout, host: Host, desired: Desired, site: Site, *, dry: bool = False) -> Difference:
    """Compare the host with ``desired`` and, if nothing differs, check the front door; with ``dry``, repair nothing.

    What can't be read or doesn't answer counts as different: the step of that part finds the reason.
    """
    missing = [("packages", host.packages_missing), ("account", not host.claimed)]
    absent = [part for part, is_missing in missing if is_missing]
    if absent:
        return Difference(absent)
    code, seen = _code(layout, host, desired)
    if isinstance(code, str):
        return Difference([code], examined=seen)
    found = _release(layout, desired, code)
    parts = ["release"] if not found else [] if serves(layout, found.id) else ["live"]
    edge = Edge(layout)
    parts += ["site"] if _is_pending(edge, site) else []
    parts += ["leftovers"] if host.leftovers else []
    # The front door's own step must end a trial, because that may move the traffic back.
    parts += ["front-door"] if not parts and os.path.lexists(layout.trial) else []
    if parts or not found:
        return Difference(parts, examined=seen)
    if not dry:
        provide_instance_folders(layout, code.source, code.venv)
        try:
            edge.publish(site, Reach(layout, desired.page, desired.url, desired.patience.probe_seconds).watch)
        except GreenlightError:
            return Difference(["site"], examined=seen)
    contract = replace(desired.contract, release=found.id, revision=code.revision)
    try:
        proved = check_front_door(
            layout,
            contract,
            desired.patience,
            desired.page,
            desired.bounds,
            url=desired.url,
            question=desired.question,
            dry=dry,
        )
    except GreenlightError:
        return Difference(["front-door"], examined=seen)
    return Difference([], proved.sentence(contract, desired.page), seen)


def _code(layout: Layout, host: Host, desired: Desired) -> tuple[Code | str, dict[str, Any]]:
    """Return the wanted code, or which part of it the host lacks; and what the controller examines of it."""
    wanted, digest, revision, seen = desired.source, desired.source.digest, desired.source.digest[:12], {}
    if wanted.git_url:
        remote = git.Remote(wanted.git_url, wanted.git_key_file, layout.git)
        try:
            digest, revision = named(remote, wanted.git_ref, wanted.subdirectory)
            seen = examined(layout.sources / digest, wanted.static) if digest in host.sources else {}
        except GreenlightError:
            return "source", {}
    if digest not in host.sources:
        return "source", {}
    top = layout.sources / digest
    try:
        venv = venv_digest(host.interpreter, top, desired.requirements, desired.choice, digest)
    except GreenlightError:
        return "venv", seen
    return Code(digest, venv, wanted.revision or revision) if venv in host.venvs else "venv", seen


def _release(layout: Layout, desired: Desired, code: Code) -> Release | None:
    """Return the intact release of the wanted state, or None."""
    releases = Releases(layout)
    try:
        specification = desired.plan.with_code(code, layout.root)
        found = releases.find(specification.digest(key(layout)))
        return found if found and releases.is_intact(found, specification) else None
    except GreenlightError:
        return None


def _is_pending(edge: Edge, site: Site) -> bool:
    try:
        return any(edge.pending(site))
    except GreenlightError:
        return True
