# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether Nginx reaches the live release, before and after a change of the site.

If a release answers on its own socket but can't be reached, the site is at fault. If it doesn't answer, the site isn't:
the change must not wait for a broken app, which this deploy may fix.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base import http
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import Damaged
from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Answer, NoAnswer, Target
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import Secrets
from ansible_collections.greenlight.flask.plugins.module_utils._edge.nginx import Watch
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import INTERVAL_SECONDS, Failure
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import FRONT_DOOR, Page, Scheme
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import proof_of
from ansible_collections.greenlight.flask.plugins.module_utils._release.state import rehearsal_word
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases

#: Maximum number of requests for a page that doesn't answer correctly.
TRIES = 3
#: Seconds before the last request to Nginx: a slow host, or one that limits requests, gets a second chance.
PAUSE_SECONDS = 1


@dataclass(frozen=True)
class Reach:
    """Requests the live release as the deploy does at the front door.

    Args:
        page: the page of the new site.
        url: where Nginx will serve it on this host.
        seconds: limit for each request, including its retries.
    """

    layout: Layout
    page: Page
    url: str
    seconds: float = 5

    @property
    def watch(self) -> Watch:
        page = {"url": self.url, "host": self.page.host, "scheme": self.page.scheme, "prefix": self.page.prefix}
        return Watch(page, self.before, self.after)

    def before(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the live release is reached through the current site; empty if it isn't.

        Args:
            known: the page in the site's marker; missing parts are assumed to be the same as in the new site.
        """
        live = Releases(self.layout).live()
        if not live:
            return {}
        noted = {name: value for name, value in known.items() if isinstance(value, str)}
        page, same = self._page(live), self.page
        scheme: Scheme = "https" if noted.get("scheme", same.scheme) == "https" else "http"
        host, prefix = noted.get("host", same.host), noted.get("prefix", same.prefix)
        page = replace(page, host=host, scheme=scheme, prefix=prefix)
        target = page.through_nginx(noted.get("url", self.url), FRONT_DOOR, self._word())
        answer, _ = self._ask(target, live, {})
        return {"release": live, "status": answer.status, "named": live in answer.body} if answer else {}

    def after(self, seen: Mapping[str, Any]) -> str:
        """Return why the live release is no longer reached as :meth:`before` saw it; empty if it is."""
        live = Releases(self.layout).live()
        if not live:
            return ""
        # Try the old page, then the new one: a deploy may replace one by the other.
        pages = list(dict.fromkeys([self._page(live), self.page]))
        if not self._missed(pages, live, seen):
            return ""
        socket = str(self.layout.socket(live))
        answering = [page for page in pages if self._ask(page.behind_nginx(socket), live, seen)[0]]
        if not answering:
            return ""
        time.sleep(PAUSE_SECONDS)
        missed = self._missed(answering, live, seen)
        if not missed:
            return ""
        target, failure = missed
        return (
            f"{target} does not reach the live release {live}, which answers on its own socket: {failure}. Fix: check"
            " what this deploy changes in the site (run it with --check --diff), such as flask_app_nginx_inside,"
            " flask_app_url_prefix or flask_app_nginx_site_of; correct that, and deploy again."
        )

    def _missed(self, pages: list[Page], live: str, seen: Mapping[str, Any]) -> tuple[Target, Failure] | None:
        """Return the target and the failure of the first of ``pages``; None if Nginx reaches any of them."""
        found = None
        for page in pages:
            target = page.through_nginx(self.url, FRONT_DOOR, self._word())
            failure = self._ask(target, live, seen)[1]
            if not failure:
                return None
            found = found or (target, failure)
        return found

    def _page(self, live: str) -> Page:
        """Return the page that proved the live release: the next release may use another."""
        return self.page.at(str(proof_of(self.layout, live).get("path") or self.page.path))

    @cached_property
    def _secrets(self) -> Secrets:
        releases = Releases(self.layout)
        return releases.secrets(releases.live())

    def _word(self) -> str:
        try:
            return rehearsal_word(self.layout)
        except Damaged:
            return ""

    def _ask(self, target: Target, live: str, seen: Mapping[str, Any]) -> tuple[Answer | None, Failure | None]:
        """Return an answer that is as good as the one that was ``seen``; or None and the failure of the last answer."""
        deadline = time.monotonic() + self.seconds
        failure = None
        for attempt in range(TRIES):
            left = deadline - time.monotonic()
            if attempt and left <= INTERVAL_SECONDS:
                break
            if attempt:
                time.sleep(INTERVAL_SECONDS)
            try:
                answer = http.get(target, left)
            except NoAnswer as silence:
                failure = Failure("answer", f"within {self.seconds:g} seconds", str(silence))
                continue
            failure = _failure(answer, live, seen)
            if not failure:
                return answer, None
        if failure:
            failure = replace(failure, got=self._secrets.mask(failure.got))
        return None, failure


def _failure(answer: Answer, live: str, seen: Mapping[str, Any]) -> Failure | None:
    said = f"{answer.status} {answer.body}".strip()
    status, named = seen.get("status"), seen.get("named") is True
    # A page that doesn't name its release, such as the start page, may change its answer.
    if named and isinstance(status, int) and answer.status // 100 != status // 100:
        return Failure("HTTP status", f"{status // 100}xx, as before", said)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        return Failure("HTTP status", "one below 400", said)
    # Don't rely on a header: a site may hide it.
    if named and seen.get("release") == live and live not in answer.body:
        return Failure("release", live, said)
    return None
