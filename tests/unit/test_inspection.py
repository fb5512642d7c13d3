# SPDX-License-Identifier: GPL-3.0-or-later
"""The reports of a release's processes about their app must meet the contract, assertion by assertion."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import OUT_OF_TIME, Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import link
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import Secrets
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Contract
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import (
    DEVELOPMENT,
    LINES,
    LONGEST,
    Question,
    Seen,
    disagreements,
    inspect,
    unproved,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Releases, program
from ansible_collections.greenlight.flask.plugins.module_utils._steps import Call
from ansible_collections.greenlight.flask.plugins.module_utils._steps import inspect as step

from tests.unit.fakes import SECRETS, Host, create, installed, report

CONTRACT = Contract("staging", False, "r1", "20261121T094420Z-a1a1a1a1")
QUESTION = Question(environment_keys=["ENVIRONMENT", "APP_ENV"])
MODULE_UTILS = Path(str(inspector.__file__)).parents[1]


def about(
    *seen: dict[str, Any],
    question: Question = QUESTION,
    contract: Contract = CONTRACT,
    variables: Mapping[str, str] = SECRETS,
) -> list[str]:
    """Return the failed assertions for these reports of workers, without the expected values."""
    found = disagreements([Seen.of(each, Secrets()) for each in seen], question, contract, variables)
    assert not [secret for secret in (*SECRETS.values(), "pass-w0rd") if secret in str([*map(str, found)])]
    return [failure.assertion for failure in found]


# The contract


def test_a_correct_app_meets_the_contract() -> None:
    assert about(report()) == []


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"environment": "production"}, "app.config ENVIRONMENT"),
        ({"environment": "production", "environment_key": "X"}, "app.config X"),
        ({"debug": True}, "app.debug"),
        ({"testing": True}, "app.config TESTING"),
        ({"database": "sqlite:///x"}, "database in app.config DATABASE_URL"),
        ({"key": "dev"}, "app.secret_key"),
        ({"debuggers": ["flask_debugtoolbar"]}, "package flask_debugtoolbar"),
    ],
)
def test_each_assertion_fails_separately_with_the_number_of_workers(change: dict[str, Any], failing: str) -> None:
    assert about(report(**change)) == [failing]
    assert about(report(**change), report(**change)) == [failing]
    assert about(report(), report(**change), report()) == [f"{failing} in 1 of 3 workers"]


def test_all_failures_are_reported_at_once() -> None:
    wrong = report("dev", "sqlite:///x", environment="qa", debug=True, testing=True, debuggers=["flask_debug"])
    assert len(about(wrong)) == 6


@pytest.mark.parametrize("name", ["STAGING", "Staging", "staging"])
def test_environments_are_compared_case_insensitively(name: str) -> None:
    assert about(report(environment=name)) == []
    assert about(report(), contract=replace(CONTRACT, environment=name)) == []


def test_debug_must_match_the_contract() -> None:
    debugging = replace(CONTRACT, debug=True)
    assert about(report(debug=True), contract=debugging) == []
    assert about(report(), contract=debugging) == ["app.debug"]


def test_testing_is_wrong_in_every_environment() -> None:
    development = replace(CONTRACT, environment=DEVELOPMENT, debug=True)
    seen: dict[str, Any] = {"environment": DEVELOPMENT, "debug": True}
    assert about(report(**seen), contract=development) == []
    assert about(report(**seen, testing=True), contract=development) == ["app.config TESTING"]


def test_a_debugger_is_allowed_only_in_development() -> None:
    seen: dict[str, Any] = {"debuggers": ["flask_debug_toolbar"]}
    assert about(report(**seen, environment=DEVELOPMENT), contract=replace(CONTRACT, environment=DEVELOPMENT)) == []
    assert len(about(report(**seen, environment="qa"), contract=replace(CONTRACT, environment="qa"))) == 1


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ("debug-toolbar", 0),
        ("debug-toolbar:flask-debug-toolbar", 1),
        ("debug-toolbar:flask-profiler", 1),
        ("debug-toolbar:flask_profiler", 2),
        ("debug", 2),
        ("insecure-cookie", 2),
    ],
)
def test_a_debugger_that_was_accepted_is_not_a_failure(entry: str, left: int) -> None:
    seen = report(debuggers=["flask_debug_toolbar", "flask_profiler"])
    assert len(about(seen, question=replace(QUESTION, accepted=["self-signed", entry]))) == left


# The database


@pytest.mark.parametrize(
    ("given", "used", "same"),
    [
        ("postgresql://u:p@db/shop", "postgresql://u:p@db/shop", True),
        ("postgres://u:p@db/shop", "postgresql+psycopg://u:p@db:5432/shop", True),
        ("postgresql://u:p@DB/shop", "postgresql://other:else@db/shop?sslmode=require", True),
        ("postgresql://u@db/shop", "postgresql:///shop?host=db", True),
        ("postgresql://db/shop", "postgis://db/shop", True),
        ("mysql://db/shop", "mariadb+pymysql://db:3306/shop?charset=utf8mb4", True),
        ("sqlite:////var/lib/shop/x.db", "sqlite:////var/lib/shop/x.db", True),
        ("postgresql://a:1,b:2/shop", "postgresql+psycopg://u:p@a:1,b:2/shop", True),
        ("postgresql://db/sh%6Fp", "postgresql://db/shop", True),
        ("postgresql://db/shop?options=-csearch_path%3Dtwo", "postgresql://db/shop?options=-c%20search_path=two", True),
        ("postgresql://db/shop", "postgresql://db/shop?options=-csearch_path%3Dtwo", False),
        ("postgresql://db/shop", "postgresql://db2/shop", False),
        ("postgresql://db/shop", "postgresql://db/shop2", False),
        ("postgresql://db/shop", "postgresql://db:5433/shop", False),
        ("postgresql://db/shop", "sqlite:///shop", False),
        ("postgresql://db/shop", "mysql://db/shop", False),
        ("sqlite:////var/lib/shop/x.db", "sqlite:///x.db", False),
        ("mongodb+srv://db/shop", "sqlite:///x", False),
        ("postgresql://[::1/shop", "postgresql://db/shop", False),
    ],
)
@pytest.mark.parametrize("name", inspector.DATABASES)
def test_the_database_must_be_the_one_a_variable_names(name: str, given: str, used: str, same: bool) -> None:
    found = about(report(database=used), variables={**SECRETS, "DATABASE_URL": "redis://x/0", name: given})
    assert found == ([] if same else ["database in app.config DATABASE_URL"])


@pytest.mark.parametrize("given", ["", "/var/lib/shop.db", "redis://cache/0", "host=db password=hunter2 next=a://b"])
def test_a_database_named_by_no_variable_is_not_checked(given: str) -> None:
    assert about(report(database="sqlite:///x"), variables={**SECRETS, "DATABASE_URL": given}) == []


def test_a_database_file_is_not_compared_with_an_address() -> None:
    beside = [*report()["databases"], {"setting": "DATABASE", "kind": "file", "address": ""}]
    for given in ("postgresql://other/shop", "sqlite:///x"):
        variables = {**SECRETS, "DATABASE_URL": given}
        assert about(report(databases=beside[1:]), variables=variables) == []
        assert about(report(databases=beside), variables=variables) == ["database in app.config DATABASE_URL"]


def test_a_file_next_to_a_server_database_needs_no_command() -> None:
    beside = [*report()["databases"], {"setting": "DATABASE", "kind": "file", "address": ""}]
    elsewhere = replace(QUESTION, command_elsewhere=True)
    assert about(report(databases=beside), question=elsewhere) == []


def test_an_app_need_not_have_a_database() -> None:
    assert about(report(database="")) == []


def test_a_database_may_be_named_by_any_of_several_variables() -> None:
    both = {**SECRETS, "MONGO_URI": "mongodb://db/shop"}
    for used, count in ((SECRETS["DATABASE_URL"], 0), ("mongodb://db/shop", 0), ("mysql://db/shop", 1)):
        assert len(about(report(database=used), variables=both)) == count


@pytest.mark.parametrize("used", ["sqlite:///shop.db", "duckdb:///shop.duckdb", "/var/lib/shop/flaskr.sqlite"])
def test_a_file_database_cannot_rely_on_a_command_on_another_host(used: str) -> None:
    variables = {**SECRETS, "DATABASE_URL": used}
    elsewhere = replace(QUESTION, command_elsewhere=True)
    assert about(report(database=used), variables=variables) == []
    assert about(report(database=used), variables=variables, question=elsewhere) == [
        "database in app.config DATABASE_URL"
    ]
    assert about(report(), question=elsewhere) == []


# The signing key


KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("used", "good"),
    [
        (KEY.encode(), True),
        (bytes.fromhex(KEY), True),
        (base64.b64decode(KEY), True),
        (b"dev", False),
        (b"", True),
        (KEY.encode()[:-1], False),
    ],
)
def test_the_secret_key_must_be_the_given_one(used: bytes, good: bool) -> None:
    reported = report(secret_key=inspector.digest(bytes.fromhex(report()["salt"]), used) if used else "")
    found = about(
        reported, variables={**SECRETS, "SIGNING": KEY}, question=replace(QUESTION, secret_key_variable="SIGNING")
    )
    assert found == ([] if good else ["app.secret_key"])


def test_a_secret_key_that_was_not_given_must_match_in_all_workers() -> None:
    without = {"DATABASE_URL": SECRETS["DATABASE_URL"]}
    assert about(report("one"), report("one"), variables=without) == []
    assert about(report("one"), report("two"), variables=without) == ["app.secret_key"]
    accepted = replace(QUESTION, accepted=["other-key"])
    assert about(report("one"), report("two"), variables=without, question=accepted) == []


# What nothing proves


@pytest.mark.parametrize("accepted", [[], ["unproved-environment"], ["unproved-debug"], ["self-signed"]])
def test_an_unproved_fact_is_a_failure_unless_accepted(accepted: Sequence[str]) -> None:
    question = replace(QUESTION, accepted=accepted)
    nobody: dict[str, Sequence[str]] = {"environment": [], "debug": []}
    names = [failure.assertion for failure in unproved(nobody, question, CONTRACT, "")]
    assert names == [name for name in nobody if f"unproved-{name}" not in accepted]
    assert unproved({"environment": ["page"], "debug": ["page"]}, question, CONTRACT, "") == []


def test_the_reason_for_an_unproved_fact_is_given() -> None:
    nobody: dict[str, Sequence[str]] = {"environment": [], "debug": ["page"]}
    (failure,) = unproved(nobody, QUESTION, CONTRACT, "the moon is full")
    assert "the moon is full" in str(failure)


# A report


@pytest.mark.parametrize("wrong", [None, 7, "text", [], {}, [7], [{"setting": 7}], "x" * 10_000])
@pytest.mark.parametrize("field", list(report()))
def test_types_in_a_report_are_not_trusted(field: str, wrong: object) -> None:
    seen = Seen.of({**report(), field: wrong}, Secrets())
    assert disagreements([seen], QUESTION, CONTRACT, SECRETS) is not None
    shown = json.dumps(seen.as_result())
    assert len(shown) < 2000
    assert report()["salt"] not in shown
    assert report()["secret_key"] not in shown


# The app's answer


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return installed(tmp_path, monkeypatch.setattr)


@pytest.fixture
def layout(host: Host) -> Layout:
    return host.layout


@pytest.fixture
def release(layout: Layout) -> str:
    return create(layout, "20261121T094420Z", service="[Service]\nUser=shop\nType=notify\n")


SEEN = report()


def says(**more: object) -> Finished:
    return Finished(0, json.dumps({**SEEN, **more}), "noise of the app\n")


def asked(layout: Layout, release: str) -> Seen:
    return inspect(layout, release, ["ENVIRONMENT", "APP_ENV"], Releases(layout).secrets(release), 7)


def refused(layout: Layout, release: str) -> tuple[str, str]:
    """Return the message and the last output of an app that could not be inspected."""
    with pytest.raises(GreenlightError) as failed:
        asked(layout, release)
    return str(failed.value), str(failed.value.details.get("journal", ""))


def test_an_app_is_inspected_by_its_own_python_in_its_sandbox(host: Host, layout: Layout, release: str) -> None:
    host.ended = says()
    assert asked(layout, release) == Seen.of(SEEN, Secrets())
    (words,) = [call for call in host.calls if call[0] == "systemd-run"]
    home = layout.release(release)
    python = [str(home / "venv/bin/python"), "-P", "-", str(home / "gunicorn.conf.py")]
    assert words[-6:] == [*python, "ENVIRONMENT", "APP_ENV"]
    assert [word for word in words if not word.startswith("--")] == ["systemd-run", *words[-6:]]
    assert {f"--unit=shop-inspection-{release}.service", "--pipe", "--wait"} <= set(words)
    assert {"--property=User=shop", "--property=RuntimeMaxSec=7"} <= set(words)
    assert "--property=Type=notify" not in words


def test_the_program_is_passed_on_standard_input(host: Host, layout: Layout, release: str) -> None:
    host.ended = says()
    asked(layout, release)
    assert host.given == Path(str(inspector.__file__)).read_text()
    assert not [word for call in host.calls for word in call if "import" in word]


@pytest.mark.parametrize("field", ["environment", "preferred_url_scheme"])
def test_a_secret_in_the_report_of_an_app_is_masked(host: Host, layout: Layout, release: str, field: str) -> None:
    for secret in SECRETS.values():
        host.ended = says(**{field: f"x{secret}"})
        assert getattr(asked(layout, release), field) == "x********"
        host.ended = says(**{field: "x" * (LONGEST - 5) + secret})
        assert getattr(asked(layout, release), field) == "x" * (LONGEST - 5) + "*****"


BOOM = "Traceback (most recent call last):\nRuntimeError: boom\n"


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        (Finished(1, "", BOOM), "failed"),
        (Finished(1, json.dumps(SEEN), BOOM), "failed"),
        (Finished(0, "", BOOM), "failed"),
        (Finished(0, "no JSON", BOOM), "failed"),
        (Finished(0, "[]", BOOM), "failed"),
        (Finished(0, "null", BOOM), "failed"),
        (Finished(OUT_OF_TIME, "", BOOM), "took longer than 7 seconds"),
    ],
)
def test_an_app_without_a_report_is_reported_with_its_last_output(
    host: Host, layout: Layout, release: str, ended: Finished, why: str
) -> None:
    host.ended = ended
    assert refused(layout, release) == (f"importing the app once more, outside of Gunicorn, {why}", BOOM.rstrip())


def test_an_inspection_stopped_by_systemd_is_reported_as_timed_out(
    host: Host, layout: Layout, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd-run --quiet then ends with 1, and prints nothing."""
    host.ended = Finished(1, "", "")
    monkeypatch.setattr(time, "monotonic", iter([100.0, 106.9, 200.0, 207.0]).__next__)
    assert refused(layout, release)[0].endswith("failed")
    assert refused(layout, release)[0].endswith("took longer than 7 seconds")


