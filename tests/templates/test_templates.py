# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's templates, rendered as the role renders them from its defaults, an undefined variable being an error."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[2] / "roles/flask_app"
RELEASE = "20261121T094420Z-1a2b3c4d"

#: What the role asks of a user, and what it has learnt of a host when it renders.
BASELINE: dict[str, Any] = {
    "flask_app_name": "shop",
    "flask_app_environment": "staging",
    "flask_app_server_names": ["shop.example.org"],
    "flask_app_source_directory": "shop",
    "flask_app_secrets": {
        "SECRET_KEY": "hunter2-long-and-secret",
        "DATABASE_URL": "postgresql://shop:pass-w0rd@db/shop",
    },
    "__flask_app_host": {"cpus": 2, "memory_mb": 2048, "ipv6": True},
    "__flask_app_source": {"digest": "a1" * 32, "revision": "r1"},
    "__flask_app_venv": {"digest": "b2" * 32},
    "__flask_app_release": {"release": RELEASE},
    "__flask_app_time": "20261121T094420Z",
}

LOADER = DataLoader()
ROLE_VARIABLES = {
    name: value
    for part in ("defaults", "vars")
    for name, value in LOADER.load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True).items()
}


RENDERED: dict[str, Any] = {}


def render(name: str, **overrides: Any) -> Any:
    """Return the role's variable ``name`` with ``overrides`` (``without``: names to leave out)."""
    key = f"{name} {overrides!r}"
    if key not in RENDERED:
        without = overrides.pop("without", ())
        given = {**ROLE_VARIABLES, **BASELINE, **overrides}
        known = {key: value for key, value in given.items() if key not in without}
        known |= {"role_path": str(ROLE), "ansible_search_path": [str(ROLE)]}
        RENDERED[key] = Templar(loader=LOADER, variables=known).template(trust_as_template(f"{{{{ {name} }}}}"))
    return RENDERED[key]


#: Each rendered file of a deploy, by name -> the role's variable.
FILES = {
    **{part: f"__flask_app_specification.{part}" for part in ("gunicorn", "drop_in", "service", "socket")},
    "site": "__flask_app_nginx_files[__flask_app_nginx_site]",
    "default site": "__flask_app_nginx_files[__flask_app_nginx_default_site]",
}


def text_of(name: str, **overrides: Any) -> str:
    return str(render(FILES[name], **overrides))


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_whose_it_is(name: str) -> None:
    text = text_of(name)
    assert "# Ansible managed" in text
    assert "# Owner: role greenlight.flask.flask_app" in text
    assert text.endswith("\n")
    assert not [line for line in text.splitlines() if line != line.rstrip() or "\t" in line]


@pytest.mark.parametrize("name", FILES)
def test_no_file_holds_a_secret(name: str) -> None:
    text = text_of(name)
    for secret in BASELINE["flask_app_secrets"].values():
        assert secret not in text


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("app", ["shop", "my-other-app"])
def test_a_file_names_the_app_and_no_other(name: str, app: str) -> None:
    text = text_of(name, flask_app_name=app)
    assert (app in text) is (name not in ("gunicorn", "drop_in", "default site"))
    if app != "shop":
        assert "shop" not in text.replace("shop.example.org", "")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("gunicorn", "flask_app_wsgi"),
        ("drop_in", "flask_app_service_tasks_max"),
        ("service", "flask_app_name"),
        ("socket", "flask_app_name"),
        ("site", "flask_app_http_port"),
        ("default site", "flask_app_http_port"),
    ],
)
def test_a_variable_that_is_not_defined_is_an_error(name: str, missing: str) -> None:
    with pytest.raises(AnsibleError, match=f"'{missing}' is undefined"):
        text_of(name, without=[missing])


# gunicorn.conf.py


def gunicorn(**overrides: Any) -> dict[str, Any]:
    """The settings as Gunicorn reads them."""
    settings: dict[str, Any] = {}
    exec(compile(text_of("gunicorn", **overrides), "gunicorn.conf.py", "exec"), settings)
    del settings["__builtins__"]
    return settings


