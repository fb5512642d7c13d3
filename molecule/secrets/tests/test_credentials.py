# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as systemd credentials: files that only the service sees, and no secret in its environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.deployed import APP, ROOT, Played, Server, connect, run_play, secrets, servers
from tests.support.rotation import keys, make_vault, rotation

AS_CREDENTIALS: dict[str, Any] = {"flask_app_secrets_as": "credentials"}
VERIFY = ROOT / "playbooks/verify.yml"


@pytest.fixture(scope="module", autouse=True)
def deployed() -> Iterator[Played]:
    yield run_play(**AS_CREDENTIALS)
    assert run_play().code == 0
    for name in servers():
        assert "SECRET_KEY" in environment(connect(name))


def processes(server: Server) -> list[str]:
    """Return the process ids of the app's master and workers."""
    unit = f"{APP}@{server.live}.service"
    return server.root(
        f"cat $(systemctl show --property=ControlGroup --value {unit} | sed s,^,/sys/fs/cgroup,)/cgroup.procs"
    ).split()


def environment(server: Server) -> dict[str, str]:
    """Return the environment of the app's master."""
    pid = server.root(f"systemctl show --property=MainPID --value {APP}@{server.live}.service")
    lines = server.root(f"tr '\\0' '\\n' < /proc/{pid}/environ").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_the_deploy_succeeds(deployed: Played) -> None:
    assert deployed.code == 0, deployed.output


def test_no_secret_is_in_the_environment_of_any_process(server: Server) -> None:
    found = environment(server)
    assert not {*secrets(), "DATABASE_URL"} & found.keys()
    assert found["SECRET_KEY_FILE"] == f"/run/credentials/{APP}@{server.live}.service/SECRET_KEY"
    for pid in processes(server):
        text = server.root(f"tr '\\0' '\\n' < /proc/{pid}/environ")
        assert not [name for name, value in secrets().items() if value.split()[0] in text]


def test_the_files_hold_the_secrets_byte_for_byte(server: Server) -> None:
    for name, value in secrets().items():
        done = server.host.run(f"cat /run/credentials/{APP}@{server.live}.service/{name}")
        assert done.stdout == value, name


def test_only_root_and_the_service_can_read_the_files(server: Server) -> None:
    place = f"/etc/{APP}/releases/{server.live}.credentials"
    found = server.root(f"stat --format='%U:%G %a' {place} {place}/SECRET_KEY").splitlines()
    assert found == ["root:root 700", "root:root 600"]
    loaded = f"/run/credentials/{APP}@{server.live}.service/SECRET_KEY"
    assert server.host.run(f"runuser --user www-data -- cat {loaded}").rc != 0


def test_the_app_signs_with_the_key_that_it_was_given(server: Server) -> None:
    assert server.ask("/health").json["env"] == "staging"


def test_a_second_deploy_changes_nothing(play: Callable[..., Played]) -> None:
    done = play(**AS_CREDENTIALS)
    assert (done.code, done.count("changed")) == (0, 0)
    check = play("--check", **AS_CREDENTIALS)
    assert (check.code, check.count("changed")) == (0, 0)


def test_verify_finds_no_drift_until_a_file_is_edited(play: Callable[..., Played]) -> None:
    given = {"playbook": VERIFY, **AS_CREDENTIALS}
    assert play(**given).code == 0
    edited = {name: f"/etc/{APP}/releases/{connect(name).live}.credentials/API_TOKEN" for name in servers()}
    for name, path in edited.items():
        connect(name).root(f"cp -p {path} /root/kept && echo -n edited >> {path}")
    try:
        done = play(**given)
        assert done.code != 0
        assert {("environment", "API_TOKEN"), *(("file", path) for path in edited.values())} <= done.findings
        assert done.count("failed") == len(edited)
    finally:
        for name, path in edited.items():
            connect(name).root(f"cp -p /root/kept {path} && rm /root/kept")


def test_a_release_command_gets_the_credentials(play: Callable[..., Played], one_server: Server) -> None:
    command = 'test -z "$SECRET_KEY" && test "$(wc -c < "$SECRET_KEY_FILE")" -ge 32 && flask --app wsgi migrate'
    done = play(limit=one_server.name, flask_app_release_command=command, **AS_CREDENTIALS)
    assert done.code == 0, done.output


def test_the_credentials_survive_a_reboot(server: Server) -> None:
    unit = f"{APP}@{server.live}.service"
    server.root(f"systemctl restart {unit}")
    assert server.ask("/health").status == 200


def test_a_variable_of_the_same_name_is_refused(play: Callable[..., Played], one_server: Server) -> None:
    done = play(limit=one_server.name, flask_app_env={"API_TOKEN_FILE": "/tmp/x"}, **AS_CREDENTIALS)
    assert done.code != 0
    assert done.finds("environment-by-hand:API_TOKEN_FILE"), done.output
    assert "flask_app_env " in done.prose


def test_a_rotation_passes_both_keys(play: Callable[..., Played]) -> None:
    make_vault()
    for step in ("start", "finish"):
        done = play(**rotation(step), **AS_CREDENTIALS)
        assert done.code == 0, done.output
        for name in servers():
            server = connect(name)
            place = f"/run/credentials/{APP}@{server.live}.service"
            key, fallbacks = keys()
            assert server.root(f"cat {place}/SECRET_KEY") == key
            assert server.host.file(f"{place}/SECRET_KEY_FALLBACKS").exists == bool(fallbacks)
            assert "SECRET_KEY" not in environment(server)
