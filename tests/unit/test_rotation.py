# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation changes the keys and nothing else, and at its end no release on the host holds an old one."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.credentials import held
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import parse
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import link
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.ledger import append
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rollback import find_rollback
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.rotate import (
    Keys,
    destroy,
    is_live,
    outdated,
    rotated,
)
from ansible_collections.greenlight.flask.plugins.module_utils._release import store
from ansible_collections.greenlight.flask.plugins.module_utils._release.history import record
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import BAD, PROVED, Releases

from tests.unit.cases import all_named
from tests.unit.fakes import KEY, SECRETS, Host, copied, create, installed, specification
from tests.unit.killing import killed

TIMES = [f"20261121T09442{second}Z" for second in range(9)]
LIVE, ROTATION = TIMES[4], TIMES[5]
#: The key of the releases that the fakes make.
FIRST = SECRETS["SECRET_KEY"]
SECOND, THIRD = "hunter2-second 'key' \n\"é\\", "hunter2-third-key"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return prepared(installed(tmp_path, monkeypatch.setattr))


@pytest.fixture
def layout(host: Host) -> Layout:
    return host.layout


def prepared(host: Host) -> Host:
    host.layout.etc.mkdir(parents=True, exist_ok=True)
    host.layout.digest_key.write_text(KEY.hex())
    return host


def keys(key: str, *fallbacks: str) -> Keys:
    return Keys("SECRET_KEY", key, fallbacks)


def live(layout: Layout, release: str) -> str:
    before = Releases(layout).live()
    if before and before != release:
        link(layout.previous, f"releases/{before}")
    Releases(layout).mark(release, PROVED, {"path": "/health"})
    link(layout.live_socket, str(layout.socket(release)))
    return release


def with_keys(layout: Layout, time: str, key: str, *fallbacks: str, **changes: object) -> str:
    variables = {"FLASK_CONFIG": "staging", **SECRETS, **keys(key, *fallbacks).variables()}
    return create(layout, time, **{"variables": variables, "secret_names": list(variables)[1:], **changes})


def variables(layout: Layout, release: str) -> dict[str, str]:
    return parse(layout.environment_file(release).read_text())


# The keys


def test_the_process_gets_old_keys_as_json_only_if_there_are_any() -> None:
    assert keys(THIRD, SECOND, FIRST).variables() == {
        "SECRET_KEY": THIRD,
        "SECRET_KEY_FALLBACKS": json.dumps([SECOND, FIRST]),
    }
    assert keys(THIRD).variables() == {"SECRET_KEY": THIRD}
    assert Keys("TOKEN", "x", ["y"]).variables() == {"TOKEN": "x", "TOKEN_FALLBACKS": '["y"]'}


@pytest.mark.parametrize(
    ("has", "asked", "expected"),
    [
        ([FIRST], [FIRST], True),
        ([FIRST], [SECOND], False),
        ([SECOND, FIRST], [SECOND, FIRST], True),
        ([SECOND, FIRST], [SECOND], False),
        ([SECOND], [SECOND, FIRST], False),
        ([THIRD, SECOND, FIRST], [THIRD, FIRST, SECOND], False),
        ([THIRD, SECOND, FIRST], [THIRD, SECOND, FIRST], True),
    ],
)
def test_keys_are_live_if_the_live_release_has_exactly_them(
    layout: Layout, has: list[str], asked: list[str], expected: bool
) -> None:
    live(layout, with_keys(layout, LIVE, *has))
    with_keys(layout, ROTATION, *asked)  # there, and not live
    assert is_live(layout, keys(*asked)) is expected


def test_a_key_unknown_to_the_live_release_is_reported(layout: Layout) -> None:
    live(layout, create(layout, LIVE))
    with pytest.raises(Refused, match="flask_app_secret_key_variable") as refused:
        is_live(layout, Keys("TOKEN", SECOND))
    assert all_named(refused) == [("no-signing-key", "TOKEN")]


