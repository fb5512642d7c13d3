# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is complete or absent, is found again by its content, and shows nobody a secret."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    EnvironmentValueError,
    parse,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import link
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import mask
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.prune import prune
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import (
    BAD,
    PROVED,
    Releases,
    as_made,
    changes,
)

from tests.unit.fakes import KEY, SECRETS, WORKER, WORKER_TEXTS, create, specification
from tests.unit.killing import killed

FIRST = "20261121T094420Z"
SECOND = "20261121T094421Z"
ID = f"{FIRST}-a1a1a1a1"
#: The files in the directory of a complete release.
PARTS = ["gunicorn.conf.py", "gunicorn_hooks.py", "release-command", "release.json", "source", "venv"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path)


def live(layout: Layout, release: str) -> None:
    link(layout.live_socket, str(layout.socket(release)))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# Making it


def test_a_release_is_complete_under_its_id(layout: Layout) -> None:
    made = Releases(layout).create(specification(command="flask db upgrade\n"), KEY, "alice")
    assert made.id == ID
    home = layout.release(ID)
    assert sorted(os.listdir(home)) == PARTS
    assert os.readlink(home / "source") == "../../sources/" + "a1" * 32
    assert os.readlink(home / "venv") == "../../venvs/" + "b2" * 32
    assert (home / "gunicorn.conf.py").read_text() == "workers = 2\n"
    assert (home / "release-command").read_text() == "flask db upgrade\n"
    assert layout.part(ID, "drop_in").read_text() == "[Service]\nMemoryMax=40%\n"
    assert (layout.units / f"shop@{ID}.service").read_text() == "[Service]\nType=notify\n"
    assert (layout.units / f"shop@{ID}.socket").read_text() == "[Socket]\n"
    assert parse(layout.environment_file(ID).read_text()) == {"FLASK_CONFIG": "staging", **SECRETS, "APP_RELEASE": ID}
    assert Releases(layout).get(ID) == made
    assert Releases(layout).all() == [made]


def test_the_manifest_lists_everything_without_secrets(layout: Layout) -> None:
    create(layout, FIRST)
    manifest = json.loads((layout.release(ID) / "release.json").read_text())
    assert manifest == {
        "release": ID,
        "revision": "r1",
        "environment": "staging",
        "digest": specification().digest(KEY),
        "source": "a1" * 32,
        "venv": "b2" * 32,
        "secret_names": ["DATABASE_URL", "SECRET_KEY"],
        "release_variable": "APP_RELEASE",
        "reversible": True,
        "processes": ["web"],
        "by": "tester",
    }


@pytest.mark.parametrize("reversible", [True, False])
def test_a_release_records_whether_its_command_is_reversible(layout: Layout, reversible: bool) -> None:
    made = Releases(layout).create(specification(command="true", reversible=reversible), KEY, "alice")
    found = Releases(layout).get(made.id)
    assert found and found.reversible is made.reversible is reversible


def test_the_process_gets_the_release_id_in_the_configured_variable(layout: Layout) -> None:
    create(layout, FIRST, release_variable="RELEASE_ID")
    variables = parse(layout.environment_file(ID).read_text())
    assert variables["RELEASE_ID"] == ID
    assert "APP_RELEASE" not in variables


def test_the_command_is_kept_byte_for_byte(layout: Layout) -> None:
    command = "# first\r\necho 'é' \"$HOME\" %i \\\n\tflask db upgrade"
    create(layout, FIRST, command=command)
    assert (layout.release(ID) / "release-command").read_bytes() == command.encode()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_only_root_can_read_the_environment_but_anyone_the_rest(layout: Layout, umask: int) -> None:
    before = os.umask(umask)
    try:
        create(layout, FIRST)
    finally:
        os.umask(before)
    assert mode(layout.environment_files) == 0o700
    assert mode(layout.environment_file(ID)) == 0o600
    assert mode(layout.release(ID)) == 0o755
    assert mode(layout.release(ID) / "gunicorn.conf.py") == 0o644
    assert mode(layout.release(ID) / "release-command") == 0o644
    assert mode(layout.part(ID, "drop_in")) == 0o644
    assert mode(layout.part(ID, "drop_in").parent) == 0o755


def test_secrets_are_only_in_the_environment_file(layout: Layout) -> None:
    create(layout, FIRST)
    holding = [
        path
        for path in layout.root.rglob("*")
        if path.is_file() and any(secret in path.read_text() for secret in SECRETS.values())
    ]
    assert holding == [layout.environment_file(ID)]


