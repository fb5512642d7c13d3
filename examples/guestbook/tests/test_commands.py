# SPDX-License-Identifier: GPL-3.0-or-later
"""The command of a deploy, run as in a deploy: in a separate process, judged by its exit code and output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from guestbook.store import Store

APP = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def production(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("FLASK_CONFIG", "production")


def migrate() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "migrate"]
    return subprocess.run(command, cwd=APP, capture_output=True, text=True, timeout=60, check=False)


def test_migrate_creates_the_tables_and_says_so_in_one_line(tmp_path: Path) -> None:
    done = migrate()
    assert (done.returncode, done.stdout) == (0, "The database has its tables.\n"), done.stderr
    engine = sa.create_engine(f"sqlite:///{tmp_path}/guestbook.db")
    assert sa.inspect(engine).get_table_names() == ["entries"]


def test_migrate_leaves_existing_tables_unchanged(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/guestbook.db")
    store.sign("Ada", "Greetings")
    for _ in range(2):
        done = migrate()
        assert (done.returncode, done.stdout) == (0, "The database has its tables.\n"), done.stderr
    assert [entry.name for entry in store.last(10)] == ["Ada"]


@pytest.mark.parametrize(("file", "kind"), [("no/such.db", "OperationalError"), ("text.db", "DatabaseError")])
def test_migrate_reports_an_unreachable_database_without_its_address(
    environ: pytest.MonkeyPatch, tmp_path: Path, file: str, kind: str
) -> None:
    secret = tmp_path / "never-in-a-log"
    secret.mkdir()
    (secret / "text.db").write_text("This is not a database." * 100, encoding="utf-8")
    environ.setenv("DATABASE_URL", f"sqlite:///{secret}/{file}")
    done = migrate()
    assert (done.returncode, done.stdout) == (1, "")
    start, *rest = done.stderr.splitlines()
    assert "guestbook starts: environment=production" in start
    assert rest == [f"Error: the database can't be reached or used: {kind}"]
    assert "never-in-a-log" not in done.stderr
