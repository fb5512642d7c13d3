# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one clear message that names the variable or host and the cure, before anything is touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.apps import variants
from tests.deployed import ROOT, Played, Server, connect, run_play


def refused(done: Played, *words: str) -> None:
    """The play was stopped by its preflight, and says all of ``words``."""
    assert done.code != 0, done.output
    assert "nothing was changed" in done.prose, done.output
    for word in words:
        assert word in done.prose, done.output
    assert "Traceback" not in done.output


#: What is wrong -> variables that make it so, and what the message must name: the variable, and the cure.
INPUTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown environment": (
        {"flask_app_environment": "stagging"},
        ["flask_app_environment is 'stagging'", "Did you mean staging?", "flask_app_environments"],
    ),
    "DEBUG outside development": (
        {"flask_app_debug": True},
        ["flask_app_debug is true", "Remove flask_app_debug"],
    ),
    "a missing source": (
        {"flask_app_source_directory": "/nowhere/at/all"},
        ["flask_app_source_directory", "no directory /nowhere/at/all", "Set it to"],
    ),
    "two sources": (
        {"flask_app_source_git_url": "https://example.org/app.git"},
        ["flask_app_source_directory and flask_app_source_git_url are both set", "Set the one"],
    ),
    "a missing secret": (
        {"flask_app_secrets": {"SECRET_KEY": "0123456789abcdef0123456789abcdef"}},
        ["flask_app_secrets has no DATABASE_URL", "ansible-vault edit"],
    ),
    "an undefined vault variable": (
        {"flask_app_secrets": {"SECRET_KEY": "{{ vault_flask_app_secret_key }}"}},
        ["vault_flask_app_secret_key is undefined", "script/secrets staging"],
    ),
    "a misspelt variable": (
        {"flask_app_gunicorn_worker": 3},
        ["flask_app_gunicorn_worker is not a variable", "Did you mean flask_app_gunicorn_workers?"],
    ),
    "a variable of the wrong type": (
        {"flask_app_gunicorn_threads": "many"},
        ["flask_app_gunicorn_threads", "Correct the value"],
    ),
    "a required variable that is not set": (
        {"flask_app_server_names": None},
        ["flask_app_server_names"],
    ),
    "a value that systemd can't carry": (
        {"flask_app_env": {"BROKEN": "a\u0000b"}},
        ["BROKEN", "U+0000"],
    ),
    "a name that is no account's": (
        {"flask_app_name": "My App"},
        ["flask_app_name is 'My App'", "lower-case"],
    ),
    "a name that the host has in use": (
        {"flask_app_name": "ssh"},
        ["flask_app_name is ssh", "/etc/ssh", "Choose another flask_app_name"],
    ),
    "an account that the host has in use": (
        {"flask_app_name": "www-data"},
        ["flask_app_name is www-data", "the account www-data"],
    ),
    "no such Python": (
        {"flask_app_python": "/usr/bin/python2.7"},
        ["flask_app_python is /usr/bin/python2.7", "Install it, or set flask_app_python"],
    ),
    "a disk without room": (
        {"flask_app_free_space_mb": 999_999_999},
        ["flask_app_free_space_mb", "Make room"],
    ),
}


@pytest.mark.parametrize("fault", INPUTS)
def test_the_preflight_refuses(fault: str, one_server: Server) -> None:
    variables, words = INPUTS[fault]
    before = one_server.state()
    refused(run_play(limit=one_server.name, **variables), one_server.name, *words)
    assert one_server.state() == before


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("no_lock", ["flask_app_requirements is requirements.txt", "is not there", "uv pip compile"]),
        ("lock_without_hashes", ["a package has no hash", "--generate-hashes"]),
        ("no_gunicorn", ["gunicorn is not among the packages", "lock again"]),
    ],
)
def test_the_preflight_refuses_a_source_with(
    variant: str, words: list[str], one_server: Server, tmp_path: Path
) -> None:
    before = one_server.state()
    source = variants.make(variant, tmp_path / "app")
    refused(run_play(limit=one_server.name, flask_app_source_directory=str(source)), *words)
    assert one_server.state() == before