def test_the_reported_output_is_the_last_lines_without_secrets(host: Host, layout: Layout, release: str) -> None:
    lines = [f"line {number}" for number in range(100)]
    host.ended = Finished(1, "", "\n".join([*lines, f"cannot reach {SECRETS['DATABASE_URL']}", "pass-w0rd", "end"]))
    sentence, journal = refused(layout, release)
    assert journal.splitlines() == [*lines[-LINES + 3 :], "cannot reach ********", "********", "end"]
    assert "line" not in sentence


def test_an_object_that_is_not_a_flask_app_is_reported_with_its_type(host: Host, layout: Layout, release: str) -> None:
    host.ended = Finished(0, '{"no_app": "function"}', "")
    assert refused(layout, release) == ("no Flask app was found in the WSGI object, a function", "")


# The live release


def inspected(layout: Layout) -> dict[str, object]:
    return dict(step.run(Call(layout, {"environment_keys": ["ENVIRONMENT"], "seconds": 7.0})))


def test_the_app_of_the_live_release_is_inspected(host: Host, layout: Layout, release: str) -> None:
    link(layout.live_socket, str(layout.socket(release)))
    host.ended = says()
    told = {"changed": False, "release": release}
    assert inspected(layout) == {**told, "why": "", "app_says": Seen.of(SEEN, Secrets()).as_result()}
    (words,) = [call for call in host.calls if call[0] == "systemd-run"]
    assert words[-1] == "ENVIRONMENT"
    assert "--property=RuntimeMaxSec=7" in words
    host.ended = Finished(1, "", "boom")
    why = "importing the app once more, outside of Gunicorn, failed"
    assert inspected(layout) == {**told, "why": why, "app_says": {}}
    host.report_from_workers(release, [{"no_app": "function"}, report(environment="qa")])
    assert inspected(layout)["app_says"] == Seen.of(report(environment="qa"), Secrets()).as_result()


def test_without_a_live_release_no_app_is_inspected(host: Host, layout: Layout, release: str) -> None:
    why = "shop has no live release on this host"
    assert inspected(layout) == {"changed": False, "release": "", "why": why, "app_says": {}}
    assert host.calls == []


# The program's text


def test_the_program_is_read_from_an_archive_too(tmp_path: Path) -> None:
    """Ansible sends a module to the host as a zip file and imports it from there."""
    package = "ansible_collections/greenlight/flask/plugins/module_utils"
    archive = tmp_path / "ansiballz.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for place in (Path(package), *Path(package).parents[:-1]):
            opened.writestr(f"{place}/__init__.py", "")
        for path in MODULE_UTILS.rglob("*.py"):
            opened.write(path, f"{package}/{path.relative_to(MODULE_UTILS)}")
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(archive)!r})
        from {package.replace("/", ".")}._release import inspector, store
        assert inspector.__file__.startswith({str(archive)!r})
        sys.stdout.write(store.program())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path(str(inspector.__file__)).read_text()


def test_the_program_is_pure_ascii() -> None:
    assert program().isascii()
