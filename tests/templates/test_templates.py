# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's templates, rendered with its defaults as in the role; an undefined variable is an error."""

from __future__ import annotations

import atexit
import configparser
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._edge.host_lines import Abilities
from ansible_collections.greenlight.flask.plugins.module_utils._edge.shared_site import COMPARED, facts_in
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import HASHES
from ansible_collections.greenlight.flask.plugins.module_utils._options import SPECIFICATION
from ansible_collections.greenlight.flask.plugins.module_utils._proof.contract import Patience
from ansible_collections.greenlight.flask.plugins.module_utils._proof.page import REHEARSAL
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rotate import Keys
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector
from ansible_collections.greenlight.flask.plugins.module_utils._release import plan as _plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import Code, Plan
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import HOOKS, Specification, program
from ansible_collections.greenlight.flask.plugins.plugin_utils._task.variables import plain

ROLE = Path(__file__).resolve().parents[2] / "roles/flask_app"
RELEASE = "20261121T094420Z-1a2b3c4d"

#: The required variables of a user, and the facts of a host at the time of rendering.
BASELINE: dict[str, Any] = {
    "flask_app_name": "shop",
    "flask_app_environment": "staging",
    "flask_app_server_names": ["shop.example.org"],
    "flask_app_source_directory": "shop",
    "flask_app_secrets": {
        "SECRET_KEY": "hunter2-long-and-secret",
        "DATABASE_URL": "postgresql://shop:pass-w0rd@db/shop",
    },
    "__flask_app_release": {"release": RELEASE, "revision": "r1"},
}

LOADER = DataLoader()
#: The role's computed variables, overridden by these.
DERIVED_FILES = sorted((ROLE / "vars/main").glob("*.yml"))
VARIABLE_FILES = [ROLE / "defaults/main.yml", *DERIVED_FILES]
ROLE_VARIABLES = {
    name: value
    for path in VARIABLE_FILES
    for name, value in LOADER.load_from_file(str(path), trusted_as_template=True).items()
}


RENDERED: dict[str, Any] = {}

#: Hosts for which Nginx's files are rendered.
NEW, OLD = Abilities(ipv6=True, nginx="1.26.3"), Abilities(ipv6=False, nginx="1.22.1")


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
    "gunicorn": "__flask_app_specification.gunicorn",
    **{part: f"__flask_app_specification.processes.web.{part}" for part in ("drop_in", "service", "socket")},
    "site": "__flask_app_nginx_files[__flask_app_nginx_site]",
    "default site": "__flask_app_nginx_files[__flask_app_nginx_default_site]",
    "settings": "__flask_app_nginx_files[__flask_app_nginx_hashes]",
}


def text_of(name: str, **overrides: Any) -> str:
    """Return a rendered file as the ``host`` of the overrides keeps it; it has 2 processors and 2 GiB of memory."""
    host: Abilities = overrides.pop("host", NEW)
    if name == "gunicorn":
        return release(**overrides).gunicorn
    return host.kept(str(render(FILES[name], **overrides)))


def nginx_files(**overrides: Any) -> dict[str, str]:
    """Return Nginx's files as the ``host`` of the overrides keeps them."""
    host: Abilities = overrides.pop("host", NEW)
    return {name: host.kept(str(text)) for name, text in render("__flask_app_nginx_files", **overrides).items()}


def release(
    variables: Mapping[str, object] | None = None, cpus: int = 2, memory_mb: int = 2048, **overrides: Any
) -> Specification:
    """Return the release that a host with so many processors and MiB of memory makes."""
    validator = ArgumentSpecValidator({"whole": SPECIFICATION["specification"]})
    checked = validator.validate({"whole": plain(render("__flask_app_specification", **overrides))})
    assert checked.error_messages == []
    plan = Plan.of(checked.validated_parameters["whole"], variables or {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_plan, "measures", lambda root: {"cpus": cpus, "memory_mb": memory_mb})
        return plan.with_code(Code("a1" * 32, "b2" * 32, "r1"), Path("/"), "20261121T094420Z")


@pytest.mark.parametrize("name", FILES)
def test_each_file_names_its_owner(name: str) -> None:
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
    assert (app in text) is (name not in ("gunicorn", "drop_in", "default site", "settings"))
    if app != "shop":
        assert "shop" not in text.replace("shop.example.org", "").replace(r"shop\.example\.org", "")


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
def test_an_undefined_variable_is_an_error(name: str, missing: str) -> None:
    with pytest.raises(AnsibleError, match=f"'{missing}' is undefined"):
        text_of(name, without=[missing])


# gunicorn.conf.py


@functools.cache
def release_directory() -> Path:
    """Make a directory with the files next to gunicorn.conf.py."""
    directory = Path(tempfile.mkdtemp(prefix="greenlight-templates-"))
    atexit.register(shutil.rmtree, directory)
    (directory / HOOKS).write_text(program())
    return directory


#: What gunicorn.conf.py holds besides settings, and the hooks by which the workers report.
BESIDE = ("runpy", "post_worker_init", "child_exit")


def gunicorn(**overrides: Any) -> dict[str, Any]:
    """Return the settings as Gunicorn reads them."""
    settings: dict[str, Any] = {"__file__": str(release_directory() / "gunicorn.conf.py")}
    exec(compile(text_of("gunicorn", **overrides), "gunicorn.conf.py", "exec"), settings)
    return {name: value for name, value in settings.items() if name[0] != "_" and name not in BESIDE}


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
        ({"flask_app_environment": "development"}, {"workers": 1}),
        ({"flask_app_wsgi": "shop:create_app('x')"}, {"wsgi_app": "shop:create_app('x')"}),
        ({"flask_app_wsgi": 'shop:create_app("x")'}, {"wsgi_app": 'shop:create_app("x")'}),
        ({"flask_app_gunicorn_threads": 4}, {"threads": 4}),
        ({"flask_app_url_prefix": "/shop"}, {"forwarder_headers": "SCRIPT_NAME", "header_map": "drop"}),
        # As long as Nginx waits; otherwise a retiring release would cut requests that Nginx still waits for.
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
def test_gunicorn_gets_the_intended_settings(overrides: dict[str, Any], expected: dict[str, Any]) -> None:
    settings = gunicorn(**overrides)
    assert settings == {**STAGING, **expected}
    assert {name: type(value) for name, value in settings.items()} == {
        name: type(value) for name, value in {**STAGING, **expected}.items()
    }


#: A user's value -> what Gunicorn must get, if that differs.
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
def test_each_kind_of_value_reaches_gunicorn_unchanged(number: int) -> None:
    settings = gunicorn(flask_app_gunicorn_settings={f"setting_{n}": given for n, (given, _) in enumerate(CUSTOM)})
    got, expected = settings[f"setting_{number}"], CUSTOM[number][1]
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("cpus", "memory_mb", "overrides", "workers"),
    [
        (1, 1024, {}, 1),
        (2, 2048, {}, 2),
        (4, 1024, {}, 2),  # 40 % of it has room for two of 150 MiB
        (4, 768, {}, 2),
        (4, 512, {}, 1),
        (4, 256, {}, 1),  # at least one, however little memory
        (8, 65536, {}, 8),
        (64, 262144, {}, 8),  # the maximum
        (64, 262144, {"flask_app_gunicorn_workers_max": 32}, 32),
        (64, 8192, {"flask_app_gunicorn_workers_max": 32}, 21),
        (8, 8192, {"flask_app_gunicorn_worker_memory_mb": 1024}, 3),
        (8, 8192, {"flask_app_gunicorn_worker_memory_mb": "1024"}, 3),
        (8, 65536, {"flask_app_gunicorn_workers_max": 1}, 1),
        (2, 2048, {"flask_app_gunicorn_workers": 12}, 12),  # an explicit value wins
        (2, 2048, {"flask_app_gunicorn_workers": 0}, 2),
        (8, 65536, {"flask_app_environment": "development"}, 1),
        (8, 65536, {"flask_app_environment": "development", "flask_app_gunicorn_workers": 0}, 8),
    ],
)
def test_workers_follow_processors_and_memory(
    cpus: int, memory_mb: int, overrides: dict[str, Any], workers: int
) -> None:
    assert gunicorn(cpus=cpus, memory_mb=memory_mb, **overrides)["workers"] == workers