@pytest.mark.parametrize("step", ["is_live", "rotated", "outdated", "destroy"])
@pytest.mark.parametrize("half", [True, False])
def test_without_a_live_release_there_is_nothing_to_rotate(layout: Layout, step: str, half: bool) -> None:
    release = create(layout, LIVE)
    if half:
        live(layout, release)
        layout.environment_file(release).unlink()
    steps: dict[str, Callable[[], object]] = {
        "is_live": lambda: is_live(layout, keys(FIRST)),
        "rotated": lambda: rotated(layout, ROTATION, keys(SECOND), "alice"),
        "outdated": lambda: outdated(layout),
        "destroy": lambda: destroy(layout),
    }
    with pytest.raises(Refused, match=str(layout.environment_file(release)) if half else None) as refused:
        steps[step]()
    assert all_named(refused) == [("damaged-release", release) if half else ("no-live-release", "shop")]
    assert layout.release(release).is_dir()


# The rotated release


#: A release that differs in all from what the fakes make.
PECULIAR: dict[str, object] = {
    "source": "c3" * 32,
    "venv": "d4" * 32,
    "revision": "v1.2.3 é",
    "environment": "qa",
    "variables": {
        **SECRETS,
        "CRLF": "one\r\ntwo\n",
        "QUOTES": 'it\'s "quoted" \\ $HOME `id` %i',
        "EMPTY": "",
        "SPACES": "  a  b ",
        "NUMBER": 17,
        "SECRET_KEY_OLD": FIRST,
        "UNICODE": "é\U0001f600\u2028",
    },
    "secret_names": ["SECRET_KEY", "DATABASE_URL", "SECRET_KEY_OLD"],
    "release_variable": "RELEASE_ID",
    "command": "# upgrade\r\nflask db 'upgrade' \\\n\techo é",
    "gunicorn": "# Ansible managed by alice\nworkers = 7\r\n\n",
    "drop_in": "# by hand\n[Service]\nMemoryMax=1G\n\n",
    "service": "# x\n[Service]\nUser=shop\n%i\n",
    "socket": "[Socket]\nBacklog=7",
}


def texts(layout: Layout, release: str) -> Sequence[object]:
    home = layout.release(release)
    files = [home / "gunicorn.conf.py", home / "release-command", *layout.parts(release).values()]
    return [
        *[(path.read_bytes(), path.stat().st_mode & 0o7777) for path in files],
        *[os.readlink(home / name) for name in ("source", "venv")],
        layout.environment_file(release).stat().st_mode & 0o7777,
    ]


@pytest.mark.parametrize("fallbacks", [[], [FIRST], [SECOND, FIRST]])
def test_a_rotated_release_differs_from_the_live_one_only_in_its_keys(layout: Layout, fallbacks: list[str]) -> None:
    old = live(layout, create(layout, LIVE, **PECULIAR))
    made = rotated(layout, ROTATION, keys(THIRD, *fallbacks), "alice")
    assert made.id == f"{ROTATION}-c3c3c3c3"
    assert texts(layout, made.id) == texts(layout, old)
    before = {name: value for name, value in variables(layout, old).items() if name not in ("SECRET_KEY", "RELEASE_ID")}
    assert before["SECRET_KEY_OLD"] == FIRST
    expected = {**before, **keys(THIRD, *fallbacks).variables(), "RELEASE_ID": made.id}
    assert variables(layout, made.id) == expected
    assert ("SECRET_KEY_FALLBACKS" in expected) is bool(fallbacks)
    manifests = [Releases(layout).get(release).manifest for release in (old, made.id)]  # type: ignore[union-attr]
    for name in ("revision", "environment", "source", "venv", "release_variable"):
        assert manifests[0][name] == manifests[1][name] != ""
    assert manifests[1]["by"] == "alice"
    assert not made.proved
    assert not made.bad
    assert Releases(layout).live() == old


