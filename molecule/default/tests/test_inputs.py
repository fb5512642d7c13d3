# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one clear message names the variable or host and the fix, before anything is touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import variants
from tests.support.deployed import PODMAN, PROJECT, Played, Server, connect, run_play
from tests.support.refusals import Refusals, host_name, refusals


def assert_refused(done: Played, *facts: str) -> None:
    """Assert that the play stopped and that its output has all of ``facts``."""
    assert done.code != 0, done.output
    assert [fact for fact in facts if fact not in done.prose] == [], done.output
    assert "Traceback" not in done.output


RESERVED, IN_USE = ("reserved-name", "flask_app_name"), ("name-in-use", "flask_app_name")
NO_PYTHON, NO_SPACE = ("no-python", "flask_app_python"), ("no-space", "/srv")
#: The first app has this name.
TAKEN = ("name-taken", "flask_app_server_names")
UNFIT_SOURCE, UNFIT_LOCK = ("unfit-source", "flask_app_source_directory"), ("unfit-lock", "flask_app_requirements")
SETTINGS = "flask_app_service_settings"
#: Fault -> variables that cause it, all findings expected, and further facts that the message must have.
INPUTS: dict[str, tuple[dict[str, Any], set[tuple[str, str]], list[str]]] = {
    "an unknown environment": (
        {"flask_app_environment": "stagging"},
        {("unknown-environment", "flask_app_environment")},
        ["'stagging'", "staging?", "flask_app_environments"],
    ),
    "DEBUG outside development": (
        {"flask_app_debug": True},
        {("debug", "flask_app_debug")},
        [],
    ),
    "a missing source": (
        {"flask_app_source_directory": "/nowhere/at/all"},
        {UNFIT_SOURCE},
        ["/nowhere/at/all"],
    ),
    "two sources": (
        {"flask_app_source_git_url": "https://example.org/app.git"},
        {("source-choice", "flask_app_source_directory")},
        ["flask_app_source_git_url"],
    ),
    "an address that git would take for an option": (
        {"flask_app_source_directory": "", "flask_app_source_git_url": "--upload-pack=touch /srv/run-by-git"},
        {("malformed-value", "flask_app_source_git_url")},
        ["https://"],
    ),
    "a name that git would take for an option": (
        {
            "flask_app_source_directory": "",
            "flask_app_source_git_url": "/srv/git/shop.git",
            "flask_app_source_git_ref": "--upload-pack=touch /srv/run-by-git",
        },
        {("malformed-value", "flask_app_source_git_ref")},
        [],
    ),
    "a missing secret": (
        {"flask_app_secrets": {"SECRET_KEY": "0123456789abcdef0123456789abcdef"}},
        {("missing-secret", "DATABASE_URL"), ("weak-key", "SECRET_KEY")},
        ["flask_app_secrets", "ansible-vault edit", 'flask_app_required_secrets: ["SECRET_KEY"]'],
    ),
    "undefined vault variables, and all else": (
        {
            "flask_app_secrets": {"SECRET_KEY": "{{ vault_flask_app_secret_key }}", "DOOR_PIN": "4711"},
            "flask_app_keep_releases": 0,
            "flask_app_free_space_mb": 999_999_999,
        },
        {
            ("unreadable-variable", "flask_app_secrets"),
            ("missing-secret", "DATABASE_URL"),
            ("out-of-range", "flask_app_keep_releases"),
            ("short-secret", "DOOR_PIN"),
            NO_SPACE,
        },
        [
            "vault_flask_app_secret_key",
            "script/secrets staging",
            '["short-secret:DOOR_PIN"]',
            "flask_app_free_space_mb",
        ],
    ),
    "a misspelt variable": (
        {"flask_app_gunicorn_worker": 3},
        {("unknown-variable", "flask_app_gunicorn_worker")},
        ["flask_app_gunicorn_workers"],
    ),
    "an app that is not there": (
        {"flask_app_wsgi": "missing:app"},
        {("wsgi-app", "flask_app_wsgi")},
        ["missing:app", "flask_app_wsgi: wsgi:app", '["wsgi-app:flask_app_wsgi"]'],
    ),
    "a variable of the wrong type": (
        {"flask_app_gunicorn_threads": "many"},
        {("wrong-type", "flask_app_gunicorn_threads")},
        [],
    ),
    "a required variable that is not set": (
        {"flask_app_server_names": None},
        {("wrong-type", "flask_app_server_names")},
        [],
    ),
    "a value that systemd can't carry": (
        {"flask_app_env": {"BROKEN": "a\u0000b"}},
        {("unfit-variable", "flask_app_env")},
        ["BROKEN", "U+0000"],
    ),
    "a name that is not an account's": (
        {"flask_app_name": "My App"},
        {("malformed-name", "flask_app_name")},
        ["'My App'"],
    ),
    "a name that the host has in use": (
        {"flask_app_name": "ssh"},
        {RESERVED, IN_USE},
        ["'ssh'", "/etc/ssh"],
    ),
    "an account that the host has in use": (
        {"flask_app_name": "www-data"},
        {RESERVED, IN_USE},
        ["the account www-data"],
    ),
    "a name of systemd's own directories": (
        {"flask_app_name": "private"},
        {RESERVED, IN_USE},
        ["'private'"],
    ),
    "a group that the host has in use": (
        {"flask_app_name": "staff"},
        {RESERVED, IN_USE},
        ["the group staff"],
    ),
    "a unit that the host has in use": (
        {"flask_app_name": "getty"},
        {IN_USE, TAKEN},
        ["/usr/lib/systemd/system/getty@.service"],
    ),
    "logs that the host has in use": (
        {"flask_app_name": "squatter"},
        {IN_USE, TAKEN},
        ["/var/log/squatter"],
    ),
    "no such Python": (
        {"flask_app_python": "/usr/bin/python2.7"},
        {NO_PYTHON},
        ["/usr/bin/python2.7"],
    ),
    "a directory in place of a Python": (
        {"flask_app_python": "/usr/bin", "flask_app_free_space_mb": 999_999_999},
        {NO_PYTHON, NO_SPACE},
        ["/usr/bin, ", "directory", "flask_app_free_space_mb"],
    ),
    "a file that is not a program in place of a Python": (
        {"flask_app_python": "/etc/hostname"},
        {NO_PYTHON},
        ["/etc/hostname", "0644"],
    ),
    "a variable of the build without a value": (
        {"flask_app_build_environment": {"UV_DEFAULT_INDEX": None}},
        {("unfit-variable", "flask_app_build_environment")},
        ["UV_DEFAULT_INDEX"],
    ),
    "a disk without room": (
        {"flask_app_free_space_mb": 999_999_999},
        {NO_SPACE},
        ["flask_app_free_space_mb"],
    ),
    "several problems, said at once": (
        {"flask_app_environment": "stagging", "flask_app_keep_release": 3, "flask_app_free_space_mb": 999_999_999},
        {
            ("unknown-environment", "flask_app_environment"),
            ("unknown-variable", "flask_app_keep_release"),
            NO_SPACE,
        },
        ["'stagging'", "flask_app_free_space_mb"],
    ),
    "a port that another program holds": (
        {"flask_app_http_port": 8099},
        {("port-in-use", "flask_app_http_port")},
        ["8099", "python3"],
    ),
    "a server name that another site has": (
        {"flask_app_name": "third", "flask_app_server_names": ["taken.test"]},
        {TAKEN},
        ["taken.test"],
    ),
    "a setting that the role's own steps rest on": (
        {"flask_app_service_settings": {"RuntimeDirectory": "guestbook"}},
        {("setting-of-the-role", SETTINGS)},
        ["RuntimeDirectory", "RUNTIME_DIRECTORY"],
    ),
    "a value that would be a line of the unit": (
        {"flask_app_service_settings": {"MemoryHigh": "1G\nExecStartPre=+/bin/touch /root/x"}},
        {("control-character", SETTINGS)},
        ["MemoryHigh"],
    ),
    "settings that systemd would ignore": (
        {"flask_app_service_settings": {"LimitNOFILES": 9, "MemoryHigh": "1GG"}},
        {("unit-setting", "LimitNOFILES"), ("unit-setting", "MemoryHigh")},
        ["LimitNOFILE?", "unit-setting:LimitNOFILES into"],
    ),
    "a setting that Gunicorn would ignore": (
        {"flask_app_gunicorn_settings": {"max_request": 9}},
        {("gunicorn-setting", "max_request")},
        ["max_requests", "gunicorn-setting:max_request"],
    ),
    "too old a Python": (
        {"flask_app_python": "/usr/local/bin/old-python"},
        {("old-python", "flask_app_python")},
        ["/usr/local/bin/old-python", "3.9.2"],
    ),
}
#: Fault of a source -> the variant that has it; findings and facts as above.
SOURCES: dict[str, tuple[str, set[tuple[str, str]], list[str]]] = {
    "no lock": (
        "no_lock",
        {("missing-lock", "flask_app_requirements")},
        ["requirements.txt", "uv pip compile"],
    ),
    "a lock without hashes": ("lock_without_hashes", {UNFIT_LOCK}, ["--generate-hashes"]),
    "a lock without Gunicorn": ("no_gunicorn", {UNFIT_LOCK}, ["gunicorn"]),
}


