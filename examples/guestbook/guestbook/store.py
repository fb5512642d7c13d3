# SPDX-License-Identifier: GPL-3.0-or-later
"""The guestbook's entries.

SQLAlchemy Core without the ORM: one table needs no more, and workers start sooner.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

NAME_LENGTH = 80
MESSAGE_LENGTH = 500
WAIT_SECONDS = 5

entries = sa.Table(
    "entries",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("message", sa.String(MESSAGE_LENGTH), nullable=False),
    sa.Column("signed_at", sa.DateTime, nullable=False),
)


class Store:
    """The database connection of one process.

    Nothing connects before the first use. So the app can be imported, and can report its health, while the database is
    down, and no connection is carried over a fork.
    """

    def __init__(self, url: str) -> None:
        # The seconds to wait for another process's write; only SQLite's driver knows this setting.
        connect_args = {"timeout": WAIT_SECONDS} if url.startswith("sqlite") else {}
        self.engine = sa.create_engine(url, pool_timeout=WAIT_SECONDS, pool_pre_ping=True, connect_args=connect_args)
        self._prepared = False

    def prepare(self) -> None:
        """Create the table if it is missing; if several workers try at once, the slower ones find it there."""
        if self._prepared:
            return
        try:
            with self.engine.begin() as connection:
                connection.execute(CreateTable(entries, if_not_exists=True))
        except DBAPIError:
            if not sa.inspect(self.engine).has_table(entries.name):
                raise
        self._prepared = True

    def last(self, count: int) -> Sequence[sa.Row[Any]]:
        """Return the newest entries, newest first."""
        self.prepare()
        with self.engine.connect() as connection:
            return connection.execute(sa.select(entries).order_by(entries.c.id.desc()).limit(count)).all()

    def sign(self, name: str, message: str) -> None:
        """Add an entry."""
        self.prepare()
        signed_at = datetime.now(UTC).replace(tzinfo=None)
        with self.engine.begin() as connection:
            connection.execute(entries.insert().values(name=name, message=message, signed_at=signed_at))

    def ping(self) -> None:
        """Run the simplest query."""
        with self.engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))

    def answers(self, within: float) -> Exception | None:
        """Return the error that keeps the database from answering, or None if it answers.

        Drivers differ in the waits that they limit, so the query runs in a thread that may be left behind. The
        connection pool limits how many can hang.
        """
        outcome: list[Exception | None] = [TimeoutError(f"no answer within {within:g} s")]

        def ask() -> None:
            try:
                self.ping()
            except Exception as error:  # whatever it is, /health must answer
                outcome.append(error)
            else:
                outcome.append(None)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(within)
        return outcome[-1]
