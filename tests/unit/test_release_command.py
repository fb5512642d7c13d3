# SPDX-License-Identifier: GPL-3.0-or-later
"""A release's command runs once, and if it fails, the message says why, without a secret."""

from __future__ import annotations

import errno
import itertools
import json
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import link
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import entries
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.release_command import run_release_command
from ansible_collections.greenlight.flask.plugins.module_utils._release import history
from ansible_collections.greenlight.flask.plugins.module_utils._steps import Call
from ansible_collections.greenlight.flask.plugins.module_utils._steps import make_release as release_step

from tests.unit.cases import all_named, named
from tests.unit.fakes import KEY, SECRETS, Host, create, installed, release_options, specification
from tests.unit.killing import killed

OLD, NEW = "20261121T094420Z", "20261121T094421Z"
FALLBACK = "hunter2-of-last-year"
FAILED = Finished(1, "", "Finished with result: exit-code\nMain processes terminated with: code=exited/status=1\n")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return installed(tmp_path, monkeypatch.setattr)


@pytest.fixture
def layout(host: Host) -> Layout:
    return host.layout


def made(layout: Layout, **changes: object) -> str:
    variables = {**SECRETS, "SECRET_KEY_FALLBACKS": json.dumps([FALLBACK])}
    return create(
        layout,
        NEW,
        **{"command": "flask db upgrade", "variables": variables, "secret_names": list(variables), **changes},
    )


def started(host: Host) -> list[list[str]]:
    return [call for call in host.calls if call[0] == "systemd-run"]


def marked(layout: Layout, release: str) -> bool:
    return (layout.release(release) / "commanded.json").exists()


def test_a_command_runs_once_for_a_release(host: Host, layout: Layout) -> None:
    release = made(layout)
    host.journal = "upgraded to 3a1f\n"
    done = run_release_command(layout, release, 60)
    assert (done.ran, done.output) == (True, "upgraded to 3a1f")
    assert marked(layout, release)
    assert run_release_command(layout, release, 60).ran is False
    assert len(started(host)) == 1
    assert [(entry["event"], entry["release"]) for entry in entries(layout.ledger)] == [("command", release)]


def test_the_command_runs_for_each_release_separately(host: Host, layout: Layout) -> None:
    for release in (made(layout), create(layout, OLD, command="flask db upgrade")):
        assert run_release_command(layout, release, 60).ran
        assert marked(layout, release)
    assert [entry["release"] for entry in entries(layout.ledger)] == [f"{NEW}-a1a1a1a1", f"{OLD}-a1a1a1a1"]


def test_the_shell_stops_the_release_command_at_the_first_failure(host: Host, layout: Layout) -> None:
    release = made(layout)
    run_release_command(layout, release, 90)
    (words,) = started(host)
    assert words[-3:] == ["/bin/sh", "-e", str(layout.release(release) / "release-command")]
    assert f"--unit=shop-release-command-{release}.service" in words
    assert "--property=RuntimeMaxSec=90" in words
    programs = [call[:2] for call in host.calls]
    assert programs.index(["systemctl", "daemon-reload"]) < host.calls.index(words)


def test_secrets_in_the_output_of_a_command_are_masked(host: Host, layout: Layout) -> None:
    release = made(layout)
    host.journal = f"connecting to {SECRETS['DATABASE_URL']}\nold key {FALLBACK}\n"
    done = run_release_command(layout, release, 60)
    assert done.output == "connecting to ********\nold key ********"


@pytest.mark.parametrize("live", [True, False])
def test_a_failed_command_is_reported_with_its_last_output_and_a_fix(host: Host, layout: Layout, live: bool) -> None:
    release, old = made(layout), create(layout, OLD, revision="r0")
    if live:
        link(layout.live_socket, str(layout.socket(old)))
    host.ended = FAILED
    host.journal = f"Traceback\nno route to {SECRETS['DATABASE_URL']}\nkeys ['{FALLBACK}']\n"
    with pytest.raises(Refused) as failed:
        run_release_command(layout, release, 60)
    [finding], [traffic] = failed.value.findings, failed.value.closing
    assert named(finding) == ("release-command-failed", release)
    how, *words = finding.what.splitlines()
    assert "exit-code, code=exited/status=1" in how
    assert words == ["Traceback", "no route to ********", "keys ['********']"]
    assert (old if live else "503") in traffic
    assert f"journalctl -u shop-release-command-{release}.service" in finding.fix
    assert not marked(layout, release)
    (told,) = entries(layout.ledger)
    assert (told["event"], told["release"]) == ("command failed", release)
    assert told["failures"] == "exit-code, code=exited/status=1"
    assert "hunter2" not in layout.ledger.read_text()