STAGING = {
    "wsgi_app": "wsgi:app",
    "worker_class": "gthread",
    "workers": 2,
    "threads": 16,
    "timeout": 30,
    "graceful_timeout": 35,
    "reload": False,
    "loglevel": "info",
    "errorlog": "-",
    "bind": "unix:/nonexistent/started-without-its-socket-unit",
    "forwarded_allow_ips": "*",
    "worker_tmp_dir": "/dev/shm",
    "control_socket_disable": True,
}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, {}),
        ({"flask_app_environment": "production"}, {}),
        ({"flask_app_environment": "development"}, {"workers": 1, "reload": True}),
        ({"flask_app_environment": "development", "flask_app_gunicorn_reload": False}, {"workers": 1}),
        ({"flask_app_gunicorn_reload": "yes"}, {"reload": True}),
        ({"flask_app_wsgi": "shop:create_app('x')"}, {"wsgi_app": "shop:create_app('x')"}),
        ({"flask_app_wsgi": 'shop:create_app("x")'}, {"wsgi_app": 'shop:create_app("x")'}),
        ({"flask_app_gunicorn_threads": 4}, {"threads": 4}),
        # As long as Nginx waits, or a retiring release would cut what Nginx still waits for.
        ({"flask_app_gunicorn_timeout_seconds": 120}, {"timeout": 120, "graceful_timeout": 125}),
        ({"flask_app_gunicorn_graceful_timeout_seconds": 5}, {"graceful_timeout": 5}),
        ({"flask_app_gunicorn_log_level": "debug"}, {"loglevel": "debug"}),
        ({"flask_app_gunicorn_workers": 7}, {"workers": 7}),
        ({"flask_app_gunicorn_workers": "3"}, {"workers": 3}),
        (
            {"flask_app_gunicorn_settings": {"worker_class": "gevent", "workers": 5}},
            {"worker_class": "gevent", "workers": 5},
        ),
    ],
)  # fmt: skip
def test_gunicorn_gets_the_settings_that_were_meant(overrides: dict[str, Any], expected: dict[str, Any]) -> None:
    settings = gunicorn(**overrides)
    assert settings == {**STAGING, **expected}
    assert {name: type(value) for name, value in settings.items()} == {
        name: type(value) for name, value in {**STAGING, **expected}.items()
    }


#: A value of the user's -> what Gunicorn must get, where that is not the same.
CUSTOM: list[tuple[Any, Any]] = [
    (1000, 1000),
    (2.5, 2.5),
    (True, True),
    (False, False),
    (None, None),
    ("", ""),
    ('it\'s "quoted" \\ and \n é \U0001f600 % {{ x }}', 'it\'s "quoted" \\ and \n é \U0001f600 % {{ x }}'),
    (["A=it's", 'B="é"', "C=\n"], ["A=it's", 'B="é"', "C=\n"]),
    ({"version": 1, "x": {"y": [True, None, "z"]}}, {"version": 1, "x": {"y": [True, None, "z"]}}),
    (trust_as_template("{{ flask_app_name }}-web"), "shop-web"),
    ([trust_as_template("NAME={{ flask_app_name }}")], ["NAME=shop"]),
]


