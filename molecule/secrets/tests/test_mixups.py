# SPDX-License-Identifier: GPL-3.0-or-later
"""One environment mistaken for another: the wrong inventory, another one's vault, FLASK_CONFIG changed on the host.

test_verify.py tests what playbooks/verify.yml finds of it; this file tests the rest, and deploys.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import yaml

from tests.support.deployed import APP, INVENTORY, ROOT, Played, Server, connect, run_play, secrets, servers
from tests.support.refusals import of_host
from tests.support.rotation import ansible_vault, make_vault, rotate

STAMP = f"/etc/{APP}/environment-id"
DATABASE = "sqlite:////var/lib/guestbook/guestbook.db"
ROLLBACK, VERIFY, MAINTENANCE = (ROOT / f"playbooks/{name}.yml" for name in ("rollback", "verify", "maintenance"))
#: An app that no server has, so that only the tested fault can cause a finding.
ELSEWHERE = {"flask_app_name": "mixup", "flask_app_server_names": ["mixup.test"]}
OTHER_GREETING = {"flask_app_env": {"GREETING": "Of another release"}}


def make_inventory(directory: Path, environment: str, values: dict[str, str]) -> Path:
    """Write an inventory like a user's, with its secrets in a vault file; its hosts are the test servers."""

    def moved(name: str) -> str:
        return (INVENTORY / name).read_text().replace("{{ inventory_dir }}/../../..", str(ROOT))

    place = directory / environment
    variables = place / "group_vars/flask_app"
    variables.mkdir(parents=True)
    (place / "hosts.yml").write_text(moved("hosts.yml"))
    (place / "group_vars/servers.yml").write_text(moved("group_vars/servers.yml"))
    main: dict[str, Any] = yaml.safe_load(moved("group_vars/flask_app.yml"))
    main["flask_app_environment"] = environment
    main["flask_app_secrets"] = {name: f"{{{{ vault_{name.lower()} }}}}" for name in values}
    (variables / "main.yml").write_text(yaml.safe_dump(main))
    vault = variables / "vault.yml"
    vault.write_text(yaml.safe_dump({f"vault_{name.lower()}": value for name, value in values.items()}))
    ansible_vault("encrypt", "--encrypt-vault-id", "test", str(vault))
    return place


@pytest.fixture
def inventories(tmp_path: Path) -> Path:
    """Staging, as which the test servers are deployed, and production, aimed at the same hosts by mistake."""
    directory = tmp_path / "inventories"
    make_inventory(directory, "staging", {**secrets(), "DATABASE_URL": DATABASE})
    fresh = {"SECRET_KEY": token_hex(), "API_TOKEN": token_hex(), "DATABASE_URL": DATABASE}
    make_inventory(directory, "production", fresh)
    return directory


@pytest.fixture(scope="module", autouse=True)
def deployed() -> Iterator[None]:
    done = run_play()
    assert done.code == 0, done.output
    yield
    assert run_play().code == 0


def verify(server: Server) -> Played:
    return run_play(playbook=VERIFY, limit=server.name)


def is_refused(done: Played) -> bool:
    """Return whether the run finds a host of another environment and names both."""
    words = set(re.findall(r"\w+", done.output))
    return done.finds(f"wrong-environment:{STAMP}") and {"staging", "production"} <= words


def environment_of_the_process(server: Server) -> list[str]:
    main = server.root(f"systemctl show {APP}@{server.live}.service --property=MainPID --value")
    return server.root(f"tr '\\0' '\\n' < /proc/{main}/environ").splitlines()


# The wrong inventory


def test_hosts_of_another_environment_are_refused_with_a_fix(inventories: Path) -> None:
    before = {name: connect(name).state() for name in servers()}
    done = run_play(inventory=inventories / "production")
    assert done.code != 0
    assert {name: connect(name).state() for name in servers()} == before
    for name in servers():
        of_this = of_host(name, done)
        assert (len(of_this.findings), is_refused(of_this)) == (1, True), done.output
        assert connect(name).ask().json["env"] == "staging"


def test_changing_the_stamp_moves_a_host_to_another_environment(inventories: Path, one_server: Server) -> None:
    try:
        one_server.write(STAMP, "production\n")
        done = run_play(limit=one_server.name)
        assert done.code != 0
        assert is_refused(done), done.output
        assert one_server.ask().json["env"] == "staging"
        done = run_play(inventory=inventories / "production", limit=one_server.name)
        assert done.code == 0, done.output
        assert one_server.ask().json["env"] == "production"
    finally:
        one_server.write(STAMP, "staging\n")
        done = run_play(limit=one_server.name)
    assert done.code == 0, done.output
    assert one_server.ask().json["env"] == "staging"


def test_a_rollback_with_the_wrong_inventory_changes_nothing(inventories: Path, one_server: Server) -> None:
    assert run_play(limit=one_server.name, **OTHER_GREETING).code == 0
    target = one_server.live
    assert run_play(limit=one_server.name).code == 0
    assert one_server.live != target
    before = one_server.state()
    done = run_play(playbook=ROLLBACK, inventory=inventories / "production", limit=one_server.name)
    assert done.code != 0, done.output
    assert is_refused(done), done.output
    assert one_server.state() == before
    assert one_server.ask().json["env"] == "staging"