def test_two_deploys_in_one_second_do_not_become_one(layout: Layout) -> None:
    create(layout, FIRST)
    with pytest.raises(GreenlightError, match=f"Release {ID} already exists with different contents"):
        create(layout, FIRST, revision="r2")
    assert Releases(layout).all()[0].manifest["revision"] == "r1"


def test_a_value_unsupported_by_systemd_creates_no_release(layout: Layout) -> None:
    with pytest.raises(EnvironmentValueError, match="SECRET_KEY"):
        create(layout, FIRST, variables={"SECRET_KEY": "hunter2\0"})
    assert Releases(layout).all() == []


@pytest.mark.slow
def test_a_release_killed_during_creation_is_never_half_visible(tmp_path: Path) -> None:
    """Before each change to the disk, all or nothing of it exists; the next run completes it and cleans up."""
    change = 0
    while True:
        change += 1
        layout = Layout("shop", tmp_path / f"{change}")
        create(layout, "20261120T000000Z", revision="r0")
        live(layout, Releases(layout).all()[0].id)
        before = {release.id for release in Releases(layout).all()}
        ended = not killed(change, lambda layout=layout: create(layout, FIRST))  # type: ignore[misc]
        seen = {release.id for release in Releases(layout).all()}
        assert (Releases(layout).get(ID) is not None) == (ID in seen)
        assert seen in (before, before | {ID})
        if ID in seen:
            assert sorted(os.listdir(layout.release(ID))) == PARTS
            assert "APP_RELEASE" in layout.environment_file(ID).read_text()
            assert layout.part(ID, "drop_in").exists()
            assert (layout.units / f"shop@{ID}.socket").exists()
        for time in (FIRST, SECOND):
            if not Releases(layout).find(specification().digest(KEY)):
                assert Releases(layout).get(create(layout, time))
        made = Releases(layout).find(specification().digest(KEY))
        assert made
        live(layout, made.id)
        Releases(layout).mark(made.id, PROVED, {})
        prune(layout, keep=1)
        assert os.listdir(layout.releases) == [made.id]
        assert os.listdir(layout.environment_files) == [f"{made.id}.env"]
        assert [path.name for path in layout.units.glob("*.d")] == [f"shop@{made.id}.service.d"]
        if ended:
            break
    assert change > 20


def test_leftovers_of_a_killed_older_release_are_removed(tmp_path: Path) -> None:
    for change in range(1, 60, 4):
        layout = Layout("shop", tmp_path / f"{change}")
        if not killed(change, lambda layout=layout: create(layout, FIRST)):  # type: ignore[misc]
            break
        newer = create(layout, SECOND)
        live(layout, newer)
        prune(layout, keep=1)
        assert os.listdir(layout.releases) == [newer]
        assert os.listdir(layout.environment_files) == [f"{newer}.env"]


@pytest.mark.parametrize("hand", [
    "none", "comment", "unit", "socket", "drop-in", "gunicorn", "command", "variable", "mode", "override",
])  # fmt: skip
def test_a_release_edited_by_hand_is_not_intact(layout: Layout, hand: str) -> None:
    create(layout, FIRST)
    service, socket = layout.part(ID, "service"), layout.part(ID, "socket")
    places = {"comment": service, "unit": service, "socket": socket, "drop-in": layout.part(ID, "drop_in")}
    places |= {"gunicorn": layout.release(ID) / "gunicorn.conf.py", "variable": layout.environment_file(ID)}
    places |= {"command": layout.release(ID) / "release-command"}
    if hand in places:
        with places[hand].open("a", encoding="utf-8") as file:
            file.write("# by hand\n" if hand == "comment" else "User=root\n")
    if hand == "override":
        layout.part(ID, "drop_in").with_name("override.conf").write_text("[Service]\nEnvironment=A=b\n")
    if hand == "mode":
        layout.environment_file(ID).chmod(0o644)
    releases = Releases(layout)
    assert releases.is_intact(releases.all()[0], specification()) is (hand in ("none", "comment"))


@pytest.mark.parametrize(("old", "new"), [("# one", "# two"), ("\r\n", "\n"), ("# one", "\udcff")])
def test_a_line_of_a_value_that_looks_like_a_comment_counts(layout: Layout, old: str, new: str) -> None:
    variables = {"TOKEN": "line\r\n# one\nline"}
    create(layout, FIRST, variables=variables)
    release = Releases(layout).all()[0]
    assert Releases(layout).is_intact(release, specification(variables=variables))
    path = layout.environment_file(ID)
    path.write_bytes(path.read_bytes().replace(old.encode(), os.fsencode(new)))
    assert not Releases(layout).is_intact(release, specification(variables=variables))


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c"], ids=ascii)
def test_text_after_a_separator_in_a_value_is_not_a_comment(separator: str) -> None:
    digests = {
        specification(gunicorn=f'proc_name = "x{separator}# {text}"\n').digest(b"k" * 32) for text in ("one", "two")
    }
    assert len(digests) == 2