def test_the_old_keys_of_the_live_release_are_replaced(layout: Layout) -> None:
    live(layout, with_keys(layout, LIVE, SECOND, FIRST))
    made = rotated(layout, ROTATION, keys(THIRD, SECOND), "alice")
    assert variables(layout, made.id)["SECRET_KEY_FALLBACKS"] == json.dumps([SECOND])
    finished = rotated(layout, TIMES[6], keys(SECOND), "alice")
    assert "SECRET_KEY_FALLBACKS" not in variables(layout, finished.id)


@pytest.mark.parametrize("named", [["SECRET_KEY", "DATABASE_URL"], ["DATABASE_URL"]])
def test_the_keys_of_a_rotated_release_are_secrets(layout: Layout, named: list[str]) -> None:
    live(layout, create(layout, LIVE, secret_names=named))
    made = rotated(layout, ROTATION, keys(THIRD, SECOND, FIRST), "alice")
    assert made.secret_names == {"SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL"}
    assert {FIRST, SECOND, THIRD, SECRETS["DATABASE_URL"]} <= set(Releases(layout).secret_values(made.id))
    live(layout, made.id)
    finished = rotated(layout, TIMES[6], keys(THIRD), "alice")
    assert finished.manifest["secret_names"] == ["DATABASE_URL", "SECRET_KEY"]


def test_a_rotated_release_is_created_once(layout: Layout) -> None:
    live(layout, create(layout, LIVE, **PECULIAR))
    made = rotated(layout, ROTATION, keys(SECOND, FIRST), "alice")
    again = rotated(layout, TIMES[6], keys(SECOND, FIRST), "bob")
    assert again == made
    live(layout, made.id)
    assert is_live(layout, keys(SECOND, FIRST))
    assert rotated(layout, TIMES[7], keys(SECOND, FIRST), "alice").id == made.id
    assert len(Releases(layout).all()) == 2


def test_the_live_release_is_reused_if_it_already_has_the_keys(layout: Layout) -> None:
    release = live(layout, create(layout, LIVE))
    assert rotated(layout, ROTATION, keys(FIRST), "alice").id == release


def test_a_rotated_release_marked_bad_is_recreated(layout: Layout) -> None:
    live(layout, create(layout, LIVE))
    bad = rotated(layout, ROTATION, keys(SECOND), "alice").id
    Releases(layout).mark(bad, BAD, {})
    assert rotated(layout, TIMES[6], keys(SECOND), "alice").id == f"{TIMES[6]}-a1a1a1a1"


def test_the_next_deploy_reuses_the_rotated_release(layout: Layout) -> None:
    """The digest is that of a release from the inventory with the new keys, so site.yml has nothing to do."""
    live(layout, create(layout, LIVE))
    made = rotated(layout, ROTATION, keys(SECOND, FIRST), "alice")
    wanted = specification(
        TIMES[6],
        variables={"FLASK_CONFIG": "staging", **SECRETS, **keys(SECOND, FIRST).variables()},
        secret_names=[*SECRETS, "SECRET_KEY_FALLBACKS"],
    )
    assert made.digest == wanted.digest(KEY)
    assert Releases(layout).is_intact(made, wanted)


@pytest.mark.slow
def test_a_killed_rotation_is_completed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for change in itertools.count(1):
        layout = prepared(installed(tmp_path / f"{change}", monkeypatch.setattr)).layout
        old = live(layout, create(layout, LIVE))

        def rotate(time: str, layout: Layout = layout) -> str:
            return rotated(layout, time, keys(SECOND, FIRST), "alice").id

        ended = not killed(change, lambda: rotate(ROTATION))
        assert Releases(layout).live() == old
        release = rotate(TIMES[6])
        assert [found.id for found in Releases(layout).all()] == [old, release]
        assert texts(layout, release) == texts(layout, old)
        if ended:
            break
    assert change > 20


# Secrets as credentials


def with_credentials(layout: Layout, time: str, key: str, *fallbacks: str) -> str:
    return with_keys(layout, time, key, *fallbacks, credentials=[*SECRETS, *keys(key, *fallbacks).variables()])