def test_a_rotation_with_the_wrong_inventory_deploys_no_key(inventories: Path, one_server: Server) -> None:
    before = one_server.state()
    make_vault()
    done = rotate("start", inventory=inventories / "production", limit=one_server.name)
    assert done.code != 0, done.output
    assert is_refused(done), done.output
    assert one_server.state() == before


def test_maintenance_with_the_wrong_inventory_closes_no_site(inventories: Path, one_server: Server) -> None:
    given = {"inventory": inventories / "production", "limit": one_server.name, "flask_app_maintenance": True}
    done = run_play(playbook=MAINTENANCE, **given)
    assert done.code != 0, done.output
    assert is_refused(done), done.output
    assert one_server.ask("/").status == 200


# The vault of another environment


def test_the_vault_of_staging_copied_into_production_is_refused(inventories: Path, one_server: Server) -> None:
    vault = "group_vars/flask_app/vault.yml"
    shutil.copy(inventories / "staging" / vault, inventories / "production" / vault)
    before = one_server.state()
    done = run_play("-vvvv", "--diff", inventory=inventories / "production", limit=one_server.name, **ELSEWHERE)
    assert done.code != 0
    assert one_server.state() == before
    assert one_server.host.run("test -e /etc/mixup -o -e /srv/mixup").rc == 1
    assert done.findings == {("shared-secret", "SECRET_KEY"), ("shared-secret", "API_TOKEN")}, done.output
    assert "inventories/staging" in done.prose
    shown = [name for name, value in secrets().items() if value in done.output or value.split()[0] in done.output]
    assert shown == []


def test_production_with_its_own_vault_is_accepted(inventories: Path, one_server: Server) -> None:
    options = ("--check", "--tags", "always")
    done = run_play(*options, inventory=inventories / "production", limit=one_server.name, **ELSEWHERE)
    assert done.code == 0, done.output


# FLASK_CONFIG changed on the host


@pytest.fixture
def edited_server(one_server: Server) -> Iterator[Server]:
    """A server on which a test edits the live release's files; they are restored, whatever is live then."""
    release = one_server.live
    path = f"/etc/{APP}/releases/{release}.env"
    one_server.root(f"cp -p {path} /root/kept.env")
    yield one_server
    one_server.root(f"cp -p /root/kept.env {path} && rm -f /root/kept.env /root/by-hand.env {drop_in(release)}")
    one_server.root(f"systemctl daemon-reload && systemctl try-restart {APP}@{release}.service")
    done = run_play(limit=one_server.name)
    assert done.code == 0, done.output
    done = verify(one_server)
    assert done.code == 0, done.output


def drop_in(release: str) -> str:
    """Return the path where systemctl edit puts its file."""
    return f"/etc/systemd/system/{APP}@{release}.service.d/override.conf"


def override(server: Server, setting: str) -> str:
    """Do what systemctl edit and a restart do; return the file."""
    path = drop_in(server.live)
    server.write(path, f"[Service]\n{setting}\n", umask="022")
    server.root(f"systemctl daemon-reload && systemctl restart {APP}@{server.live}.service")
    return path


def test_an_environment_in_a_drop_in_is_reported_and_has_no_effect(edited_server: Server) -> None:
    """The release's environment file takes precedence (systemd.exec(5), EnvironmentFile=)."""
    path = override(edited_server, "Environment=FLASK_CONFIG=production")
    assert "FLASK_CONFIG=staging" in environment_of_the_process(edited_server)
    assert edited_server.ask().json["env"] == "staging"
    done = verify(edited_server)
    assert done.code != 0
    assert done.finds(f"drop-in:{path}"), done.output
    assert f"rm {path} && systemctl daemon-reload" in done.prose
    done = run_play(limit=edited_server.name)
    assert done.code == 0, done.output
    assert edited_server.ask().json["env"] == "staging"


def test_the_next_deploy_replaces_a_release_whose_environment_is_overridden(edited_server: Server) -> None:
    overridden = edited_server.live
    edited_server.write("/root/by-hand.env", "FLASK_CONFIG=production\n")
    override(edited_server, "EnvironmentFile=/root/by-hand.env")
    assert edited_server.ask().json["env"] == "production"
    done = run_play(limit=edited_server.name)
    assert done.code == 0, done.output
    assert edited_server.live != overridden
    assert edited_server.ask().json["env"] == "staging"


@pytest.mark.parametrize("restarted", [False, True], ids=["not restarted", "restarted"])
def test_the_next_deploy_replaces_a_release_whose_environment_file_was_edited(
    edited_server: Server, *, restarted: bool
) -> None:
    edited = edited_server.live
    path = f"/etc/{APP}/releases/{edited}.env"
    edited_server.root(
        f"sed -i \"s/^FLASK_CONFIG=.*/FLASK_CONFIG='production'/\" {path} && echo \"ODD='odd'\" >> {path}"
    )
    if restarted:
        edited_server.root(f"systemctl restart {APP}@{edited}.service")
    assert ("FLASK_CONFIG=production" in environment_of_the_process(edited_server)) is restarted
    done = run_play(limit=edited_server.name)
    assert done.code == 0, done.output
    assert edited_server.live != edited
    variables = environment_of_the_process(edited_server)
    assert "FLASK_CONFIG=staging" in variables
    assert "ODD=odd" not in variables
    assert edited_server.ask().json["env"] == "staging"