@pytest.mark.parametrize("missing", ["manifest", "environment", "service", "socket", "drop-in"])
def test_an_incomplete_release_does_not_count(layout: Layout, missing: str) -> None:
    create(layout, FIRST)
    service, socket = layout.part(ID, "service"), layout.part(ID, "socket")
    parts = {
        "manifest": layout.release(ID) / "release.json",
        "environment": layout.environment_file(ID),
        "service": service,
        "socket": socket,
        "drop-in": layout.part(ID, "drop_in"),
    }
    parts[missing].unlink()
    assert Releases(layout).get(ID) is None
    assert Releases(layout).all() == []


@pytest.mark.parametrize("name", ["", "..", "../../etc", ".unfinished-x", f"{ID}x"])
def test_an_entry_without_a_release_id_is_not_a_release(layout: Layout, name: str) -> None:
    create(layout, FIRST)
    assert Releases(layout).get(name) is None


def test_destroying_a_release_removes_everything_of_it(layout: Layout) -> None:
    create(layout, FIRST)
    Releases(layout).destroy(ID)
    assert os.listdir(layout.releases) == os.listdir(layout.environment_files) == []
    assert list(layout.units.glob("*.d")) == []
    assert (layout.sources / ("a1" * 32)).is_dir()
    assert (layout.venvs / ("b2" * 32)).is_dir()
    Releases(layout).destroy(ID)


def test_a_killed_destruction_leaves_no_half_visible_release(tmp_path: Path) -> None:
    for change in range(1, 60):
        layout = Layout("shop", tmp_path / f"{change}")
        create(layout, FIRST)
        ended = not killed(change, lambda layout=layout: Releases(layout).destroy(ID))  # type: ignore[misc]
        found = Releases(layout).get(ID)
        assert found is None or sorted(os.listdir(layout.release(ID))) == PARTS
        if ended:
            break
    assert change > 5


# Its digest


def test_the_digest_ignores_time_order_secrecy_and_reversibility() -> None:
    reference = specification().digest(KEY)
    reordered = dict(reversed(list(specification().variables.items())))
    assert specification(SECOND).digest(KEY) == reference
    assert specification(variables=reordered).digest(KEY) == reference
    assert specification(secret_names=[]).digest(KEY) == reference
    assert specification(reversible=False).digest(KEY) == reference


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", "c3" * 32),
        ("venv", "c3" * 32),
        ("revision", "r2"),
        ("variables", {"FLASK_CONFIG": "production", **SECRETS}),
        ("variables", {"FLASK_CONFIG": "staging", **SECRETS, "SECRET_KEY": "another"}),
        ("variables", {"FLASK_CONFIG": "staging"}),
        ("release_variable", "RELEASE"),
        ("command", "flask db upgrade"),
        ("gunicorn", "workers = 3\n"),
        ("drop_in", "[Service]\n"),
        ("service", "[Service]\n"),
        ("socket", "[Socket]\nBacklog=1\n"),
        ("credentials", ["SECRET_KEY"]),
        ("hooks", "pass\n"),
    ],
)
def test_the_digest_changes_with_each_part(field: str, value: object) -> None:
    changed = specification(**{field: value})  # type: ignore[arg-type]
    assert changed.digest(KEY) != specification().digest(KEY)


def test_the_digest_depends_on_the_key_of_the_host() -> None:
    assert specification().digest(KEY) != specification().digest(b"other")


def test_the_digest_of_existing_releases_never_changes() -> None:
    """Another digest would be another release on each host, although nothing changed."""
    assert (
        specification(hooks="").digest(b"k" * 32) == "592bf30f077c15690eb47c001ab284d4b422ff573f5adf9557beec00206fbab2"
    )


def test_every_field_of_a_release_is_covered_by_the_digest_tests() -> None:
    in_digest = {
        "source",
        "venv",
        "revision",
        "variables",
        "release_variable",
        "command",
        "gunicorn",
        "processes",
        "credentials",
        "hooks",
    }
    elsewhere = {"time", "secret_names", "environment", "reversible"}  # the environment's name is one of the variables
    assert {field.name for field in dataclasses.fields(specification())} == in_digest | elsewhere


# A process besides web


