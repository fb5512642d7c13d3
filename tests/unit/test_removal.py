# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal takes all of an app and nothing else, whatever is in its way and whenever it is killed."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils import _command, _nginx, _removal, _sandbox, _systemd
from ansible_collections.greenlight.flask.plugins.module_utils._command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._lock import Owner, held, take
from ansible_collections.greenlight.flask.plugins.module_utils._nginx import Tree
from ansible_collections.greenlight.flask.plugins.module_utils._protocol import Bounds, claim
from ansible_collections.greenlight.flask.plugins.module_utils._removal import forget_lock, remove_app

from tests.unit.fakes import Host, contents, copied, create
from tests.unit.killing import killed

OLD, NEW = (f"20261121T09442{second}Z" for second in range(2))
BOUNDS = Bounds(stop_seconds=7, drain_seconds=1)
OWNED = "# Owner: role greenlight.flask.flask_app\nserver { listen 80 default_server; }\n"
OURS = Owner(run="1", by="ada", place="here", pid=1, started="1")
#: Of what the fake host itself is made, and of what is locked while Nginx is changed.
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

    def run(self, argv: Sequence[str | Path], seconds: float = 60, **options: object) -> Finished:
        program, *words = (str(word) for word in argv)
        kind = {"/usr/sbin/userdel": "passwd", "/usr/sbin/groupdel": "group"}.get(program)
        if program == "getent":
            there = (self.accounts / "/".join(words)).exists()
            return Finished(0 if there else 2, f"{words[1]}:x:998:998::/:/\n" if there else "", "")
        if program == self.tree.nginx:
            self.calls.append([program, *words])
            return Finished(int(bool(self.refused)), "", self.refused)
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
    """The host below ``root``, as the programs show it."""
    machine = Machine(Layout(app, root))
    for module in (_command, _systemd, _sandbox, _nginx, _removal):
        patch(module, "run", machine.run)
    patch(_nginx, "_workers", lambda _main: set(range(len(machine.workers.read_text()))))
    patch(_nginx, "RELOAD_SECONDS", 0.2)
    return machine


def fill(machine: Machine) -> None:
    """Nginx with a site of somebody's, and the app with two releases, the newer one live."""
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
    settle(machine)


def settle(machine: Machine) -> None:
    """Deploy the app, as far as files go."""
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
        layout.run.mkdir(parents=True, exist_ok=True)
        layout.socket(release).touch()
    layout.state.mkdir(parents=True)
    (layout.state / "data.db").write_text("data")
    logs = layout.root / "var/log/nginx"
    logs.mkdir(parents=True, exist_ok=True)
    for name in ("access.log", "access.log.1", "access.log.2.gz", "error.log"):
        (logs / f"{layout.app}.{name}").write_text("log")
    for kind in ("passwd", "group"):
        (machine.accounts / kind / layout.app).touch()
    (machine.tree.etc / f"sites-enabled/{layout.app}.conf").write_text("server { listen 80; }\n")
    (machine.tree.etc / "sites-enabled/00-default-80.conf").write_text(OWNED)
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
    """Whatever still has the app's name, or what it shared with nobody."""
    names = [name for name in machine.files() if machine.layout.app in name or "00-default" in name]
    return [*names, *(unit for unit in sorted(machine.running()) if unit.startswith(f"{machine.layout.app}@"))]


# All of it


def test_nothing_with_the_apps_name_is_left(machine: Machine) -> None:
    assert left(machine)
    removed(machine)
    assert left(machine) == []
    assert machine.enabled() == set()


def test_what_was_removed_is_told_and_a_second_time_there_is_nothing(machine: Machine) -> None:
    layout, release = machine.layout, f"{NEW}-a1a1a1a1"
    told = removed(machine)
    for path in (layout.srv, layout.state, layout.etc, layout.socket(release), *layout.unit_files(release)):
        assert str(path) in told
    assert f"{machine.tree.etc}/sites-enabled/shop.conf" in told
    assert told[-2:] == ["passwd shop", "group shop"]
    machine.calls.clear()
    assert removed(machine) == []
    assert machine.calls == []


def test_check_mode_tells_the_same_and_touches_nothing(machine: Machine) -> None:
    before, running = machine.files(), machine.running()
    told = removed(machine, dry=True)
    assert machine.files() == before
    assert machine.running() == running
    assert told == removed(machine)


