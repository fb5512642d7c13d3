# SPDX-License-Identifier: GPL-3.0-or-later
"""A program next to a release runs like the release itself, once at a time and not forever."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.sandbox import (
    ask_in_release,
    run_in_release,
    settings,
)
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import GRACE_SECONDS
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError

from tests.unit.fakes import Host, create, installed

TIME = "20261121T094420Z"
UNIT = "shop-something.service"
SERVICE = """\
# Ansible managed
[Unit]
Description=Flask app shop, release %i
StartLimitIntervalSec=0

[Service]
# What it is started with
; PrivateTmp=no
Type=notify
User=shop
EnvironmentFile=/etc/shop/releases/%i.env
Environment=PATH=/srv/shop/releases/%i/venv/bin:/usr/bin A=%i
ExecStartPre=/bin/true
ExecStart=/srv/shop/releases/%i/venv/bin/python -P -m gunicorn
KillMode=mixed
Restart=always
RestartSec=2
TimeoutStartSec=60
RuntimeMaxSec=86400
NotifyAccess=all
WatchdogSec=10
OOMPolicy=continue
CapabilityBoundingSet=
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
  UMask=0077
TasksMax=16

[Install]
WantedBy=multi-user.target
"""
DROP_IN = """\
# Ansible managed
[Service]
MemoryMax=40%
TasksMax=512
TimeoutStopSec=45
SystemCallFilter=
ReadWritePaths=/srv/shop/releases/%i/x
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = installed(tmp_path, monkeypatch.setattr)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return host


@pytest.fixture
def layout(host: Host) -> Layout:
    return host.layout


@pytest.fixture
def release(layout: Layout) -> str:
    return create(layout, TIME, service=SERVICE, drop_in=DROP_IN)


def started(host: Host) -> list[str]:
    """Return the words of the only systemd-run."""
    (words,) = [call for call in host.calls if call[0] == "systemd-run"]
    return words


# The settings


def test_the_sandbox_uses_unit_and_drop_in_settings_except_server_ones(layout: Layout, release: str) -> None:
    assert settings(layout, release, UNIT) == [
        "User=shop",
        f"EnvironmentFile=/etc/shop/releases/{release}.env",
        f"Environment=PATH=/srv/shop/releases/{release}/venv/bin:/usr/bin A={release}",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "UMask=0077",
        "TasksMax=16",
        "MemoryMax=40%",
        "TasksMax=512",
        "SystemCallFilter=",
        f"ReadWritePaths=/srv/shop/releases/{release}/x",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Type", "ExecStart", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost", "ExecCondition",
        "Restart", "RestartSec", "RestartSteps", "RestartPreventExitStatus", "KillMode", "NotifyAccess", "WatchdogSec",
        "WatchdogSignal", "TimeoutSec", "TimeoutStartSec", "TimeoutStopSec", "TimeoutAbortSec", "RuntimeMaxSec",
        "OOMPolicy", "StandardInput", "StandardOutput", "StandardError", "StandardInputText",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["service", "drop_in"])
def test_no_server_setting_is_left(layout: Layout, name: str, place: str) -> None:
    release = create(layout, TIME, **{place: f"[Service]\n{name}=x\n"})
    assert not [line for line in settings(layout, release, UNIT) if line.startswith(name)]


def test_a_program_has_its_own_runtime_directory(layout: Layout) -> None:
    """systemd removes it when the unit ends, while the release continues."""
    release = create(layout, TIME, drop_in="[Service]\nRuntimeDirectory=shop/%i\nRuntimeDirectoryMode=0700\n")
    assert settings(layout, release, UNIT) == ["RuntimeDirectory=shop/shop-something", "RuntimeDirectoryMode=0700"]


def test_sandbox_settings_with_the_prefix_of_a_server_one_are_kept(layout: Layout) -> None:
    lines = ["ExecPaths=/usr /srv", "NoExecPaths=/", "ExecSearchPath=/usr/bin"]
    release = create(layout, TIME, drop_in="\n".join(["[Service]", *lines, ""]))
    assert settings(layout, release, UNIT) == lines