@pytest.fixture
def wider(tmp_path: Path) -> Layout:
    """The layout of an app whose releases may have a worker."""
    return Layout("shop", tmp_path / "wider", processes=(WEB, WORKER))


def with_worker(layout: Layout, time: str) -> str:
    return create(
        layout, time, processes={**specification(time).processes, "worker": WORKER_TEXTS}, credentials=["SECRET_KEY"]
    )


def test_a_release_keeps_the_processes_it_was_created_with(wider: Layout) -> None:
    old, new = create(wider, FIRST), with_worker(wider, SECOND)
    releases = Releases(wider)
    assert [releases.get(name) is not None for name in (old, new)] == [True, True]
    assert releases.units(old) == [f"shop@{old}.socket", f"shop@{old}.service"]
    assert releases.units(new) == [f"shop@{new}.socket", f"shop@{new}.service", f"shop_worker@{new}.service"]
    assert wider.part(new, "service", WORKER).read_text() == WORKER_TEXTS["service"]
    assert "SECRET_KEY" in wider.credentials_drop_in(new, WORKER).read_text()
    assert mode(wider.part(new, "drop_in", WORKER).parent) == 0o755


def test_a_release_without_a_worker_process_is_complete(wider: Layout) -> None:
    made = create(wider, FIRST, credentials=["SECRET_KEY"])
    found = Releases(wider).get(made)
    assert found and Releases(wider).is_intact(found, specification(FIRST, credentials=["SECRET_KEY"]))
    assert not wider.credentials_drop_in(made, WORKER).parent.exists()


def test_every_file_of_every_process_is_part_of_a_release(wider: Layout) -> None:
    release = with_worker(wider, FIRST)
    found = Releases(wider).get(release)
    processes = {**specification().processes, "worker": WORKER_TEXTS}
    wanted = specification(FIRST, processes=processes, credentials=["SECRET_KEY"])
    assert found
    assert Releases(wider).is_intact(found, wanted)
    assert not Releases(wider).is_intact(found, specification(FIRST, credentials=["SECRET_KEY"]))
    assert as_made(wider, found).digest(KEY) == found.digest
    wider.part(release, "service", WORKER).write_text("[Service]\nUser=root\n")
    assert not Releases(wider).is_intact(found, wanted)
    wider.part(release, "service", WORKER).unlink()
    assert [damage.path for damage in Releases(wider).faults(release)] == [wider.part(release, "service", WORKER)]


def test_a_removed_release_leaves_no_file_of_any_process(wider: Layout) -> None:
    Releases(wider).destroy(with_worker(wider, FIRST))
    assert [path for path in wider.units.rglob("*") if "shop" in path.name] == []


# Existing releases


def test_releases_are_listed_oldest_first_and_other_entries_skipped(layout: Layout) -> None:
    assert Releases(layout).all() == []
    later, earlier = create(layout, SECOND), create(layout, FIRST)
    (layout.releases / "by-hand").mkdir()
    assert [release.id for release in Releases(layout).all()] == [earlier, later]


def test_no_link_means_no_live_release(layout: Layout) -> None:
    assert Releases(layout).live() == ""
    layout.srv.mkdir(parents=True)
    layout.live_socket.symlink_to("/run/shop/by-hand.sock")
    assert Releases(layout).live() == ""


def test_the_live_release_is_the_one_whose_socket_is_linked(layout: Layout) -> None:
    create(layout, FIRST)
    live(layout, ID)
    assert Releases(layout).live() == ID


def test_find_prefers_the_newest_good_release_of_equals(layout: Layout) -> None:
    digest = specification().digest(KEY)
    assert Releases(layout).find(digest) is None
    first, second = create(layout, FIRST), create(layout, SECOND)
    create(layout, "20261121T094422Z", revision="r2")
    assert Releases(layout).find(digest).id == second  # type: ignore[union-attr]
    Releases(layout).mark(second, BAD, {"failures": ["x"]})
    assert Releases(layout).find(digest).id == first  # type: ignore[union-attr]
    Releases(layout).mark(first, BAD, {})
    assert Releases(layout).find(digest) is None


def test_find_prefers_the_live_one(layout: Layout) -> None:
    first, _ = create(layout, FIRST), create(layout, SECOND)
    live(layout, first)
    assert Releases(layout).find(specification().digest(KEY)).id == first  # type: ignore[union-attr]
    Releases(layout).mark(first, BAD, {})
    assert Releases(layout).find(specification().digest(KEY)).id != first  # type: ignore[union-attr]