def test_nginx_lets_go_before_a_release_is_stopped_and_releases_stop_before_files_go(machine: Machine) -> None:
    seen: list[tuple[str, list[str], bool]] = []

    def watch(argv: Sequence[str | Path], **options: object) -> Finished:
        if argv[0] == "systemctl" and argv[1] in ("reload", "stop"):
            seen.append((str(argv[-1]), machine.served(), machine.layout.srv.exists()))
        return machine.run(argv, **options)  # type: ignore[arg-type]

    for module in (_command, _systemd, _nginx, _removal):
        module.run = watch  # type: ignore[attr-defined]  # the fixture puts the old one back
    removed(machine)
    assert seen[0] == ("nginx", ["theirs.conf"], True)
    assert [unit for unit, _, _ in seen[1:]] == [
        f"shop@{time}-a1a1a1a1.{kind}" for time in (OLD, NEW) for kind in ("socket", "service")
    ] + ["system-shop.slice"]
    assert all(there for _, _, there in seen)


def test_a_release_gets_the_time_that_its_requests_may_take(machine: Machine) -> None:
    release = f"{NEW}-a1a1a1a1"
    machine.queues = {str(machine.layout.socket(release)): [2, 1]}
    removed(machine)
    assert machine.queues[str(machine.layout.socket(release))] == []
    assert machine.seconds["stop"] == BOUNDS.stop_seconds + _systemd.GRACE_SECONDS


def test_systemd_forgets_the_units_and_that_one_had_failed(machine: Machine) -> None:
    unit = machine.layout.service_unit(f"{OLD}-a1a1a1a1")
    (machine.active / unit).rename(machine.failed / unit)
    removed(machine)
    assert list(machine.failed.iterdir()) == []
    reloads = [number for number, call in enumerate(machine.calls) if call[1] == "daemon-reload"]
    assert reloads
    assert reloads[-1] > max(number for number, call in enumerate(machine.calls) if call[1:2] == ["reset-failed"])


def test_a_release_that_failed_and_has_no_files_any_more_is_no_obstacle(machine: Machine) -> None:
    (machine.failed / "shop@20260101T000000Z-00000000.service").touch()
    removed(machine)
    assert list(machine.failed.iterdir()) == []


def test_the_slice_of_an_app_with_a_dash_is_named_as_systemd_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = played(tmp_path, monkeypatch.setattr, "my-shop")
    fill(machine)
    removed(machine)
    assert machine.stopped()[-1] == r"system-my\x2dshop.slice"


# Nothing else


def test_another_app_keeps_all_it_has(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    without = machine.files()
    other = played(machine.layout.root, monkeypatch.setattr, "shop-two")
    settle(other)
    before = {name: text for name, text in other.files().items() if name not in without or "00-default" in name}
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
        "etc/nginx/sites-enabled/00-default-8080.conf",
        "etc/nginx/sites-enabled/shop.example.org.conf",
        "etc/systemd/system/shop@celery.service",
        "etc/systemd/system/shop@.service.d/limits.conf",
        "etc/systemd/system/shop.service",
        "etc/systemd/system/multi-user.target.wants/shop@celery.service",
        "run/shop/celery.pid",
        "var/log/nginx/shop.example.org.access.log",
        "var/log/nginx/shop-two.access.log",
        "var/lib/greenlight/nginx/shop-two.json",
        "srv/shop-two/file",
        "var/lib/shop-two/file",
    ],
)
def test_what_only_looks_like_the_apps_stays(machine: Machine, name: str) -> None:
    path = machine.layout.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("somebody else's")
    removed(machine)
    assert path.read_text() == "somebody else's"
    assert not machine.layout.etc.exists()


def test_a_unit_of_somebody_elses_goes_on_running(machine: Machine) -> None:
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
def test_a_directory_that_somebody_moved_elsewhere_loses_its_link_only(machine: Machine, place: str) -> None:
    directory: Path = getattr(machine.layout, place)
    elsewhere = machine.layout.root / "big-disk"
    shutil.move(directory, elsewhere)
    directory.symlink_to(elsewhere)
    kept = sorted(os.listdir(elsewhere))
    removed(machine)
    assert not directory.is_symlink()
    assert sorted(os.listdir(elsewhere)) == kept


