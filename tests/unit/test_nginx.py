# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of Nginx's configuration is made completely or not at all, whatever fails and whenever it is killed."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base import command
from ansible_collections.greenlight.flask.plugins.module_utils._base.command import Finished
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    HeldElsewhere,
    exclusively,
    readable,
    write,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Finding, Refused
from ansible_collections.greenlight.flask.plugins.module_utils._edge import nginx as _nginx
from ansible_collections.greenlight.flask.plugins.module_utils._edge.nginx import (
    Change,
    Tree,
    Watch,
    check,
    noted_page,
    pending,
    stock_default_site,
)

from tests.unit.cases import all_named, named
from tests.unit.killing import killed

BY_NGINX, NOT_RELOADED = ("refused-by-nginx", "nginx"), ("nginx-not-reloaded", "nginx")
TAKEN = ("name-taken", "flask_app_server_names")
SITE = "sites-enabled/shop.conf"
DEFAULT = "sites-enabled/00-default-80.conf"
CHANGE: Change = {SITE: "server { listen 80; server_name shop.example.org; }\n", DEFAULT: "server { listen 80; }\n"}
NAMES = ["shop.example.org"]

NGINX = """\
#!/bin/sh
# Plays "nginx -t": refuses a tree in which a file holds "bad", warns where two files hold the same server name.
conf={etc}/nginx.conf
[ "$2" = -c ] && conf=$3
tree=$(dirname "$conf")
echo "test $tree" >>{log}
[ -e {live_bad} ] && [ "$tree" = {etc} ] && {{ echo "nginx: [emerg] live tree refused" >&2; exit 1; }}
bad=$(grep -rlw bad "$tree" | head -n 1)
[ -z "$bad" ] || {{ echo "nginx: [warn] noise" >&2; echo "nginx: [emerg] unknown directive in $bad:1" >&2; exit 1; }}
if [ "$(grep -rl 'server_name shop.example.org;' "$tree" | wc -l)" -gt 1 ]; then
    echo 'nginx: [warn] conflicting server name "shop.example.org" on 0.0.0.0:80, ignored' >&2
fi
echo "nginx: configuration file $conf test is successful" >&2
"""

SYSTEMCTL = """\
#!/bin/sh
# Plays systemd with one unit: "active" and "disabled" are files, each reload or start adds a worker.
echo "$*" >>{log}
case "$*" in
    *is-active*) [ -e {state}/active ] ;;
    *is-enabled*) [ ! -e {state}/disabled ] ;;
    *reload*) [ ! -e {state}/reload-fails ] || exit 1; [ -e {state}/no-workers ] || echo >>{state}/workers ;;
    *enable*) rm -f {state}/disabled ;;
    *start*) [ ! -e {state}/start-fails ] || exit 1; touch {state}/active; echo >>{state}/workers ;;
esac
"""


class Machine:
    """Nginx and systemd, simulated by scripts; files in ``state`` are their switches."""

    def __init__(self, root: Path) -> None:
        self.tree = Tree(root / "etc/nginx", root / "var/greenlight", str(root / "bin/nginx"))
        self.state = root / "state"
        self.log = root / "log"
        for directory in (self.tree.etc / "sites-enabled", self.tree.etc / "sites-available", self.state, root / "bin"):
            directory.mkdir(parents=True)
        places = {"etc": self.tree.etc, "log": self.log, "live_bad": self.state / "live-bad", "state": self.state}
        for name, text in {"nginx": NGINX, "systemctl": SYSTEMCTL}.items():
            (root / "bin" / name).write_text(text.format(**places))
            (root / "bin" / name).chmod(0o755)
        self.put("nginx.conf", f"include {self.tree.etc}/sites-enabled/*;\n")
        self.turn("active")

    def put(self, name: str, text: str) -> None:
        (self.tree.etc / name).write_text(text)

    def turn(self, *switches: str) -> None:
        for switch in switches:
            (self.state / switch).touch()

    def workers(self, _main: str) -> set[int]:
        path = self.state / "workers"
        return {path.read_text().count("\n")} if path.exists() else set()

    def site(self) -> str:
        return readable(self.tree.etc / SITE) or ""

    def count_calls(self, word: str) -> int:
        """Return how often a program was called with ``word``."""
        return sum(word in line for line in self.log.read_text().splitlines()) if self.log.exists() else 0

    def files(self) -> dict[str, str]:
        """Return the tree: name -> content, or a link's target."""
        return {
            str(path.relative_to(self.tree.etc)): f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
            for path in sorted(self.tree.etc.rglob("*"))
            if path.is_symlink() or path.is_file()
        }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return made(tmp_path, monkeypatch)