def test_marks_of_a_release_are_read_back(layout: Layout) -> None:
    create(layout, FIRST)
    Releases(layout).mark(ID, PROVED, {"health": "é"})
    assert (Releases(layout).get(ID).proved, Releases(layout).get(ID).bad) == (True, False)  # type: ignore[union-attr]
    assert json.loads((layout.release(ID) / PROVED).read_text()) == {"health": "é"}
    Releases(layout).mark(ID, BAD, {})
    assert Releases(layout).get(ID).bad  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("case", "expected"), [("good", True), ("bad", False), ("gone", False), ("live", False), ("no link", False)]
)
def test_the_previous_release_is_complete_good_and_not_live(layout: Layout, case: str, expected: bool) -> None:
    first, second = create(layout, FIRST), create(layout, SECOND)
    live(layout, first if case == "live" else second)
    if case != "no link":
        link(layout.previous, f"releases/{first}")
    if case == "bad":
        Releases(layout).mark(first, BAD, {})
    if case == "gone":
        Releases(layout).destroy(first)
    assert Releases(layout).previous() == (first if expected else "")


def test_secrets_are_the_values_of_the_secret_names(layout: Layout) -> None:
    secrets = {"SECRET_KEY": "two\r\nlines 'quoted'", "TOKEN": "x\ry"}
    create(layout, FIRST, variables={"PUBLIC": "public", **secrets}, secret_names=["SECRET_KEY", "TOKEN", "ABSENT"])
    assert sorted(Releases(layout).secret_values(ID)) == sorted(secrets.values())
    assert Releases(layout).secret_values("20200101T000000Z-00000000") == []


def test_each_key_in_a_list_of_old_keys_is_a_separate_secret(layout: Layout) -> None:
    old = ["hunter2-old-and-secret", 'hunter2 "older"\n and é']
    variables = {"SECRET_KEY": "hunter2-new", "SECRET_KEY_FALLBACKS": json.dumps(old), "PUBLIC": '["public"]'}
    create(layout, FIRST, variables=variables, secret_names=["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
    secrets = Releases(layout).secret_values(ID)
    assert sorted(secrets) == sorted(["hunter2-new", json.dumps(old), *old])
    said = mask(f"tried {old[0]!r}, {json.dumps(old[1])} and {old}", secrets)
    assert said == "tried '********', \"********\" and ['********', '********']"


@pytest.mark.parametrize("value", ["[hunter2", "hunter2", '"hunter2"', '{"hunter2": "x"}', "[1, null, [2]]", "17", ""])
def test_a_secret_that_is_not_a_list_of_keys_is_one_secret(layout: Layout, value: str) -> None:
    create(layout, FIRST, variables={"TOKEN": value}, secret_names=["TOKEN"])
    assert Releases(layout).secret_values(ID) == [value]


# The diff


def test_the_diff_names_variables_without_values(layout: Layout) -> None:
    create(layout, FIRST)
    live(layout, ID)
    new = {"FLASK_CONFIG": "production", **SECRETS, "SECRET_KEY": "another-long-secret", "TOKEN": "token-value"}
    diff = changes(
        Releases(layout),
        specification(SECOND, variables=new, gunicorn="workers = 3\n", command="flask db upgrade"),
    )
    assert diff["before_header"] == f"live release {ID}"
    before, after = diff["before"].splitlines(), diff["after"].splitlines()
    assert [line for line in before if "=(" in line] == [
        "DATABASE_URL=(hidden)", "FLASK_CONFIG=(hidden)", "SECRET_KEY=(hidden)",
    ]  # fmt: skip
    assert [line for line in after if "=(" in line] == [
        "DATABASE_URL=(hidden)", "FLASK_CONFIG=(hidden, new)", "SECRET_KEY=(hidden, new)", "TOKEN=(hidden, new)",
    ]  # fmt: skip
    assert "workers = 2" in before
    assert "workers = 3" in after
    assert "flask db upgrade" in after
    assert "flask db upgrade" not in before
    for secret in [*SECRETS.values(), "another-long-secret", "token-value"]:
        assert secret not in str(diff)


def test_the_diff_of_the_same_release_is_empty(layout: Layout) -> None:
    create(layout, FIRST, command="flask db upgrade")
    live(layout, ID)
    diff = changes(Releases(layout), specification(SECOND, command="flask db upgrade"))
    assert diff["before"] == diff["after"] != ""


def test_the_diff_of_a_first_release_begins_with_nothing(layout: Layout) -> None:
    diff = changes(Releases(layout), specification())
    assert (diff["before_header"], diff["before"]) == ("no live release", "")
    assert "SECRET_KEY=(hidden, new)" in diff["after"]
    assert "revision: r1" in diff["after"]