def test_specifiers_are_expanded_as_in_the_release(layout: Layout) -> None:
    line = "Environment=A=100%% B=%%i C=%i D=%p E=%t/%p F=%S G=%L H=%z"
    release = create(layout, TIME, drop_in=f"[Service]\n{line}\n")
    [found] = settings(layout, release, UNIT)
    assert found == f"Environment=A=100% B=%i C={release} D=shop E=/run/shop F=/var/lib G=/var/log H=%z"


def test_a_program_gets_the_release_credentials_in_its_own_directory(host: Host, layout: Layout) -> None:
    release = create(layout, TIME, service=SERVICE, drop_in=DROP_IN, credentials=["SECRET_KEY"])
    found = settings(layout, release, UNIT)
    expected = [
        f"LoadCredential=SECRET_KEY:/etc/shop/releases/{release}.credentials/SECRET_KEY",
        f"Environment=SECRET_KEY_FILE=/run/credentials/{UNIT}/SECRET_KEY",
    ]
    assert [line for line in found if "SECRET_KEY" in line] == expected
    place = found.index(expected[0])
    assert found.index("TasksMax=16") < place < found.index("MemoryMax=40%"), "what a user sets counts"
    run_in_release(layout, release, UNIT, ["true"], 1)
    assert [f"--property={line}" for line in expected] == [word for word in started(host) if "SECRET_KEY" in word]


def test_a_program_of_a_release_without_credentials_gets_none(host: Host, layout: Layout, release: str) -> None:
    run_in_release(layout, release, UNIT, ["true"], 1)
    assert not [word for word in started(host) if "redential" in word or "_FILE" in word]


@pytest.mark.parametrize(
    "line", ["TypeOf=x", "Environment=Type=x", "OOMScoreAdjust=5", "KillSignal=SIGINT", "NonStandard=x"]
)
def test_a_setting_that_only_resembles_a_server_one_is_kept(layout: Layout, line: str) -> None:
    release = create(layout, TIME, drop_in=f"[Service]\n{line}\n")
    assert line in settings(layout, release, UNIT)


def test_credentials_are_in_the_systemd_directory_of_the_running_unit(layout: Layout) -> None:
    release = create(layout, TIME, credentials=["SECRET_KEY"], drop_in="[Service]\nEnvironment=A=%d/%i:%d\n")
    lines = settings(layout, release, UNIT)
    assert f"LoadCredential=SECRET_KEY:/etc/shop/releases/{release}.credentials/SECRET_KEY" in lines
    assert f"Environment=SECRET_KEY_FILE=/run/credentials/{UNIT}/SECRET_KEY" in lines
    assert f"Environment=A=/run/credentials/{UNIT}/{release}:/run/credentials/{UNIT}" in lines


def test_the_sandbox_does_not_change_the_python_module_path(host: Host, layout: Layout, release: str) -> None:
    run_in_release(layout, release, UNIT, ["true"], 1)
    assert not [word for word in started(host) if "PYTHONPATH" in word or "PYTHONSAFEPATH" in word]


# The run


def test_a_program_gets_release_settings_its_own_modules_and_a_time_limit(
    host: Host, layout: Layout, release: str
) -> None:
    ended = run_in_release(layout, release, UNIT, ["/bin/sh", "-e", Path("/x y")], 600)
    words = started(host)
    options = [word for word in words if word.startswith("--")]
    assert words == ["systemd-run", *options, "/bin/sh", "-e", "/x y"]
    properties = [option.removeprefix("--property=") for option in options if option.startswith("--property=")]
    assert properties == [
        *settings(layout, release, UNIT),
        "RuntimeMaxSec=600",
    ]
    assert set(options) - {f"--property={line}" for line in properties} == {
        "--wait",
        "--collect",
        "--service-type=exec",
        f"--unit={UNIT}",
        "--description=Flask app shop",
    }
    assert host.seconds["systemd-run"] > 600
    assert (ended.well, ended.how) == (True, "")