def made(root: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(root)
    monkeypatch.setenv("PATH", f"{root}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(_nginx, "RELOAD_SECONDS", 0.1)
    monkeypatch.setattr(_nginx, "_workers", machine.workers)
    return machine


def apply(tree: Tree, change: Change, names: list[str], **more: Any) -> bool:
    return _nginx.apply(tree, "shop", change, names, **more)


# What differs


@pytest.mark.parametrize(
    ("there", "after", "expected"),
    [
        (None, "new", ("", "new")),
        ("old", "new", ("old", "new")),
        ("same", "same", None),
        ("old", None, ("old", "")),
        (None, None, None),
        (None, "", ("", "")),
        ("crlf\r\n", "crlf\n", ("crlf\r\n", "crlf\n")),
    ],
)
def test_differences_are_shown_with_before_and_after(
    machine: Machine, there: str | None, after: str | None, expected: tuple[str, str] | None
) -> None:
    if there is not None:
        (machine.tree.etc / SITE).write_bytes(there.encode())
    assert pending(machine.tree, {SITE: after}) == ({SITE: expected} if expected else {})


def refused(act: Callable[[], object]) -> Finding:
    """Return the only finding that stops this."""
    with pytest.raises(Refused) as error:
        act()
    (finding,) = error.value.findings
    return finding


# The check


def test_a_check_tests_a_changed_copy_and_touches_nothing(machine: Machine) -> None:
    before = machine.files()
    check(machine.tree, CHANGE, NAMES)
    assert machine.files() == before
    assert machine.count_calls("test ") == 1
    assert machine.count_calls(f"test {machine.tree.etc}") == 0
    with pytest.raises(GreenlightError):
        check(machine.tree, {SITE: "bad"}, NAMES)
    assert machine.files() == before


def test_a_refusal_names_the_real_file(machine: Machine) -> None:
    finding = refused(lambda: check(machine.tree, {SITE: "bad"}, NAMES))
    assert named(finding) == BY_NGINX
    assert finding.what.splitlines()[1:] == [f"nginx: [emerg] unknown directive in {machine.tree.etc / SITE}:1"]
    assert finding.fix == ""


def test_a_fault_in_a_foreign_file_is_reported_as_foreign(machine: Machine) -> None:
    machine.put("sites-enabled/other.conf", "bad")
    finding = refused(lambda: check(machine.tree, CHANGE, NAMES))
    assert named(finding) == BY_NGINX
    assert "other.conf:1" in finding.what
    assert finding.fix


@pytest.mark.parametrize(
    ("reason", "theirs", "setting"),
    [
        ('unknown directive "x" in /etc/nginx/sites-enabled/blog:1', True, ""),
        ('cannot load certificate "/etc/ssl/blog.pem": BIO_new_file() failed', True, ""),
        ('unknown "shop_x" variable', False, ""),
        (
            "could not build server_names_hash, you should increase server_names_hash_bucket_size: 64",
            False,
            "server_names_hash_bucket_size",
        ),
        (
            "could not build variables_hash, you should increase either variables_hash_max_size: 64 or"
            " variables_hash_bucket_size: 64",
            False,
            "variables_hash_max_size",
        ),
    ],
)
def test_only_a_named_file_is_called_foreign(reason: str, theirs: bool, setting: str) -> None:
    done = Finished(1, "", f"2026/11/29 16:45:06 [emerg] 14162#14162: {reason}\nnginx: configuration test failed")
    finding = refused(lambda: _nginx._judge(done, _nginx._mine(CHANGE, None), NAMES, str))
    assert named(finding) == BY_NGINX
    assert bool(finding.fix) is (theirs or bool(setting))
    assert setting in finding.fix


def test_a_duplicate_path_in_a_site_is_reported_with_its_variable() -> None:
    name = "sites-shared/blog/server/shop.conf"
    done = Finished(1, "", f'nginx: [emerg] duplicate location "/shop" in /etc/nginx/{name}:6')
    finding = refused(lambda: _nginx._judge(done, _nginx._mine({name: "x"}, None), [], str))
    assert named(finding) == BY_NGINX
    assert "flask_app_url_prefix" in finding.fix


def test_a_server_name_of_another_site_is_refused(machine: Machine) -> None:
    machine.put("sites-enabled/other.conf", "server { listen 80; server_name shop.example.org; }\n")
    finding = refused(lambda: check(machine.tree, CHANGE, NAMES))
    assert named(finding) == TAKEN
    assert "shop.example.org" in finding.what
    check(machine.tree, CHANGE, ["elsewhere.example.org"])


def test_a_second_default_server_is_reported_with_its_variable(machine: Machine) -> None:
    done = Finished(1, "", "nginx: [emerg] a duplicate default server for 0.0.0.0:80 in /etc/nginx/x:1")
    finding = refused(lambda: _nginx._judge(done, _nginx._mine(CHANGE, None), NAMES, str))
    assert named(finding) == BY_NGINX
    assert "flask_app_nginx_default_server: false" in finding.fix


def test_a_file_to_be_removed_is_not_in_the_copy(machine: Machine) -> None:
    machine.put("sites-enabled/old.conf", "bad")
    check(machine.tree, {**CHANGE, "sites-enabled/old.conf": None}, NAMES)


def test_links_are_followed_and_broken_ones_stay(machine: Machine, tmp_path: Path) -> None:
    etc, copy = machine.tree.etc, tmp_path / "copy"
    machine.put("sites-available/blog.conf", "blog")
    (etc / "sites-enabled/blog.conf").symlink_to("../sites-available/blog.conf")
    (etc / "sites-enabled/gone.conf").symlink_to("../sites-available/gone.conf")
    (etc / "linked").symlink_to("sites-available")
    os.mkfifo(etc / "pipe")
    _nginx._copy(etc, copy)
    assert not (copy / "sites-enabled/blog.conf").is_symlink()
    assert (copy / "sites-enabled/blog.conf").read_text() == "blog"
    assert (copy / "linked/blog.conf").read_text() == "blog"
    assert os.readlink(copy / "sites-enabled/gone.conf") == "../sites-available/gone.conf"
    assert not (copy / "pipe").exists()


def test_absolute_paths_logs_and_the_pid_file_point_into_the_copy(machine: Machine, tmp_path: Path) -> None:
    etc, stage = machine.tree.etc, tmp_path / "stage"
    machine.put(
        "nginx.conf",
        f"include {etc}/mime.types;\naccess_log /var/log/nginx/access.log;\nerror_log /var/log/nginx/shop/error.log;\n"
        "pid /run/nginx.pid;\nssl_certificate /etc/ssl/x.pem;\n",
    )
    (etc / "binary").write_bytes(b"\xff\xfe/run/nginx.pid")
    _nginx._copy(etc, stage)
    _nginx._rewrite(stage, etc, tmp_path, {"/etc/ssl/x": "/etc/ssl/y"})
    assert (stage / "nginx.conf").read_text() == (
        f"include {stage}/mime.types;\naccess_log {tmp_path}/log/access.log;\n"
        f"error_log {tmp_path}/log/shop/error.log;\npid {tmp_path}/nginx.pid;\nssl_certificate /etc/ssl/y.pem;\n"
    )
    assert (tmp_path / "log/shop").is_dir()
    assert (stage / "binary").read_bytes() == b"\xff\xfe/run/nginx.pid"


# The change


def test_a_change_is_installed_tested_and_reloaded(machine: Machine) -> None:
    assert apply(machine.tree, CHANGE, NAMES) is True
    assert {name: machine.files()[name] for name in CHANGE} == CHANGE
    assert machine.count_calls("reload nginx") == 1
    assert machine.count_calls(f"test {machine.tree.etc}") == 1


@pytest.mark.parametrize("app", ["shop", "api", "default", "zoo"])
def test_a_second_run_changes_nothing(machine: Machine, app: str) -> None:
    change = {f"sites-enabled/{app}.conf": "server { }\n", DEFAULT: "server { listen 80; }\n"}
    (machine.tree.etc / "sites-enabled/default").symlink_to("../sites-available/default")
    apply(machine.tree, {"sites-enabled/default": None, **change}, NAMES)
    machine.log.unlink()
    assert apply(machine.tree, change, NAMES) is False
    assert (machine.count_calls("test "), machine.count_calls("reload")) == (0, 0)


def test_manual_edits_are_loaded_too(machine: Machine) -> None:
    apply(machine.tree, CHANGE, NAMES)
    by_hand = {**CHANGE, SITE: "server { } # by hand, and not reloaded\n"}
    machine.put(SITE, str(by_hand[SITE]))
    assert apply(machine.tree, by_hand, NAMES) is True
    assert machine.count_calls("reload nginx") == 2


def test_each_app_has_its_own_marker(machine: Machine) -> None:
    other = {"sites-enabled/blog.conf": "server { }\n", DEFAULT: CHANGE[DEFAULT]}
    apply(machine.tree, CHANGE, NAMES)
    _nginx.apply(machine.tree, "blog", other, [])
    assert apply(machine.tree, CHANGE, NAMES) is False
    assert _nginx.apply(machine.tree, "blog", other, []) is False


def test_a_disabled_nginx_is_enabled(machine: Machine) -> None:
    apply(machine.tree, CHANGE, NAMES)
    (machine.state / "disabled").touch()
    assert apply(machine.tree, CHANGE, NAMES) is True
    assert machine.count_calls("enable --quiet nginx") == 1
    assert apply(machine.tree, CHANGE, NAMES) is False


def test_a_stopped_nginx_is_started(machine: Machine) -> None:
    (machine.state / "active").unlink()
    assert apply(machine.tree, CHANGE, NAMES) is True
    assert machine.count_calls("start nginx") == 1
    (machine.state / "active").unlink()
    assert apply(machine.tree, CHANGE, NAMES) is True
    assert (machine.state / "active").exists()


def test_a_change_refused_by_the_check_touches_nothing(machine: Machine) -> None:
    before = machine.files()
    with pytest.raises(GreenlightError):
        apply(machine.tree, {**CHANGE, SITE: "bad"}, NAMES)
    assert machine.files() == before
    assert machine.count_calls("reload") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kinds", "reason"),
    [
        ("live-bad", [BY_NGINX], "live tree refused"),
        ("reload-fails", [], "systemctl reload nginx failed"),
        ("no-workers", [NOT_RELOADED], None),
    ],
)
def test_the_old_tree_is_restored_if_the_new_one_fails(
    machine: Machine, fault: str, kinds: list[tuple[str, str]], reason: str | None
) -> None:
    machine.put(SITE, "server { } # old\n")
    machine.put("sites-available/default", "stock\n")
    (machine.tree.etc / "sites-enabled/default").symlink_to("../sites-available/default")
    before = machine.files()
    machine.turn(fault)
    with pytest.raises(GreenlightError, match=reason) as error:
        apply(machine.tree, {"sites-enabled/default": None, **CHANGE}, NAMES)
    assert all_named(getattr(error.value, "findings", [])) == kinds
    assert machine.files() == before
    (machine.state / fault).unlink()
    assert apply(machine.tree, {"sites-enabled/default": None, **CHANGE}, NAMES) is True
    assert machine.files()[SITE] == CHANGE[SITE]
    assert "sites-enabled/default" not in machine.files()


def test_old_workers_are_not_mistaken_for_new_ones_after_a_reload(machine: Machine) -> None:
    (machine.state / "workers").write_text("\n\n")
    machine.turn("no-workers")
    assert named(refused(lambda: apply(machine.tree, CHANGE, NAMES))) == NOT_RELOADED
    assert SITE not in machine.files()


def test_the_reason_for_a_failed_reload_comes_only_from_nginx(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = """2026/11/29 17:00:00 [emerg] 1#1: bind() failed
2026/11/29 17:00:01 [error] 2#2: *1 connect() failed, request: "GET / HTTP/1.1", referrer: "[emerg] run this"
"""
    monkeypatch.setattr(
        _nginx, "readable", lambda path, *errors: log if path.name == "error.log" else readable(path, *errors)
    )
    machine.turn("no-workers")
    finding = refused(lambda: apply(machine.tree, CHANGE, NAMES))
    assert named(finding) == NOT_RELOADED
    assert "bind() failed" in finding.what
    assert "run this" not in str(finding)


def test_the_old_tree_is_reloaded_after_a_failed_reload(machine: Machine) -> None:
    machine.turn("no-workers")
    with pytest.raises(GreenlightError):
        apply(machine.tree, CHANGE, NAMES)
    assert machine.count_calls("reload nginx") == 2


def test_a_replaced_link_is_restored_as_a_link(machine: Machine) -> None:
    machine.put("sites-available/shop.conf", "theirs\n")
    (machine.tree.etc / SITE).symlink_to("../sites-available/shop.conf")
    before = machine.files()
    machine.turn("live-bad")
    with pytest.raises(GreenlightError):
        apply(machine.tree, CHANGE, NAMES)
    assert machine.files() == before


def test_the_old_tree_is_restored_when_the_disk_is_full(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.files()

    def full(path: Path, content: str, mode: int = 0o644) -> bool:
        if path.name == Path(DEFAULT).name:
            raise OSError(28, "No space left on device", str(path))
        return write(path, content, mode)

    monkeypatch.setattr(_nginx, "write", full)
    with pytest.raises(OSError, match="No space left"):
        apply(machine.tree, CHANGE, NAMES)
    assert machine.files() == before


def test_a_change_does_not_start_during_one_of_another_app(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once would each undo the other's change after a failure."""
    before = machine.files()
    monkeypatch.setattr(_nginx, "LOCK_SECONDS", 0)
    with exclusively(machine.tree.state / "lock", 0):
        assert named(refused(lambda: apply(machine.tree, CHANGE, NAMES))) == ("nginx-busy", "nginx")
        assert machine.files() == before
        assert machine.count_calls("") == 0
    assert apply(machine.tree, CHANGE, NAMES) is True


def test_a_change_waits_for_one_of_another_app(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as other:
        other.enter_context(exclusively(machine.tree.state / "lock", 0))
        monkeypatch.setattr(time, "sleep", lambda seconds: other.close())
        assert apply(machine.tree, CHANGE, NAMES) is True


@pytest.mark.parametrize("switch", ["", "reload-fails"])
def test_other_apps_wait_until_a_change_is_proved_or_undone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    looks = []

    def run(argv: list[str], **options: object) -> Finished:
        with pytest.raises(HeldElsewhere), exclusively(machine.tree.state / "lock", 0):
            pass
        looks.append(argv)
        return command.run(argv)

    monkeypatch.setattr(_nginx, "run", run)
    if switch:
        machine.turn(switch)
        with pytest.raises(GreenlightError):
            apply(machine.tree, CHANGE, NAMES)
    else:
        apply(machine.tree, CHANGE, NAMES)
    assert len(looks) > 3
    with exclusively(machine.tree.state / "lock", 0):
        pass


@pytest.mark.parametrize("loses", [False, True])
def test_a_run_killed_at_any_instant_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loses: bool
) -> None:
    """The programs are simulated in this process, so that only our own changes count."""
    monkeypatch.setattr(_nginx, "check", lambda tree, change, server_names, pointer: None)
    for change in itertools.count(1):
        tree = Tree(tmp_path / f"{change}/nginx", tmp_path / f"{change}/state", "nginx")
        (tree.etc / "sites-enabled").mkdir(parents=True)
        loaded, loads = tmp_path / f"{change}/loaded", [0]

        def run(
            argv: list[str], tree: Tree = tree, loaded: Path = loaded, loads: list[int] = loads, **_: object
        ) -> Finished:
            if "reload" in argv:
                shutil.rmtree(loaded, ignore_errors=True)
                shutil.copytree(tree.etc / "sites-enabled", loaded)
                loads.append(loads[-1] + 1)
            return Finished(0, "", "")

        def workers(_main: str, loads: list[int] = loads) -> set[int]:
            return {loads[-1]}

        def work(tree: Tree = tree, loaded: Path = loaded) -> None:
            seen = watch(lambda: readable(loaded / Path(SITE).name) or "")
            with pytest.raises(Refused, match="lost") if loses else nullcontext():
                apply(tree, CHANGE, NAMES, watch=seen if loses else None)

        monkeypatch.setattr(_nginx, "run", run)
        monkeypatch.setattr(_nginx, "require", lambda argv, what, run=run: run(argv))
        monkeypatch.setattr(_nginx, "_workers", workers)
        if loses:
            apply(tree, OLD, NAMES)
        ended = not killed(change, work)
        work()
        wanted = OLD if loses else CHANGE
        there = {f"sites-enabled/{path.name}": path.read_text() for path in loaded.iterdir() if path.name[0] != "."}
        assert there == wanted
        assert apply(tree, wanted, NAMES) is False
        if ended:
            break
    assert change > 15


SHARED = {"nginx.conf": "events { }\n", DEFAULT: "server { listen 80; }\n"}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 2])
@pytest.mark.parametrize("meanwhile", ["", "another app", "another app, with the same", "by hand"])
def test_shared_files_are_restored_only_if_unchanged_since_the_kill(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, meanwhile: str, kills: int
) -> None:
    apply(machine.tree, OLD, NAMES)
    before = machine.files()
    for _ in range(kills):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(_nginx, "_load", raising)  # like SIGKILL: nothing is reverted
            apply(machine.tree, {SITE: CHANGE[SITE], **SHARED}, NAMES)
    theirs = {name: text if "same" in meanwhile else f"{text}# theirs\n" for name, text in SHARED.items()}
    if "app" in meanwhile:
        _nginx.apply(machine.tree, "blog", {"sites-enabled/blog.conf": "server { }\n", **theirs}, [])
    elif meanwhile:
        for name, text in theirs.items():
            machine.put(name, text)
    there = machine.files()
    machine.turn("reload-fails")
    with pytest.raises(GreenlightError, match="systemctl reload nginx failed"):
        apply(machine.tree, {SITE: "server { } # newer\n", **SHARED}, NAMES)
    expected = {**there, SITE: OLD[SITE]} if meanwhile else before
    assert machine.files() == expected


def raising() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("change", [{SITE: None, "nginx.conf": "events { }\n"}, {"sites-enabled/default": None}])
def test_a_confirmed_change_is_recorded_under_the_name_of_the_app(machine: Machine, change: Change) -> None:
    apply(machine.tree, change, NAMES)
    assert [path.name for path in machine.tree.state.glob("*.json")] == ["shop.json"]


# What was reachable before


OLD: Change = {SITE: "server { listen 80; server_name shop.example.org; } # old\n"}


def watch(served: Callable[[], str], *, well: bool = True, page: str = "") -> Watch:
    """Reach what the old site serves, if ``well``, and nothing of the new one."""
    return Watch(
        {"prefix": page},
        lambda known: {"well": True} if well and served() == OLD[SITE] else {},
        lambda seen: "lost" if seen["well"] and served() != OLD[SITE] else "",
    )


def test_a_change_that_breaks_reachability_is_reverted(machine: Machine) -> None:
    served = machine.site
    apply(machine.tree, OLD, NAMES, watch=watch(served, page="/old"))
    before = machine.files()
    finding = refused(lambda: apply(machine.tree, CHANGE, NAMES, watch=watch(served, page="/new")))
    assert named(finding) == ("site-taken-back", "shop")
    assert "lost" in finding.what
    assert machine.files() == before
    assert machine.count_calls("reload nginx") == 3
    assert noted_page(machine.tree, "shop") == {"prefix": "/old"}
    assert apply(machine.tree, OLD, NAMES, watch=watch(served, page="/old")) is False
    assert apply(machine.tree, CHANGE, NAMES, watch=watch(served, page="/new", well=False)) is True
    assert noted_page(machine.tree, "shop") == {"prefix": "/new"}


def test_a_restored_site_that_nginx_cannot_load_is_not_confirmed(machine: Machine) -> None:
    served = machine.site
    apply(machine.tree, OLD, NAMES, watch=watch(served, page="/old"))
    before = machine.files()

    def after(seen: object) -> str:
        machine.turn("reload-fails")
        return "lost"

    finding = refused(lambda: apply(machine.tree, CHANGE, NAMES, watch=Watch({}, watch(served).before, after)))
    assert named(finding) == ("site-taken-back", "shop")
    assert "systemctl status nginx" in finding.what
    assert machine.files() == before
    assert noted_page(machine.tree, "shop") == {"prefix": "/old"}
    (machine.state / "reload-fails").unlink()
    assert apply(machine.tree, OLD, NAMES) is True


@pytest.mark.parametrize("noted", ['{"begun": "x"}', "[]", "{", '{"begun": "x", "kept": {"files": 7}}'])
def test_an_unconfirmed_site_cannot_lose_reachability(machine: Machine, noted: str) -> None:
    """After a killed run of an older version, it is unknown what Nginx serves."""
    apply(machine.tree, OLD, NAMES)
    (machine.tree.state / "shop.json").write_text(noted)
    asked = []
    lost = Watch({}, lambda page: asked.append(page) or {}, lambda seen: "lost")  # type: ignore[func-returns-value]
    assert apply(machine.tree, CHANGE, NAMES, watch=lost) is True
    assert asked == ([] if "begun" in noted else [{}])


def test_the_saved_state_of_a_change_is_readable_only_by_root(machine: Machine) -> None:
    modes = []
    marker = machine.tree.state / "shop.json"

    def after(seen: object) -> str:
        modes.append(marker.stat().st_mode & 0o777)
        return ""

    apply(machine.tree, CHANGE, NAMES, watch=Watch({}, lambda page: {"well": True}, after))
    assert modes == [0o600]
    assert list(json.loads(marker.read_text())) == ["confirmed"]


# Its workers


def test_a_reload_ends_when_no_old_worker_accepts_connections(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old worker could answer a request that checks the new configuration."""
    seen = iter([{1, 2}, {1, 2}, {1, 2, 3}, {1, 2, 3}, {2, 3}, {3}])
    monkeypatch.setattr(_nginx, "_workers", lambda _main: next(seen))
    apply(machine.tree, CHANGE, NAMES)
    assert next(seen, None) is None


def test_only_the_workers_that_accept_connections_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    titles = {
        "/proc/7/task/7/children": "11 12 13 14 ",
        "/proc/11/cmdline": "nginx: worker process\0\0",
        "/proc/12/cmdline": "nginx: worker process is shutting down\0",
        "/proc/13/cmdline": "nginx: cache manager process\0",
    }
    monkeypatch.setattr(_nginx, "readable", lambda path: titles.get(str(path)))
    assert _nginx._workers("7") == {11}
    titles.clear()
    assert _nginx._workers("7") == set()


# Debian's own site


def conffiles(path: Path, text: str) -> Callable[..., Finished]:
    digest = hashlib.md5(text.encode()).hexdigest()
    listing = f"\n /etc/nginx/nginx.conf 00000000000000000000000000000000\n {path} {digest}\n /etc/old 0 obsolete\n"
    return lambda argv, **_: Finished(0, listing, "")


@pytest.mark.parametrize(
    ("case", "expected"),
    [("stock", True), ("edited", False), ("a file", False), ("absent", False), ("broken", False), ("unknown", False)],
)
def test_only_the_unmodified_stock_site_is_removed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, case: str, expected: bool
) -> None:
    available = machine.tree.etc / "sites-available/default"
    enabled = machine.tree.etc / "sites-enabled/default"
    if case != "broken":
        available.write_text("edited" if case == "edited" else "stock")
    if case == "a file":
        enabled.write_text("stock")
    elif case != "absent":
        enabled.symlink_to("../sites-available/default")
    known = Path("/elsewhere") if case == "unknown" else available
    monkeypatch.setattr(_nginx, "run", conffiles(known, "stock"))
    assert stock_default_site(machine.tree) is expected


# The real Nginx


REAL = "/usr/sbin/nginx"
real = pytest.mark.skipif(not os.access(REAL, os.X_OK), reason="Nginx is not installed on this machine")


@pytest.fixture
def nginx(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "etc/nginx", tmp_path / "state", REAL)
    (tree.etc / "sites-enabled").mkdir(parents=True)
    (tree.etc / "nginx.conf").write_text(
        "pid /run/nginx.pid;\nerror_log /var/log/nginx/error.log;\nevents { }\nhttp {\n"
        f"    access_log /var/log/nginx/access.log;\n    include {tree.etc}/sites-enabled/*;\n}}\n"
    )
    return tree


@real
def test_the_real_nginx_accepts_a_good_site(nginx: Tree) -> None:
    check(nginx, CHANGE, NAMES)


@real
def test_the_real_nginx_accepts_a_neighbour_with_its_own_log_directory(nginx: Tree) -> None:
    (nginx.etc / "sites-enabled/blog").write_text(
        "server { server_name blog; access_log /var/log/nginx/blog/access.log; }"
    )
    check(nginx, CHANGE, NAMES)


@real
def test_a_refusal_of_the_real_nginx_names_file_and_line(nginx: Tree) -> None:
    finding = refused(lambda: check(nginx, {SITE: "server {\n    nonsense;\n}\n"}, NAMES))
    assert named(finding) == BY_NGINX
    assert f'unknown directive "nonsense" in {nginx.etc / SITE}:2' in finding.what


@real
def test_the_real_nginx_warning_about_a_duplicate_name_is_understood(nginx: Tree) -> None:
    (nginx.etc / "sites-enabled/other").write_text("server { listen 80; server_name shop.example.org; }")
    finding = refused(lambda: check(nginx, CHANGE, NAMES))
    assert named(finding) == TAKEN
    assert "shop.example.org" in finding.what


@real
def test_the_real_nginx_refusal_of_a_second_default_server_is_understood(nginx: Tree) -> None:
    (nginx.etc / "sites-enabled/other").write_text("server { listen 80 default_server; }")
    finding = refused(lambda: check(nginx, {DEFAULT: "server { listen 80 default_server; }"}, NAMES))
    assert named(finding) == BY_NGINX
    assert "flask_app_nginx_default_server: false" in finding.fix