def handed_over(layout: Layout, release: str) -> list[str]:
    """The names in the drop-in."""
    text = layout.credentials_drop_in(release).read_text()
    return re.findall(r"^LoadCredential=(\w+):/etc/shop/releases/%i\.credentials/\1$", text, re.MULTILINE)


def test_rotated_keys_are_credentials_if_the_key_was_one(layout: Layout) -> None:
    live(layout, with_credentials(layout, LIVE, FIRST))
    made = rotated(layout, ROTATION, keys(SECOND, FIRST), "alice")
    new = {**SECRETS, **keys(SECOND, FIRST).variables()}
    assert held(layout, made.id) == new
    assert handed_over(layout, made.id) == sorted(new)
    assert variables(layout, made.id) == {"FLASK_CONFIG": "staging", "APP_RELEASE": made.id}
    assert {FIRST, SECOND} <= set(Releases(layout).secret_values(made.id))
    live(layout, made.id)
    assert is_live(layout, keys(SECOND, FIRST))
    finished = rotated(layout, TIMES[6], keys(SECOND), "alice")
    assert held(layout, finished.id) == {**SECRETS, "SECRET_KEY": SECOND}
    assert handed_over(layout, finished.id) == sorted(SECRETS)
    assert "SECRET_KEY_FALLBACKS" not in variables(layout, finished.id)


@pytest.mark.parametrize("credentials", [[], ["DATABASE_URL"]])
def test_rotated_keys_are_variables_if_the_key_was_one(layout: Layout, credentials: list[str]) -> None:
    live(layout, create(layout, LIVE, credentials=credentials))
    made = rotated(layout, ROTATION, keys(SECOND, FIRST), "alice")
    assert list(held(layout, made.id)) == credentials
    assert keys(SECOND, FIRST).variables().items() <= variables(layout, made.id).items()


def test_the_next_deploy_reuses_a_rotated_release_with_credentials(layout: Layout) -> None:
    live(layout, with_credentials(layout, LIVE, FIRST))
    for time, given in ((ROTATION, keys(SECOND, FIRST)), (TIMES[6], keys(SECOND))):
        made = rotated(layout, time, given, "alice")
        values = {**SECRETS, **given.variables()}
        whole = {"FLASK_CONFIG": "staging", **values}
        wanted = specification(TIMES[7], variables=whole, secret_names=[*values], credentials=[*values])
        assert made.digest == wanted.digest(KEY)
        assert Releases(layout).is_intact(made, wanted)
        live(layout, made.id)
    assert rotated(layout, TIMES[8], keys(SECOND), "bob").id == made.id


def test_old_keys_within_credentials_are_found_and_removed(layout: Layout) -> None:
    doomed = [with_credentials(layout, TIMES[0], FIRST), with_credentials(layout, TIMES[1], SECOND, FIRST)]
    kept = [with_credentials(layout, TIMES[2], SECOND), live(layout, with_credentials(layout, LIVE, THIRD, SECOND))]
    assert outdated(layout) == doomed
    assert destroy(layout) == doomed
    assert [release.id for release in Releases(layout).all()] == kept
    for path in layout.root.rglob("*"):
        assert not path.is_file() or FIRST not in path.read_text(), path
    assert is_live(layout, keys(THIRD, SECOND))


def test_old_keys_as_variables_are_outdated_next_to_credentials(layout: Layout) -> None:
    old, same = with_keys(layout, TIMES[0], FIRST), with_keys(layout, TIMES[1], SECOND)
    live(layout, with_credentials(layout, LIVE, SECOND))
    assert same not in outdated(layout)
    assert destroy(layout) == [old]


# What holds an old secret


