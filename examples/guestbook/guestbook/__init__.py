# SPDX-License-Identifier: GPL-3.0-or-later
"""A guestbook: the smallest app that has what real ones have, a database, secrets and environments."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from . import config
from .commands import migrate
from .store import Store
from .views import pages


def create_app(config_name: str | None = None) -> Flask:
    """Create the app for the environment ``config_name``, by default the one in ``FLASK_CONFIG``."""
    app = Flask(__name__)
    settings = config.load(config_name, os.environ, Path(app.instance_path))
    app.config.from_object(settings)
    app.extensions["guestbook"] = Store(app.config["DATABASE_URL"])
    app.register_blueprint(pages)
    app.cli.add_command(migrate)

    # One proxy, Nginx, is in front. Not x_port: the host it passes on already carries the port.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]

    @app.after_request
    def say_who_answered(response: Response) -> Response:
        response.headers["X-Revision"] = app.config["REVISION"]
        response.headers["X-Release"] = app.config["RELEASE"]
        return response

    app.logger.setLevel(logging.INFO)
    app.logger.info(
        "guestbook starts: environment=%s debug=%s revision=%s release=%s",
        app.config["ENVIRONMENT"],
        app.debug,
        app.config["REVISION"],
        app.config["RELEASE"],
    )
    return app
