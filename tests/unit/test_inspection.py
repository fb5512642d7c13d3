# SPDX-License-Identifier: GPL-3.0-or-later
"""The app is asked in its release's sandbox, and what it says is held to the contract, assertion by assertion."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils import _inspection as inspection
from ansible_collections.greenlight.flask.plugins.module_utils import _inspector as inspector
from ansible_collections.greenlight.flask.plugins.module_utils._command import OUT_OF_TIME, Finished
from ansible_collections.greenlight.flask.plugins.module_utils._contract import Contract
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._files import link
from ansible_collections.greenlight.flask.plugins.module_utils._inspection import (
    DEVELOPMENT,
    LINES,
    LONGEST,
    UNASKED,
    Question,
    Seen,
    asking,
    failures,
    faults_of,
    inspect,
)
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.modules import inspected_app

from tests.unit.fakes import SECRETS, Host, create, installed

MODULE_UTILS = Path(str(inspector.__file__)).parent
SEEN = Seen(
    "production", "ENVIRONMENT", databases=["postgresql"], session_cookie_secure=True, preferred_url_scheme="https"
)
#: As the health page of an app that knows nothing of environments is held to it.
CONTRACT = Contract("production", False, "r1", "20261121T094420Z-a1a1a1a1")
QUESTION = Question(environment_keys=["ENVIRONMENT", "APP_ENV"])
DATABASE = {"DATABASE_URL": "postgresql://shop:hunter2@db/shop"}


def said(
    seen: Seen = SEEN,
    question: Question = QUESTION,
    contract: Contract = CONTRACT,
    variables: Mapping[str, str] = DATABASE,
) -> list[str]:
    return [str(failure) for failure in failures(seen, question, contract, variables)]


# The contract


def test_an_app_as_it_should_be_keeps_the_contract() -> None:
    assert said() == []


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"environment": "staging"}, 'app.config ENVIRONMENT: expected "production", got "staging"'),
        ({"environment": "staging", "environment_key": "X"}, 'app.config X: expected "production", got "staging"'),
        ({"debug": True}, "app.debug: expected false, got true"),
        ({"testing": True}, "app.config TESTING: expected false, got true"),
        ({"databases": ["sqlite"]}, "database: expected postgresql, as in DATABASE_URL, got sqlite"),
        ({"debuggers": ["flask_debugtoolbar"]},
         "package flask_debugtoolbar: expected not imported in production, got imported"),
    ],
)  # fmt: skip
def test_each_assertion_fails_by_itself_and_says_what_came(change: dict[str, object], failure: str) -> None:
    assert said(replace(SEEN, **change)) == [failure]  # type: ignore[arg-type]


def test_all_that_fails_is_said_at_once() -> None:
    assert len(said(Seen("qa", "ENVIRONMENT", True, True, "sqlite", debuggers=["flask_debug", "flask_profiler"]))) == 6


@pytest.mark.parametrize("name", ["PRODUCTION", "Production", "production"])
def test_an_environment_is_compared_without_case(name: str) -> None:
    assert said(replace(SEEN, environment=name)) == []
    assert said(contract=replace(CONTRACT, environment=name)) == []


def test_debug_is_what_the_contract_expects() -> None:
    debugging = replace(CONTRACT, debug=True)
    assert said(replace(SEEN, debug=True), contract=debugging) == []
    assert said(contract=debugging) == ["app.debug: expected true, got false"]


def test_testing_is_wrong_wherever_it_is() -> None:
    development = replace(CONTRACT, environment=DEVELOPMENT, debug=True)
    seen = replace(SEEN, environment=DEVELOPMENT, debug=True)
    assert said(seen, contract=development) == []
    assert said(replace(seen, testing=True), contract=development) == ["app.config TESTING: expected false, got true"]


NAMELESS = replace(SEEN, environment="", environment_key="")
TELLING = replace(CONTRACT, fields={"environment": "env"})


def test_an_environment_that_nobody_names_is_a_failure_that_says_what_to_do() -> None:
    (failure,) = said(NAMELESS)
    expected = '"production" in app.config under ENVIRONMENT or APP_ENV'
    assert failure.startswith(f"environment of the app: expected {expected}, got none of these")
    assert "flask_app_inspect_environment_keys ([] asserts none)" in failure
    assert said(NAMELESS, contract=replace(CONTRACT, fields={"environment": "", "debug": "debug"})) == [failure]


def test_an_environment_that_the_health_page_names_need_not_be_in_the_config() -> None:
    assert said(NAMELESS, contract=TELLING) == []


def test_an_environment_in_the_config_is_held_to_the_contract_also_where_the_health_page_names_it() -> None:
    assert len(said(replace(SEEN, environment="staging"), contract=TELLING)) == 1


def test_without_keys_no_environment_is_asserted() -> None:
    assert said(NAMELESS, Question(environment_keys=[])) == []


@pytest.mark.parametrize(
    ("address", "kind", "good"),
    [
        ("postgresql+psycopg://db/shop", "postgresql", True),
        ("postgres://db/shop", "postgresql", True),
        ("postgresql://db/shop", "postgres", True),
        ("postgresql://db/shop", "postgis", True),
        ("postgresql://db/shop", "cockroachdb", True),
        ("mysql+pymysql://db/shop", "mariadb", True),
        ("mariadb://db/shop", "mysql", True),
        ("sqlite:////var/lib/shop.db", "sqlite", True),
        ("postgresql://db/shop", "sqlite", False),
        ("postgresql://db/shop", "mysql", False),
        ("mysql://db/shop", "postgresql", False),
        ("mongodb+srv://db/shop", "sqlite", False),
        ("/var/lib/shop.db", "sqlite", True),
        ("host=db password=hunter2 next=a://b", "sqlite", True),
        ("", "sqlite", True),
        ("postgresql://db/shop", "", True),
    ],
)
@pytest.mark.parametrize("name", inspector.DATABASES)
def test_a_database_is_of_the_kind_that_the_variables_name(name: str, address: str, kind: str, good: bool) -> None:
    found = said(replace(SEEN, databases=[kind] if kind else []), variables={"OTHER": "redis://cache/0", name: address})
    assert (found == []) == good
    assert not [failure for failure in found if f"as in {name}" not in failure]
    assert "hunter2" not in str(found)


def test_a_database_that_one_of_several_variables_names_is_right() -> None:
    both = {"DATABASE_URL": "postgresql://db/shop", "MONGO_URI": "mongodb://db/shop"}
    assert said(variables=both) == []
    assert said(replace(SEEN, databases=["mongodb"]), variables=both) == []
    assert said(replace(SEEN, databases=["mysql", "mongodb"]), variables=both) == []
    assert len(said(replace(SEEN, databases=["sqlite"]), variables=both)) == 1


def test_a_database_that_no_variable_names_is_not_asserted() -> None:
    assert said(variables={"CACHE_URL": "redis://cache/0"}) == []


def test_a_debugger_is_right_in_development_only() -> None:
    seen = replace(SEEN, environment=DEVELOPMENT, debuggers=["flask_debug_toolbar"])
    assert said(seen, contract=replace(CONTRACT, environment=DEVELOPMENT)) == []
    assert len(said(replace(seen, environment="qa"), contract=replace(CONTRACT, environment="qa"))) == 1


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
def test_a_debugger_that_was_accepted_is_no_failure(entry: str, left: int) -> None:
    seen = replace(SEEN, debuggers=["flask_debug_toolbar", "flask_profiler"])
    assert len(said(seen, replace(QUESTION, accepted=["self-signed", entry]))) == left


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


def says(**more: object) -> Finished:
    return Finished(0, json.dumps({**asdict(SEEN), **more}), "noise of the app\n")


def asked(layout: Layout, release: str) -> Seen:
    return inspect(layout, release, ["ENVIRONMENT", "APP_ENV"], 7)


def refused(layout: Layout, release: str) -> tuple[str, str]:
    """Return the sentence and the last words of an app that could not be asked."""
    with pytest.raises(GreenlightError) as failed:
        asked(layout, release)
    return str(failed.value), str(failed.value.details.get("journal", ""))


def test_an_app_is_asked_by_its_own_python_in_its_releases_sandbox(host: Host, layout: Layout, release: str) -> None:
    host.ended = says()
    assert asked(layout, release) == replace(SEEN, debuggers=[])
    (words,) = [call for call in host.calls if call[0] == "systemd-run"]
    home = layout.release(release)
    python = [str(home / "venv/bin/python"), "-P", "-", str(home / "gunicorn.conf.py")]
    assert words[-6:] == [*python, "ENVIRONMENT", "APP_ENV"]
    assert [word for word in words if not word.startswith("--")] == ["systemd-run", *words[-6:]]
    assert {f"--unit=shop-inspection-{release}.service", "--pipe", "--wait"} <= set(words)
    assert {"--property=User=shop", "--property=RuntimeMaxSec=7"} <= set(words)
    assert "--property=Type=notify" not in words


def test_the_program_goes_to_standard_input_and_not_on_the_command_line(
    host: Host, layout: Layout, release: str
) -> None:
    host.ended = says()
    asked(layout, release)
    assert host.given == Path(str(inspector.__file__)).read_text()
    assert not [word for call in host.calls for word in call if "import" in word]


@pytest.mark.parametrize("field", ["environment", "preferred_url_scheme"])
def test_a_secret_in_what_an_app_says_is_masked(host: Host, layout: Layout, release: str, field: str) -> None:
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
        (Finished(1, json.dumps(asdict(SEEN)), BOOM), "failed"),
        (Finished(0, "", BOOM), "failed"),
        (Finished(0, "no JSON", BOOM), "failed"),
        (Finished(0, "[]", BOOM), "failed"),
        (Finished(0, "null", BOOM), "failed"),
        (Finished(OUT_OF_TIME, "", BOOM), "took longer than 7 seconds"),
    ],
)
def test_an_app_that_gave_no_answer_is_told_with_its_last_words(
    host: Host, layout: Layout, release: str, ended: Finished, why: str
) -> None:
    host.ended = ended
    assert refused(layout, release) == (f"importing it once more, beside Gunicorn, {why}", BOOM.rstrip())


def test_an_app_that_systemd_ended_in_time_is_told_to_be_late(
    host: Host, layout: Layout, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd-run --quiet ends with 1 then, and says nothing."""
    host.ended = Finished(1, "", "")
    monkeypatch.setattr(time, "monotonic", iter([100.0, 106.9, 200.0, 207.0]).__next__)
    assert refused(layout, release)[0].endswith("failed")
    assert refused(layout, release)[0].endswith("took longer than 7 seconds")