def story(layout: Layout) -> list[str]:
    """Make a release of before, one with the first key, and those of a start, another start and a finish."""
    return [
        create(layout, TIMES[0], variables={"SECRET_KEY": "hunter2-of-long-ago", "DATABASE_URL": FIRST}),
        with_keys(layout, TIMES[1], FIRST),
        with_keys(layout, TIMES[2], SECOND, FIRST),
        with_keys(layout, TIMES[3], THIRD, SECOND),
        with_keys(layout, TIMES[4], THIRD),
    ]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, [0, 2, 3, 4]),
        (2, [0, 3, 4]),  # it holds the first key too
        (4, [0, 1, 2, 3]),
    ],
)
def test_a_release_with_a_secret_missing_from_the_live_one_is_outdated(
    layout: Layout, number: int, expected: list[int]
) -> None:
    releases = story(layout)
    live(layout, releases[number])
    assert outdated(layout) == [releases[each] for each in expected]


def test_any_secret_counts_but_public_variables_do_not(layout: Layout) -> None:
    old = {**SECRETS, "DATABASE_URL": "postgresql://shop:pass-w0rd-old@db/shop"}
    outdated_ones = [create(layout, TIMES[0], variables={"FLASK_CONFIG": "staging", **old})]
    create(layout, TIMES[1], variables={"FLASK_CONFIG": "development", **SECRETS}, source="c3" * 32)
    create(layout, TIMES[2], variables={"FLASK_CONFIG": "staging", "SECRET_KEY": FIRST})  # less is no more
    live(layout, create(layout, LIVE))
    outdated_ones.append(create(layout, TIMES[6], variables={**SECRETS, "TOKEN": "hunter2"}, secret_names=["TOKEN"]))
    assert outdated(layout) == outdated_ones


def test_a_release_whose_keys_are_all_live_is_not_outdated(layout: Layout) -> None:
    with_keys(layout, TIMES[2], SECOND, FIRST)
    live(layout, with_keys(layout, LIVE, THIRD, SECOND, FIRST))
    assert outdated(layout) == []


# Its removal


def left(layout: Layout) -> list[str]:
    places = (layout.releases, layout.environment_files, layout.units)
    return sorted(str(path.relative_to(layout.root)) for place in places for path in place.rglob("*"))


def test_an_outdated_release_is_removed_completely(layout: Layout) -> None:
    doomed = [with_keys(layout, TIMES[0], FIRST), with_keys(layout, TIMES[1], SECOND, FIRST, source="c3" * 32)]
    kept = [with_keys(layout, TIMES[2], SECOND, source="c3" * 32), live(layout, with_keys(layout, LIVE, SECOND))]
    assert destroy(layout) == doomed
    assert [release.id for release in Releases(layout).all()] == kept
    assert not [name for name in left(layout) if any(release in name for release in doomed)]
    for path in layout.root.rglob("*"):
        assert not path.is_file() or FIRST not in path.read_text(), path
    assert len(os.listdir(layout.sources)) == 2
    assert destroy(layout) == []


@pytest.mark.parametrize("old", [True, False])
def test_the_previous_link_is_removed_only_if_its_target_is_gone(layout: Layout, old: bool) -> None:
    previous = live(layout, with_keys(layout, TIMES[0], FIRST if old else SECOND))
    with_keys(layout, TIMES[1], FIRST)
    live(layout, with_keys(layout, LIVE, SECOND))
    assert Releases(layout).previous() == previous
    destroy(layout)
    assert layout.previous.is_symlink() is not old
    assert Releases(layout).previous() == ("" if old else previous)


def test_a_host_without_a_previous_release_is_purged_too(layout: Layout) -> None:
    doomed = with_keys(layout, TIMES[0], FIRST)
    live(layout, with_keys(layout, LIVE, SECOND))
    assert destroy(layout) == [doomed]
    assert not layout.previous.is_symlink()


@pytest.mark.parametrize("unit", ["service", "socket"])
@pytest.mark.parametrize("how", ["running", "failed", "enabled"])
def test_nothing_is_removed_while_an_outdated_release_runs(host: Host, layout: Layout, unit: str, how: str) -> None:
    first, second = with_keys(layout, TIMES[0], FIRST), with_keys(layout, TIMES[1], THIRD)
    live(layout, with_keys(layout, LIVE, SECOND))
    name = f"shop@{second}.{unit}"
    if how == "enabled":
        host._enable([name])
    else:
        (host.active if how == "running" else host.failed).joinpath(name).touch()
    before = left(layout)
    with pytest.raises(Refused, match=r"site\.yml") as refused:
        destroy(layout)
    assert all_named(refused) == [("release-runs", second)]
    assert left(layout) == before
    assert Releases(layout).get(first)


