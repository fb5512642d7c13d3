# SPDX-License-Identifier: GPL-3.0-or-later
"""Each typical error of an app gets a hint that names the variable, or the place, to change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd as _systemd
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._proof import hints as _hints
from ansible_collections.greenlight.flask.plugins.module_utils._proof.hints import MOST, hints

SPEC = yaml.safe_load((Path(__file__).resolve().parents[2] / "roles/flask_app/meta/argument_specs.yml").read_text())
VARIABLES = set(SPEC["argument_specs"]["main"]["options"])

WELL = """
[2026-11-29 17:46:06 +0000] [2471] [INFO] Starting gunicorn 27.0.1
[2026-11-29 17:46:06 +0000] [2471] [INFO] Listening at: unix:/run/shop/r1.sock (2471)
[2026-11-29 17:46:06 +0000] [2471] [INFO] Using worker: gthread
[2026-11-29 17:46:06 +0000] [2473] [INFO] Booting worker with pid: 2473
Started shop@r1.service - Flask app shop, release r1.
memory.events: max 812
shop@r1.service: Deactivated successfully.
"""
CHOWN = """
  File "/srv/shop/releases/r1/source/shop/store.py", line 7, in save
    shutil.chown(path, "www-data")
    ~~~~~~~~~~~~^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.13/shutil.py", line 1451, in chown
    os.chown(path, _user, _group, dir_fd=dir_fd)
PermissionError: [Errno 1] Operation not permitted: '/var/lib/shop/x'
"""
NICE = """
    os.nice(5)
PermissionError: [Errno 1] Operation not permitted
"""
PROGRAM = """
  File "/usr/lib/python3.11/subprocess.py", line 1955, in _execute_child
    raise child_exception_type(errno_num, err_msg, err_filename)
