# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal takes all of an app and nothing else, whatever is in its way and whenever it is killed."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app import accounts as _accounts
from ansible_collections.greenlight.flask.plugins.module_utils._app import names as _names
from ansible_collections.greenlight.flask.plugins.module_utils._app import sandbox as _sandbox
from ansible_collections.greenlight.flask.plugins.module_utils._app import systemd as _systemd
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.lock import Owner, held, take
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB, Process
from ansible_collections.greenlight.flask.plugins.module_utils._app.systemd import Bounds
from ansible_collections.greenlight.flask.plugins.module_utils._base import command
from ansible_collections.greenlight.flask.plugins.module_utils._base import files as _files
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._build import workshop
from ansible_collections.greenlight.flask.plugins.module_utils._edge import nginx as _nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.nginx import Tree
from ansible_collections.greenlight.flask.plugins.module_utils._edge.site import HASHES
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import obstacles, remove
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.remove import forget_lock, remove_app

from tests.unit.cases import all_named, named
from tests.unit.fakes import WORKER, Host, contents, copied, create
from tests.unit.killing import killed

OLD, NEW = (f"20261121T09442{second}Z" for second in range(2))
BOUNDS = Bounds(stop_seconds=7, drain_seconds=1)
OWNED = "# Owner: role greenlight.flask.flask_app\nserver { listen 80 default_server; }\n"
OURS = Owner(run="1", by="ada", place="here", pid=1, started="1")
#: Files of the fake host itself, and the lock of Nginx's changes.
MACHINERY = ("systemd/", "workers", "var/lib/greenlight/nginx/lock")


class Machine(Host):
    """A host that also has Nginx and accounts, which are files too."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        root = layout.root
        self.tree = Tree(root / "etc/nginx", root / "var/lib/greenlight/nginx", str(root / "usr/sbin/nginx"))
        self.accounts = root / "accounts"
        self.workers = root / "workers"
        self.loaded = root / "loaded"
        self.refused = ""
        self.uid = 998
        self.packaged = ""
        self.protected = ""
        self.read_only = root / "nowhere"
        self.users: list[pwd.struct_passwd] = []

    def run(self, argv: Sequence[str | Path], seconds: float = 60, **options: object) -> Finished:
        program, *words = (str(word) for word in argv)
        kind = {"/usr/sbin/userdel": "passwd", "/usr/sbin/groupdel": "group"}.get(program)
        if program == "dpkg-query":
            return Finished(1, self.packaged, "dpkg-query: no path found matching pattern")
        if program == self.tree.nginx:
            self.calls.append([program, *words])
            return self.nginx(words)
        if program == "systemctl" and words[-1] in ("nginx", "nginx.service"):
            self.calls.append([program, *words])
            if words[0] == "reload":
                self.workers.write_text(self.workers.read_text() + "\n")
                self.loaded.write_text(" ".join(self.served()))
            active = "active" if "nginx.service" in self.running() else "inactive"
            return Finished(int(words[0] == "is-active" and active != "active"), f"ActiveState={active}\n", "")
        if kind:
            self.calls.append([program, *words])
            (self.accounts / kind / words[0]).unlink()
            return Finished(0, "", "")
        if program == "systemctl" and words[0] == "stop" and words[1] not in self.running() | self.known():
            self.calls.append([program, *words])
            return Finished(5, "", f"Unit {words[1]} not loaded.")
        return super().run(argv, seconds, **options)

    def number(self, part: str, name: str) -> int | None:
        return self.uid if (self.accounts / part / name).exists() else None

    def nginx(self, words: list[str]) -> Finished:
        etc = Path(words[-1]).parent if "-c" in words else self.tree.etc
        sites = {path: path.read_text() for path in sorted((etc / "sites-enabled").iterdir()) if path.is_file()}
        refused = self.refused
        for path, text in sites.items():
            for name in re.findall(r"\$([a-z_]+) *;", text):
                if not any(f"${name} {{" in other for other in sites.values()):
                    refused = refused or f'nginx: [emerg] unknown "{name}" variable in {path}:1'
        told = "".join(f"# configuration file {path}:\n{text}\n" for path, text in sites.items())
        return Finished(int(bool(refused)), "" if refused or "-T" not in words else told, refused)

    def known(self) -> set[str]:
        return {path.name for path in [*self.layout.units.iterdir(), *self.failed.iterdir()]}

    def served(self) -> list[str]:
        return sorted(os.listdir(self.tree.etc / "sites-enabled"))

    def _list_units(self, patterns: list[str]) -> Finished:
        done = super()._list_units(patterns)
        rows = [row for row in done.stdout.splitlines() if "@by-hand" not in row and " inactive " not in row]
        rows = [row for row in rows if row.split()[0].startswith(f"{self.layout.app}@")]
        return Finished(0, "\n".join(rows), "")

    def stopped(self) -> list[str]:
        return [call[-1] for call in self.calls if call[:2] == ["systemctl", "stop"]]

    def files(self) -> dict[str, str]:
        return contents(self.layout.root, MACHINERY)


Patch = Callable[[object, str, object], None]


def played(root: Path, patch: Patch, app: str = "shop") -> Machine:
    """Make the host below ``root``, as the programs see it."""
    machine = Machine(Layout(app, root))
    for module in (command, _systemd, _sandbox, _nginx, obstacles, remove):
        patch(module, "run", machine.run)
    patch(workshop, "systemd", _systemd)  # instead of the sandbox of other tests
    patch(_accounts, "number", machine.number)
    patch(pwd, "getpwall", lambda: machine.users)
    patch(_files, "_flags", lambda name, directory: int(name == machine.protected))
    statvfs = os.statvfs
    patch(
        os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY) if path == machine.read_only else statvfs(path)
    )
    patch(shutil, "which", lambda program: None)
    patch(_nginx, "_workers", lambda _main: {len(machine.workers.read_text())})
    patch(_nginx, "RELOAD_SECONDS", 0.2)
    return machine


def fill(machine: Machine) -> None:
    """Add Nginx with a site of somebody's, and the app with two releases, of which the newer is live."""
    layout = machine.layout
    for directory in (machine.tree.etc / "sites-enabled", machine.accounts / "passwd", machine.accounts / "group"):
        directory.mkdir(parents=True, exist_ok=True)
    machine.workers.write_text("\n")
    machine.loaded.write_text("what was there before")
    (layout.root / "usr/sbin").mkdir(parents=True, exist_ok=True)
    Path(machine.tree.nginx).touch()
    (machine.tree.etc / "nginx.conf").write_text("include sites-enabled/*;\n")
    (machine.tree.etc / "sites-enabled/theirs.conf").write_text("server { listen 8080; }\n")
    (machine.active / "nginx.service").touch()
    deploy_files(machine)


