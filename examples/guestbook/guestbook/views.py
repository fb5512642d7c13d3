# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages."""

from __future__ import annotations

import math
import time
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response as BaseResponse

from .store import MESSAGE_LENGTH, NAME_LENGTH, Store

HEALTH_SECONDS = 2.0
SLOW_SECONDS = 5.0
CHUNK = 64 * 1024

pages = Blueprint("pages", __name__)


def store() -> Store:
    found: Store = current_app.extensions["guestbook"]
    return found


def from_this_site() -> bool:
    """Return whether a form comes from this site, and not from another one through the visitor's browser.

    Browsers say so in Sec-Fetch-Site or, without that, in Origin. A request with neither comes from no browser, and so
    has nobody's cookies. This needs no token in the session, so it works without TLS too, where browsers keep no Secure
    cookie.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def front_page(error: str = "") -> str:
    return render_template(
        "index.html",
        entries=store().last(10),
        error=error,
        name=session.get("name", ""),
        name_length=NAME_LENGTH,
        message_length=MESSAGE_LENGTH,
    )


@pages.get("/")
def index() -> str:
    return front_page()


@pages.post("/sign")
def sign() -> BaseResponse | tuple[str, int]:
    if not from_this_site():
        abort(403)
    name = request.form.get("name", "").strip()
    message = request.form.get("message", "").strip()
    if not 0 < len(name) <= NAME_LENGTH or not 0 < len(message) <= MESSAGE_LENGTH:
        return front_page("Please give a name and a message that fit."), 400
    store().sign(name, message)
    session["name"] = name
    return redirect(url_for(".index"), 303)


@pages.get("/health")
def health() -> tuple[Response, int]:
    """Report what runs here, in the fields that a deploy compares with what it started."""
    problem = store().answers(within=HEALTH_SECONDS)
    if problem:
        # The kind of error only: a driver's message may quote the database's address.
        current_app.logger.warning("the database does not answer: %s", type(problem).__name__)
    body = jsonify(
        status="unavailable" if problem else "ok",
        env=current_app.config["ENVIRONMENT"],
        debug=current_app.debug,
        revision=current_app.config["REVISION"],
        release=current_app.config["RELEASE"],
    )
    body.headers["Cache-Control"] = "no-store"
    return body, 503 if problem else 200


@pages.get("/slow")
def slow() -> str:
    """Simulate a slow report."""
    try:
        seconds = float(request.args.get("seconds", "1"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= SLOW_SECONDS:
        abort(400, f"seconds must be a number from 0 to {SLOW_SECONDS:g}")
    time.sleep(seconds)
    return f"That took {seconds:g} s.\n"


@pages.post("/upload")
def upload() -> Response:
    """Read a body of any kind to its end, and discard it."""
    length = sum(map(len, iter(lambda: request.stream.read(CHUNK), b"")))
    return jsonify(length=length)