FileNotFoundError: [Errno 2] No such file or directory: 'convert'
"""
CFFI = "MemoryError: Cannot allocate write+execute memory for ffi.callback(). You might be running on a system that"
NUMBA = "PermissionError: [Errno 1] cannot allocate executable memory. This may be due to security restrictions on your"
TIMEOUT = """
[2026-11-29 17:50:11 +0000] [2471] [CRITICAL] WORKER TIMEOUT (pid:2473)
[2026-11-29 17:50:12 +0000] [2471] [ERROR] Worker (pid:2473) was sent SIGKILL! Perhaps out of memory?
"""
KILLED = "[2026-11-29 17:50:12 +0000] [2471] [ERROR] Worker (pid:2473) was sent SIGKILL! Perhaps out of memory?"
BIND = """
[2026-11-29 17:42:36 +0000] [2402] [ERROR] connection to ('', 80) failed: [Errno 13] Permission denied
[2026-11-29 17:42:41 +0000] [2402] [ERROR] Can't connect to ('', 80)
"""
SOCKET = "[ERROR] Can't connect to /nonexistent/started-without-its-socket-unit"
PYDANTIC = (
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings\nmail_password\n  Field required"
)
REFUSED = 'psycopg.OperationalError: connection to server at "db", port 5432 failed: Connection refused'
WANTED = 'psycopg.OperationalError: FATAL:  password authentication failed for user "shop"'

#: Text of the journal -> what the first hint must name.
CASES: list[tuple[str, list[str]]] = [
    # Refusals of systemd's sandbox, taken from Debian 12 and 13.
    ("FileNotFoundError: [Errno 2] No such file or directory: '/proc/meminfo'", ["/proc/meminfo", "ProcSubset: all"]),
    ("PermissionError: [Errno 13] Permission denied: '/proc/cpuinfo'", ["/proc/cpuinfo", "ProcSubset: all"]),
    (CFFI, ['MemoryDenyWriteExecute: "no"']),
    (NUMBA, ['MemoryDenyWriteExecute: "no"']),
    ("OSError: [Errno 30] Read-only file system: 'instance'", ["/var/lib/shop", "instance"]),
    ("OSError: [Errno 30] Read-only file system: '/srv/shop/sources/1a/instance'", ["/var/lib/shop", "instance_path"]),
    ("OSError: [Errno 30] Read-only file system: '/etc/x'", ["ReadWritePaths", "/etc/x"]),
    ("OSError: [Errno 30] Read-only file system: '/var/log/shop.log'", ["/var/log/shop.log", "standard error"]),
    ("PermissionError: [Errno 13] Permission denied: '/var/log/shop/app.log'", ["/var/log/shop/app.log", "journal"]),
    ("PermissionError: [Errno 13] Permission denied: '/home/deploy/key.pem'", ["/home/deploy/key.pem", "ProtectHome"]),
    ("sqlite3.OperationalError: unable to open database file", ["sqlite:////var/lib/shop/shop.db"]),
    ("sqlite3.OperationalError: attempt to write a readonly database", ["sqlite:////var/lib/shop/shop.db"]),
    ("OSError: [Errno 97] Address family not supported by protocol", ["RestrictAddressFamilies", "AF_NETLINK"]),
    (CHOWN, ["chown", 'SystemCallFilter: "@chown"']),
    ("chown: changing ownership of '/var/lib/shop': Operation not permitted", ["chown"]),
    (NICE, ['SystemCallFilter: "@resources"']),
    ("PermissionError: [Errno 1] Operation not permitted", ["SystemCallFilter"]),
    ("[0101/000000.1:FATAL:zygote_host_impl_linux.cc(126)] No usable sandbox!", ['RestrictNamespaces: "no"']),
    ("    sock.bind(address)\nPermissionError: [Errno 13] Permission denied", ["1024"]),
    # Memory
    ("shop@r1.service: A process of this unit has been killed by the OOM killer.", ["flask_app_service_memory_max"]),
    (f"{TIMEOUT}shop@r1.service: Failed with result 'oom-kill'.", ["flask_app_service_memory_max"]),
    (f"{TIMEOUT}memory.events: oom_kill 2", ["flask_app_service_memory_max", "WORKER TIMEOUT"]),
    (f"{TIMEOUT}memory.events: max 20155", ["flask_app_service_memory_max"]),
    (KILLED, ["flask_app_service_memory_max"]),
    ("MemoryError", ["flask_app_service_memory_max"]),
    (TIMEOUT, ["flask_app_gunicorn_timeout_seconds"]),
    # Gunicorn
    (BIND, ["('', 80)", "flask_app_gunicorn_settings"]),
    (SOCKET, ["shop@*.socket"]),
    ("Failed to find attribute 'application' in 'wsgi'.", ["flask_app_wsgi"]),
    ("Error: class uri 'gevent' invalid or not found:", ["gevent", "flask_app_requirements", "worker_class"]),
    ("RuntimeError: gevent worker requires gevent 24.10.1 or higher", ["gevent", "flask_app_requirements"]),
    # Variables
    ("KeyError: 'MAIL_PASSWORD'", ["MAIL_PASSWORD", "flask_app_secrets", "flask_app_env"]),
    ("decouple.UndefinedValueError: API_TOKEN not found. Declare it as envvar", ["API_TOKEN", "flask_app_secrets"]),
    ('environs.exceptions.EnvError: Environment variable "API_TOKEN" not set', ["API_TOKEN", "flask_app_secrets"]),
    (PYDANTIC, ["mail_password", "flask_app_secrets"]),
    ("RuntimeError: The session is unavailable because no secret key was set.", ["SECRET_KEY"]),
    ("RuntimeError: Either 'SQLALCHEMY_DATABASE_URI' or 'SQLALCHEMY_BINDS' must be set.", ["DATABASE_URL"]),
    # Packages
    ("ImportError: libpq.so.5: cannot open shared object file: No such file", ["flask_app_packages: [libpq5]"]),
    ("OSError: libGL.so.1: cannot open shared object file: No such file", ["flask_app_packages: [libgl1]"]),
    ("OSError: cannot load library 'libpango-1.0-0': libpango-1.0-0: cannot", ["flask_app_packages: [libpango-1.0-0]"]),
    ("OSError: cannot load library 'gobject-2.0-0': gobject-2.0-0: cannot open", ["flask_app_packages: [libglib2.0-0"]),
    (
        "OSError: libnowhere.so.3: cannot open shared object file",
        ["flask_app_packages", "search libnowhere"],
    ),
    ("ImportError: failed to find libmagic.  Check your installation", ["flask_app_packages: [libmagic1]"]),
    ("ModuleNotFoundError: No module named 'flask_login'", ["flask-login", "flask_app_requirements"]),
    ("ModuleNotFoundError: No module named 'PIL'", ["Pillow", "flask_app_requirements"]),
    ("ModuleNotFoundError: No module named 'shop.views'", ["shop.views", "flask_app_wsgi"]),
    ("error: externally-managed-environment", ["flask_app_requirements"]),
    (PROGRAM, ["flask_app_packages: [imagemagick]"]),
    ("/bin/sh: 1: pg_dump: not found", ["flask_app_packages: [postgresql-client]"]),
    ("zoneinfo._common.ZoneInfoNotFoundError: 'No time zone found with key US/Eastern'", ["US/Eastern", "tzdata"]),
    ("locale.Error: unsupported locale setting", ["flask_app_packages: [locales-all]"]),
    # Limits and services
    ("RuntimeError: can't start new thread", ["flask_app_service_tasks_max"]),
    ("OSError: [Errno 24] Too many open files: '/dev/null'", ["LimitNOFILE"]),
    ("OSError: [Errno 28] No space left on device", ["df -h"]),
    ("OSError: [Errno 98] Address already in use", ["port", "flask_app_hooks_after_switch"]),
    (REFUSED, ["DATABASE_URL", "flask_app_secrets"]),
    (WANTED, ["DATABASE_URL", "flask_app_secrets"]),
    ("socket.gaierror: [Errno -2] Name or service not known", ["DATABASE_URL"]),
    ("sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: entry", ["flask_app_release_command"]),
    ('psycopg.errors.UndefinedTable: relation "entry" does not exist', ["flask_app_release_command"]),
    # Release commands
    ("Error: Could not locate a Flask application. Use the 'flask --app' option", ["flask_app_release_command"]),
    ("Error: No such command 'db'.", ["db", "flask_app_release_command"]),
    ("alembic.util.exc.CommandError: Path doesn't exist: migrations.", ["migrations", ".gitignore"]),
]


@pytest.mark.parametrize(("said", "named"), CASES)
def test_a_known_error_gets_a_hint_with_its_fix(said: str, named: list[str]) -> None:
    lines = [*WELL.splitlines(), *said.splitlines()]
    hint, *more = hints(lines, "shop")
    assert [word for word in named if word not in hint] == []
    assert "Fix: " in hint
    assert more == []


def test_the_journal_of_a_healthy_app_gives_no_hint() -> None:
    assert hints(WELL.splitlines(), "shop") == []
    assert hints([], "shop") == []


def test_several_errors_give_a_few_hints_without_repetition() -> None:
    lines = [line for said, _ in CASES for line in said.splitlines()] * 2
    found = hints(lines, "shop")
    assert len(found) == len(set(found)) == MOST


def test_a_hint_names_only_existing_variables() -> None:
    for row in _hints._TABLE:
        assert set(re.findall(r"flask_app_\w+", row.text)) <= VARIABLES, row.text


@pytest.mark.parametrize("name", ["\x1b[2Jx", "x\x07", "a\x9b31m"])
def test_a_hint_contains_no_control_characters_of_the_journal(name: str) -> None:
    for said in (
        f"OSError: [Errno 30] Read-only file system: '/etc/{name}'",
        f"PermissionError: [Errno 13] Permission denied: '/var/log/{name}'",
        f"[ERROR] Can't connect to {name}",
        f"KeyError: 'A_{name}'",
        f"ModuleNotFoundError: No module named '{name}'",
    ):
        assert not set("\x1b\x07\x9b") & set("".join(hints([said], "shop")))


def test_memory_limit_hits_are_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "/system.slice/system-shop.slice/shop@r1.service"
    monkeypatch.setattr(_systemd, "run", lambda argv: Finished(0, f"{place}\n", ""))
    assert _systemd.memory_events("shop@r1.service", tmp_path) == []
    events = tmp_path / f"sys/fs/cgroup{place}/memory.events"
    events.parent.mkdir(parents=True)
    events.write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 10\noom_group_kill 0\n")
    said = _systemd.memory_events("shop@r1.service", tmp_path)
    assert said == ["memory.events: max 12", "memory.events: oom 1", "memory.events: oom_kill 10"]
    assert "flask_app_service_memory_max" in hints(said, "shop")[0]
    monkeypatch.setattr(_systemd, "run", lambda argv: Finished(0, "\n", ""))
    assert _systemd.memory_events("shop@r1.service", tmp_path) == []
