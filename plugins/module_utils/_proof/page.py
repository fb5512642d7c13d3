# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that proves a release, and how to request it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Target

#: With the host's secret word in this header, Nginx routes a request to the candidate (see the site's configuration).
REHEARSAL = "X-Greenlight-Rehearsal"
#: With the word in this header, Nginx serves the app even during maintenance.
FRONT_DOOR = "X-Greenlight-Front-Door"
#: In this header, Nginx passes the path below which the app is served to Gunicorn, which only trusts Nginx.
PREFIX = "SCRIPT_NAME"

#: See :class:`Page`.
Scheme: TypeAlias = Literal["http", "https"]


@dataclass(frozen=True)
class Page:
    """The page to request, and the site that it belongs to.

    Args:
        host: the site's public name.
        path: path of the health page, as the app knows it.
        other_path: path of the page to request if ``path`` answers 404 and the workers prove the environment and DEBUG.
            Empty means none.
        scheme: the scheme that visitors use.
        prefix: path of the site below which the app is served. Empty means all of it.
    """

    host: str
    path: str
    other_path: str = ""
    scheme: Scheme = "http"
    prefix: str = ""

    def at(self, path: str) -> Page:
        return replace(self, path=path)

    def behind_nginx(self, address: str) -> Target:
        """Return the target to request from an app's socket, as Nginx does for a visitor."""
        forwarded = {"X-Forwarded-Proto": self.scheme, "X-Forwarded-Host": self.host, "X-Forwarded-For": "127.0.0.1"}
        place = {PREFIX: self.prefix} if self.prefix else {}
        return Target(address, self.host, self.prefix + self.path, {**forwarded, **place})

    def through_nginx(self, url: str, header: str, word: str) -> Target:
        """Return the target to request from Nginx on this host; the word proves that we may set the scheme."""
        return Target(url, self.host, self.prefix + self.path, {header: word, "X-Forwarded-Proto": self.scheme})
