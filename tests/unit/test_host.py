# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's facts are read correctly, and everything that stops a deploy is found, named and comes with a fix."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts
from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd as _systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base import command
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished, run
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import ERROR, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._build import venv
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import survey as _host
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.survey import (
    Host,
    Wanted,
    problems,
    survey,
    unreachable,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release.plan import measures

from tests.unit.cases import all_named, named
from tests.unit.killing import killed

APP = "greenlight-test-app"  # no machine has an account of this name
WANTED = Wanted(
    environment="staging",
    python="/usr/bin/python3",
    python_minimum="3.11",
    packages=["nginx", "git"],
    ports={"flask_app_http_port": 80},
    free_mb=1,
    keep_releases=5,
    service_settings={},
)


def interpreter(*version: int, place: str = "/usr/bin/python3.13") -> str:
    return json.dumps([version, "cpython-313", "linux-x86_64", place])


class Programs:
    """Simulates the programs that are called; a test changes their output."""

    def __init__(self) -> None:
        self.systemctl = Finished(0, "systemd 257 (257.9-1~deb13u1)\n+PAM +AUDIT\n", "")
        self.dpkg = Finished(1, "nginx installed\ngit installed\npython3-apt installed\n", "dpkg-query: no package")
        self.ss = Finished(0, "", "")
        self.python = Finished(0, interpreter(3, 13, 5), "")
        self.asked: list[list[str]] = []

    def run(self, argv: Sequence[str], **_: object) -> Finished:
        self.asked.append(list(argv))
        if argv[:2] == ["systemctl", "--version"]:
            return self.systemctl
        return {"dpkg-query": self.dpkg, "ss": self.ss, WANTED.python: self.python}.get(argv[0], Finished(0, "", ""))


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    played = Programs()
    for module in (_host, command, _systemd, venv):
        monkeypatch.setattr(module, "run", played.run)
    return played


@pytest.fixture
def layout(tmp_path: Path, programs: Programs) -> Layout:
    """A fresh Debian host."""
    for directory in ("etc/systemd/system", "srv", "run/systemd/system", "usr/bin", "proc/net", "var/lib"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "usr/bin/apt-get").touch()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        2097152 kB\nMemFree: 12 kB\n")
    return Layout(APP, tmp_path)


def found(layout: Layout, wanted: Wanted = WANTED) -> list[Finding]:
    """Return what stops the deploy; each finding says what is wrong and how to fix it."""
    told = problems(layout, wanted, survey(layout, wanted))
    assert all(problem.what.endswith((".", "?")) and problem.fix.endswith(".") for problem in told)
    assert {problem.severity for problem in told} <= {ERROR}
    return told


# The facts


def test_a_fresh_host_is_surveyed(layout: Layout) -> None:
    host = survey(layout, WANTED)
    assert host.systemd == 257
    assert host.python == "3.13.5"
    assert (host.packages_missing, host.package_module_ready) == ([], True)
    assert (host.environment, host.sources) == ("", [])
    assert (host.claimed, host.leftovers, host.nginx_removed) == (False, [], False)


@pytest.mark.parametrize(
    ("state", "site", "expected"),
    [
        ("installed", "sites-enabled/shop.conf", False),
        ("config-files", "sites-enabled/shop.conf", True),
        ("half-configured", "sites-enabled/shop.conf", True),  # its start has failed already
        ("config-files", "conf.d/upstreams.conf", True),
        ("config-files", "sites-enabled/default", False),
        ("config-files", "sites-enabled/.shop.conf.swp", False),
        ("config-files", "sites-available/shop.conf", False),
    ],
)
def test_a_missing_nginx_with_sites_counts_as_removed(
    layout: Layout, programs: Programs, state: str, site: str, expected: bool
) -> None:
    programs.dpkg = Finished(0, f"nginx {state}\ngit installed\n", "")
    (layout.root / "etc/nginx" / site).parent.mkdir(parents=True)
    (layout.root / "etc/nginx" / site).touch()
    assert survey(layout, WANTED).nginx_removed is expected


def test_a_claimed_host_is_surveyed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(layout, "staging")
    assert survey(layout, WANTED).claimed is False  # without its account
    monkeypatch.setattr(accounts, "number", lambda part, name: 998)
    for name in ("b" * 64, "a" * 64):
        (layout.sources / name).mkdir()
    host = survey(layout, WANTED)
    assert (host.environment, host.claimed) == ("staging", True)
    assert host.sources == ["a" * 64, "b" * 64]
    assert len(host.leftovers) == 2


@pytest.mark.parametrize(
    ("meminfo", "limit", "expected"),
    [
        ("MemTotal: 2097152 kB", None, 2048),
        ("MemTotal: 2000000 kB", None, 1792),
        ("MemTotal: 100000 kB", None, 256),
        ("MemTotal: 8388608 kB", "1073741824", 1024),
        ("MemTotal: 1048576 kB", "8589934592", 1024),
        ("MemTotal: 8388608 kB", "max", 8192),
        ("", None, 1024),
    ],
)
def test_memory_is_the_limit_of_the_machine_or_container(
    layout: Layout, meminfo: str, limit: str | None, expected: int
) -> None:
    (layout.root / "proc/meminfo").write_text(meminfo + "\n")
    if limit:
        (layout.root / "sys/fs/cgroup").mkdir(parents=True)
        (layout.root / "sys/fs/cgroup/memory.max").write_text(limit + "\n")
    assert measures(layout.root) == {"cpus": len(os.sched_getaffinity(0)), "memory_mb": expected}


@pytest.mark.parametrize(
    ("said", "missing", "ready"),
    [
        ("nginx installed\ngit installed\npython3-apt installed\n", [], True),
        ("nginx installed\n", ["git"], False),
        ("nginx config-files\ngit not-installed\npython3-apt half-installed\n", ["nginx", "git"], False),
        ("", ["nginx", "git"], False),
    ],
)
def test_only_an_installed_package_is_not_missing(
    layout: Layout, programs: Programs, said: str, missing: list[str], ready: bool
) -> None:
    programs.dpkg = Finished(1, said, "")
    host = survey(layout, WANTED)
    assert (host.packages_missing, host.package_module_ready) == (missing, ready)


def test_the_facts_are_plain_data(layout: Layout) -> None:
    assert survey(layout, WANTED).as_dict()["systemd"] == 257


# What stops a deploy


def test_a_suitable_host_has_no_problems(layout: Layout) -> None:
    assert found(layout) == []


Fault = Callable[[Layout, Programs], None]


def _without_systemd(layout: Layout, _programs: Programs) -> None:
    (layout.root / "run/systemd/system").rmdir()


def _other_distribution(layout: Layout, _programs: Programs) -> None:
    (layout.root / "usr/bin/apt-get").unlink()


def _running_systemd(version: str) -> Fault:
    def fault(_layout: Layout, programs: Programs) -> None:
        programs.systemctl = Finished(0, f"systemd {version} ({version}-1)\n", "")

    return fault


def _python(said: str, code: int = 0) -> Fault:
    def fault(_layout: Layout, programs: Programs) -> None:
        programs.python = Finished(code, said, "")

    return fault


def _listening(*programs_on_port: str) -> Fault:
    def fault(_layout: Layout, programs: Programs) -> None:
        users = "\n".join(
            f'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("{name}",pid=1,fd=6),("{name}",pid=2,fd=6))'
            for name in programs_on_port
        )
        programs.ss = Finished(0, users, "")

    return fault


def _there(place: str) -> Fault:
    def fault(layout: Layout, _programs: Programs) -> None:
        (layout.root / place).parent.mkdir(parents=True, exist_ok=True)
        (layout.root / place).write_text("somebody else's")

    return fault


def _stamped(environment: str) -> Fault:
    def fault(layout: Layout, _programs: Programs) -> None:
        claim(layout, environment)

    return fault


UNREACHABLE = ("unreachable-python", "flask_app_python")
TAKEN = ("name-in-use", "flask_app_name")


@pytest.mark.parametrize(
    ("fault", "expected", "told"),
    [
        (_without_systemd, ("no-systemd", "systemd"), "/run/systemd/system"),
        (_other_distribution, ("unsupported-system", "apt-get"), "Debian 12 and 13"),
        (_running_systemd("251"), ("old-systemd", "systemd"), "251"),
        (_python(interpreter(3, 9, 2)), ("old-python", "flask_app_python"), "3.9.2"),
        (_python(interpreter(3, 13, 5, place="/root/.local/bin/python3")), UNREACHABLE, "/root"),
        (_python(interpreter(3, 13, 5, place="/home/deploy/.pyenv/bin/python3")), UNREACHABLE, "/home"),
        (_python("", 127), ("no-python", "flask_app_python"), "/usr/bin/python3"),
        (_python("garbage"), ("no-python", "flask_app_python"), "/usr/bin/python3"),
        (_python("5"), ("no-python", "flask_app_python"), "/usr/bin/python3"),
        (_listening("apache2"), ("port-in-use", "flask_app_http_port"), "apache2"),
        (_listening("systemd"), ("port-in-use", "flask_app_http_port"), "systemd"),
        (_listening("nginx", "caddy", "apache2"), ("port-in-use", "flask_app_http_port"), "apache2, caddy"),
        (_there(f"etc/{APP}/config"), TAKEN, f"/etc/{APP}, "),
        (_there(f"srv/{APP}/index.html"), TAKEN, f"/srv/{APP}, "),
        (_there(f"var/lib/{APP}/data"), TAKEN, f"/var/lib/{APP}, "),
        (_there(f"srv/{APP}"), TAKEN, f"/srv/{APP}, "),
        (_there(f"etc/systemd/system/{APP}@.service"), TAKEN, f"/{APP}@.service, "),
        (_there(f"usr/lib/systemd/system/{APP}.service"), TAKEN, f"/{APP}.service, "),
        (_stamped("production"), ("wrong-environment", f"{{root}}/etc/{APP}/environment-id"), "production"),
    ],
)
def test_each_host_fault_is_the_only_problem_reported(
    layout: Layout, programs: Programs, fault: Fault, expected: tuple[str, str], told: str
) -> None:
    fault(layout, programs)
    (problem,) = found(layout)
    kind, subject = expected
    assert named(problem) == (kind, subject.format(root=layout.root))
    assert told in problem.what


@pytest.mark.parametrize(
    "state",
    [
        _running_systemd("252"),
        _running_systemd("257.9"),
        _python(interpreter(3, 11, 0)),
        _python(interpreter(4, 0, 0)),
        _listening("nginx"),
        _there(f"etc/{APP}2/config"),
        _there(f"etc/systemd/system/{APP}-admin@.service"),
        _stamped("staging"),
    ],
)
def test_harmless_host_conditions_are_not_reported(layout: Layout, programs: Programs, state: Fault) -> None:
    state(layout, programs)
    assert found(layout) == []


def test_a_setting_that_systemd_would_ignore_stops_a_deploy(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Finding("unit-setting", ERROR, "Nise", "Nise.", "No.")
    monkeypatch.setattr(_host, "setting_problems", lambda given: [unknown] if "Nise" in given else [])
    assert found(layout, replace(WANTED, service_settings={"Nise": ["5"]})) == [unknown]


@pytest.mark.parametrize(("mode", "told"), [(None, "directory"), (0o640, "0640"), (0o755, "isn't Python")])
def test_other_problems_are_reported_along_with_a_broken_interpreter(
    layout: Layout, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mode: int | None, told: str
) -> None:
    monkeypatch.setattr(venv, "run", run)
    _listening("apache2")(layout, programs)
    python = tmp_path / "python3"
    if mode is None:
        python.mkdir()
    else:
        python.write_text("no program")
        python.chmod(mode)
    wrong, port = found(layout, replace(WANTED, python=str(python)))
    assert named(wrong) == ("no-python", "flask_app_python")
    assert str(python) in wrong.what
    assert told in wrong.what
    assert named(port) == ("port-in-use", "flask_app_http_port")


def test_an_interpreter_is_located_by_its_own_report() -> None:
    assert "hides /tmp" in unreachable("/tmp/python", "")
    assert "hides /run/user" in unreachable("/run/user/../user/1000/python", "")
    assert unreachable("/usr/bin/python3", json.dumps([[3, 13], "", "", "/opt/python/bin/python3"])) == ""
    assert unreachable("/tmpfiles/python3", "") == ""


def test_an_interpreter_that_only_root_can_reach_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host, "_UNSEEN", ("/home",))
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/python3").touch(0o755)
    (tmp_path / "link").symlink_to("opt/python3")
    closed = _host._closed
    # pytest's own directories are closed to other accounts.
    monkeypatch.setattr(_host, "_closed", lambda path: tmp_path in path.parents and closed(path))
    assert unreachable(str(tmp_path / "link"), "") == ""
    (tmp_path / "opt").chmod(0o700)
    assert f"may not enter {tmp_path}/opt" in unreachable(str(tmp_path / "link"), "")
    (tmp_path / "opt").chmod(0o755)
    (tmp_path / "opt/python3").chmod(0o750)
    assert "may not run" in unreachable(str(tmp_path / "link"), "")
    (tmp_path / "link2").symlink_to("/home/deploy/python")
    assert "hides /home" in unreachable(str(tmp_path / "link2"), "")


def test_the_port_check_uses_the_port_of_the_site(layout: Layout, programs: Programs) -> None:
    found(layout, replace(WANTED, ports={"flask_app_https_port": 8081}))
    assert ["ss", "-ltnpH", "sport = :8081"] in programs.asked


@pytest.mark.parametrize(
    ("free_mb", "free_inodes", "expected"),
    [
        (500, 500, []),
        (501, 500, [("no-space", "/srv")]),
        (500, 501, [("no-inodes", "/srv")]),
    ],
)
def test_too_little_free_space_is_reported(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, free_mb: int, free_inodes: int, expected: list[tuple[str, str]]
) -> None:
    space = SimpleNamespace(f_bavail=500 * 256, f_frsize=4096, f_files=10**6, f_favail=500)
    monkeypatch.setattr(os, "statvfs", lambda place: space)
    monkeypatch.setattr(_host, "FREE_INODES", free_inodes)
    wanted = replace(WANTED, free_mb=free_mb)
    told = found(layout, wanted)
    assert all_named(told) == expected
    assert all("500 " in problem.what and "501" in problem.what for problem in told)


def test_a_file_system_without_inodes_is_accepted(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SimpleNamespace(f_bavail=10**6, f_frsize=4096, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda place: space)
    monkeypatch.setattr(_host, "FREE_INODES", 1000)
    assert found(layout, WANTED) == []


def test_an_account_of_the_same_name_is_reported_unless_ours(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    known = pwd.getpwuid(0)
    with monkeypatch.context() as brief:
        brief.setattr(pwd, "getpwnam", lambda name: known)
        (problem,) = found(layout)
    assert named(problem) == ("name-in-use", "flask_app_name")
    assert f"the account {APP}" in problem.what
    claim(layout, "staging")
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known)
    assert found(layout) == []


def test_all_host_problems_are_reported_at_once(layout: Layout, programs: Programs) -> None:
    _without_systemd(layout, programs)
    _listening("apache2")(layout, programs)
    _python(interpreter(3, 9, 2))(layout, programs)
    assert [problem.id for problem in found(layout)] == ["no-systemd", "old-python", "port-in-use"]


def test_a_name_claimed_by_a_killed_run_is_still_ours(tmp_path: Path, programs: Programs) -> None:
    for change in range(1, 40):
        root = tmp_path / f"{change}"
        for directory in ("run/systemd/system", "usr/bin", "etc/systemd/system"):
            (root / directory).mkdir(parents=True)
        (root / "usr/bin/apt-get").touch()
        layout = Layout(APP, root)
        ended = not killed(change, lambda layout=layout: claim(layout, "staging"))  # type: ignore[misc]
        assert found(layout) == [], f"change {change}"
        if ended:
            break
    assert change > 10


def test_a_host_has_the_fields_the_role_uses() -> None:
    names = set(Host.__dataclass_fields__)
    assert {"packages_missing", "package_module_ready", "sources"} <= names