@pytest.mark.parametrize("memory_mb", range(1024, 16384, 1280))
def test_two_releases_fit_in_memory_with_room_to_spare(memory_mb: int) -> None:
    workers = gunicorn(cpus=64, memory_mb=memory_mb)["workers"]
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
    "ReadOnlyPaths": ["-/run/lock"],
    "TemporaryFileSystem": ["/dev/shm:mode=1777"],
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
    "SystemCallFilter": [
        "@system-service landlock_create_ruleset landlock_restrict_self",
        "~@privileged @resources",
    ],
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
    layout = Layout("shop")  # where the protocol puts what the unit reads
    home = layout.release("%i")
    assert service == {
        "Type": ["notify"],
        "User": ["shop"],
        "Group": ["shop"],
        "WorkingDirectory": [f"{home}/source"],
        "EnvironmentFile": [str(layout.environment_file("%i"))],
        "Environment": [
            f"PATH={home}/venv/bin:/usr/local/bin:/usr/bin:/bin",
            f"VIRTUAL_ENV={home}/venv",
            f"HOME={layout.state}",
            "PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        ],
        "ExecStart": [f"{home}/venv/bin/python -P -m gunicorn --config {home}/gunicorn.conf.py"],
        "KillMode": ["mixed"],
        "Restart": ["always"],
        "RestartSec": ["2"],
        "OOMPolicy": ["continue"],
        "RuntimeDirectory": ["shop/%i"],
        "RuntimeDirectoryMode": ["0700"],
        "StateDirectory": ["shop"],
        "StateDirectoryMode": ["0700"],
    }
    assert sections["Unit"]["Requires"] == [layout.socket_unit("%i")]
    assert layout.socket_unit("%i") in sections["Unit"]["After"][0].split()
    assert sections["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert sections["Install"] == {"WantedBy": ["multi-user.target"]}


#: Simulates Gunicorn: it puts the source on the path itself, and the app in it starts another program.
GUNICORN = """\
import json, os, subprocess, sys
sys.path.insert(0, os.getcwd())
import pkg.app
"""
APP = """\
import subprocess, sys
subprocess.run([sys.executable, "-m", "pkg.job"], check=True)
"""


def test_app_programs_find_app_modules_and_these_never_shadow_gunicorns(tmp_path: Path) -> None:
    service = unit(text_of("service"))["Service"]
    for name, text in {
        "lib/gunicorn/__main__.py": GUNICORN,
        "source/json.py": "raise RuntimeError('a module of the source came first')\n",
        "source/gunicorn.py": "raise RuntimeError('a module of the source came first')\n",
        "source/pkg/app.py": APP,
        "source/pkg/job.py": "print('the job has run')\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    given = [word.partition("=") for line in service["Environment"] for word in line.split()]
    variables = {name: value for name, _, value in given if name.startswith("PYTHON")}
    # In place of the venv's own directory of packages.
    user = {"PYTHONUSERBASE": str(tmp_path / "base")}
    tell = [sys.executable, "-c", "import site; print(site.getusersitepackages())"]
    packages = subprocess.run(tell, env=user, capture_output=True, text=True, check=True).stdout.strip()
    shutil.copytree(tmp_path / "lib", packages)
    words = service["ExecStart"][0].split()
    done = subprocess.run(
        [sys._base_executable, *words[1 : words.index("gunicorn") + 1]],  # type: ignore[attr-defined]
        cwd=tmp_path / "source", env={**variables, **user}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("the job has run\n", "")


def test_only_nginx_can_use_the_socket() -> None:
    sections = unit(text_of("socket"))
    assert sections["Socket"] == {
        "ListenStream": [str(Layout("shop").socket("%i"))],
        "SocketUser": ["root"],
        "SocketGroup": ["www-data"],
        "SocketMode": ["0660"],
        "DirectoryMode": ["0755"],
        "RemoveOnStop": ["yes"],
        "Backlog": ["2048"],
    }
    assert sections["Install"] == {"WantedBy": ["sockets.target"]}


@pytest.mark.parametrize("name", ["service", "socket"])
def test_template_units_do_not_depend_on_release_settings(name: str) -> None:
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


#: A user's value -> its lines in the drop-in.
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
def test_each_kind_of_value_is_rendered_in_the_drop_in(number: int) -> None:
    settings = {f"Setting{n}": value for n, (value, _) in enumerate(SETTINGS)}
    service = unit(text_of("drop_in", flask_app_service_settings=settings))["Service"]
    assert service.get(f"Setting{number}", []) == SETTINGS[number][1]
    assert LIMITS.items() <= service.items()


@pytest.mark.parametrize(
    ("name", "variable"), [("drop_in", "flask_app_service_settings"), ("gunicorn", "flask_app_gunicorn_settings")]
)
def test_the_order_of_settings_does_not_change_the_release(name: str, variable: str) -> None:
    settings = {"b": 1, "a": 2, "c": 3}
    assert text_of(name, **{variable: settings}) == text_of(name, **{variable: dict(sorted(settings.items()))})


def test_user_settings_come_last_and_take_effect() -> None:
    settings = {"MemoryMax": "2G", "SystemCallFilter": ["", "@system-service @chown"], "IPAddressDeny": "any"}
    service = unit(text_of("drop_in", flask_app_service_settings=settings))["Service"]
    assert service["MemoryMax"] == ["40%", "2G"]
    assert service["SystemCallFilter"] == ["", "@system-service @chown"]
    assert service["IPAddressDeny"] == ["any"]


@pytest.mark.parametrize("name", ["service", "socket", "drop_in"])
def test_units_can_be_parsed_by_configparser(name: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text_of(name))
    assert parser.sections()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed on this machine")
def test_systemd_itself_accepts_the_units(tmp_path: Path) -> None:
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
        # The unit's program must exist, but nothing of the app is on this machine.
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
        ({"host": OLD}, ["80"], "shop.example.org"),
        (
            {"flask_app_server_names": ["a.example", "www.a.example", "b.example"]},
            ["80", "[::]:80"],
            "a.example www.a.example b.example",
        ),
    ],
)
def test_the_site_listens_on_its_ports_for_its_names(overrides: dict[str, Any], listen: list[str], names: str) -> None:
    text = text_of("site", **overrides)
    assert directives(text, "listen") == listen
    assert directives(text, "server_name") == [names]


def upstreams(text: str) -> dict[str, list[str]]:
    """Return each upstream group with its servers."""
    return {
        name: directives(block, "server") for name, block in re.findall(r"upstream (\S+) {\n(.*?)^}", text, re.S | re.M)
    }


@pytest.mark.parametrize("app", ["shop", "my-other-app"])
def test_the_site_proxies_to_the_live_socket(app: str) -> None:
    text = text_of("site", flask_app_name=app)
    # As often as Nginx may try, so that it can repeat a request whose process was killed.
    assert upstreams(text)[f"{app}_live"] == [f"unix:{Layout(app).live_socket} max_fails=0"] * 3
    assert set(directives(text, "proxy_pass")) == {f"http://{app}_live", f"http://{app}_candidate"}


@pytest.mark.parametrize(
    ("app", "variable"), [("shop", "$shop_rehearsal"), ("my-other-app", "$my__other__app_rehearsal")]
)
def test_only_the_rehearsal_word_opens_the_way_to_a_candidate(app: str, variable: str) -> None:
    text = text_of("site", flask_app_name=app)
    layout = Layout(app)
    assert upstreams(text)[f"{app}_candidate"] == [f"unix:{layout.candidate_socket}"]
    ((source, choices),) = re.findall(rf"^map (\S+) \{variable} {{\n(.*?)^}}", text, re.S | re.M)
    assert source == f"$http_{REHEARSAL.lower().replace('-', '_')}"
    # With a pattern, because a missing file without one would be an error.
    assert choices.split() == ["default", '"";', "include", f"{str(layout.rehearsal).replace('.map', '[.]map')};"]


def test_the_site_finds_the_maintenance_page() -> None:
    assert f"if (-f {Layout('shop').srv}/maintenance.html) {{" in text_of("site")
    assert f"alias {Layout('shop').srv}/maintenance.html;" in text_of("site")


def test_a_request_is_retried_only_after_an_error_and_at_most_twice() -> None:
    text = text_of("site")
    assert directives(text, "proxy_next_upstream") == ["error"]  # never non_idempotent, such as a POST
    assert directives(text, "proxy_next_upstream_tries") == ["3"]


#: Further headers that Gunicorn or Werkzeug may trust.
FORGED = ("Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Protocol", "X-Forwarded-Ssl", "X-Real-IP")


def test_proxy_headers_of_a_client_are_replaced() -> None:
    headers = dict(value.split(" ", 1) for value in directives(text_of("site"), "proxy_set_header"))
    assert headers == {
        "X-Greenlight-Rehearsal": '""',
        "X-Greenlight-Front-Door": '""',
        **dict.fromkeys(FORGED, '""'),
        "SCRIPT_NAME": '""',
        "PATH_INFO": '""',
        "X-Greenlight-Release": "$shop_release",
        "X-Request-ID": "$shop_request_id",
        "Connection": '""',
        "Host": "$shop_host",
        "X-Forwarded-Host": "$shop_host",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-For": "$remote_addr",
    }


@pytest.mark.parametrize(
    ("overrides", "scheme"),
    [
        ({"flask_app_public_scheme": "https"}, "https"),
        ({"flask_app_public_scheme": "http", "flask_app_tls": "self_signed"}, "$scheme"),
        ({"flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}, "$shop_scheme"),
    ],
)
def test_the_app_gets_the_scheme_that_visitors_use(overrides: dict[str, Any], scheme: str) -> None:
    told = [
        value for value in directives(text_of("site", **overrides), "proxy_set_header") if "Forwarded-Proto " in value
    ]
    assert told == [f"X-Forwarded-Proto {scheme}"]


@pytest.mark.parametrize(
    ("trusted", "said", "scheme"),
    [
        ("1", "https", "https"),
        ("1", "http", "http"),
        ("1", "", "https"),
        ("1", "https, http", "https"),
        ("0", "https", "$scheme"),
        ("0", "", "$scheme"),
        ("0", "1 https", "$scheme"),
    ],
)
def test_the_scheme_comes_from_a_trusted_proxy_or_the_variable(trusted: str, said: str, scheme: str) -> None:
    text = text_of("site", flask_app_nginx_trusted_proxies=["10.0.0.0/8"])
    (source, entries) = re.findall(r'^map "([^"]*)" \$shop_scheme {\n(.*?)^}', text, re.M | re.S)[0]
    told = source.replace("$shop_trusted", trusted).replace("$http_x_forwarded_proto", said)
    told = re.sub(r"\$\w+", "", told)
    rows = [(pattern, value) for pattern, value in re.findall(r'"~([^"]*)" (\S+);', entries)]
    assert next((value for pattern, value in rows if re.search(pattern, told)), "$scheme") == scheme


@pytest.mark.parametrize("header", ["CF-Connecting-IP", "X-Real-IP", "x-real-ip"])
def test_a_configured_client_header_sets_the_address_and_cannot_be_forged(header: str) -> None:
    overrides = {"flask_app_nginx_client_header": header, "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}
    text = text_of("site", **overrides)
    assert directives(text, "real_ip_header") == [header]
    sent = [value.split(" ", 1) for value in directives(text, "proxy_set_header")]
    assert [value for name, value in sent if name.lower() == header.lower()] == ["$remote_addr"]
    assert dict(sent)["X-Forwarded-For"] == "$remote_addr"


# Below a path


BELOW = {"flask_app_url_prefix": "/shop", "flask_app_nginx_static": {"/static/": "shop/static"}}
INSIDE = {**BELOW, "flask_app_nginx_site_of": "main", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}
#: The app that owns the site.
MAIN = {"flask_app_name": "main", "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}
#: Its locations in a server, besides those with a name.
OF_THE_APP = [
    "/shop/",
    "= /shop/health",
    r'~ "^/shop/static/(.*/)?\."',
    r'~ "^/shop/static/(?s:.*)([\x00-\x1f\x7f]|\xc2[\x80-\x9f])"',
    '~ "^/shop/static/(?<greenlight_file>.+)$"',
    "= /shop/.greenlight/maintenance.html",
]
NAMED = ["@shop_app", "@shop_health", "@shop_candidate", "@shop_unavailable"]


#: How an app may name its database, and whether that is a file of the host.
DATABASES: dict[object, bool] = {
    "/var/lib/shop/flaskr.sqlite": True, "/srv/data": True, "./shop": True, "../shop": True, "file:x?mode=rwc": True,
    "shop.db": True, "instance/Shop.SQLite3": True, "": False, "shop": False, "db.example.org": False, 5432: False,
    "postgresql://u:p@db/shop.db": False, "postgresql://db/shop?host=/run": False, "/run/postgresql/x.sock": False,
    "host=db dbname=shop": False, ":memory:": False,
}  # fmt: skip


TWO = {"inventory_hostname": "two", "ansible_play_hosts_all": ["one", "two"], "hostvars": {"one": {}, "two": {}}}


def runs_on_each(**given: object) -> bool:
    return bool(render("__flask_app_command_runs_here | bool", **TWO, flask_app_secrets=given))


@pytest.mark.parametrize("value", DATABASES)
def test_a_release_command_runs_on_each_host_with_a_file_database(value: object) -> None:
    """Its variables decide this before the release; the workers' reports say the same of the app's config."""
    for name in ("DATABASE", "FLASK_DATABASE", "DATABASE_PATH", *inspector.DATABASES):
        assert runs_on_each(**{name: value}) is (DATABASES[value] and "MONGO" not in name), name
    for name in ("NOT_A_DATABASE_AT_ALL", "GEOIP_DATABASE", "GEOIP_DATABASE_PATH"):
        assert runs_on_each(**{name: value}) is False
    assert inspector.is_path(value) is DATABASES[value]


@pytest.mark.parametrize(
    "server",
    ["postgresql://db/shop", "postgres://db/shop", "mysql+pymysql://db/shop", "mongodb+srv://db/shop", "MSSQL://x"],
)
@pytest.mark.parametrize("beside", [{"DATABASE": "/var/lib/shop/x.db"}, {"CACHE_URL": "sqlite:////var/lib/shop/c.db"}])
def test_a_release_command_runs_once_for_a_database_server(server: str, beside: dict[str, str]) -> None:
    assert runs_on_each(**beside)
    assert not runs_on_each(**beside, ANY_URL=server)


def locations(text: str) -> list[str]:
    return re.findall(r"^\s*location (.*) {$", text, re.MULTILINE)


def test_a_site_below_a_path_serves_the_app_only_there() -> None:
    text = text_of("site", **BELOW)
    assert locations(text) == ["= /shop", "/", *OF_THE_APP, *NAMED]
    sent = dict(value.split(" ", 1) for value in directives(text, "proxy_set_header"))
    assert (sent["SCRIPT_NAME"], sent["PATH_INFO"]) == ('"/shop"', '""')
    assert directives(text, "proxy_cookie_path") == ["~^/$ /shop"]
    assert directives(text_of("site"), "proxy_cookie_path") == []
    assert directives(text, "error_page")[1] == "503 /shop/.greenlight/maintenance.html"


def test_an_app_in_a_shared_site_has_parts_but_no_server() -> None:
    files = nginx_files(**INSIDE)
    parts = {kind: str(files.pop(f"sites-shared/main/{kind}/shop.conf")) for kind in ("http", "server", "settings")}
    assert list(files) == [HASHES]
    for text in parts.values():
        assert "# Owner: role greenlight.flask.flask_app" in text
        assert text.endswith("\n")
        assert not [line for line in text.splitlines() if line != line.rstrip() or "\t" in line]
        for directive in ("listen", "server_name", "ssl_certificate", "set_real_ip_from"):
            assert directives(text, directive) == []
    assert set(upstreams(parts["http"])) == {"shop_live", "shop_candidate"}
    assert (locations(parts["http"]), locations(parts["settings"])) == ([], [])
    assert locations(parts["server"]) == ["= /shop", "^~ /shop/", *OF_THE_APP, *NAMED]
    # Once for everything below the path, and again in each named location, which inherits none of it.
    settings = ["/etc/nginx/sites-shared/main/settings/shop.conf"]
    assert directives(parts["server"], "include") == settings * (1 + len(NAMED))
    assert "SCRIPT_NAME" in parts["settings"]


def test_an_app_in_a_shared_site_trusts_the_same_proxies() -> None:
    """Each app trusts the same proxies as the server, through a map of its own."""
    site = text_of("site", **MAIN)
    parts = nginx_files(**INSIDE)
    assert directives(site, "set_real_ip_from") == ["10.0.0.0/8"]
    for app, text in (("main", site), ("shop", "\n".join(parts.values()))):
        (listed,) = re.findall(
            rf"^geo \$realip_remote_addr \${app}_trusted {{\n    default 0;\n(.*?)^}}", text, re.S | re.M
        )
        assert listed.split() == ["10.0.0.0/8", "1;"]
        sent = [value.split(" ", 1) for value in directives(text, "proxy_set_header")]
        assert dict(sent)["X-Forwarded-Proto"] == f"${app}_scheme"
        assert dict(sent)["X-Forwarded-For"] == "$remote_addr"


def test_a_site_records_the_settings_shared_by_all_its_apps() -> None:
    """Nginx limits a comment to 4 KiB, and no text may end one."""
    names = [f"customer-{number}.example.org" for number in range(700)]
    proxies = [f"10.{number}.0.0/16" for number in range(255)]
    hostile = {"flask_app_acme_directory": "a\n}\u2028\r\\n# {", "flask_app_tls_certificate": "CHAIN"}
    given = {"flask_app_server_names": names, "flask_app_nginx_trusted_proxies": proxies, **hostile}
    for overrides in ({}, {"flask_app_tls": "acme", "flask_app_http_port": "8080"}, BELOW, given):
        expected = render("__flask_app_nginx_facts", **overrides)
        assert expected.keys() == COMPARED
        text = text_of("site", **overrides)
        assert facts_in(text) == expected == render("__flask_app_nginx", **overrides)["facts"]
        assert max(len(line) for line in text.splitlines() if line.startswith("#")) < 1000
        interim = render("__flask_app_nginx", **overrides)["interim_files"]
        assert [facts_in(text) for text in interim.values()] == [expected] * len(interim)
    assert facts_in(str(render("__flask_app_nginx_files[__flask_app_nginx_server_part]", **INSIDE))) == render(
        "__flask_app_nginx_facts", **INSIDE
    )


def test_there_is_no_https_redirect_before_the_certificate_exists() -> None:
    (interim,) = render("__flask_app_nginx", flask_app_tls="acme")["interim_files"].values()
    assert "return 308 https://" in text_of("site", flask_app_tls="acme")
    assert "return 308 https://" not in interim


def test_additions_to_an_app_in_a_shared_site_apply_only_to_its_path() -> None:
    added = "client_body_timeout 7s;\nlocation = /shop/robots.txt {\n    return 204;\n}"
    text = str(render("__flask_app_nginx_files[__flask_app_nginx_server_part]", **INSIDE, flask_app_nginx_inside=added))
    assert directives(text, "client_body_timeout") == ["7s"]
    before, _, rest = text.partition("    location ^~ /shop/ {\n")
    inside, _, after = rest.partition("\n    }\n")
    assert "7s" not in before + after
    assert "        location = /shop/robots.txt {\n            return 204;\n        }\n" in inside
    # After the settings, of which Nginx uses the last or refuses the second.
    assert inside.index("include") < inside.index("7s")


def test_a_site_includes_the_parts_of_others_in_every_server() -> None:
    shared = "/etc/nginx/sites-shared/shop"
    text = text_of("site", flask_app_tls="self_signed")
    assert [name for name in directives(text, "include") if shared in name] == [
        f"{shared}/http/*.conf",  # before everything that uses it
        f"{shared}/server/*.conf",
    ]
    text = text_of("site", flask_app_tls="self_signed", flask_app_tls_redirect=False)
    assert directives(text, "include").count(f"{shared}/server/*.conf") == 2


def test_an_app_in_a_shared_site_has_no_certificate() -> None:
    own = {"flask_app_tls_certificate": "CHAIN", "flask_app_tls_key": "KEY"}
    given = render("__flask_app_nginx", **INSIDE, flask_app_tls="acme")
    assert (given["inside"], given["interim_files"]) == ("main", {})
    own |= {"flask_app_acme_eab_kid": "KID", "flask_app_acme_eab_hmac_key": "HMAC"}
    assert set(render("__flask_app_tls_secrets", **own, flask_app_tls="provided").values()) == {
        "CHAIN",
        "KEY",
        "KID",
        "HMAC",
    }
    assert set(render("__flask_app_tls_secrets", **INSIDE, **own, flask_app_tls="provided").values()) == {""}


def test_the_health_page_is_requested_below_the_path() -> None:
    page = render("__flask_app_page", **BELOW)
    assert (page["prefix"], page["path"]) == ("/shop", "/health")


#: Values that Nginx writes into a log unasked, or accepts only in a certain form.
NGINX_OWN = {
    "time_iso8601", "remote_addr", "request_method", "server_protocol", "status", "body_bytes_sent", "request_time",
    "upstream_response_time", "upstream_status", "ssl_protocol",
}  # fmt: skip
NO_TEXT = [b"\xff", b"\x9b31m", "\u202e".encode(), b"\x1b[2J", b"\x7f", b"\t", "é".encode()]


def logged(variable: str, value: bytes, text: str) -> bytes:
    """Return what the map of a variable makes of a value that a client chose."""
    raw = variable.partition("_logged_")[2]
    begin = rf"^map \${raw} \${variable} {{\n    default \${raw};\n"
    (pattern,) = re.findall(rf'{begin}    "~(.*)" "\$greenlight_ascii \[cut\]";\n}}', text, re.MULTILINE)
    found = re.search(pattern.replace("?<", "?P<").encode(), value, re.DOTALL)
    return found["greenlight_ascii"] + b" [cut]" if found else value


@pytest.mark.parametrize("app", ["shop", "my-other-app"])
def test_a_client_cannot_break_the_log_format(app: str) -> None:
    text, id_ = text_of("site", flask_app_name=app), app.replace("-", "__")
    (form,) = re.findall(rf"^log_format {id_}_json escape=json\n(.*?);$", text, re.S | re.M)
    ours = set(re.findall(r"\$(\w+)", form)) - NGINX_OWN
    # The first is made or matched by Nginx; the second is a name that we gave.
    free = ours - {f"{id_}_request_id", f"{id_}_release"}
    assert free == {f"{id_}_logged_{name}" for name in ("host", "request_uri", "http_referer", "http_user_agent")}
    for variable in free:
        assert logged(variable, b'/a?b="c"&d=\\', text) == b'/a?b="c"&d=\\'
        assert logged(variable, b"", text) == b""
        for more in NO_TEXT:
            for value in (more, b"before " + more, b"before " + more + b"after"):
                assert logged(variable, value, text) == value.partition(more)[0] + b" [cut]"


@pytest.mark.parametrize(
    "overrides",
    [{}, {"flask_app_tls": "self_signed"}, {"flask_app_tls": "acme", "flask_app_tls_redirect": False}, {**BELOW}],
)
def test_terminal_control_characters_of_requests_stay_out_of_the_error_log(overrides: dict[str, Any]) -> None:
    text = text_of("site", **overrides)
    ((source, pattern),) = re.findall(
        r'^map "(.*)" \$shop_unprintable {\n    default "";\n    "~(.*)" 1;\n}', text, re.M
    )
    assert source.split() == ["$request", "$http_host", "$http_referer"]  # everything is quoted there
    for value in NO_TEXT:
        harmless = value in (b"\xff", b"\x9b31m", b"\t") or value.decode().isprintable() or value == "\u202e".encode()
        assert bool(re.search(pattern.encode(), b"x" + value, re.DOTALL)) is not harmless, value
    # Nor by the log itself, which looks for the live release where there may be none yet.
    assert '\nmap $shop_unprintable $shop_release {\n    default $shop_live_release;\n    1 "";\n}\n' in text
    # Before anything else a server does with a request: the first block in each.
    servers = text.split("\nserver {\n")[1:]
    assert len(servers) == 1 + ("flask_app_tls" in overrides)
    for server in servers:
        assert re.findall(r"^    (\S.*) {\n +(.*)\n", server, re.M)[0] == ("if ($shop_unprintable)", "return 400;")


def test_a_path_with_control_characters_is_not_a_static_file() -> None:
    """If a file can't be opened, Nginx writes the decoded path into error.log."""
    found = [place for place in locations(text_of("site", **BELOW)) if place.startswith("~")]
    patterns = [
        re.compile(place.removeprefix('~ "').removesuffix('"').replace("?<", "?P<").encode()) for place in found
    ]
    for more in (b"\x1b[2J", b"a\x1b", b"a\n/\x1b", "a\x9b31m".encode(), b"\x7f"):
        hits = [number for number, pattern in enumerate(patterns) if pattern.search(b"/shop/static/" + more)]
        assert hits[:1] == [1], more
    for name in ("a.css", "\u00e9/\U0001f600.css", "a b"):
        assert not patterns[1].search(f"/shop/static/{name}".encode())


def test_static_files_must_be_owned_by_root() -> None:
    text = text_of("site", **{**BELOW, "flask_app_nginx_static": {"/static/": "s", "/media/": "m"}})
    assert directives(text, "disable_symlinks") == ["if_not_owner from=/srv/shop"] * 2


def test_no_two_apps_share_a_name_in_nginx() -> None:
    """Even if a name ends with the beginning of one of Nginx's own."""
    whole = {"flask_app_nginx_rate_limit": 5, "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"]}
    named = re.compile(
        r"^(?:map|geo) .*\$(\w+) \{$|^\s*(?:upstream|log_format) (\S+)|zone=(\w+):|^\s*location (@\S+) ", re.M
    )
    seen: list[str] = []
    for app in ("shop", "shop-logged", "shop-", "shop--logged", "shop-logged-http", "shop-header"):
        found = {next(filter(None, groups)) for groups in named.findall(text_of("site", flask_app_name=app, **whole))}
        assert len(found) > 20
        seen += found
    assert len(seen) == len(set(seen))


def test_nginx_times_out_a_little_after_gunicorn() -> None:
    text = text_of("site", flask_app_gunicorn_timeout_seconds=120, flask_app_nginx_body_size_mb=64)
    assert directives(text, "proxy_read_timeout") == directives(text, "proxy_send_timeout") == ["125s"]
    assert directives(text, "client_max_body_size") == ["64m"]
    assert directives(text_of("site", flask_app_gunicorn_timeout_seconds="120"), "proxy_read_timeout") == ["125s"]


def test_no_live_release_gives_a_503_and_a_lost_response_a_502() -> None:
    text = text_of("site")
    assert "502 = @shop_unavailable" in directives(text, "error_page")
    assert "proxy_intercept_errors" not in text
    # By the time of the last connection: "-" if none was made.
    ((source, pattern),) = re.findall(r'^map (\S+) \$shop_asked {\n    default "";\n    "~(.*)" 1;\n}', text, re.M)
    assert source == "$upstream_connect_time"
    times = {"0.000": True, "-, 0.004": True, "-": False, "-, -": False, "0.001, -": False, "": False}
    assert {time: bool(re.search(pattern, time)) for time in times} == times
    assert [answer[:4] for answer in directives(text, "return")[-2:]] == ["502 ", "503 "]


@pytest.mark.parametrize(("overrides", "size"), [({}, "32k"), ({"flask_app_nginx_header_size_kb": 128}, "128k")])
def test_the_header_buffer_fits_a_session_cookie(overrides: dict[str, Any], size: str) -> None:
    text = text_of("site", **overrides)
    assert directives(text, "proxy_buffer_size") == [size]
    assert directives(text, "proxy_buffers") == [f"4 {size}"]  # Nginx refuses less (proxy_busy_buffers_size)


@pytest.mark.parametrize(
    ("overrides", "listen"),
    [
        ({}, ["80 default_server", "[::]:80 default_server"]),
        ({"flask_app_http_port": 8080}, ["8080 default_server", "[::]:8080 default_server"]),
        ({"host": OLD}, ["80 default_server"]),
    ],
)
def test_the_default_site_gives_no_response(overrides: dict[str, Any], listen: list[str]) -> None:
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
def test_the_default_site_is_created_unless_disabled(overrides: dict[str, Any], files: list[str]) -> None:
    assert sorted(render("__flask_app_nginx_files", **overrides)) == [HASHES, *files]


def test_the_hash_sizes_fit_long_names_and_many_names() -> None:
    """Nginx counts a pointer, a length, the name, and the pointer that ends a bucket."""
    settings = dict(line.rstrip(";").split() for line in text_of("settings").splitlines() if line[:1].isalpha())
    assert int(settings["server_names_hash_bucket_size"]) >= 8 + 2 + 253 + 8
    assert int(settings["server_names_hash_max_size"]) > 10_000


def test_no_config_word_grows_with_the_number_of_names() -> None:
    """Nginx takes words of up to 4 KiB (NGX_CONF_BUFFER)."""
    names = [f"customer-{number}.shops.example.org" for number in range(700)]
    text = text_of("site", flask_app_server_names=names)
    assert max(len(word) for word in re.findall(r'"[^"\n]*"|[^\s;"]+', text)) < 1000
    assert directives(text, "server_name") == [" ".join(names)]


@pytest.mark.parametrize(
    ("host", "http_host", "passed"),
    [
        ("shop.example.org", "shop.example.org", True),
        ("shop.example.org", "shop.example.org:8080", True),
        ("shop.example.org", "Shop.example.org:8080", True),
        ("shop.example.org", "evil.example", False),
        ("shop.example.org", "evil.example shop.example.org", False),
        ("shop.example.org", "shop.example.org.evil.example", False),
        ("shop.example.org", "shopXexample.org", False),
        ("shop.example.org", "shop.example.org:80@evil.example", False),
        ("shop.example.org", "", False),
    ],
)
def test_the_app_gets_the_port_only_with_the_matching_host_name(host: str, http_host: str, passed: bool) -> None:
    found = re.findall(
        r'^map "\$host \$http_host" \$shop_host {\n    default \$host;\n    "~\*(.*)" \$http_host;',
        text_of("site"),
        re.M,
    )
    assert len(found) == 1
    assert bool(re.search(found[0], f"{host} {http_host}", re.IGNORECASE)) is passed


NGINX = "/usr/sbin/nginx"
LONG_AND_MANY = [".".join(["a" * 61] * 4), *(f"customer-{number}.example.org" for number in range(700))]


@pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="Nginx is not installed on this machine")
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"host": OLD},
        {"flask_app_server_names": ["a.b", "c"]},
        {"flask_app_server_names": LONG_AND_MANY},
        BELOW,
    ],
)
def test_nginx_itself_accepts_the_sites(tmp_path: Path, overrides: dict[str, Any]) -> None:
    sites = nginx_files(flask_app_http_port=18080, **overrides)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\ninclude /etc/nginx/modules-enabled/*.conf;\nevents {{ }}\nhttp {{\n"
        + "    access_log off;\n"
        + "".join(sites.values())
        + "}\n"
    )
    nginx_takes(tmp_path)


def nginx_takes(directory: Path) -> None:
    done = subprocess.run([NGINX, "-t", "-c", directory / "nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace('the "user" directive', "")


@pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="Nginx is not installed on this machine")
@pytest.mark.parametrize("prefix", ["", "/main"])
def test_nginx_itself_accepts_several_apps_under_one_name(tmp_path: Path, prefix: str) -> None:
    static = {"/static/": "static"}
    settings = {"flask_app_http_port": 18080, "flask_app_nginx_static": static, "flask_app_nginx_rate_limit": 5}
    settings |= {"flask_app_nginx_trusted_proxies": ["10.0.0.0/8"], "flask_app_nginx_inside": "client_body_timeout 7s;"}
    files = nginx_files(**settings, flask_app_name="main", flask_app_url_prefix=prefix)
    for app in ("shop", "shop-logged"):
        site = {"flask_app_name": app, "flask_app_url_prefix": f"/{app}", "flask_app_nginx_site_of": "main"}
        files |= nginx_files(**settings, **site)
    (tmp_path / "log").mkdir()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        moved = text.replace("/etc/nginx/", f"{tmp_path}/").replace("/var/log/nginx/", f"{tmp_path}/log/")
        (tmp_path / name).write_text(moved)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\ninclude /etc/nginx/modules-enabled/*.conf;\nevents {{ }}\n"
        "http {\n    include conf.d/*.conf;\n    include sites-enabled/*.conf;\n}\n"
    )
    nginx_takes(tmp_path)


# What the modules get


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"FLASK_CONFIG": "staging", "APP_REVISION": "r1"}),
        (
            {"flask_app_environment_variable": "APP_ENV", "flask_app_revision_variable": "APP_REV"},
            {"APP_ENV": "staging", "APP_REV": "r1"},
        ),
    ],
)
def test_environment_and_revision_use_the_configured_variable_names(
    given: dict[str, Any], expected: dict[str, str]
) -> None:
    assert release(render("__flask_app_identity", **given), **given).variables == expected


def test_the_contract_follows_the_inventory() -> None:
    assert render("__flask_app_contract") == {
        "environment": "staging",
        "debug": False,
        "revision": "r1",
        "release": RELEASE,
        "status": 200,
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
def test_required_secrets_depend_on_the_environment(environment: str, required: list[str]) -> None:
    assert render("flask_app_required_secrets", flask_app_environment=environment) == required


@pytest.mark.parametrize(("git_url", "git"), [("", False), ("https://example.org/shop.git", True)])
def test_git_is_installed_only_for_a_git_source(git_url: str, git: bool) -> None:
    packages = render("__flask_app_packages", flask_app_source_git_url=git_url, flask_app_packages=["libpq5"])
    assert ("git" in packages) is git
    assert {"nginx", "python3-venv", "libpq5"} <= set(packages)


def test_the_specification_names_secrets_without_their_values() -> None:
    whole = render("__flask_app_specification")
    assert sorted(whole["secret_names"]) == ["DATABASE_URL", "SECRET_KEY"]
    assert "hunter2" not in str(whole)


def test_the_specification_describes_the_whole_release() -> None:
    whole = render("__flask_app_specification", flask_app_release_command="flask db upgrade")
    made = release(flask_app_release_command="flask db upgrade")
    assert whole["command"] == made.command
    assert (made.command, made.reversible, made.release_variable) == ("flask db upgrade", True, "APP_RELEASE")
    assert made.id == "20261121T094420Z-a1a1a1a1"


@pytest.mark.parametrize(("given", "expected"), [(True, True), (False, False), ("no", False), ("yes", True)])
def test_the_reversible_flag_is_a_boolean(given: object, expected: bool) -> None:
    whole = render("__flask_app_specification", flask_app_release_command_reversible=given)
    assert whole["reversible"] is expected


def test_patience_follows_the_inventory() -> None:
    patience = render("__flask_app_patience", flask_app_probe_interval_seconds=2, flask_app_probes=7)
    assert Patience(**patience) == Patience(60, 5, 3, 7, 2)
    assert Patience(**render("__flask_app_patience")) == Patience(60, 5, 3, 5, 0)


# The old keys


#: Keys that somebody may have chosen.
OLD_KEYS: list[list[str]] = [
    ["hunter2-old"],
    ["hunter2-old", "é\u2028\U0001f600"],
    ['it\'s "quoted" \\ \n {{ x }} <&>/'],
]


@pytest.mark.parametrize("keys", OLD_KEYS)
def test_a_deploy_passes_old_keys_exactly_as_a_rotation_does(keys: list[str]) -> None:
    """Byte for byte, or the next deploy would take the rotated release for another one."""
    given = render("__flask_app_fallbacks", flask_app_secret_key_fallbacks=keys)
    assert given == {"SECRET_KEY_FALLBACKS": json.dumps(keys)}
    assert {"SECRET_KEY": "x", **given} == Keys("SECRET_KEY", "x", keys).variables()


def test_the_fallbacks_variable_is_named_after_the_key() -> None:
    given = render("__flask_app_fallbacks", flask_app_secret_key_fallbacks=["x"], flask_app_secret_key_variable="TOKEN")
    assert given == {"TOKEN_FALLBACKS": '["x"]'}


def test_without_old_keys_there_is_no_fallbacks_variable() -> None:
    assert render("__flask_app_fallbacks") == {}


def test_old_keys_come_from_the_vault() -> None:
    assert render("__flask_app_fallbacks", vault_flask_app_secret_key_fallbacks=["x"]) == {
        "SECRET_KEY_FALLBACKS": '["x"]'
    }


def test_the_specification_names_old_keys_without_their_values() -> None:
    whole = render("__flask_app_specification", flask_app_secret_key_fallbacks=["hunter2-old"])
    assert sorted(whole["secret_names"]) == ["DATABASE_URL", "SECRET_KEY", "SECRET_KEY_FALLBACKS"]
    assert "hunter2" not in str(whole)


# Secrets as credentials


@pytest.mark.parametrize("overrides", [{}, {"flask_app_secrets_as": "environment"}])
def test_secrets_are_variables_unless_credentials_are_requested(overrides: dict[str, Any]) -> None:
    whole = render("__flask_app_specification", flask_app_secret_key_fallbacks=["hunter2-old"], **overrides)
    assert whole["credentials"] == []


@pytest.mark.parametrize(
    ("fallbacks", "names"),
    [
        ([], ["DATABASE_URL", "SECRET_KEY"]),
        (["hunter2-old"], ["DATABASE_URL", "SECRET_KEY", "SECRET_KEY_FALLBACKS"]),
    ],
)
def test_secrets_and_old_keys_become_credentials_together(fallbacks: list[str], names: list[str]) -> None:
    given: dict[str, Any] = {"flask_app_secrets_as": "credentials", "flask_app_secret_key_fallbacks": fallbacks}
    whole = render("__flask_app_specification", **given)
    assert sorted(whole["credentials"]) == sorted(whole["secret_names"]) == names
    assert sorted(release(None, **given).credentials) == names
    assert "hunter2" not in str(whole)


@pytest.mark.parametrize("as_what", ["environment", "credentials"])
def test_without_secrets_there_are_no_credentials(as_what: str) -> None:
    given = {"flask_app_secrets_as": as_what, "without": ["flask_app_secrets"]}
    assert render("__flask_app_specification", **given)["credentials"] == []


# Plays: exactly what is known at each moment of one


ROLE_VARS = [name for path in DERIVED_FILES for name in LOADER.load_from_file(str(path))]
#: Set by an inventory.
INVENTORY = {name: value for name, value in BASELINE.items() if name.startswith("flask_app_")}
#: Registered by the first steps of each play.
RUN = {"run": "0a1b2c3d4e5f"}
HOST = {
    "packages_missing": [], "package_module_ready": True, "sources": [],
    "nginx_removed": False,
    "venvs": [], "interpreter": "python3.11", "claimed": True, "leftovers": [],
}  # fmt: skip
SERVING = {"release": RELEASE, "revision": "r1", "serves": True}
WAITING = {**SERVING, "serves": False}
DEPLOY: dict[str, Any] = {
    "__flask_app_opened": {**RUN, "host": HOST, "differs": ["release"], "live": ""},
    "__flask_app_time": "20261121T094420Z",
    "__flask_app_front_door": {"live": "release r1 is live"},
    "__flask_app_source_from_directory": {"digest": "a1" * 32, "revision": "r1"},
    "__flask_app_venv": {"digest": "b2" * 32},
}


GROUPS: dict[str, list[str]] = LOADER.load_from_file(str(ROLE.parents[1] / "meta/runtime.yml"))["action_groups"]
DEFAULTS: dict[str, dict[str, Any]] = next(
    task["module_defaults"]
    for task in LOADER.load_from_file(str(ROLE / "tasks/main.yml"), trusted_as_template=True)
    if "block" in task
)


#: The plays that make no new code: what they know when the steps common to all releases begin.
ROLLBACK = {
    "__flask_app_opened": {**WAITING, **RUN},
    "__flask_app_release": {**WAITING, **RUN},
    "__flask_app_front_door": DEPLOY["__flask_app_front_door"],
}
ROTATION = {
    "__flask_app_opened": {**RUN, "live": True},
    "__flask_app_rotation_vault": {"said": "x"},
    "__flask_app_time": "x",
    "__flask_app_front_door": DEPLOY["__flask_app_front_door"],
}


def playing(inventory_hostname: str = "web1", **known: Any) -> Templar:
    """Return a templar for a host that knows ``known``."""
    hosts = known.pop("hosts", {inventory_hostname: {}})
    variables = {
        **ROLE_VARIABLES,
        **INVENTORY,
        "role_path": str(ROLE),
        "ansible_search_path": [str(ROLE)],
        "inventory_dir": "/inventory",
        "inventory_hostname": inventory_hostname,
        "ansible_play_hosts_all": list(hosts),
        "ansible_play_hosts": list(hosts),
        "ansible_check_mode": False,
        **known,
    }
    told = {name: value for name, value in known.items() if name.startswith("__flask_app_")}
    all_of_them = {**hosts, inventory_hostname: {**told, **hosts.get(inventory_hostname, {})}}
    hostvars = {name: {**known, "inventory_hostname": name} for name, known in all_of_them.items()}
    return Templar(loader=LOADER, variables={**variables, "hostvars": hostvars})


def value_of(name: str, **known: Any) -> Any:
    return playing(**known).template(trust_as_template(f"{{{{ {name} }}}}"))


@pytest.mark.parametrize("name", ROLE_VARS)
@pytest.mark.parametrize("release", [SERVING, WAITING], ids=["serving", "waiting"])
def test_each_derived_value_is_defined_in_a_deploy(name: str, release: dict[str, Any]) -> None:
    assert value_of(name, **DEPLOY, __flask_app_release=release) is not None


#: Needed before the preflight has answered: to run it or to report its failure.
EARLY = {
    "__flask_app_host": {},
    "__flask_app_run": "",
    "__flask_app_fallbacks": {},
    "__flask_app_first_host": "web1",
    "__flask_app_switched": [],
}


@pytest.mark.parametrize("name", EARLY)
def test_values_needed_before_the_first_step_are_defined(name: str) -> None:
    assert value_of(name) == EARLY[name]


@pytest.mark.parametrize(
    "known",
    [
        DEPLOY,
        {**DEPLOY, "__flask_app_release": {"run": "other"}},
        {"__flask_app_opened": {**RUN, "live": True}},
        {**ROTATION, "__flask_app_release": WAITING},
        ROLLBACK,
    ],
    ids=["deploy", "late in a deploy", "rotation", "late in a rotation", "rollback"],
)
def test_a_run_is_identified_by_the_step_that_took_the_lock(known: dict[str, Any]) -> None:
    assert value_of("__flask_app_run", **known) == RUN["run"]


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ({"web1": {}, "web2": {}}, "web1"),
        ({"web2": {"flask_app_name": "shop"}, "web1": {"flask_app_name": "shop"}}, "web2"),
        ({"a": {"flask_app_name": "other"}, "b": {"flask_app_name": "shop"}, "web1": {}}, "b"),
        ({"a": {"flask_app_name": "other"}, "b": {"flask_app_name": "other"}, "web1": {}}, "web1"),
    ],
)
def test_the_first_host_with_the_app_acts_for_all(hosts: dict[str, dict[str, str]], first: str) -> None:
    assert value_of("__flask_app_first_host", hosts=hosts) == first
    # A host that failed since is still the first: a command that began there doesn't begin elsewhere.
    assert value_of("__flask_app_first_host", hosts=hosts, ansible_play_hosts=[]) == first


def test_the_hosts_whose_traffic_moved_are_listed() -> None:
    hosts = {
        "web1": {"__flask_app_switch": {"previous": "r0"}},
        "web2": {"__flask_app_switch": {"skipped": True}},
        "web3": {"__flask_app_switch": {"failed": True}},
        "web4": {},
        "web5": {"__flask_app_switch": {"previous": ""}},
    }
    assert value_of("__flask_app_switched", hosts=hosts) == ["web1", "web5"]
    assert value_of("__flask_app_switched", hosts=hosts, ansible_play_hosts=["web2", "web5"]) == ["web5"]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, {}),
        ({**DEPLOY, "__flask_app_release": WAITING, "__flask_app_switch": {"previous": "x"}},
         {"release": RELEASE, "revision": "r1", "previous": "x"}),
        ({**DEPLOY, "__flask_app_release": SERVING, "__flask_app_switch": {"skipped": True}},
         {"release": RELEASE, "revision": "r1"}),
        ({**DEPLOY, "ansible_failed_result": {"msg": "no room"}}, {"revision": "r1", "reason": "no room"}),
        ({"ansible_failed_result": {"rc": 1}}, {}),
        (ROLLBACK, {"release": RELEASE, "revision": "r1"}),
    ],
)  # fmt: skip
def test_a_hook_gets_what_is_known_at_its_point(known: dict[str, Any], expected: dict[str, str]) -> None:
    nothing = {"release": "", "revision": "", "previous": "", "reason": ""}
    always = {"app": "shop", "environment": "staging", "host": "web1", "by": "alice"}
    assert value_of("__flask_app_event", flask_app_deployer="alice", **known) == {**always, **nothing, **expected}


def with_defaults(key: str, options: Any) -> Any:
    """Return a step's options with the defaults of a deploy's block."""
    name = key.removeprefix("greenlight.flask.")
    groups = [group for group, names in GROUPS.items() if name in names and key != name]
    more = {option: value for group in groups for option, value in DEFAULTS[f"group/greenlight.flask.{group}"].items()}
    return {**more, **(options or {})} if groups else options


def tasks_of(*names: str) -> list[dict[str, Any]]:
    """Return the tasks of the role's files, including those in blocks and imported ones."""
    found: list[dict[str, Any]] = []

    def add(tasks: list[dict[str, Any]]) -> None:
        for task in tasks:
            if "ansible.builtin.import_tasks" in task:
                add(load(task["ansible.builtin.import_tasks"]))
            elif "block" in task:
                add(task["block"])
            else:
                found.append({key: with_defaults(key, value) for key, value in task.items()})

    def load(name: str) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = LOADER.load_from_file(str(ROLE / "tasks" / name), trusted_as_template=True)
        return tasks

    for name in names:
        add(load(f"{name}.yml"))
    return found


def holds(task: dict[str, Any], templar: Templar) -> bool:
    """Return whether all conditions of a task hold."""
    conditions = task.get("when", [])
    return all(
        templar.evaluate_conditional(trust_as_template(str(condition)))
        for condition in (conditions if isinstance(conditions, list) else [conditions])
    )


def resolved(task: dict[str, Any], **known: Any) -> dict[str, Any] | None:
    """Return a task with its templates resolved by Ansible, or None if its conditions are false."""
    templar = playing(**{"__flask_app_some_packages": ["x"], **known}, __flask_app_hook="/hook.yml")
    if not holds(task, templar):
        return None
    return {key: templar.template(value) for key, value in task.items() if key not in ("when", "tags", "name")}


#: Moments -> the files whose tasks run then, and what is known.
MOMENTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "deploy, serving": (("main",), {**DEPLOY, "__flask_app_release": SERVING}),
    "deploy, waiting": (("main",), {**DEPLOY, "__flask_app_release": WAITING}),
    "rollback": (("activate", "finish"), ROLLBACK),
    "rotation, begun": (("rotate",), {**ROTATION, "__flask_app_release": WAITING}),
    "rotation, nothing to do": (("rotate",), {**ROTATION, "__flask_app_release": SERVING}),
    "purge": (("rotate",), {**ROTATION, "__flask_app_release": SERVING, "flask_app_rotation_step": "purge"}),
    "failure of the first step": (("failure", "unlock"), {}),
    "failure of a deploy": (
        ("failure", "unlock"),
        {**DEPLOY, "ansible_failed_result": {"msg": "x"}, "ansible_failed_task": {"name": "x"}},
    ),
    "failure of a rollback": (("failure", "unlock"), {"__flask_app_opened": RUN}),
    "failure of a rotation": (("failure", "unlock"), {**ROTATION, "ansible_failed_result": {"msg": "x"}}),
    "verify": (
        ("verify",),
        {"ansible_inventory_sources": ["/inventory"], "__flask_app_drift": {"drifted": True, "told": ["x"]}},
    ),
    "removal": (("absent",), {"__flask_app_removed": {"removed": ["/srv/shop"]}}),
    "removal, nothing to do": (("absent",), {"__flask_app_removed": {"removed": []}}),
}  # fmt: skip
HOOKED = {
    f"flask_app_hooks_{when}": ["/hook.yml"] for when in ("before_build", "before_switch", "after_switch", "on_failure")
}


SPECIFIED = ["gunicorn", "processes", "environment", "secret_names"]


@pytest.mark.parametrize("name", [*(f"__flask_app_specification.{part}" for part in SPECIFIED), "__flask_app_nginx"])
def test_verify_compares_with_what_a_deploy_would_create(name: str) -> None:
    _, known = MOMENTS["verify"]
    assert value_of(name, **known) == value_of(name, **DEPLOY)


@pytest.mark.parametrize("check_mode", [False, True], ids=["", "check mode"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_every_variable_used_by_a_task_is_defined(moment: str, check_mode: bool) -> None:
    files, known = MOMENTS[moment]
    known = {**HOOKED, "flask_app_notify_url": "https://example.org", "flask_app_release_command": "x", **known}
    for task in tasks_of(*files):
        try:
            resolved(task, **known, ansible_check_mode=check_mode)
        except AnsibleError as error:
            pytest.fail(f"{task['name']}: {error}")


def called(moment: str, **known: Any) -> list[str]:
    """Return the collection's modules that a play calls at a moment, in order."""
    files, then = MOMENTS[moment]
    modules = []
    for task in tasks_of(*files):
        if holds(task, playing(**{**then, **known}, __flask_app_hook="/hook.yml")):
            modules += [key.removeprefix("greenlight.flask.") for key in task if key.startswith("greenlight.flask.")]
    return modules


ACTIVATION = ["prove_candidate", "switch", "check_front_door", "finish"]


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        ({"differs": []}, True),
        ({"differs": ["site"]}, False),
        ({}, False),  # a hook may still change the source, so the first step compares nothing
    ],
)
def test_a_deploy_ends_early_only_if_nothing_differs(opened: dict[str, Any], expected: bool) -> None:
    known: dict[str, Any] = {
        **DEPLOY,
        "__flask_app_opened": {**RUN, "host": HOST, "live": "release r1 is live", **opened},
    }
    assert [holds(task, playing(**known)) for task in tasks_of("unchanged")] == [expected] * 2


@pytest.mark.parametrize("differs", [["source", "site"], []])
def test_the_report_names_what_differed(differs: list[str]) -> None:
    (task,) = tasks_of("report")
    known = {**DEPLOY, "__flask_app_opened": {**RUN, "host": HOST, "differs": differs}, "__flask_app_release": WAITING}
    said = str(resolved(task, **known)["ansible.builtin.debug"]["msg"])  # type: ignore[index]
    live, _, different = said.partition(";")
    assert live.endswith(DEPLOY["__flask_app_front_door"]["live"])
    assert [part for part in ("source", "venv", "site") if part in different] == differs


def test_a_rotation_activates_its_release_and_a_purge_removes_old_secrets() -> None:
    begin = ["compare_keys", "rotate_vault", "rotate"]
    assert called("rotation, begun") == [*begin, *ACTIVATION]
    # A killed run may have left something, and only a deploy's preflight can know that it didn't.
    assert called("rotation, nothing to do") == [*begin, "check_front_door", "finish"]
    assert called("purge") == ["compare_keys", "rotate", "check_front_door", "finish"]


def ending(play: str, moment: str) -> dict[str, Any]:
    """Return the options of the step that ends a play, at a moment of it."""
    _, known = MOMENTS[moment]
    [block] = [
        task
        for task in LOADER.load_from_file(str(ROLE / f"tasks/{play}.yml"), trusted_as_template=True)
        if "block" in task
    ]
    [last] = [task for task in block["block"] if task.get("ansible.builtin.import_tasks") == "finish.yml"]
    given = playing(**known).template(last.get("vars", {}))
    return dict(resolved(tasks_of("finish")[0], **known, **given)["greenlight.flask.finish"])  # type: ignore[index]


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment.startswith(("rotation", "purge"))])
def test_only_a_purge_removes_the_releases_with_an_old_secret(moment: str) -> None:
    assert ending("rotate", moment)["purge"] is (moment == "purge")


def test_a_deploy_completes_on_the_host_and_a_rollback_only_once_its_end_is_seen() -> None:
    assert ending("main", "deploy, waiting")["give_back"] is True
    assert ending("rollback", "rollback")["give_back"] is False
    (unlock,) = tasks_of("unlock")
    for done in (True, False):
        known = {**ROLLBACK, "__flask_app_opened": {**RUN, "done": done}}
        assert resolved(unlock, **known)["greenlight.flask.unlock"]["done"] is done  # type: ignore[index]


@pytest.mark.parametrize("moment", ["deploy, waiting", "rollback", "rotation, begun"])
def test_traffic_moves_after_the_proof_and_the_old_release_stops_last(moment: str) -> None:
    assert [module for module in called(moment) if module in ACTIVATION] == ACTIVATION


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment.startswith("failure of a ")])
def test_a_failure_retires_idle_releases_before_giving_the_lock_back(moment: str) -> None:
    assert called(moment) == ["retire", "unlock"]


@pytest.mark.parametrize("name", ["main", "rollback", "rotate"])
def test_a_play_that_takes_the_lock_always_gives_it_back(name: str) -> None:
    [block] = [task for task in LOADER.load_from_file(str(ROLE / "tasks" / f"{name}.yml")) if "block" in task]
    assert [task["ansible.builtin.import_tasks"] for task in block["always"]] == ["unlock.yml"]
    assert [task["ansible.builtin.import_tasks"] for task in block["rescue"]] == ["failure.yml"]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"flask_app_release_command": "flask db upgrade"}, True),
        ({"flask_app_release_command": ""}, False),
        ({"flask_app_release_command": "flask db upgrade", "__flask_app_release": SERVING}, False),
        ({"flask_app_release_command": "flask db upgrade", "hosts": {"web0": {}, "web1": {}}}, False),
        ({"flask_app_release_command": "flask db upgrade", "hosts": {"web1": {}, "web2": {}}}, True),
    ],
)
def test_the_release_command_runs_on_the_first_host_of_a_new_release(known: dict[str, Any], expected: bool) -> None:
    assert ("run_release_command" in called("deploy, waiting", **known)) is expected


def test_the_release_command_runs_before_the_candidate_and_only_in_a_deploy() -> None:
    command = {"flask_app_release_command": "flask db upgrade"}
    deploy = called("deploy, waiting", **command)
    assert deploy.index("make_release") < deploy.index("run_release_command") < deploy.index("prove_candidate")
    for moment in ("rollback", "rotation, begun"):
        assert "run_release_command" not in called(moment, **command)


@pytest.mark.parametrize("removed", [False, True])
def test_a_removed_nginx_is_reinstalled_with_its_modules_before_it_starts(removed: bool) -> None:
    host = {**HOST, "packages_missing": ["nginx"], "nginx_removed": removed}
    known = {"__flask_app_opened": {**RUN, "host": host}, "flask_app_packages": ["redis-server"]}
    (task,) = [task for task in tasks_of("platform") if "ansible.builtin.apt" in task]
    first = resolved(task, **known)
    assert first
    rounds = [resolved(task, **known, __flask_app_some_packages=packages) or {} for packages in first["loop"]]
    arguments = [each["ansible.builtin.apt"] for each in rounds]
    everything = [str(package) for package in value_of("__flask_app_packages", **known)]
    assert arguments[-1]["name"] == everything
    assert "policy_rc_d" not in arguments[-1] or "omit" in str(arguments[-1]["policy_rc_d"])
    assert "redis-server" in everything  # whose service starts as usual
    assert len(arguments) == 1 + removed
    if removed:
        assert arguments[0]["policy_rc_d"] == 101  # policy-rc.d: not allowed
        assert set(arguments[0]["name"]) == {package for package in everything if "nginx" in package}


@pytest.mark.parametrize(("lives", "live"), [([True, True], True), ([True, False], False), ([False, False], False)])
def test_a_new_key_is_created_only_if_every_host_has_the_current_keys(lives: list[bool], live: bool) -> None:
    hosts = {f"web{number}": {"__flask_app_opened": {"live": each}} for number, each in enumerate(lives)}
    (task,) = [task for task in tasks_of("rotate") if "greenlight.flask.rotate_vault" in task]
    found = resolved(task, hosts=hosts, inventory_hostname="web0", __flask_app_opened={"live": lives[0]})
    assert found
    assert found["greenlight.flask.rotate_vault"]["live"] is live


# Removal


@pytest.mark.parametrize(
    ("states", "doomed"),
    [
        ({"shop": "absent"}, ["shop"]),
        ({"shop": "absent", "shop ": "absent"}, ["shop"]),
        ({"shop": "absent", "blog": "absent"}, ["blog", "shop"]),
        ({"shop": "absent", "blog": "present"}, ["shop"]),
        ({"shop": "absent", "blog": None}, ["shop"]),
        ({"shop": None}, []),
    ],
)
def test_apps_to_remove_are_counted_by_name(states: dict[str, str | None], doomed: list[str]) -> None:
    facts = {
        host: {"flask_app_name": host.strip(), **({"flask_app_state": state} if state else {})}
        for host, state in states.items()
    }
    play = {"hostvars": facts, "ansible_play_hosts_all": [*facts]}
    assert render("__flask_app_apps_to_remove", **play) == doomed
    assert render("__flask_app_apps", **play) == sorted({host.strip() for host in states})


@pytest.mark.parametrize("name", ["vault_flask_app_secret_key", "vault_shop_key"])
def test_old_keys_are_read_from_the_fallbacks_of_the_rotated_key(name: str) -> None:
    given = {"flask_app_rotation_vault_name": name, "vault_of_another_fallbacks": ["another"]}
    assert render("flask_app_secret_key_fallbacks", **given) == []
    assert render("flask_app_secret_key_fallbacks", **given, **{f"{name}_fallbacks": ["before"]}) == ["before"]