def deploy_files(machine: Machine) -> None:
    """Deploy the app's files."""
    layout = machine.layout
    claim(layout, "staging")
    for time in (OLD, NEW):
        release = create(layout, time)
        units = [layout.socket_unit(release), layout.service_unit(release)]
        machine.run(["systemctl", "enable", *units])
        machine.run(["systemctl", "start", *units])
        for link, target in {
            layout.live: f"releases/{release}",
            layout.live_socket: str(layout.socket(release)),
        }.items():
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        layout.runtime_root.mkdir(parents=True, exist_ok=True)
        layout.socket(release).touch()
    layout.state.mkdir(parents=True)
    (layout.state / "data.db").write_text("data")
    logs = layout.root / "var/log/nginx"
    logs.mkdir(parents=True, exist_ok=True)
    for name in ("access.log", "access.log.1", "access.log.2.gz", "access.log-20260101.gz", "error.log"):
        (logs / f"{layout.app}.{name}").write_text("log")
    for kind in ("passwd", "group"):
        (machine.accounts / kind / layout.app).touch()
    site = "upstream {0}_live {{}}\nmap $http_host ${1}_host {{}}\nserver {{ listen 80; }}\n"
    (machine.tree.etc / f"sites-enabled/{layout.app}.conf").write_text(
        site.format(layout.app, layout.app.replace("-", "__"))
    )
    (machine.tree.etc / "sites-enabled/00-default-80.conf").write_text(OWNED)
    (machine.tree.etc / "conf.d").mkdir(exist_ok=True)
    (machine.tree.etc / "conf.d/greenlight.conf").write_text(OWNED)
    machine.tree.state.mkdir(parents=True, exist_ok=True)
    (machine.tree.state / f"{layout.app}.json").write_text('{"confirmed": "as published"}')
    machine.calls.clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = played(tmp_path, monkeypatch.setattr)
    fill(machine)
    return machine


def removed(machine: Machine, *, dry: bool = False, environment: str = "staging") -> list[str]:
    return remove_app(machine.layout, environment, machine.tree, BOUNDS, dry=dry)


def left(machine: Machine) -> list[str]:
    """Return everything that has the app's name, and the files shared by all apps."""
    shared = ("00-default", "conf.d/greenlight.conf")
    names = [name for name in machine.files() if any(word in name for word in (machine.layout.app, *shared))]
    return [*names, *(unit for unit in sorted(machine.running()) if unit.startswith(f"{machine.layout.app}@"))]


# All of it


def test_no_file_with_the_name_of_the_app_is_left(machine: Machine) -> None:
    assert left(machine)
    removed(machine)
    assert left(machine) == []
    assert machine.enabled() == set()