#: Fault in a source's tree -> what is added to the tree, links as ``-> target``; findings and facts as above.
TREES: dict[str, tuple[dict[str, str], set[tuple[str, str]], list[str]]] = {
    "links that lead out of the source": (
        {"a/b/c/d/f": "-> ../../../..", "guestbook/static/x": "-> ../../a/b/c/d/f/../../../../etc"},
        {UNFIT_SOURCE},
        ["guestbook/static/x"],
    ),
    "a link by way of the app's own directory": (
        {"guestbook/static/uploads": "-> ../../instance/uploads"},
        {UNFIT_SOURCE},
        ["guestbook/static/uploads -> ../../instance/uploads", "by way of instance"],
    ),
    "a file of variables with a secret": (
        {".env": "API_TOKEN=hunter2-hunter2\n"},
        {("shipped-env-file", ".env")},
        ["API_TOKEN", '["shipped-env-file:.env"]'],
    ),
    "a static directory that git ignores": (
        {".gitignore": "/guestbook/static/\n"},
        {UNFIT_SOURCE},
        ["flask_app_nginx_static", "guestbook/static", "flask_app_source_include"],
    ),
}


def extended(directory: Path, more: Mapping[str, str]) -> str:
    """Make the example app with these additions."""
    made = variants.make("good_change", directory)
    for name, content in more.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            (made / name).symlink_to(content.removeprefix("-> "))
        else:
            (made / name).write_text(content)
    return str(made)


