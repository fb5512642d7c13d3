# SPDX-License-Identifier: GPL-3.0-or-later
"""An app gets its name only if nobody else has it, and whatever the role makes is recorded before it is made."""

from __future__ import annotations

import grp
import itertools
import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.accounts import PARTS
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME, Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.names import (
    RESERVED,
    UNIT_DIRECTORIES,
    in_use,
    is_recorded,
    paths,
    problems,
    recorded,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim

from tests.unit.cases import named
from tests.unit.fakes import contents
from tests.unit.killing import killed

#: Somebody else's things that prevent an app called shop.
TAKEN = [
    *(f"{place}/shop" for place in ("etc", "srv", "run", "var/lib", "var/cache", "var/log")),
    *(f"var/{place}/private/shop" for place in ("lib", "cache", "log")),
    *("etc/logrotate.d/shop", "etc/nginx/sites-enabled/shop.conf"),
    *(f"etc/nginx/sites-shared/blog/{kind}/shop.conf" for kind in ("http", "server", "settings")),
    "etc/nginx/sites-shared/shop/server/blog.conf",
    *(f"var/log/nginx/shop.{name}" for name in ("access.log", "error.log", "access.log.1", "error.log-20260101.gz")),
    *("var/mail/shop", "var/spool/cron/crontabs/shop", "var/lib/systemd/linger/shop"),
    *("etc/letsencrypt/live/shop", "etc/letsencrypt/archive/shop", "etc/letsencrypt/renewal/shop.conf"),
    *(f"{place}/shop.service" for place in UNIT_DIRECTORIES),
    *(
        f"{place}/{unit}"
        for place in ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system")
        for unit in ("shop@.service", "shop@.socket", "shop.socket", "shop.timer", "shop@celery.service")
    ),
    *(f"etc/systemd/system/{place}/limits.conf" for place in ("shop.service.d", "shop@.service.d", "shop@.socket.d")),
    "etc/systemd/system/multi-user.target.wants/shop@celery.service",
    "run/systemd/system/sockets.target.wants/shop.socket",
    "etc/systemd/system/postgresql.service.requires/shop.service",
    "sys/fs/cgroup/system.slice/shop.service/cgroup.procs",
    "sys/fs/cgroup/system.slice/system-shop.slice/shop@celery.service/cgroup.procs",
]
#: Things that only look so.
FREE = [
    *("etc/shop2/file", "etc/shop-two/file", "srv/my-shop/file", "var/lib/shopping/file", "run/shop.sock"),
    *("etc/nginx/sites-enabled/shop.example.org.conf", "etc/nginx/sites-available/shop.conf"),
    *("etc/nginx/sites-shared/blog/http/my-shop.conf", "etc/nginx/sites-shared/shop-two/http/blog.conf"),
    *("var/log/nginx/shop.example.org.access.log", "var/log/nginx/shop-two.access.log", "var/log/shop.log"),
    *("etc/systemd/system/shop-two.service", "etc/systemd/system/shop-two@.service", "run/systemd/system/a-shop.mount"),
    *("run/greenlight/shop.lock", "run/greenlight/shop.guard", "etc/.unfinished-shop/environment-id"),
]  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path)


def put(layout: Layout, place: str) -> Path:
    path = layout.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("somebody else's")
    return path


def file(path: Path) -> None:
    path.write_text("somebody else's")


def empty_directory(path: Path) -> None:
    path.mkdir()


def broken_link(path: Path) -> None:
    path.symlink_to("private/shop")


def everything(layout: Layout) -> dict[str, str]:
    return contents(layout.root, ())


def refused(layout: Layout) -> Finding:
    """Return the finding of a claim that has changed nothing."""
    before = everything(layout)
    with pytest.raises(Refused) as caught:
        claim(layout, "staging")
    assert everything(layout) == before
    (finding,) = caught.value.findings
    return finding


# Who owns a name


@pytest.mark.slow
@pytest.mark.parametrize("make", [file, empty_directory, broken_link])
@pytest.mark.parametrize("place", TAKEN)
def test_a_name_already_in_use_is_not_claimed(layout: Layout, place: str, make: Callable[[Path], None]) -> None:
    (layout.root / place).parent.mkdir(parents=True)
    make(layout.root / place)
    (found,) = in_use(layout)
    assert f"{layout.root / place}".startswith(found)
    (problem,) = problems(layout)
    for finding in (problem, refused(layout)):
        assert named(finding) == ("name-in-use", "flask_app_name")
        assert found in finding.what


@pytest.mark.parametrize("place", FREE)
def test_a_name_that_only_looks_used_is_free(layout: Layout, place: str) -> None:
    path = put(layout, place)
    assert in_use(layout) == []
    claim(layout, "staging")
    assert path.exists() is not place.startswith("etc/.unfinished-")


def test_a_name_with_a_dash_is_searched_in_its_systemd_form(tmp_path: Path) -> None:
    layout = Layout("my-shop", tmp_path)
    (tmp_path / r"sys/fs/cgroup/system.slice/system-my\x2dshop.slice").mkdir(parents=True)
    assert len(in_use(layout)) == 1