@pytest.mark.parametrize(("seconds", "text"), [(0.5, "0.5"), (86400, "86400"), (1.0, "1")])
def test_a_time_limit_is_written_in_systemd_form(
    host: Host, layout: Layout, release: str, seconds: float, text: str
) -> None:
    run_in_release(layout, release, UNIT, ["true"], seconds)
    assert f"--property=RuntimeMaxSec={text}" in started(host)


EXITED = """\
Running as unit: x; invocation ID: y
Finished with result: exit-code
Main processes terminated with: code=exited/status=3
Service runtime: 12ms
"""


@pytest.mark.parametrize(
    ("ended", "how"),
    [
        (Finished(3, "", EXITED), "exit-code, code=exited/status=3"),
        (Finished(1, "", "Finished with result: timeout\n"), "timeout"),
        (Finished(1, "", "Unknown assignment: Soup=x\n"), "Unknown assignment: Soup=x"),
    ],
)
def test_a_program_failure_is_reported_in_the_words_of_systemd(
    host: Host, layout: Layout, release: str, ended: Finished, how: str
) -> None:
    host.ended = ended
    host.journal = "first\n\nlast\n"
    found = run_in_release(layout, release, UNIT, ["false"], 1)
    assert (found.well, found.how, found.journal) == (False, how, ["first", "last"])
    assert ["journalctl", f"--unit={UNIT}"] in [call[:2] for call in host.calls]


def test_a_program_still_running_is_awaited(host: Host, layout: Layout, release: str) -> None:
    host.busy[UNIT] = 3
    run_in_release(layout, release, UNIT, ["true"], 60)
    programs = [call[0] for call in host.calls]
    assert programs.count("systemd-run") == 1
    assert programs[: programs.index("systemd-run")].count("systemctl") == 4


def test_a_program_that_does_not_end_is_given_up_and_not_started_twice(
    host: Host, layout: Layout, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.busy[UNIT] = 10**9
    now = time.monotonic()
    waited: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: now + sum(waited))
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(GreenlightError, match=f"^{UNIT} .*systemctl status {UNIT}"):
        run_in_release(layout, release, UNIT, ["true"], 7)
    assert 7 <= sum(waited) <= 8
    assert not [call for call in host.calls if call[0] == "systemd-run"]


# The question


def test_an_inspected_program_gets_settings_input_and_a_time_limit(host: Host, layout: Layout, release: str) -> None:
    host.ended = Finished(0, "said", "noise")
    assert ask_in_release(layout, release, UNIT, ["/x/python", Path("-")], given="the program", seconds=7) == host.ended
    words = started(host)
    options = [word for word in words if word.startswith("--")]
    assert words == ["systemd-run", *options, "/x/python", "-"]
    assert options == [
        "--wait",
        "--collect",
        f"--unit={UNIT}",
        "--description=Flask app shop",
        *(f"--property={line}" for line in settings(layout, release, UNIT)),
        "--property=RuntimeMaxSec=7",
        "--pipe",
        "--quiet",
    ]
    assert host.given == "the program"
    assert host.seconds["systemd-run"] == 7 + GRACE_SECONDS
    assert [call[1] for call in host.calls if call[0] == "systemctl"] == ["show"]
    assert "journalctl" not in [call[0] for call in host.calls]


def test_a_program_left_by_a_killed_run_is_stopped_first(host: Host, layout: Layout, release: str) -> None:
    host.busy[UNIT] = 1
    ask_in_release(layout, release, UNIT, ["true"], given="", seconds=7)
    assert [call[:3] for call in host.calls if call[0] == "systemctl"] == [
        ["systemctl", "show", UNIT],
        ["systemctl", "stop", UNIT],
        ["systemctl", "reset-failed", UNIT],
    ]
    assert [call[0] for call in host.calls][-1] == "systemd-run"
