# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that a deploy runs before it starts a release: ``flask --app wsgi migrate``."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from .store import Store


@click.command()
@with_appcontext
def migrate() -> None:
    """Create the database's tables that are missing."""
    store: Store = current_app.extensions["guestbook"]
    try:
        store.prepare()
    except SQLAlchemyError as error:
        # The kind of error only: a driver's message may quote the database's address.
        kind = type(error).__name__
        raise click.ClickException(f"the database can't be reached or used: {kind}") from None
    click.echo("The database has its tables.")