@pytest.mark.parametrize(("module", "lookup", "word"), [(pwd, "getpwnam", "account"), (grp, "getgrnam", "group")])
def test_an_account_or_group_from_any_source_is_in_use(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, module: object, lookup: str, word: str
) -> None:
    known = pwd.getpwuid(0) if word == "account" else grp.getgrgid(0)
    monkeypatch.setattr(module, lookup, lambda name: known)
    assert in_use(layout) == [f"the {word} shop"]
    finding = refused(layout)
    assert named(finding) == ("name-in-use", "flask_app_name")
    assert f"the {word} shop" in finding.what


def test_everything_in_use_is_reported_at_once(layout: Layout) -> None:
    places = ["etc/shop/file", "var/log/shop", "usr/lib/systemd/system/shop@.service"]
    for place in places:
        put(layout, place)
    assert len(in_use(layout)) == 3


@pytest.mark.parametrize(
    "name", ["private", "staff", "systemd", "dbus", "nginx", "lock", "greenlight", "http", "proxy"]
)
def test_a_reserved_system_name_is_refused_even_on_a_host_without_it(tmp_path: Path, name: str) -> None:
    assert name in RESERVED
    finding = refused(Layout(name, tmp_path))
    assert named(finding) == ("reserved-name", "flask_app_name")
    assert f"'{name}'" in finding.what


@pytest.mark.parametrize("list_", ["passwd", "group"])
def test_every_account_of_the_debian_base_system_is_reserved(list_: str) -> None:
    source = Path(f"/usr/share/base-passwd/{list_}.master")
    if not source.exists():
        pytest.skip("this machine is not Debian")
    names = {line.partition(":")[0] for line in source.read_text().splitlines()}
    assert {name for name in names if APP_NAME.match(name)} - RESERVED == set()


def test_every_reserved_name_is_a_possible_app_name() -> None:
    assert [name for name in RESERVED if not APP_NAME.match(name)] == []


def mount(layout: Layout, place: Path) -> None:
    mounts = layout.root / "proc/self/mountinfo"
    mounts.parent.mkdir(parents=True, exist_ok=True)
    mounts.write_text(f"22 21 0:21 / /{place.relative_to(layout.root)} rw - ext4 /dev/vdb rw\n")
    place.mkdir(parents=True)
    (place / "lost+found").mkdir()


@pytest.mark.parametrize("place", ["srv", "state"])
def test_an_empty_mounted_disk_is_used_and_not_recorded(layout: Layout, place: str) -> None:
    disk: Path = getattr(layout, place)
    mount(layout, disk)
    claim(layout, "staging")
    on_host = f"/{disk.relative_to(layout.root)}"
    assert {f"/{path.relative_to(layout.root)}" for path in paths(layout)} - recorded(layout) == {on_host}


@pytest.mark.parametrize("place", ["etc", "runtime_root", "state"])
def test_a_foreign_mounted_disk_is_in_use(layout: Layout, place: str) -> None:
    disk: Path = getattr(layout, place)
    mount(layout, disk)
    if place == "state":
        (disk / "thesis").touch()
    assert in_use(layout) == [str(disk)]


# The record


def test_everything_an_app_claims_by_name_is_recorded(layout: Layout) -> None:
    claim(layout, "staging")
    assert layout.made.stat().st_mode & 0o777 == 0o600
    assert recorded(layout) == {f"/{path.relative_to(layout.root)}" for path in paths(layout)} | set(PARTS)
    assert json.loads(layout.made.read_text())[0] == "/etc/shop"


def test_a_killed_claim_leaves_no_unrecorded_name(tmp_path: Path) -> None:
    for change in itertools.count(1):
        layout = Layout("shop", tmp_path / f"{change}")
        (layout.root / "etc").mkdir(parents=True)
        ended = not killed(change, lambda layout=layout: claim(layout, "staging"))  # type: ignore[misc]
        if any(path.exists() for path in paths(layout)):
            assert is_recorded(layout), f"change {change}"
            assert layout.environment_id.read_text() == "staging\n"
        else:
            assert in_use(layout) == []
        claim(layout, "staging")
        assert not [name for name in os.listdir(layout.root / "etc") if name != "shop"]
        assert recorded(layout) > {"/srv/shop"}
        if ended:
            break
    assert change > 10


def test_a_claimed_name_stays_with_the_app(layout: Layout) -> None:
    claim(layout, "staging")
    for place in TAKEN:
        if not place.startswith(("etc/shop", "srv/shop")):
            put(layout, place)
    layout.rehearsal.unlink()
    assert claim(layout, "staging") == [str(layout.rehearsal)]


def test_a_lost_record_is_rewritten(layout: Layout) -> None:
    claim(layout, "staging")
    before = layout.made.read_text()
    for damage in (layout.made.unlink, lambda: layout.made.write_text("{")):
        damage()
        assert claim(layout, "staging", dry=True) == [str(layout.made)]
        claim(layout, "staging")
        assert layout.made.read_text() == before


@pytest.mark.parametrize("text", [None, ""])
def test_a_lost_stamp_is_requested_and_the_names_stay_claimed(layout: Layout, text: str | None) -> None:
    claim(layout, "staging")
    layout.environment_id.unlink()
    if text is not None:
        layout.environment_id.write_text(text)
    (problem,) = problems(layout)
    assert named(problem) == ("lost-stamp", str(layout.environment_id))
    assert str(layout.srv) not in problem.what
    if text is None:
        assert named(refused(layout)) == ("damaged-state", str(layout.environment_id))