@pytest.mark.parametrize("number", range(len(CUSTOM)), ids=lambda number: repr(CUSTOM[number][0]))
def test_each_kind_of_value_reaches_gunicorn_as_it_was_written(number: int) -> None:
    settings = gunicorn(flask_app_gunicorn_settings={f"setting_{n}": given for n, (given, _) in enumerate(CUSTOM)})
    got, expected = settings[f"setting_{number}"], CUSTOM[number][1]
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("cpus", "memory_mb", "overrides", "workers"),
    [
        (1, 1024, {}, 1),
        (2, 2048, {}, 2),
        (4, 1024, {}, 2),  # 40 % of it is room for two of 150 MiB
        (4, 768, {}, 2),
        (4, 512, {}, 1),
        (4, 256, {}, 1),  # at least one, whatever the memory
        (8, 65536, {}, 8),
        (64, 262144, {}, 8),  # the ceiling
        (64, 262144, {"flask_app_gunicorn_workers_max": 32}, 32),
        (64, 8192, {"flask_app_gunicorn_workers_max": 32}, 21),
        (8, 8192, {"flask_app_gunicorn_worker_memory_mb": 1024}, 3),
        (8, 8192, {"flask_app_gunicorn_worker_memory_mb": "1024"}, 3),
        (8, 65536, {"flask_app_gunicorn_workers_max": 1}, 1),
        (2, 2048, {"flask_app_gunicorn_workers": 12}, 12),  # what is said counts
        (2, 2048, {"flask_app_gunicorn_workers": 0}, 2),
        (8, 65536, {"flask_app_environment": "development"}, 1),
        (8, 65536, {"flask_app_environment": "development", "flask_app_gunicorn_workers": 0}, 8),
    ],
)
def test_workers_follow_processors_and_memory(
    cpus: int, memory_mb: int, overrides: dict[str, Any], workers: int
) -> None:
    host = {"cpus": cpus, "memory_mb": memory_mb, "ipv6": False}
    assert int(render("__flask_app_workers", __flask_app_host=host, **overrides)) == workers


@pytest.mark.parametrize("memory_mb", range(1024, 16384, 1280))
def test_two_releases_at_once_find_room_beside_the_rest(memory_mb: int) -> None:
    workers = int(render("__flask_app_workers", __flask_app_host={"cpus": 64, "memory_mb": memory_mb}))
    each = float(unit(text_of("drop_in"))["Service"]["MemoryMax"][-1].rstrip("%")) / 100
    assert workers * 150 <= memory_mb * each
    assert 2 * each <= 0.8


# Units


