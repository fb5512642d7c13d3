# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that proves a release, and how it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ansible_collections.greenlight.flask.plugins.module_utils._base.http import Target

#: With the host's own word in this header Nginx leads to the candidate: the site's configuration says so.
REHEARSAL = "X-Greenlight-Rehearsal"
#: With the word in this one it serves during maintenance, too.
FRONT_DOOR = "X-Greenlight-Front-Door"
#: In this one Nginx tells Gunicorn, which believes nobody else, below which path the app is served.
PREFIX = "SCRIPT_NAME"

#: See :class:`Page`.
Scheme: TypeAlias = Literal["http", "https"]


@dataclass(frozen=True)
class Page:
    """The page to request, and the site that it belongs to.

    Args:
        host: the site's public name.
        path: path of the health page, as the app knows it.
        other_path: path of the page to ask for where ``path`` answers 404 and the workers prove the environment and
            DEBUG. Empty means none.
        scheme: what visitors use.
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
        """Ask an app on its socket as Nginx does for a visitor."""
        forwarded = {"X-Forwarded-Proto": self.scheme, "X-Forwarded-Host": self.host, "X-Forwarded-For": "127.0.0.1"}
        place = {PREFIX: self.prefix} if self.prefix else {}
        return Target(address, self.host, self.prefix + self.path, {**forwarded, **place})

    def through_nginx(self, url: str, header: str, word: str) -> Target:
        """Ask Nginx on this host; the word in this header says that it is us, who may name the visitors' scheme."""
        return Target(url, self.host, self.prefix + self.path, {header: word, "X-Forwarded-Proto": self.scheme})