def test_build_leftovers_are_removed_and_caches_of_other_apps_stay(machine: Machine) -> None:
    for app in (machine.layout.app, "other"):
        link, cache = workshop.traces(machine.layout.root, app)
        (cache / "wheels").mkdir(parents=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(cache)
    (machine.active / workshop.build_unit(machine.layout.app)).touch()
    removed(machine)
    assert [path.exists() for path in workshop.traces(machine.layout.root, machine.layout.app)] == [False, False]
    assert [path.exists() for path in workshop.traces(machine.layout.root, "other")] == [True, True]
    assert workshop.build_unit(machine.layout.app) not in machine.running()


def test_removed_files_are_listed_and_a_second_removal_finds_none(machine: Machine) -> None:
    layout, release = machine.layout, f"{NEW}-a1a1a1a1"
    told = removed(machine)
    for path in (layout.srv, layout.state, layout.etc, layout.socket(release), *layout.parts(release).values()):
        assert {str(path), str(path.parent)} & {*told}
    assert f"{machine.tree.etc}/sites-enabled/shop.conf" in told
    assert told[-2:] == ["passwd shop", "group shop"]
    machine.calls.clear()
    assert removed(machine) == []
    assert machine.calls == []


def test_check_mode_lists_the_same_files_and_changes_nothing(machine: Machine) -> None:
    before, running = machine.files(), machine.running()
    told = removed(machine, dry=True)
    assert machine.files() == before
    assert machine.running() == running
    assert told == removed(machine)


def test_a_removal_goes_in_order_nginx_releases_files(machine: Machine) -> None:
    seen: list[tuple[str, list[str], bool]] = []

    def watch(argv: Sequence[str | Path], **options: object) -> Finished:
        if argv[0] == "systemctl" and argv[1] in ("reload", "stop"):
            seen.append((str(argv[-1]), machine.served(), machine.layout.srv.exists()))
        return machine.run(argv, **options)  # type: ignore[arg-type]

    for module in (command, _systemd, _nginx, remove):
        module.run = watch  # type: ignore[attr-defined]  # the fixture puts the old one back
    removed(machine)
    assert seen[0] == ("nginx", ["theirs.conf"], True)
    assert [unit for unit, _, _ in seen[1:]] == [
        f"shop@{time}-a1a1a1a1.{kind}" for time in (OLD, NEW) for kind in ("socket", "service")
    ] + ["system-shop.slice"]
    assert all(there for _, _, there in seen)


def test_a_release_gets_time_to_finish_its_requests(machine: Machine) -> None:
    release = f"{NEW}-a1a1a1a1"
    machine.queues = {str(machine.layout.socket(release)): [2, 1]}
    removed(machine)
    assert machine.queues[str(machine.layout.socket(release))] == []
    assert machine.seconds["stop"] == BOUNDS.stop_seconds + _systemd.GRACE_SECONDS


def test_systemd_forgets_the_units_and_their_failures(machine: Machine) -> None:
    unit = machine.layout.service_unit(f"{OLD}-a1a1a1a1")
    (machine.active / unit).rename(machine.failed / unit)
    removed(machine)
    assert list(machine.failed.iterdir()) == []
    reloads = [number for number, call in enumerate(machine.calls) if call[1] == "daemon-reload"]
    assert reloads
    assert reloads[-1] > max(number for number, call in enumerate(machine.calls) if call[1:2] == ["reset-failed"])


def test_a_failed_release_without_files_does_not_block_the_removal(machine: Machine) -> None:
    (machine.failed / "shop@20260101T000000Z-00000000.service").touch()
    removed(machine)
    assert list(machine.failed.iterdir()) == []


def test_the_slice_of_an_app_with_a_dash_has_its_systemd_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = played(tmp_path, monkeypatch.setattr, "my-shop")
    fill(machine)
    removed(machine)
    assert machine.stopped()[-1] == r"system-my\x2dshop.slice"


def share(machine: Machine, owner: str, app: str) -> list[Path]:
    """Add an app's files to the site of another."""
    paths = [machine.tree.etc / f"sites-shared/{owner}/{kind}/{app}.conf" for kind in ("http", "server", "settings")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OWNED)
    return paths


def test_removing_an_app_from_a_shared_site_keeps_the_site(machine: Machine) -> None:
    site = machine.tree.etc / "sites-enabled/shop.conf"
    site.with_name("blog.conf").write_text(site.read_text().replace("shop", "blog"))
    site.unlink()
    share(machine, "blog", "shop")
    docs = share(machine, "blog", "docs")
    told = removed(machine)
    assert [name for name in told if "sites-shared/blog" in name]
    assert left(machine) == []
    assert all(path.exists() for path in docs)
    assert "blog.conf" in machine.served()


def test_no_empty_directory_of_a_shared_site_stays(machine: Machine) -> None:
    share(machine, "blog", "shop")
    removed(machine)
    assert not (machine.tree.etc / "sites-shared").exists()


@pytest.mark.parametrize("dry", [False, True])
def test_a_site_that_serves_other_apps_stays(machine: Machine, dry: bool) -> None:
    share(machine, "shop", "blog")
    share(machine, "shop", "docs")
    before = machine.files()
    with pytest.raises(Refused, match=r"blog, docs.*flask_app_nginx_site_of") as refused:
        removed(machine, dry=dry)
    assert all_named(refused) == [("guest-in-site", "shop")]
    assert machine.files() == before


# Nothing else


def test_another_app_keeps_all_its_files(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    without = machine.files()
    other = played(machine.layout.root, monkeypatch.setattr, "shop-two")
    deploy_files(other)
    before = {
        name: text
        for name, text in other.files().items()
        if name not in without or "00-default" in name or "conf.d" in name
    }
    running = {unit for unit in other.running() if unit.startswith("shop-two@")}
    mine = played(machine.layout.root, monkeypatch.setattr)
    removed(mine)
    after = mine.files()
    assert {name: after.get(name) for name in before} == before
    assert running
    assert running <= mine.running()
    assert "00-default-80.conf" in mine.served()
    assert not mine.layout.etc.exists()


@pytest.mark.parametrize(
    "name",
    [
        "etc/nginx/conf.d/greenlight.conf",
        "etc/nginx/sites-enabled/00-default-8080.conf",
        "etc/nginx/sites-enabled/shop.example.org.conf",
        "etc/systemd/system/shop@celery.service",
        "etc/systemd/system/shop@.service.d/limits.conf",
        "etc/systemd/system/shop.service",
        "etc/systemd/system/multi-user.target.wants/shop@celery.service",
        "run/shop/celery.pid",
        "var/log/nginx/shop.example.org.access.log",
        "var/log/nginx/shop-two.access.log",
        "var/log/nginx/shop.access.log.kept-by-ada",
        "run/shop/ada/file",
        "var/lib/greenlight/nginx/shop-two.json",
        "srv/shop-two/file",
        "var/lib/shop-two/file",
    ],
)
def test_files_that_only_look_like_those_of_the_app_stay(machine: Machine, name: str) -> None:
    path = machine.layout.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("somebody else's")
    removed(machine)
    assert path.read_text() == "somebody else's"
    assert not machine.layout.etc.exists()


def test_a_foreign_unit_keeps_running(machine: Machine) -> None:
    (machine.active / "shop@celery.service").touch()
    removed(machine)
    assert "shop@celery.service" in machine.running()
    assert "system-shop.slice" not in machine.stopped()


@pytest.mark.parametrize("place", ["srv", "state", "etc", "environment_files"])
def test_a_link_is_removed_and_never_followed(machine: Machine, place: str) -> None:
    outside = machine.layout.root / "home/ada"
    outside.mkdir(parents=True)
    (outside / "thesis").write_text("years of work")
    (getattr(machine.layout, place) / "link").symlink_to(outside)
    (getattr(machine.layout, place) / "file").symlink_to(outside / "thesis")
    removed(machine)
    assert left(machine) == []
    assert (outside / "thesis").read_text() == "years of work"


@pytest.mark.parametrize("place", ["srv", "state", "etc"])
def test_of_a_directory_moved_elsewhere_only_the_link_is_removed(machine: Machine, place: str) -> None:
    directory: Path = getattr(machine.layout, place)
    elsewhere = machine.layout.root / "big-disk"
    shutil.move(directory, elsewhere)
    directory.symlink_to(elsewhere)
    kept = sorted(os.listdir(elsewhere))
    removed(machine)
    assert not directory.is_symlink()
    assert sorted(os.listdir(elsewhere)) == kept


# In the way


def refused(machine: Machine) -> GreenlightError:
    """Return how the removal is refused, with and without check mode; nothing may change."""
    before, running = machine.files(), machine.running()
    told = []
    for dry in (True, False):
        with pytest.raises(GreenlightError) as caught:
            removed(machine, dry=dry)
        told.append(caught.value)
    assert (machine.files(), machine.running()) == (before, running)
    assert str(told[0]) == str(told[1])
    assert "Fix: " in str(told[0])
    return told[0]


def found_obstacles(machine: Machine) -> list[Finding]:
    """Return the removal's obstacles, each with its fix."""
    error = refused(machine)
    assert isinstance(error, Refused)
    assert all(each.fix for each in error.findings)
    return list(error.findings)


@pytest.mark.parametrize("below", ["", "/uploads\\040of\\040ada", "/\x0b\u2028"])
@pytest.mark.parametrize("place", ["srv", "state", "etc", "runtime_root"])
def test_a_mounted_file_system_is_not_part_of_the_app(machine: Machine, place: str, below: str) -> None:
    directory: Path = getattr(machine.layout, place)
    mounts = machine.layout.root / "proc/self/mountinfo"
    mounts.parent.mkdir(parents=True)
    point = "/" + str(directory.relative_to(machine.layout.root)) + below
    mounts.write_text(f"21 1 0:20 / / rw - ext4 /dev/vda rw\n22 21 0:21 / /{point} rw - nfs server:/ada rw\n")
    [finding] = found_obstacles(machine)
    assert finding.id == "mounted"
    assert finding.subject.startswith(str(directory))
    assert f"umount {finding.subject}" in finding.fix
    assert "".join(finding.lines()).isprintable()


def _site(text: str) -> Callable[[Machine], None]:
    """Return a function that makes somebody's site, which depends on the app."""

    def publish(machine: Machine) -> None:
        site = machine.tree.etc / "sites-enabled/theirs.conf"
        site.write_text("\n" + text.format(root=machine.layout.root) + "\n")

    return publish


_USED = ("used-by-nginx", "nginx")


def _process(machine: Machine) -> None:
    for number, uids in {"4711": "0\t998\t0\t998", "4712": "9980\t9981\t9980\t9980"}.items():
        status = machine.layout.root / f"proc/{number}/status"
        status.parent.mkdir(parents=True)
        status.write_bytes(b"Name:\t\xff\nUid:\t" + uids.encode() + b"\n")
        status.with_name("cgroup").write_text("0::/system.slice/system-shop.slice/shop@celery.service\n")


def _guest(machine: Machine) -> None:
    machine.users = [
        pwd.struct_passwd((name, "x", number, 998, "", "/", "/bin/sh"))
        for number, name in enumerate(("shop", "ada"), start=998)
    ]


def _protected(machine: Machine) -> None:
    machine.protected = "data.db"


def _package(machine: Machine) -> None:
    machine.packaged = "shop-server: /var/lib/shop\nothers: /var/lib/shop/more\n"


def _read_only(machine: Machine) -> None:
    machine.read_only = machine.layout.srv


def _without_certbot(machine: Machine) -> None:
    settings = machine.layout.root / "etc/letsencrypt/renewal/shop.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"webroot_path = {machine.layout.root}/var/lib/greenlight/acme\n")


@pytest.mark.parametrize(
    ("obstacle", "finding", "facts"),
    [
        (_site("location / {{ proxy_pass http://shop_live; }}"), _USED, [" shop_live ", "sites-enabled/theirs.conf:2"]),
        (_site("return 200 $shop_host;"), _USED, [" $shop_host ", "sites-enabled/theirs.conf:2"]),
        (_site("ssl_certificate {root}/etc/shop/tls/live/fullchain.pem;"), _USED, ["etc/shop ", "theirs.conf:2"]),
        (_site("proxy_pass http://unix:{root}/srv/shop/live.sock;"), _USED, ["srv/shop ", "theirs.conf:2"]),
        (_site("root {root}/srv/shop;"), _USED, ["srv/shop ", "theirs.conf:2"]),
        (_process, ("foreign-process", "shop"), ["4711.", "systemctl status 4711"]),
        (_guest, ("group-in-use", "shop"), ["usermod", "ada"]),
        (_protected, ("protected", "{root}/var/lib/shop/data.db"), ["chattr"]),
        (_package, ("packaged", "/var/lib/shop"), ["apt purge shop-server"]),
        (_read_only, ("read-only", "{root}/srv/shop"), ["remount"]),
        (_without_certbot, ("no-certbot", "certbot"), ["etc/letsencrypt/renewal/shop.conf", "apt install certbot"]),
    ],
    ids=[
        "upstream",
        "variable",
        "certificate",
        "socket",
        "root",
        "process",
        "group",
        "immutable",
        "package",
        "read-only",
        "certbot",
    ],
)
def test_obstacles_are_found_before_anything_is_removed(
    machine: Machine, obstacle: Callable[[Machine], None], finding: tuple[str, str], facts: list[str]
) -> None:
    obstacle(machine)
    found = found_obstacles(machine)
    kind, subject = finding
    assert all_named(found) == [(kind, subject.replace("{root}", str(machine.layout.root)))]
    assert [fact for fact in facts if fact not in str(found[0])] == []


@pytest.mark.parametrize(
    "text",
    [
        "server_name shop shop.example.org;",
        "proxy_pass http://shop_live-two; root {root}/srv/shop-two; # as shop_live",
        "    # proxy_pass http://shop_live;",
        "map $x $shop_hostname {{ }} return 200 $shop_hostname;",
        "root /mnt{root}/srv/shop/static;",
        "ssl_certificate {root}/etc/letsencrypt/live/shop/fullchain.pem;",  # of a lineage that isn't the app's
    ],
)
def test_a_site_that_does_not_use_the_app_is_not_an_obstacle(machine: Machine, text: str) -> None:
    _site(text)(machine)
    removed(machine)
    assert "theirs.conf" in machine.served()
    assert not machine.layout.etc.exists()


def test_all_obstacles_are_reported_at_once(machine: Machine) -> None:
    for obstacle in (_process, _package, _guest):
        obstacle(machine)
    assert all_named(found_obstacles(machine)) == [
        ("packaged", "/var/lib/shop"),
        ("foreign-process", "shop"),
        ("group-in-use", "shop"),
    ]


def test_the_processes_of_the_releases_are_not_an_obstacle(machine: Machine) -> None:
    _process(machine)
    group = machine.layout.root / "proc/4711/cgroup"
    group.write_text(f"0::/app.slice/{machine.layout.service_unit(f'{NEW}-a1a1a1a1')}/worker\n")
    assert removed(machine, dry=True)


def test_a_process_started_during_the_removal_keeps_the_directories(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = remove._remove_units

    def late(layout: Layout, bounds: Bounds) -> None:
        stop(layout, bounds)
        _process(machine)

    monkeypatch.setattr(remove, "_remove_units", late)
    with pytest.raises(GreenlightError, match=r": 4711\. .*Fix: .*systemctl status 4711"):
        removed(machine)
    assert (machine.layout.state / "data.db").exists()
    assert (machine.accounts / "passwd/shop").exists()
    shutil.rmtree(machine.layout.root / "proc")
    monkeypatch.setattr(remove, "_remove_units", stop)
    removed(machine)
    assert left(machine) == [] == [unit for unit in machine.running() if "shop" in unit]


def test_a_file_that_cannot_be_removed_is_reported_with_a_fix(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(directory: int, entry: os.DirEntry[str]) -> None:
        raise OSError(errno.EROFS, "Read-only file system", entry.name)

    monkeypatch.setattr(_files, "_take", take)
    with pytest.raises(GreenlightError, match=r"shop@\S+ can't be removed: Read-only .*Fix: .*mount -o remount,rw"):
        removed(machine)


def test_everything_in_the_directory_of_an_app_is_removed(machine: Machine) -> None:
    state = os.fsencode(machine.layout.state)
    for name in (b"-rf", b"\xff\n\x1b[2J", b"x" * 255):
        os.makedirs(os.path.join(state, name, name))
    here = os.open(state, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        here = os.open("d", os.O_RDONLY, dir_fd=here)
    os.closerange(here - 1199, here + 1)
    assert removed(machine, dry=True)
    removed(machine)
    assert not machine.layout.state.exists()


def test_a_file_system_mounted_next_to_the_app_is_not_an_obstacle(machine: Machine) -> None:
    mounts = machine.layout.root / "proc/self/mountinfo"
    mounts.parent.mkdir(parents=True)
    mounts.write_text("21 1 0:20 / /srv rw - ext4 /dev/vdb rw\n22 1 0:21 / /srv/shop-two rw - ext4 /dev/vdc rw\n")
    removed(machine)
    assert left(machine) == []


# The stamp


def test_a_host_of_another_environment_is_refused(machine: Machine) -> None:
    before = machine.files()
    for dry in (True, False):
        with pytest.raises(Refused) as refused:
            removed(machine, dry=dry, environment="production")
        [finding] = refused.value.findings
        assert named(finding) == ("wrong-environment", str(machine.layout.environment_id))
        assert {"staging", "shop", "production"} <= set(re.findall(r"\w+", finding.what))
        assert "-e flask_app_environment=staging" in finding.fix
    assert machine.files() == before


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_name_that_was_never_claimed_is_left_alone(machine: Machine, environment: str) -> None:
    shutil.rmtree(machine.layout.etc)
    shutil.rmtree(machine.layout.releases)
    before = machine.files()
    assert removed(machine, environment=environment) == []
    assert machine.files() == before
    assert machine.calls == []


def lose_stamp(machine: Machine) -> None:
    machine.layout.environment_id.unlink()


def lose_all_but_the_record(machine: Machine) -> None:
    for path in machine.layout.etc.iterdir():
        if path != machine.layout.made:
            _files.remove(path)


def lose_everything(machine: Machine) -> None:
    shutil.rmtree(machine.layout.etc)


@pytest.mark.parametrize("lose", [lose_stamp, lose_all_but_the_record, lose_everything])
def test_an_app_with_a_lost_stamp_is_still_recognized(machine: Machine, lose: Callable[[Machine], None]) -> None:
    lose(machine)
    before = machine.files()
    [finding] = found_obstacles(machine)
    assert named(finding) == ("damaged-state", str(machine.layout.environment_id))
    command = re.search(rf"(mkdir [^&]+ && )?echo staging > {machine.layout.environment_id}", finding.fix)
    assert command
    # One message has all the steps: without the record, a second removal would be refused again.
    assert ("deploy" in finding.fix) == (lose is lose_everything)
    assert machine.files() == before
    assert machine.calls == []
    subprocess.run(["sh", "-euc", command[0]], check=True)
    claim(machine.layout, "staging")
    removed(machine)
    assert left(machine) == []


def test_foreign_files_in_place_of_the_site_are_not_removed(machine: Machine) -> None:
    site = machine.tree.etc / "sites-enabled/shop.conf"
    site.unlink()
    (site / "work").mkdir(parents=True)
    assert all_named(found_obstacles(machine)) == [("damaged-state", str(site))]
    assert (site / "work").is_dir()


def test_an_app_is_removed_even_if_directories_cannot_be_renamed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like overlayfs with a directory from the image of a container or a small system."""
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == machine.layout.etc:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    for change in itertools.count(1):
        if not killed(change, lambda: removed(machine)):
            break
    assert change > 60
    assert left(machine) == []


# The record


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ("/srv/shop", "srv/shop"),
        ("/var/lib/shop", "var/lib/shop"),
        ("passwd", "accounts/passwd/shop"),
        ("group", "accounts/group/shop"),
    ],
)
def test_files_not_recorded_as_created_by_the_role_stay(machine: Machine, part: str, place: str) -> None:
    record = json.loads(machine.layout.made.read_text())
    record.remove(part)
    machine.layout.made.write_text(json.dumps(record))
    before = {name: text for name, text in machine.files().items() if name.startswith(place)}
    assert before
    told = removed(machine)
    assert not any(each.endswith((part, f"{part} shop")) for each in told)
    after = machine.files()
    assert {name: after.get(name) for name in before} == before
    assert not machine.layout.etc.exists()


def test_a_record_cannot_point_outside_the_app(machine: Machine) -> None:
    (machine.layout.root / "home/ada").mkdir(parents=True)
    record = json.loads(machine.layout.made.read_text())
    machine.layout.made.write_text(json.dumps([*record, "/home/ada", "/", ".."]))
    removed(machine)
    assert (machine.layout.root / "home/ada").is_dir()


@pytest.mark.parametrize("text", [None, "", "[", "5", '[["/srv/shop"]]', "\xff"])
def test_without_a_record_nothing_is_removed_until_a_deploy_rewrites_it(machine: Machine, text: str | None) -> None:
    machine.layout.made.unlink()
    if text is not None:
        machine.layout.made.write_text(text, encoding="latin-1")
    assert str(machine.layout.made) in str(refused(machine))
    claim(machine.layout, "staging")
    removed(machine)
    assert left(machine) == []


@pytest.mark.parametrize("place", ["cache", "logs"])
@pytest.mark.parametrize("ours", [True, False])
def test_cache_and_logs_owned_by_the_app_are_removed(machine: Machine, place: str, ours: bool) -> None:
    directory: Path = getattr(machine.layout, place)
    directory.mkdir(parents=True)
    (directory / "file").touch()
    machine.uid = os.geteuid() if ours else os.geteuid() + 1
    assert (str(directory) in removed(machine)) is ours
    assert (directory / "file").exists() is not ours


@pytest.mark.parametrize("process", [WEB, WORKER])
def test_the_runtime_directory_of_a_release_is_removed_with_it(machine: Machine, process: Process) -> None:
    machine.layout = replace(machine.layout, processes=(WEB, WORKER))
    (machine.layout.runtime(f"{NEW}-a1a1a1a1", process) / "scratch").mkdir(parents=True)
    removed(machine)
    assert not machine.layout.runtime_root.exists()


def test_a_name_is_free_after_the_removal(machine: Machine) -> None:
    assert _names.in_use(machine.layout)
    removed(machine)
    assert _names.in_use(machine.layout) == []


# With the last app


def test_shared_files_are_removed_with_the_last_app(machine: Machine) -> None:
    root = machine.layout.root
    for name in ("opt/greenlight/uv-0.9.11/bin/uv", "opt/greenlight/theirs"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "var/cache/greenlight").mkdir(parents=True, exist_ok=True)
    other = root / "etc/shop-two/environment-id"
    other.parent.mkdir()
    other.touch()
    told = removed(machine, dry=True)
    assert not [each for each in told if "greenlight/uv" in each]
    other.unlink()
    told = removed(machine)
    assert [each for each in told if "opt/greenlight/uv" in each]
    assert not (root / "var/cache/greenlight").exists()
    assert os.listdir(root / "opt/greenlight") == ["theirs"]


# The name


@pytest.mark.parametrize("app", ["", ".", "..", "../srv", "shop/../nginx", "Shop"])
def test_an_invalid_app_name_is_refused(machine: Machine, app: str) -> None:
    before = machine.files()
    with pytest.raises(Refused) as refused:
        remove_app(Layout(app, machine.layout.root), "staging", machine.tree, BOUNDS)
    assert all_named(refused) == [("malformed-name", "flask_app_name")]
    assert machine.files() == before


def test_a_claim_without_a_deploy_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = played(tmp_path, monkeypatch.setattr)
    claim(machine.layout, "staging")
    assert removed(machine) == [str(machine.layout.srv), str(machine.layout.etc)]
    assert left(machine) == []


# Nginx


def test_a_removal_refused_by_nginx_changes_nothing(machine: Machine) -> None:
    machine.refused = "nginx: [emerg] unknown directive in /etc/nginx/sites-enabled/theirs.conf:1"
    [finding] = found_obstacles(machine)
    assert named(finding) == ("refused-by-nginx", "nginx")
    assert machine.refused in finding.what


def test_a_stopped_and_already_broken_nginx_is_not_an_obstacle(machine: Machine) -> None:
    (machine.active / "nginx.service").unlink()
    machine.refused = "nginx: [emerg] unknown directive in /etc/nginx/sites-enabled/theirs.conf:1"
    removed(machine)
    assert left(machine) == []


def test_a_removal_must_not_break_a_stopped_nginx(machine: Machine) -> None:
    (machine.active / "nginx.service").unlink()
    (machine.tree.etc / "sites-enabled/theirs.conf").write_text("proxy_pass http://shop_live;\n")
    [finding] = found_obstacles(machine)
    assert named(finding) == ("used-by-nginx", "nginx")
    assert "shop_live" in finding.what


def test_nginx_broken_after_closing_the_site_is_not_an_obstacle(machine: Machine) -> None:
    for name in ("sites-enabled/shop.conf", "sites-enabled/00-default-80.conf", HASHES):
        (machine.tree.etc / name).unlink(missing_ok=True)
    (machine.tree.state / "shop.json").unlink()
    machine.refused = "nginx: [emerg] unknown directive in /etc/nginx/sites-enabled/theirs.conf:1"
    removed(machine)
    assert left(machine) == []


def test_a_stopped_nginx_is_not_started(machine: Machine) -> None:
    (machine.active / "nginx.service").unlink()
    removed(machine)
    assert left(machine) == []
    assert not [call for call in machine.calls if call[1:2] in (["start"], ["reload"], ["enable"])]


def test_a_missing_nginx_is_not_an_obstacle(machine: Machine) -> None:
    Path(machine.tree.nginx).unlink()
    removed(machine)
    assert left(machine) == []
    assert not [call for call in machine.calls if call[1:2] in (["start"], ["reload"], ["enable"])]


# The lock


def test_the_lock_is_removed_with_its_guard(machine: Machine) -> None:
    take(machine.layout, OURS, 1800)
    with held(machine.layout, OURS.run):
        forget_lock(machine.layout)
    assert os.listdir(machine.layout.lock.parent) == []


# Killed


@pytest.mark.slow
def test_a_killed_removal_is_completed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = played(tmp_path / "0", monkeypatch.setattr)
    fill(before)
    (before.layout.units / "shop@celery.service").write_text("somebody else's")
    (before.active / "shop@celery.service").touch()
    expected = None
    for change in itertools.count(1):
        copied(before.layout.root, tmp_path / f"{change}")
        machine = played(tmp_path / f"{change}", monkeypatch.setattr)
        ended = not killed(change, lambda machine=machine: removed(machine))  # type: ignore[misc]
        if not machine.layout.environment_id.exists():
            ours = [name for name in left(machine) if "@celery" not in name and not name.startswith("etc/.unfinished-")]
            assert ours == [], f"change {change}: the stamp went before these"
        removed(machine)
        assert removed(machine) == []
        assert left(machine) == ["etc/systemd/system/shop@celery.service", "shop@celery.service"], f"change {change}"
        assert machine.loaded.read_text() == "theirs.conf", f"change {change}: Nginx was not told"
        end = (machine.files(), machine.running(), machine.enabled())
        expected = expected or end
        assert end == expected, f"change {change}"
        shutil.rmtree(machine.layout.root)
        if ended:
            break
    assert change > 60