def unit(text: str) -> dict[str, dict[str, list[str]]]:
    """Parse a unit: section -> name -> values, an empty value being a reset (systemd.syntax(7))."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith(("#", ";")):
            name, assigned, value = line.partition("=")
            assert assigned, f"no assignment: {line!r}"
            section.setdefault(name, []).append(value)
    return sections


SANDBOX = {
    "NoNewPrivileges": ["yes"],
    "CapabilityBoundingSet": [""],
    "AmbientCapabilities": [""],
    "ProtectSystem": ["strict"],
    "ProtectHome": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateDevices": ["yes"],
    "DevicePolicy": ["closed"],
    "PrivateUsers": ["yes"],
    "PrivateIPC": ["yes"],
    "ProtectHostname": ["yes"],
    "ProtectClock": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectProc": ["invisible"],
    "ProcSubset": ["pid"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "RestrictNamespaces": ["yes"],
    "RestrictAddressFamilies": ["AF_UNIX AF_INET AF_INET6"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "SystemCallErrorNumber": ["EPERM"],
    "RemoveIPC": ["yes"],
    "KeyringMode": ["private"],
    "UMask": ["0077"],
    "LimitCORE": ["0"],
}


@pytest.mark.parametrize("name", SANDBOX)
def test_the_sandbox_is_as_strict_as_was_measured(name: str) -> None:
    assert unit(text_of("service"))["Service"][name] == SANDBOX[name]


def test_the_service_runs_one_release_as_the_apps_user() -> None:
    sections = unit(text_of("service"))
    service = {name: values for name, values in sections["Service"].items() if name not in SANDBOX}
    home = "/srv/shop/releases/%i"
    assert service == {
        "Type": ["notify"],
        "User": ["shop"],
        "Group": ["shop"],
        "WorkingDirectory": [f"{home}/source"],
        "EnvironmentFile": ["/etc/shop/releases/%i.env"],
        "Environment": [
            f"PATH={home}/venv/bin:/usr/local/bin:/usr/bin:/bin",
            f"VIRTUAL_ENV={home}/venv",
            "HOME=/var/lib/shop",
            "PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1",
        ],
        "ExecStart": [f"{home}/venv/bin/python -m gunicorn --config {home}/gunicorn.conf.py"],
        "KillMode": ["mixed"],
        "Restart": ["always"],
        "RestartSec": ["2"],
        "StateDirectory": ["shop"],
        "StateDirectoryMode": ["0700"],
    }
    assert sections["Unit"]["Requires"] == ["shop@%i.socket"]
    assert "shop@%i.socket" in sections["Unit"]["After"][0].split()
    assert sections["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert sections["Install"] == {"WantedBy": ["multi-user.target"]}


def test_the_socket_is_nginxs_alone() -> None:
    sections = unit(text_of("socket"))
    assert sections["Socket"] == {
        "ListenStream": ["/run/shop/%i.sock"],
        "SocketUser": ["root"],
        "SocketGroup": ["www-data"],
        "SocketMode": ["0660"],
        "DirectoryMode": ["0755"],
        "RemoveOnStop": ["yes"],
        "Backlog": ["2048"],
    }
    assert sections["Install"] == {"WantedBy": ["sockets.target"]}


@pytest.mark.parametrize("name", ["service", "socket"])
def test_the_template_units_do_not_depend_on_what_a_release_may_change(name: str) -> None:
    changed = text_of(
        name,
        flask_app_environment="production",
        flask_app_service_memory_max="1G",
        flask_app_service_settings={"MemoryDenyWriteExecute": "no"},
        flask_app_gunicorn_workers=7,
        flask_app_gunicorn_graceful_timeout_seconds=5,
        flask_app_env={"A": "b"},
    )
    assert changed == text_of(name)


LIMITS = {"MemoryMax": ["40%"], "TasksMax": ["512"], "TimeoutStopSec": ["45"]}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, {}),
        (
            {"flask_app_service_memory_max": "1G", "flask_app_service_tasks_max": 64},
            {"MemoryMax": ["1G"], "TasksMax": ["64"]},
        ),
        ({"flask_app_gunicorn_graceful_timeout_seconds": 5}, {"TimeoutStopSec": ["15"]}),
        ({"flask_app_gunicorn_graceful_timeout_seconds": "5"}, {"TimeoutStopSec": ["15"]}),
    ],
)
def test_the_drop_in_holds_the_limits_of_the_release(overrides: dict[str, Any], expected: dict[str, Any]) -> None:
    assert unit(text_of("drop_in", **overrides)) == {"Service": {**LIMITS, **expected}}


#: A value of the user's -> its lines in the drop-in.
SETTINGS: list[tuple[Any, list[str]]] = [
    ("no", ["no"]),
    ("", [""]),
    ("A=1 'B=two words' %i $HOME \\1", ["A=1 'B=two words' %i $HOME \\1"]),
    (42, ["42"]),
    (0, ["0"]),
    (1.5, ["1.5"]),
    (True, ["True"]),
    (False, ["False"]),
    (["one"], ["one"]),
    (["", "any", "10.0.0.0/8"], ["", "any", "10.0.0.0/8"]),
    ([1, True, "x"], ["1", "True", "x"]),
    ([], []),
    (trust_as_template("{{ flask_app_name }}"), ["shop"]),
]


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda number: repr(SETTINGS[number][0]))
def test_each_kind_of_value_becomes_its_lines_of_the_drop_in(number: int) -> None:
    settings = {f"Setting{n}": value for n, (value, _) in enumerate(SETTINGS)}
    service = unit(text_of("drop_in", flask_app_service_settings=settings))["Service"]
    assert service.get(f"Setting{number}", []) == SETTINGS[number][1]
    assert LIMITS.items() <= service.items()


@pytest.mark.parametrize(
    ("name", "variable"), [("drop_in", "flask_app_service_settings"), ("gunicorn", "flask_app_gunicorn_settings")]
)
def test_the_order_in_an_inventory_makes_no_other_release(name: str, variable: str) -> None:
    settings = {"b": 1, "a": 2, "c": 3}
    assert text_of(name, **{variable: settings}) == text_of(name, **{variable: dict(sorted(settings.items()))})


def test_what_a_user_sets_comes_last_and_therefore_counts() -> None:
    settings = {"MemoryMax": "2G", "SystemCallFilter": ["", "@system-service @chown"], "IPAddressDeny": "any"}
    service = unit(text_of("drop_in", flask_app_service_settings=settings))["Service"]
    assert service["MemoryMax"] == ["40%", "2G"]
    assert service["SystemCallFilter"] == ["", "@system-service @chown"]
    assert service["IPAddressDeny"] == ["any"]


@pytest.mark.parametrize("name", ["service", "socket", "drop_in"])
def test_a_unit_can_be_read_by_others_too(name: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text_of(name))
    assert parser.sections()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed on this machine")
def test_systemd_itself_takes_the_units(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "venv/bin").mkdir(parents=True)
    (home / "venv/bin/python").write_text("#!/bin/sh\n")
    (home / "venv/bin/python").chmod(0o755)
    texts = {f"shop@.{kind}": text_of(kind) for kind in ("service", "socket")}
    texts[f"shop@{RELEASE}.service.d/release.conf"] = text_of(
        "drop_in",
        flask_app_service_settings={"IPAddressDeny": "any", "IPAddressAllow": ["", "localhost"], "PrivateUsers": False},
    )
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        # The program of a unit must be there, and nothing of the app is on this machine.
        (tmp_path / name).write_text(text.replace("/srv/shop/releases/%i", str(home)))
    units = [str(tmp_path / f"shop@{RELEASE}.{kind}") for kind in ("service", "socket")]
    for kind in ("service", "socket"):
        (tmp_path / f"shop@{RELEASE}.{kind}").symlink_to(f"shop@.{kind}")
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "SYSTEMD_LOG_LEVEL": "warning"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], env=environment, capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "shop" in line or str(tmp_path) in line] == []


# Nginx


def directives(text: str, name: str) -> list[str]:
    return re.findall(rf"^\s*{name} (.*);$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("overrides", "listen", "names"),
    [
        ({}, ["80", "[::]:80"], "shop.example.org"),
        ({"flask_app_http_port": 8080}, ["8080", "[::]:8080"], "shop.example.org"),
        ({"__flask_app_host": {"ipv6": False}}, ["80"], "shop.example.org"),
        ({"__flask_app_host": {}}, ["80"], "shop.example.org"),
        ({"without": ["__flask_app_host"]}, ["80"], "shop.example.org"),
        (
            {"flask_app_server_names": ["a.example", "www.a.example", "b.example"]},
            ["80", "[::]:80"],
            "a.example www.a.example b.example",
        ),
    ],
)
def test_the_site_listens_where_and_for_whom_it_should(
    overrides: dict[str, Any], listen: list[str], names: str
) -> None:
    text = text_of("site", **overrides)
    assert directives(text, "listen") == listen
    assert directives(text, "server_name") == [names]


def test_the_site_leads_to_the_link_of_the_live_release() -> None:
    text = text_of("site")
    assert "upstream shop_live {" in text
    assert directives(text, "server") == ["unix:/srv/shop/live.sock"]
    assert directives(text, "proxy_pass") == ["http://shop_live"]


def test_what_a_client_claims_of_itself_is_replaced() -> None:
    headers = dict(value.split(" ", 1) for value in directives(text_of("site"), "proxy_set_header"))
    assert headers == {
        "Connection": '""',
        "Host": "$http_host",
        "X-Forwarded-Host": "$http_host",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-For": "$remote_addr",
    }


def test_nginx_waits_a_little_longer_than_gunicorn() -> None:
    text = text_of("site", flask_app_gunicorn_timeout_seconds=120, flask_app_nginx_body_size_mb=64)
    assert directives(text, "proxy_read_timeout") == directives(text, "proxy_send_timeout") == ["125s"]
    assert directives(text, "client_max_body_size") == ["64m"]
    assert directives(text_of("site", flask_app_gunicorn_timeout_seconds="120"), "proxy_read_timeout") == ["125s"]


def test_without_a_live_release_the_answer_is_a_plain_503() -> None:
    text = text_of("site")
    assert directives(text, "error_page") == ["502 =503 @unavailable"]
    assert "proxy_intercept_errors" not in text
    (answer,) = directives(text, "return")
    assert answer.startswith("503 ")


@pytest.mark.parametrize(
    ("overrides", "listen"),
    [
        ({}, ["80 default_server", "[::]:80 default_server"]),
        ({"flask_app_http_port": 8080}, ["8080 default_server", "[::]:8080 default_server"]),
        ({"__flask_app_host": {"ipv6": False}}, ["80 default_server"]),
    ],
)
def test_a_name_that_no_site_has_gets_no_answer(overrides: dict[str, Any], listen: list[str]) -> None:
    text = text_of("default site", **overrides)
    assert directives(text, "listen") == listen
    assert directives(text, "server_name") == ["_"]
    assert directives(text, "return") == ["444"]


@pytest.mark.parametrize(
    ("overrides", "files"),
    [
        ({}, ["sites-enabled/00-default-80.conf", "sites-enabled/shop.conf"]),
        ({"flask_app_http_port": 8080}, ["sites-enabled/00-default-8080.conf", "sites-enabled/shop.conf"]),
        ({"flask_app_nginx_default_server": False}, ["sites-enabled/shop.conf"]),
        ({"flask_app_nginx_default_server": "no"}, ["sites-enabled/shop.conf"]),
    ],
)
def test_the_default_site_is_there_unless_it_is_somebody_elses(overrides: dict[str, Any], files: list[str]) -> None:
    assert sorted(render("__flask_app_nginx_files", **overrides)) == files


NGINX = "/usr/sbin/nginx"


@pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="Nginx is not installed on this machine")
@pytest.mark.parametrize(
    "overrides", [{}, {"__flask_app_host": {"ipv6": False}}, {"flask_app_server_names": ["a.b", "c"]}]
)
def test_nginx_itself_takes_the_sites(tmp_path: Path, overrides: dict[str, Any]) -> None:
    sites = render("__flask_app_nginx_files", flask_app_http_port=18080, **overrides)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{ }}\nhttp {{\n    access_log off;\n"
        + "".join(sites.values())
        + "}\n"
    )
    done = subprocess.run([NGINX, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace('the "user" directive', "")


# What the modules are told


def test_the_environment_a_process_gets_is_named_by_the_users_variables() -> None:
    assert render("__flask_app_identity") == {"FLASK_CONFIG": "staging", "APP_REVISION": "r1"}
    renamed = render("__flask_app_identity", flask_app_environment_variable="APP_ENV", flask_app_revision="v1.2.3")
    assert renamed == {"APP_ENV": "staging", "APP_REVISION": "v1.2.3"}


def test_the_contract_is_what_the_inventory_says() -> None:
    assert render("__flask_app_contract") == {
        "environment": "staging",
        "debug": False,
        "revision": "r1",
        "release": RELEASE,
        "fields": {"environment": "env", "debug": "debug", "revision": "revision", "release": "release"},
        "subset": {},
    }
    assert render("__flask_app_contract", flask_app_environment="development")["debug"] is True


@pytest.mark.parametrize(
    ("environment", "required"),
    [
        ("development", ["SECRET_KEY"]),
        ("staging", ["SECRET_KEY", "DATABASE_URL"]),
        ("qa", ["SECRET_KEY", "DATABASE_URL"]),
    ],
)
def test_which_secrets_are_required_depends_on_the_environment(environment: str, required: list[str]) -> None:
    assert render("flask_app_required_secrets", flask_app_environment=environment) == required


@pytest.mark.parametrize(("git_url", "git"), [("", False), ("https://example.org/shop.git", True)])
def test_git_is_installed_only_where_the_source_comes_from_it(git_url: str, git: bool) -> None:
    packages = render("__flask_app_packages", flask_app_source_git_url=git_url, flask_app_packages=["libpq5"])
    assert ("git" in packages) is git
    assert {"nginx", "python3-venv", "libpq5"} <= set(packages)


def test_the_secrets_themselves_are_no_part_of_the_specification() -> None:
    whole = render("__flask_app_specification")
    assert sorted(whole["secret_names"]) == ["DATABASE_URL", "SECRET_KEY"]
    assert "hunter2" not in str(whole)
