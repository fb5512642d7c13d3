# SPDX-License-Identifier: GPL-3.0-or-later
"""The release command: where, when and as which user it runs, and what a rollback across it needs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import variants
from tests.support.deployed import APP, ROOT, connect, fresh, run_play, servers

ROLLBACK = ROOT / "playbooks/rollback.yml"
FILE = f"/var/lib/{APP}/commanded"
INSTANCE = f"/var/lib/{APP}/flaskr.sqlite"
#: Records who ran it, where and with what, and that its release has no traffic yet.
RECORD = (
    f'echo "$(id -un) $FLASK_CONFIG $APP_RELEASE $(basename $(readlink /srv/{APP}/live)) $(command -v flask)" >> {FILE}'
)


def recorded() -> dict[str, list[str]]:
    return {name: connect(name).host.run(f"cat {FILE}").stdout.splitlines() for name in servers()}


def test_with_a_file_database_it_runs_on_every_host_before_traffic() -> None:
    for name in servers():
        connect(name).root(f"rm -f {FILE}")
    before = {name: connect(name).live for name in servers()}
    variables = {"flask_app_release_command": RECORD, "flask_app_env": {"GREETING": "After a command"}}
    assert run_play(**variables).code == 0
    assert run_play(**variables).count("changed") == 0
    live = connect("debian12").live
    flask = f"/srv/{APP}/releases/{live}/venv/bin/flask"
    assert recorded() == {name: [f"{APP} staging {live} {before[name]} {flask}"] for name in servers()}


def test_run_once_a_host_with_its_own_file_database_gets_no_traffic() -> None:
    for name in servers():
        connect(name).root(f"rm -f {FILE}")
    before = {name: connect(name).live for name in servers()}
    once = {"flask_app_release_command": RECORD, "flask_app_release_command_once_per": "database", **fresh()}
    done = run_play(**once)
    assert done.code != 0
    assert done.finds("candidate-failed"), done.output
    assert "flask_app_release_command_once_per: host" in done.prose
    assert {name: connect(name).live for name in servers()} == before
    assert {name: len(lines) for name, lines in recorded().items()} == {"debian12": 1, "debian13": 0}


def test_it_runs_in_the_sandbox_of_the_release() -> None:
    server = connect("debian13")
    server.root(
        "mount -t tmpfs -o mode=1777 tmpfs /run/lock; touch /dev/shm/of-the-host; chmod 666 /dev/shm/of-the-host"
    )
    try:
        outside = f"/etc /run /run/lock /usr/local /var/lib /srv/{APP} ."
        command = f"""
            for place in {outside}; do if touch $place/by-the-command; then exit 3; fi; done
            if test -e /dev/shm/of-the-host; then exit 4; fi
            if ls /root || ls /home/deploy; then exit 6; fi
            touch $HOME/by-the-command /tmp/by-the-command /dev/shm/by-the-command
        """
        done = run_play(flask_app_release_command=command, limit=server.name)
        assert done.code == 0, done.output
    finally:
        server.root("umount /run/lock; rm /dev/shm/of-the-host")


def test_a_hanging_command_is_stopped() -> None:
    done = run_play(
        flask_app_release_command="echo waiting; sleep 300", flask_app_release_command_seconds=3, limit="debian13"
    )
    assert done.code != 0
    assert done.finds("release-command-failed"), done.output
    assert "timeout" in done.prose
    assert "waiting" in done.prose


def test_secrets_in_its_output_are_masked() -> None:
    done = run_play("-vvv", flask_app_release_command='echo "key: $SECRET_KEY"; exit 1', limit="debian13")
    assert done.code != 0
    key = connect("debian13").root(f"sed -n \"s/^SECRET_KEY='\\(.*\\)'$/\\1/p\" /etc/{APP}/releases/*.env | head -n 1")
    assert len(key) > 20
    assert done.finds("release-command-failed"), done.output
    assert "key: ********" in done.prose
    assert key not in done.output


def test_a_rollback_across_an_irreversible_command_is_refused_unless_forced(tmp_path: Path) -> None:
    assert run_play().code == 0
    before = {name: connect(name).live for name in servers()}
    source = variants.make("tutorial", tmp_path / "one")
    for name in servers():
        connect(name).root(f"rm -f {INSTANCE}")
    done = run_play(
        flask_app_source_directory=str(source),
        flask_app_release_command="flask --app wsgi migrate",
        flask_app_release_command_reversible=False,
    )
    assert done.code == 0, done.output
    # The command and the workers find Flask's instance folder, which all releases share.
    assert {name: connect(name).root(f"stat -c %U {INSTANCE}") for name in servers()} == dict.fromkeys(servers(), APP)
    after = {name: connect(name).live for name in servers()}
    done = run_play(playbook=ROLLBACK)
    assert done.code != 0
    assert done.finds(f"irreversible-command:{after['debian13']}"), done.output
    assert before["debian13"] in done.prose
    assert {name: connect(name).live for name in servers()} == after
    # The server that did not run the command has it in its ledger too.
    assert run_play(playbook=ROLLBACK, limit="debian13").code != 0
    done = run_play(playbook=ROLLBACK, flask_app_rollback_force=True)
    assert done.code == 0, done.output
    assert {name: connect(name).live for name in servers()} == before


def test_the_ledger_records_the_command() -> None:
    events = [json.loads(line) for line in connect("debian12").root(f"cat /srv/{APP}/ledger.jsonl").splitlines()]
    commands = [event for event in events if event["event"] == "command"]
    assert commands[-1]["reversible"] is False
    assert commands[-1].keys() >= {"at", "by", "release", "revision", "seconds"}