def test_other_running_releases_do_not_prevent_the_removal(host: Host, layout: Layout) -> None:
    doomed = with_keys(layout, TIMES[0], FIRST)
    running = [with_keys(layout, TIMES[1], SECOND), live(layout, with_keys(layout, LIVE, SECOND))]
    for release in running:
        (host.active / layout.service_unit(release)).touch()
    assert destroy(layout) == [doomed]
    assert [release.id for release in Releases(layout).all()] == running


def removals(tmp_path: Path, patch: Callable[[object, str, object], None]) -> list[Layout]:
    """Return hosts on which a removal was killed before each of its changes and done again; the last: in peace."""
    before = prepared(installed(tmp_path / "0", patch)).layout
    live(before, with_keys(before, TIMES[0], FIRST))
    with_keys(before, TIMES[1], THIRD)
    live(before, with_keys(before, LIVE, SECOND))
    ends: list[Layout] = []
    for change in itertools.count(1):
        copied(before.root, tmp_path / f"{change}")
        layout = installed(tmp_path / f"{change}", patch).layout
        ended = not killed(change, lambda layout=layout: destroy(layout))  # type: ignore[misc]
        assert is_live(layout, keys(SECOND)), f"change {change}"
        destroy(layout)
        ends.append(layout)
        if ended:
            break
    assert len(ends) > 20
    return ends


@pytest.mark.slow
def test_a_killed_and_repeated_purge_leaves_no_outdated_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layout in removals(tmp_path, monkeypatch.setattr):
        assert [release.id for release in Releases(layout).all()] == [Releases(layout).live()]
        assert not layout.previous.is_symlink()


@pytest.mark.slow
def test_a_killed_and_repeated_purge_has_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = removals(tmp_path, monkeypatch.setattr)
    for number, end in enumerate(ends, start=1):
        assert left(end) == left(ends[-1]), f"change {number}"


@pytest.mark.slow
@pytest.mark.parametrize("deployed", [with_keys, with_credentials])
def test_a_purge_also_removes_keys_left_by_a_killed_deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Callable[[Layout, str, str], str]
) -> None:
    for change in itertools.count(1):
        layout = prepared(installed(tmp_path / f"{change}", monkeypatch.setattr)).layout
        live(layout, deployed(layout, LIVE, SECOND))
        ended = not killed(change, lambda layout=layout: deployed(layout, TIMES[0], FIRST))  # type: ignore[misc]
        destroy(layout)
        holding = [path for path in layout.root.rglob("*") if path.is_file() and FIRST in path.read_text()]
        assert holding == [], f"change {change}"
        if ended:
            break
    assert change > 30


def test_rollback_across_a_rotation_crosses_no_command(layout: Layout) -> None:
    old = live(layout, create(layout, LIVE, command="flask db upgrade", reversible=False))
    record(layout, "command", old)
    append(layout.ledger, {"event": "live", "release": old, "reversible": False})
    new = live(layout, rotated(layout, ROTATION, keys(SECOND, FIRST), "alice").id)
    record(layout, "live", new)
    assert find_rollback(layout).id == old


def test_a_rotation_reads_each_release_once(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    read = store.environment_of
    reads: list[str] = []
    monkeypatch.setattr(store, "environment_of", lambda layout, name: reads.append(name) or read(layout, name))  # type: ignore[func-returns-value]
    old, new = with_keys(layout, LIVE, FIRST), with_keys(layout, ROTATION, SECOND)
    live(layout, new)
    reads.clear()
    assert outdated(layout) == [old]
    assert sorted(reads) == [old, new]
    reads.clear()
    rotated(layout, TIMES[6], keys(THIRD, SECOND), "alice")
    assert reads.count(new) == 1
