# SPDX-License-Identifier: GPL-3.0-or-later
"""How the release runs, as systemd and the kernel report it."""

from __future__ import annotations

import base64
import re

import pytest

from tests.support.deployed import APP, Server, secrets


def properties(server: Server, unit: str) -> dict[str, str]:
    lines = server.root(f"systemctl show {unit}").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def service(server: Server) -> str:
    return f"{APP}@{server.live}.service"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Type", "notify"),
        ("ActiveState", "active"),
        ("User", APP),
        ("TasksMax", "512"),
        ("KillMode", "mixed"),
        ("Restart", "always"),
        ("TimeoutStopUSec", "45s"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("MemoryDenyWriteExecute", "yes"),
        ("PrivateUsers", "yes"),
        ("CapabilityBoundingSet", ""),
        ("UMask", "0077"),
    ],
)
def test_the_loaded_unit_has_the_property(server: Server, name: str, expected: str) -> None:
    # systemctl omits empty properties.
    assert properties(server, service(server)).get(name, "") == expected


def test_the_unit_starts_at_boot(server: Server) -> None:
    # Not the property UnitFileState: systemd caches it until its next reload.
    assert server.root(f"systemctl is-enabled {service(server)}") == "enabled"


def test_the_memory_limit_leaves_room_for_two_releases(server: Server) -> None:
    found = properties(server, service(server))
    limit = int(found["MemoryMax"])
    total = 1024 * int(server.root("awk '/MemTotal/ {print $2}' /proc/meminfo"))
    assert 0.3 * total < limit < 0.5 * total


def test_systemd_rates_the_exposure_as_low(server: Server) -> None:
    output = server.root(f"systemd-analyze security --no-pager {service(server)}")
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", output)
    assert match
    assert float(match.group(1)) <= 1.5, output


def test_only_the_live_release_runs(server: Server) -> None:
    rows = server.root(f"systemctl list-units --plain --no-legend '{APP}@*'").splitlines()
    assert sorted(row.split()[0] for row in rows) == [f"{APP}@{server.live}.service", f"{APP}@{server.live}.socket"]


def test_only_nginx_may_connect_to_the_socket(server: Server) -> None:
    found = server.root(f"stat --format='%U:%G %a' /run/{APP}/{server.live}.sock")
    assert found == "root:www-data 660"


def test_workers_follow_the_processors(server: Server) -> None:
    main = properties(server, service(server))["MainPID"]
    workers = server.root(f"cat /proc/{main}/task/{main}/children").split()
    assert len(workers) == min(int(server.root("nproc")), 8)


def test_the_process_gets_its_secrets_byte_for_byte(server: Server) -> None:
    main = properties(server, service(server))["MainPID"]
    pairs = base64.b64decode(server.root(f"base64 --wrap=0 /proc/{main}/environ")).decode().split("\0")
    for name, value in secrets().items():
        assert f"{name}={value}" in pairs


def test_the_app_user_cannot_write_its_own_code(server: Server) -> None:
    places = f"/srv/{APP} /etc/{APP} /opt/greenlight /etc/systemd/system /etc/nginx"
    # find reports an error where the app's user may not even look.
    found = server.root(f"su --shell /bin/sh {APP} --command 'find {places} -writable ! -type l 2>/dev/null' || true")
    assert found == ""


def test_only_the_app_can_access_its_state(server: Server) -> None:
    # StateDirectory= creates it, private to the app.
    assert server.root(f"stat --format='%U %a' /var/lib/{APP}") == f"{APP} 700"


def test_the_app_starts_without_errors(server: Server) -> None:
    journal = server.root(f"journalctl --unit={service(server)} --no-pager --output=cat")
    assert "Listening at: unix:" in journal
    assert not re.search(r"error|traceback|denied", journal, re.IGNORECASE)


def test_each_worker_logs_its_environment_once_at_start(server: Server) -> None:
    journal = server.root(f"journalctl --unit={service(server)} --no-pager --output=cat")
    assert "staging" in journal


def test_the_venv_is_compiled(server: Server) -> None:
    assert int(server.root(f"find /srv/{APP}/live/venv/ -name '*.pyc' | wc -l")) > 100
    assert int(server.root(f"find /srv/{APP}/live/source/ -name '*.pyc' | wc -l")) >= 4


def test_the_host_is_stamped_with_its_environment(server: Server) -> None:
    assert server.root(f"cat /etc/{APP}/environment-id") == "staging"