@pytest.mark.parametrize("below", ["", "/uploads\\040of\\040ada"])
@pytest.mark.parametrize("place", ["srv", "state", "etc", "run"])
def test_a_mounted_file_system_is_no_part_of_the_app(machine: Machine, place: str, below: str) -> None:
    directory: Path = getattr(machine.layout, place)
    mounts = machine.layout.root / "proc/self/mountinfo"
    mounts.parent.mkdir(parents=True)
    point = "/" + str(directory.relative_to(machine.layout.root)) + below
    mounts.write_text(f"21 1 0:20 / / rw - ext4 /dev/vda rw\n22 21 0:21 / {point} rw - nfs server:/ada rw\n")
    before = machine.files()
    with pytest.raises(
        GreenlightError, match=r"Nothing was removed\. Unmount it \(umount .*\), and run again"
    ) as caught:
        removed(machine)
    assert f"{directory}{below}".replace("\\040", " ") in str(caught.value)
    assert machine.files() == before


def test_a_file_system_that_is_mounted_beside_it_is_no_obstacle(machine: Machine) -> None:
    mounts = machine.layout.root / "proc/self/mountinfo"
    mounts.parent.mkdir(parents=True)
    mounts.write_text("21 1 0:20 / /srv rw - ext4 /dev/vdb rw\n22 1 0:21 / /srv/shop-two rw - ext4 /dev/vdc rw\n")
    removed(machine)
    assert left(machine) == []


def test_what_still_runs_as_the_apps_user_keeps_its_directories(machine: Machine) -> None:
    process = machine.layout.root / "proc/4711/status"
    process.parent.mkdir(parents=True)
    process.write_text("Name:\tcelery\nUid:\t998\t998\t998\t998\n")
    other = machine.layout.root / "proc/4712/status"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"Name:\t\xff\nUid:\t9980\t998\t998\t998\n")
    with pytest.raises(GreenlightError, match=r"process 4711\. .*\(systemctl status 4711 says what it is\)"):
        removed(machine)
    assert (machine.layout.state / "data.db").exists()
    assert (machine.accounts / "passwd/shop").exists()
    process.unlink()
    removed(machine)
    assert left(machine) == [] == [unit for unit in machine.running() if "shop" in unit]


# The stamp


def test_a_host_of_another_environment_is_refused(machine: Machine) -> None:
    before = machine.files()
    for dry in (True, False):
        with pytest.raises(GreenlightError, match="stamped staging for shop, and flask_app_environment is production"):
            removed(machine, dry=dry, environment="production")
    assert machine.files() == before


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_without_a_stamp_the_name_is_not_ours_and_nothing_is_touched(machine: Machine, environment: str) -> None:
    machine.layout.environment_id.unlink()
    before = machine.files()
    assert removed(machine, environment=environment) == []
    assert machine.files() == before
    assert machine.calls == []


@pytest.mark.parametrize("app", ["", ".", "..", "../srv", "shop/../nginx", "Shop"])
def test_what_is_no_name_of_an_app_is_refused(machine: Machine, app: str) -> None:
    with pytest.raises(GreenlightError, match="is no name of an app; nothing was removed"):
        remove_app(Layout(app, machine.layout.root), "staging", machine.tree, BOUNDS)


def test_a_claim_of_which_nothing_else_came_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = played(tmp_path, monkeypatch.setattr)
    claim(machine.layout, "staging")
    assert removed(machine) == [str(machine.layout.srv), str(machine.layout.etc)]
    assert left(machine) == []


# Nginx


def test_nginx_that_refuses_the_change_leaves_all_as_it_is(machine: Machine) -> None:
    before, running = machine.files(), machine.running()
    machine.refused = "nginx: [emerg] unknown directive in /etc/nginx/sites-enabled/theirs.conf:1"
    with pytest.raises(GreenlightError, match="Nginx refuses the configuration"):
        removed(machine)
    assert machine.files() == before
    assert machine.running() == running


def test_nginx_that_was_stopped_is_not_started(machine: Machine) -> None:
    (machine.active / "nginx.service").unlink()
    removed(machine)
    assert left(machine) == []
    assert not [call for call in machine.calls if call[1:2] in (["start"], ["reload"], ["enable"])]


def test_nginx_that_is_not_installed_is_no_obstacle(machine: Machine) -> None:
    Path(machine.tree.nginx).unlink()
    removed(machine)
    assert left(machine) == []
    assert not [call for call in machine.calls if call[1:2] in (["start"], ["reload"], ["enable"])]


# The lock


def test_the_lock_goes_with_its_guard(machine: Machine) -> None:
    take(machine.layout, OURS, 1800)
    with held(machine.layout, OURS.run):
        forget_lock(machine.layout)
    assert os.listdir(machine.layout.lock.parent) == []


# Killed


def test_a_removal_killed_at_any_instant_is_ended_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