def test_the_last_words_are_the_last_lines_and_hold_no_secret(host: Host, layout: Layout, release: str) -> None:
    lines = [f"line {number}" for number in range(100)]
    host.ended = Finished(1, "", "\n".join([*lines, f"cannot reach {SECRETS['DATABASE_URL']}", "pass-w0rd", "end"]))
    sentence, journal = refused(layout, release)
    assert journal.splitlines() == [*lines[-LINES + 3 :], "cannot reach ********", "********", "end"]
    assert "line" not in sentence


def test_an_object_without_a_flask_app_is_told_by_its_type(host: Host, layout: Layout, release: str) -> None:
    host.ended = Finished(0, '{"no_app": "function"}', "")
    assert refused(layout, release) == ("in the WSGI object, a function, no Flask app was found", "")


# The live release


def heard(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(inspected_app, "Layout", lambda app: layout)
    params = {"app": "shop", "environment_keys": ["ENVIRONMENT"], "seconds": 7.0}
    return dict(inspected_app.body(SimpleNamespace(params=params)))


def test_the_app_of_the_live_release_is_heard(
    host: Host, layout: Layout, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link(layout.live_socket, str(layout.socket(release)))
    host.ended = says()
    told = {"changed": False, "release": release}
    assert heard(layout, monkeypatch) == {**told, "why": "", "app_says": {**asdict(SEEN), "debuggers": []}}
    (words,) = [call for call in host.calls if call[0] == "systemd-run"]
    assert words[-1] == "ENVIRONMENT"
    assert "--property=RuntimeMaxSec=7" in words
    host.ended = Finished(1, "", "boom")
    why = "importing it once more, beside Gunicorn, failed"
    assert heard(layout, monkeypatch) == {**told, "why": why, "app_says": {}}


def test_without_a_live_release_no_app_is_heard(
    host: Host, layout: Layout, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "shop has no live release on this host"
    assert heard(layout, monkeypatch) == {"changed": False, "release": "", "why": why, "app_says": {}}
    assert host.calls == []


# While the release starts


def test_an_app_that_is_not_to_be_asked_is_left_alone(host: Host, layout: Layout, release: str) -> None:
    with asking(layout, release, UNASKED, 7) as app:
        assert app is None
    assert host.calls == []


def test_an_app_is_asked_during_the_block(
    host: Host, layout: Layout, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_block = threading.Event()

    def wait(*asked: object) -> Seen:
        assert asked == (layout, release, QUESTION.environment_keys, 7)
        assert in_block.wait(5)
        return SEEN

    monkeypatch.setattr(inspection, "inspect", wait)
    with asking(layout, release, QUESTION, 7) as app:
        assert app and not app.done()
        in_block.set()
    assert app.done()
    assert app.result() == SEEN


def answer(seen: Seen | Exception) -> Future[Seen]:
    future: Future[Seen] = Future()
    if isinstance(seen, Exception):
        future.set_exception(seen)
    else:
        future.set_result(seen)
    return future


def test_what_an_app_says_is_held_to_the_contract() -> None:
    assert faults_of(answer(SEEN), QUESTION, CONTRACT, DATABASE) == ([], "")
    wrong = replace(SEEN, debug=True)
    assert faults_of(answer(wrong), QUESTION, CONTRACT, DATABASE) == (
        failures(wrong, QUESTION, CONTRACT, DATABASE),
        "",
    )


def test_an_app_that_could_not_be_asked_is_a_failure_with_a_cure() -> None:
    late = GreenlightError("importing it once more, beside Gunicorn, took longer than 3600 seconds", journal="boom")
    (failure,), journal = faults_of(answer(late), QUESTION, CONTRACT, DATABASE)
    assert str(failure).startswith(f"the app's own word: expected an answer, got none: {late}; ")
    assert str(failure).endswith("flask_app_inspect: false")
    assert journal == "boom"
    assert faults_of(answer(GreenlightError("no app")), QUESTION, CONTRACT, DATABASE)[1] == ""


def test_a_fault_of_our_own_is_not_the_apps() -> None:
    with pytest.raises(KeyError):
        faults_of(answer(KeyError("x")), QUESTION, CONTRACT, DATABASE)


# The program's text


def test_the_program_is_read_from_an_archive_too(tmp_path: Path) -> None:
    """Ansible brings a module to the host as a zip file and imports it from there."""
    package = "ansible_collections/greenlight/flask/plugins/module_utils"
    archive = tmp_path / "ansiballz.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for place in (Path(package), *Path(package).parents[:-1]):
            opened.writestr(f"{place}/__init__.py", "")
        for path in MODULE_UTILS.glob("*.py"):
            opened.write(path, f"{package}/{path.name}")
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(archive)!r})
        from {package.replace("/", ".")} import _inspection, _inspector
        assert _inspector.__file__.startswith({str(archive)!r})
        sys.stdout.write(_inspection._source())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path(str(inspector.__file__)).read_text()


def test_no_locale_can_spoil_the_program() -> None:
    assert inspection._source().isascii()