@contextmanager
def on_server(server: Server, begin: str, end: str) -> Iterator[None]:
    server.root(begin)
    try:
        yield
    finally:
        server.root(end)


@pytest.fixture(scope="module")
def play_of_refusals(tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    """Try all of them in one play, which must leave the server unchanged."""
    server = connect("debian13")
    cases = {case: variables for case, (variables, *_) in INPUTS.items()}
    for case, (variant, *_) in SOURCES.items():
        made = variants.make(variant, tmp_path_factory.mktemp("app") / "app")
        cases[case] = {"flask_app_source_directory": str(made)}
    for case, (more, *_) in TREES.items():
        cases[case] = {"flask_app_source_directory": extended(tmp_path_factory.mktemp("app") / "app", more)}
    logs = "mkdir /var/log/squatter"
    listen = "systemd-run --quiet --unit=squatter python3 -m http.server 8099; sleep 1"
    site = "server { listen 80; server_name taken.test; return 200 mine; }"
    publish = f"echo '{site}' > /etc/nginx/sites-enabled/squatter && systemctl reload nginx"
    # An interpreter that claims to be this old: Debian 12 and 13 have none.
    old, said = "/usr/local/bin/old-python", '[[3, 9, 2], "cpython-39", "linux-x86_64", "/usr/bin/python3.9"]'
    server.write(old, f"#!/bin/sh\necho '{said}'\n", umask="022")
    with (
        on_server(server, listen, "systemctl stop squatter"),
        on_server(server, publish, "rm /etc/nginx/sites-enabled/squatter && systemctl reload nginx"),
        on_server(server, f"chmod 0755 {old}", f"rm {old}"),
        on_server(server, logs, "rmdir /var/log/squatter"),
    ):
        before = server.state(), server.root("ls /etc")
        done = refusals(server.name, cases)
        assert (server.state(), server.root("ls /etc")) == before
    assert "Traceback" not in done.output
    assert "hunter2" not in done.output
    return done


@pytest.mark.parametrize("case", [*INPUTS, *SOURCES, *TREES])
def test_the_preflight_refuses_bad_inputs(case: str, play_of_refusals: Refusals) -> None:
    _, findings, facts = {**INPUTS, **SOURCES, **TREES}[case]
    done = play_of_refusals.of[case]
    assert_refused(done, host_name(case), *facts)
    assert done.findings == findings


def test_a_broken_foreign_site_is_reported_by_name(one_server: Server) -> None:
    begin = "echo 'server { bogus_directive on; }' > /etc/nginx/sites-enabled/squatter"
    with on_server(one_server, begin, "rm /etc/nginx/sites-enabled/squatter"):
        done = run_play(limit=one_server.name)
    assert_refused(done, "bogus_directive", "/etc/nginx/sites-enabled/squatter:1")
    assert done.finds("refused-by-nginx:nginx")


def test_a_host_without_systemd_is_refused() -> None:
    name = f"{PROJECT}-no-systemd"
    start = ["run", "--detach", "--rm", "--name", name, "localhost/greenlight-server:trixie", "sleep", "120"]
    subprocess.run([PODMAN, *start], check=True, capture_output=True)
    try:
        done = run_play(
            limit="debian13",
            ansible_connection="containers.podman.podman",
            ansible_podman_executable=str(PODMAN),
            ansible_host=name,
            ansible_become=False,
            ansible_user="root",
        )
    finally:
        subprocess.run([PODMAN, "rm", "--force", "--time", "0", name], check=True, capture_output=True)
    assert_refused(done)
    assert done.finds("no-systemd:systemd")


def test_an_inventory_that_does_not_exist_is_an_error(play: Callable[..., Played]) -> None:
    done = play("-i", "inventories/prodution")
    assert done.code != 0
    assert "inventories/prodution" in done.prose


def test_a_refused_server_stays_reachable(one_server: Server) -> None:
    assert json.loads(connect(one_server.name).ask("/health").body)["status"] == "ok"