def test_a_failed_command_names_the_variable_hinted_at_by_its_output(host: Host, layout: Layout) -> None:
    host.journal, host.ended = "ImportError: libpq.so.5: cannot open shared object file\n", FAILED
    release = made(layout)
    with pytest.raises(Refused, match=r"flask_app_packages: \[libpq5\]") as failed:
        run_release_command(layout, release, 60)
    assert all_named(failed) == [("release-command-failed", release)]


def test_a_command_that_failed_runs_again(host: Host, layout: Layout) -> None:
    release = made(layout)
    host.ended = FAILED
    with pytest.raises(GreenlightError):
        run_release_command(layout, release, 60)
    host.ended = Finished(0, "", "")
    assert run_release_command(layout, release, 60).ran
    assert [entry["event"] for entry in entries(layout.ledger)] == ["command failed", "command"]
    assert marked(layout, release)


@pytest.mark.parametrize("reversible", [True, False])
def test_the_ledger_records_whether_a_command_is_reversible(host: Host, layout: Layout, reversible: bool) -> None:
    release = made(layout, reversible=reversible)
    run_release_command(layout, release, 60)
    (told,) = entries(layout.ledger)
    assert (told["event"], told["revision"], told["environment"]) == ("command", "r1", "staging")
    assert isinstance(told["seconds"], float)
    assert told.get("reversible", "absent") == ("absent" if reversible else False)


def test_a_command_can_be_declared_irreversible_after_a_failure(host: Host, layout: Layout) -> None:
    layout.etc.mkdir(parents=True, exist_ok=True)
    layout.digest_key.write_text(KEY.hex())

    def deploy(time: str, *, reversible: bool) -> None:
        wanted = specification(time, command="flask db upgrade", reversible=reversible)
        made = release_step.run(Call(layout, release_options(wanted)))
        run_release_command(layout, str(made["release"]), 60)

    host.ended = FAILED
    with pytest.raises(GreenlightError):
        deploy("20261121T094420Z", reversible=True)
    host.ended = Finished(0, "", "")
    deploy("20261121T094421Z", reversible=False)
    assert entries(layout.ledger)[-1]["event"] == "command"
    assert entries(layout.ledger)[-1].get("reversible") is False


def test_the_command_of_an_incomplete_release_does_not_run(host: Host, layout: Layout) -> None:
    release = made(layout)
    layout.environment_file(release).unlink()
    with pytest.raises(Refused, match=f"{layout.environment_file(release)}") as refused:
        run_release_command(layout, release, 60)
    assert all_named(refused) == [("damaged-release", release)]
    assert started(host) == []


def test_a_command_whose_run_was_killed_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for change in itertools.count(1):
        host = installed(tmp_path / f"{change}", monkeypatch.setattr)
        layout = host.layout
        release = made(layout)
        ended = not killed(change, lambda layout=layout, release=release: run_release_command(layout, release, 60))  # type: ignore[misc]
        done = marked(layout, release)
        assert done or not ended
        assert run_release_command(layout, release, 60).ran is not done
        assert marked(layout, release)
        assert [entry["event"] for entry in entries(layout.ledger)] == ["command"]  # a rollback reads it
        if ended:
            break
    assert change > 2


def test_a_full_disk_does_not_hide_why_a_command_failed(
    host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    release = made(layout)
    host.ended = FAILED
    host.journal = "disk full"
    monkeypatch.setattr(history, "append", no_space)
    with pytest.raises(Refused, match="disk full") as failed:
        run_release_command(layout, release, 60)
    assert all_named(failed) == [("release-command-failed", release)]
    assert "No space left on device" in failed.value.closing[-1]