def test_all_problems_are_said_at_once(one_server: Server) -> None:
    done = run_play(
        limit=one_server.name,
        flask_app_environment="stagging",
        flask_app_keep_release=3,
        flask_app_free_space_mb=999_999_999,
    )
    refused(done, "flask_app_keep_release is not", "'stagging'", "flask_app_free_space_mb")


@contextmanager
def on_server(server: Server, begin: str, end: str) -> Iterator[None]:
    server.root(begin)
    try:
        yield
    finally:
        server.root(end)


def test_a_port_that_another_program_holds_is_refused(one_server: Server) -> None:
    listen = "systemd-run --quiet --unit=squatter python3 -m http.server 8099; sleep 1"
    with on_server(one_server, listen, "systemctl stop squatter"):
        done = run_play(limit=one_server.name, flask_app_http_port=8099)
    refused(done, "flask_app_http_port is 8099", "python3 already listens", "choose another")


def test_a_server_name_that_another_site_has_is_refused(one_server: Server) -> None:
    site = "server { listen 80; server_name taken.test; return 200 mine; }"
    begin = f"echo '{site}' > /etc/nginx/sites-enabled/squatter && systemctl reload nginx"
    with on_server(one_server, begin, "rm /etc/nginx/sites-enabled/squatter && systemctl reload nginx"):
        done = run_play(limit=one_server.name, flask_app_name="second", flask_app_server_names=["taken.test"])
        refused(done, "flask_app_server_names holds taken.test", "Choose another name")
    assert one_server.host.run("test -e /etc/second").rc != 0


def test_a_broken_site_of_somebody_else_is_named(one_server: Server) -> None:
    begin = "echo 'server { bogus_directive on; }' > /etc/nginx/sites-enabled/squatter"
    with on_server(one_server, begin, "rm /etc/nginx/sites-enabled/squatter"):
        done = run_play(limit=one_server.name)
    refused(done, "not this app's", "bogus_directive", "/etc/nginx/sites-enabled/squatter:1")


def test_too_old_a_python_is_refused(one_server: Server) -> None:
    # An interpreter that says so: Debian 12 and 13 have none as old.
    old = "/usr/local/bin/old-python"
    answer = '[[3, 9, 2], "cpython-39", "linux-x86_64", "/usr/bin/python3.9"]'
    one_server.write(old, f"#!/bin/sh\necho '{answer}'\n", umask="022")
    with on_server(one_server, f"chmod 0755 {old}", f"rm {old}"):
        done = run_play(limit=one_server.name, flask_app_python=old)
    refused(done, "Python 3.9.2, which is too old", "flask_app_python")


def test_a_host_without_systemd_is_refused() -> None:
    podman = ROOT / "script/podman/podman"
    name = "greenlight-molecule-no-systemd"
    start = ["run", "--detach", "--rm", "--name", name, "localhost/greenlight-server:trixie", "sleep", "120"]
    subprocess.run([podman, *start], check=True, capture_output=True)
    try:
        done = run_play(
            limit="debian13",
            ansible_connection="containers.podman.podman",
            ansible_podman_executable=str(podman),
            ansible_host=name,
            ansible_become=False,
            ansible_user="root",
        )
    finally:
        subprocess.run([podman, "rm", "--force", "--time", "0", name], check=True, capture_output=True)
    refused(done, "systemd does not run here", "boots with systemd")


def test_an_inventory_that_does_not_exist_is_an_error(play: Callable[..., Played]) -> None:
    done = play("-i", "inventories/prodution")
    assert done.code != 0
    assert "inventories/prodution" in done.prose


def test_a_server_that_was_refused_is_as_reachable_as_before(one_server: Server) -> None:
    assert json.loads(connect(one_server.name).ask("/health").body)["status"] == "ok"
