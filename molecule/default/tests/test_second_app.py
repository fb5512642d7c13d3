# SPDX-License-Identifier: GPL-3.0-or-later
"""A second app on the same server: in development, from git, installed by pip; first broken, then healthy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import variants
from tests.support.deployed import SITE, Played, Server, ssh

SECOND = "second.test"
REPOSITORY = "/srv/git/second.git"


@pytest.fixture
def second(play: Callable[..., Played], one_server: Server) -> Callable[..., Played]:
    def deploy(**variables: object) -> Played:
        return play(
            limit=one_server.name,
            **{
                "flask_app_name": "second",
                "flask_app_environment": "development",
                "flask_app_server_names": SECOND,  # a text for a list, as with -e
                "flask_app_nginx_rate_limit": "500",
                "flask_app_installer": "pip",
                "flask_app_secrets": {
                    "SECRET_KEY": "only-for-development-0123456789",
                    "DATABASE_URL": "sqlite:////var/lib/second/second.db",
                },
                **variables,
            },
        )

    return deploy


def push(server: Server, source: Path) -> str:
    """Make ``source`` the only commit of the repository on the server; return the commit."""
    git = ["git", "-C", str(source)]
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "."],
        [*who, "commit", "--quiet", "-m", "one"],
    ):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    place = f"rm -rf {REPOSITORY}; mkdir -p {REPOSITORY} && tar -x -C {REPOSITORY} && chown -R root: {REPOSITORY}"
    tar = subprocess.run(["tar", "-c", "-C", str(source / ".git"), "."], check=True, capture_output=True).stdout
    subprocess.run([*ssh(server.name), f"sudo sh -c '{place}'"], input=tar, check=True)
    return commit


def test_a_failed_first_release_leaves_a_503_and_the_other_app_untouched(
    second: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    broken = variants.make("import_error", tmp_path / "app")
    done = second(flask_app_source_directory=str(broken))
    assert done.code != 0
    assert done.finds("candidate-failed"), done.output
    assert "503" in done.prose
    answer = one_server.ask("/", site=SECOND)
    assert (answer.status, answer.headers["content-type"]) == (503, "text/plain")
    # Clients learn that it is temporary: a proxy doesn't cache it, and a crawler returns.
    assert (answer.headers.get("retry-after"), answer.headers.get("cache-control")) == ("10", "no-store")
    assert "not available" in answer.body
    assert one_server.ask("/health", site=SITE).json["status"] == "ok"


def test_a_git_commit_deploys_to_development_with_pip(
    second: Callable[..., Played], one_server: Server, tmp_path: Path
) -> None:
    commit = push(one_server, variants.make("good_change", tmp_path / "app", label="from-git"))
    options = {
        "flask_app_source_directory": "",
        "flask_app_source_git_url": f"file://{REPOSITORY}",
    }
    done = second(**options)
    assert done.code == 0, done.output
    health = one_server.ask("/health", site=SECOND).json
    assert (health["env"], health["debug"], health["revision"]) == ("development", True, commit)
    assert "from-git" in one_server.ask("/", site=SECOND).body
    again = second(**options)
    assert (again.code, again.count("changed"), again.count("ok")) == (0, 0, 2), again.output


def test_a_runtime_directory_belongs_to_its_release_and_outlives_its_helpers(one_server: Server) -> None:
    release = Path(one_server.root("readlink /srv/second/live.sock")).stem
    assert one_server.root(f"stat --format='%U %a' /run/second/{release}") == "second 700"


def test_development_runs_one_worker(one_server: Server) -> None:
    release = Path(one_server.root("readlink /srv/second/live.sock")).stem
    main = one_server.root(f"systemctl show second@{release}.service --property=MainPID --value")
    assert len(one_server.root(f"cat /proc/{main}/task/{main}/children").split()) == 1


def test_a_venv_built_by_pip_is_complete_and_compiled(one_server: Server) -> None:
    marker = json.loads(one_server.root("cat /srv/second/live/venv/greenlight.json"))
    assert marker["installer"] == "pip"
    assert int(one_server.root("find /srv/second/live/venv/ -name '*.pyc' | wc -l")) > 100


def test_each_app_has_its_own_account_and_cannot_read_the_others_state(one_server: Server) -> None:
    owner = one_server.root("stat --format=%U /var/lib/second /var/lib/guestbook")
    assert owner.split() == ["second", "guestbook"]
    done = one_server.host.run("su --shell /bin/sh second --command 'ls /var/lib/guestbook /etc/guestbook/releases'")
    assert done.rc != 0


def test_the_first_app_is_unaffected(play: Callable[..., Played], one_server: Server) -> None:
    assert one_server.ask("/health", site=SITE).json["env"] == "staging"
