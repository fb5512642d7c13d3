# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as credentials are in root's files, byte for byte, and nowhere else; without them nothing changes."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.credentials import drop_in, held, hold, loaded
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    EnvironmentValueError,
    parse,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import UNFINISHED, link
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import mask
from ansible_collections.greenlight.flask.plugins.module_utils._release.store import Release, Releases, as_made, changes
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.fakes import KEY, SECRETS, create, specification
from tests.unit.killing import killed

TIME, LATER = "20261121T094420Z", "20261121T094421Z"
ID = f"{TIME}-a1a1a1a1"
NAMES = sorted(SECRETS)
#: The drop-in that passes them on, in the terms of systemd.exec(5) and systemd.unit(5).
DROP_IN = """\
# Owner: role greenlight.flask.flask_app

[Service]
LoadCredential=DATABASE_URL:/etc/shop/releases/%i.credentials/DATABASE_URL
Environment=DATABASE_URL_FILE=%d/DATABASE_URL
LoadCredential=SECRET_KEY:/etc/shop/releases/%i.credentials/SECRET_KEY
Environment=SECRET_KEY_FILE=%d/SECRET_KEY
"""

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path)


def made(layout: Layout, time: str = TIME, **changes: object) -> Release:
    release = create(layout, time, **{"credentials": NAMES, **changes})
    found = Releases(layout).get(release)
    assert found
    return found


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# The files


@pytest.mark.slow
@given(st.dictionaries(names, texts, max_size=4))
@example({"A": "ends in lines\n\n", "B": "\r\n", "C": "", "D": "\r", "E": "\n"})
@example({"A": "# like a comment\n; and this", "B": "%i %d $HOME 'it''s' \\", "C": "\ufeffé😀\u2028\x85\x1b"})
def test_every_credential_is_stored_byte_for_byte(values: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        layout = Layout("shop", Path(root))
        hold(layout, ID, values, layout.processes)
        assert held(layout, ID) == values
        for name, value in values.items():
            assert (layout.credentials(ID) / name).read_bytes() == value.encode()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_only_root_can_read_credentials_but_anyone_their_names(layout: Layout, umask: int) -> None:
    before = os.umask(umask)
    try:
        made(layout)
    finally:
        os.umask(before)
    directory = layout.credentials(ID)
    assert directory == layout.root / f"etc/shop/releases/{ID}.credentials"
    assert sorted(os.listdir(directory)) == NAMES
    assert {mode(path) for path in directory.iterdir()} == {0o600}
    assert mode(directory) == mode(layout.environment_files) == 0o700
    assert mode(layout.credentials_drop_in(ID)) == 0o644
    assert mode(layout.credentials_drop_in(ID).parent) == 0o755


def test_a_readable_directory_is_made_private_before_it_is_filled(layout: Layout) -> None:
    layout.credentials(ID).mkdir(parents=True, mode=0o755)
    hold(layout, ID, SECRETS, layout.processes)
    assert mode(layout.credentials(ID)) == 0o700


def test_the_drop_in_loads_each_credential_and_sets_its_path(layout: Layout) -> None:
    made(layout)
    assert layout.credentials_drop_in(ID) == layout.units / f"shop@{ID}.service.d/credentials.conf"
    assert layout.credentials_drop_in(ID).read_text() == DROP_IN


@given(st.permutations(["B", "A", "C_FALLBACKS", "A_B"]))
def test_the_drop_in_does_not_depend_on_an_order(order: list[str]) -> None:
    assert drop_in("my-app", order) == drop_in("my-app", sorted(order))
    assert "LoadCredential=A:/etc/my-app/releases/%i.credentials/A\n" in drop_in("my-app", order)


def test_without_credentials_there_is_no_directory_and_no_drop_in(layout: Layout) -> None:
    made(layout, credentials=[])
    assert os.listdir(layout.environment_files) == [f"{ID}.env"]
    assert os.listdir(layout.part(ID, "drop_in").parent) == ["release.conf"]
    assert held(layout, ID) == {}


def test_an_unfinished_file_of_a_killed_run_is_not_a_credential(layout: Layout) -> None:
    made(layout)
    (layout.credentials(ID) / f"{UNFINISHED}SECRET_KEY").write_text("half")
    assert held(layout, ID) == SECRETS


def test_only_regular_files_are_credentials(layout: Layout) -> None:
    made(layout)
    (layout.credentials(ID) / "by-hand").mkdir()
    (layout.credentials(ID) / "TOKEN").symlink_to("nowhere")
    assert held(layout, ID) == SECRETS


def test_loaded_credentials_are_read_where_systemd_puts_them(layout: Layout) -> None:
    unit = layout.service_unit(ID)
    assert loaded(layout, unit) == {}
    place = layout.root / "run/credentials" / unit
    place.mkdir(parents=True)
    (place / "SECRET_KEY").write_bytes(b"line\r\n\xff\n")
    assert loaded(layout, unit) == {"SECRET_KEY": "line\r\n\ufffd\n"}


# The release


def test_no_credential_is_in_any_other_file(layout: Layout) -> None:
    made(layout)
    assert parse(layout.environment_file(ID).read_text()) == {"FLASK_CONFIG": "staging", "APP_RELEASE": ID}
    for name, secret in SECRETS.items():
        holding = [path for path in layout.root.rglob("*") if path.is_file() and secret in path.read_text()]
        assert holding == [layout.credentials(ID) / name]


def test_one_secret_may_be_a_credential_and_another_a_variable(layout: Layout) -> None:
    made(layout, credentials=["SECRET_KEY"])
    assert os.listdir(layout.credentials(ID)) == ["SECRET_KEY"]
    assert "SECRET_KEY" not in parse(layout.environment_file(ID).read_text())
    assert parse(layout.environment_file(ID).read_text())["DATABASE_URL"] == SECRETS["DATABASE_URL"]
    assert "DATABASE_URL" not in layout.credentials_drop_in(ID).read_text()


def test_the_variables_of_a_release_include_its_credentials(layout: Layout) -> None:
    made(layout)
    assert Releases(layout).variables(ID) == {"FLASK_CONFIG": "staging", **SECRETS, "APP_RELEASE": ID}


def test_credentials_are_masked_like_other_secrets(layout: Layout) -> None:
    old = ["hunter2-old-and-secret", "hunter2-older\n"]
    secrets = {**SECRETS, "SECRET_KEY_FALLBACKS": json.dumps(old)}
    made(layout, variables={"FLASK_CONFIG": "staging", **secrets}, secret_names=[*secrets], credentials=[*secrets])
    found = Releases(layout).secret_values(ID)
    assert sorted(found) == sorted([*secrets.values(), *old])
    assert mask(f"said {SECRETS['SECRET_KEY']} and {old[0]}", found) == "said ******** and ********"


def test_the_manifest_names_credentials_without_values(layout: Layout) -> None:
    manifest = made(layout).manifest
    assert manifest["secret_names"] == NAMES
    for secret in SECRETS.values():
        assert secret not in str(manifest)


def test_a_value_that_is_invalid_for_a_variable_is_refused_as_a_credential(layout: Layout) -> None:
    with pytest.raises(EnvironmentValueError, match="SECRET_KEY"):
        made(layout, variables={"SECRET_KEY": "hunter2\0"}, credentials=["SECRET_KEY"])
    assert Releases(layout).all() == []
    assert not layout.credentials(ID).exists()


def test_a_credential_name_without_a_value_is_skipped(layout: Layout) -> None:
    made(layout, credentials=[*NAMES, "ABSENT"])
    assert sorted(held(layout, ID)) == NAMES


def test_the_diff_names_credentials_without_values(layout: Layout) -> None:
    made(layout)
    link(layout.live_socket, str(layout.socket(ID)))
    new = {"FLASK_CONFIG": "staging", **SECRETS, "SECRET_KEY": "another-long-secret"}
    diff = changes(Releases(layout), specification(LATER, variables=new, credentials=NAMES))
    assert "SECRET_KEY=(hidden, credential)" in diff["before"].splitlines()
    assert "SECRET_KEY=(hidden, credential, new)" in diff["after"].splitlines()
    assert "DATABASE_URL=(hidden, credential)" in diff["after"].splitlines()
    assert "FLASK_CONFIG=(hidden)" in diff["after"].splitlines()
    for secret in (*SECRETS.values(), "another-long-secret"):
        assert secret not in str(diff)


@pytest.mark.parametrize(("before", "after"), [([], NAMES), (NAMES, []), (NAMES, NAMES), ([], [])])
def test_the_diff_shows_a_change_between_variables_and_credentials(
    layout: Layout, before: list[str], after: list[str]
) -> None:
    made(layout, credentials=before)
    link(layout.live_socket, str(layout.socket(ID)))
    diff = changes(Releases(layout), specification(LATER, credentials=after))
    assert (diff["before"] == diff["after"]) is (before == after)


# Its digest


def test_an_empty_credentials_list_does_not_change_the_digest() -> None:
    assert specification().digest(KEY) == specification(credentials=[]).digest(KEY)


def test_the_digest_depends_on_which_secrets_are_credentials_not_on_order() -> None:
    digests = {specification(credentials=which).digest(KEY) for which in (NAMES, NAMES[:1], NAMES[1:], [])}
    assert len(digests) == 4
    assert specification(credentials=NAMES[::-1]).digest(KEY) in digests


@pytest.mark.parametrize("credentials", [[], NAMES, NAMES[:1]])
def test_the_files_of_a_release_give_back_its_specification(layout: Layout, credentials: list[str]) -> None:
    release = made(layout, credentials=credentials)
    described = as_made(layout, release)
    assert list(described.credentials) == credentials
    assert described.variables == specification().variables
    assert described.digest(KEY) == release.digest


# Changed by hand


def test_a_release_is_intact_only_with_the_wanted_credentials(layout: Layout) -> None:
    release = made(layout)
    assert Releases(layout).is_intact(release, specification(credentials=NAMES))
    assert Releases(layout).is_intact(release, specification(credentials=NAMES[::-1]))
    for otherwise in ([], NAMES[:1], NAMES[1:]):
        assert not Releases(layout).is_intact(release, specification(credentials=otherwise))


def test_a_release_without_wanted_credentials_is_not_intact(layout: Layout) -> None:
    release = made(layout, credentials=[])
    assert Releases(layout).is_intact(release, specification())
    assert not Releases(layout).is_intact(release, specification(credentials=NAMES))


@pytest.mark.parametrize("body", [
    b"other", b"", b"line\n# rest", b"line\n# rest\n\n", b"line\r\n# rest\n", b"line\n# else\n", b"line\n", b"\xff",
])  # fmt: skip
def test_a_single_edited_byte_of_a_credential_is_noticed(layout: Layout, body: bytes) -> None:
    variables = {"TOKEN": "line\n# rest\n"}
    release = made(layout, variables=variables, credentials=["TOKEN"])
    wanted = specification(variables=variables, credentials=["TOKEN"])
    assert Releases(layout).is_intact(release, wanted)
    (layout.credentials(ID) / "TOKEN").write_bytes(body)
    assert not Releases(layout).is_intact(release, wanted)


@pytest.mark.parametrize("hand", ["missing", "extra", "mode", "none there", "drop-in edited", "drop-in missing"])
def test_edited_credentials_are_not_intact(layout: Layout, hand: str) -> None:
    release = made(layout)
    key, settings = layout.credentials(ID) / "SECRET_KEY", layout.credentials_drop_in(ID)
    if hand == "missing":
        key.unlink()
    elif hand == "extra":
        (key.parent / "TOKEN").write_text("x")
    elif hand == "mode":
        key.chmod(0o640)
    elif hand == "none there":
        for path in key.parent.iterdir():
            path.unlink()
        key.parent.rmdir()
    elif hand == "drop-in edited":
        settings.write_text(DROP_IN + "Environment=SECRET_KEY_FILE=/tmp/key\n")
    else:
        settings.unlink()
    assert not Releases(layout).is_intact(release, specification(credentials=NAMES))


# Killed


def everything(layout: Layout) -> dict[str, object]:
    """Return each file and directory below the root, with mode and content."""
    return {
        str(path.relative_to(layout.root)): (
            path.lstat().st_mode,
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(layout.root.rglob("*"))
    }


@pytest.mark.slow
def test_a_killed_release_with_credentials_is_recreated_completely(
    tmp_path: Path,
) -> None:
    undisturbed = Layout("shop", tmp_path / "undisturbed")
    create(undisturbed, TIME, credentials=NAMES)
    for change in itertools.count(1):
        layout = Layout("shop", tmp_path / f"{change}")
        ended = not killed(change, lambda layout=layout: create(layout, TIME, credentials=NAMES))  # type: ignore[misc]
        found = Releases(layout).get(ID)
        assert found is None or Releases(layout).is_intact(found, specification(credentials=NAMES)), f"change {change}"
        secret = [path for path in layout.environment_files.rglob("*") if path.is_file()]
        assert {mode(path) for path in secret} <= {0o600}, f"change {change}"
        if not found:
            create(layout, TIME, credentials=NAMES)
        assert everything(layout) == everything(undisturbed), f"change {change}"
        if ended:
            break
    assert change > 30


# Destroyed


def test_a_release_is_destroyed_with_its_credentials(layout: Layout) -> None:
    kept = made(layout, LATER)
    before = everything(layout)
    made(layout)
    Releases(layout).destroy(ID)
    assert everything(layout) == before
    assert held(layout, kept.id) == SECRETS
    Releases(layout).destroy(ID)


def test_destroying_a_release_removes_secrets_last(tmp_path: Path) -> None:
    seen = set()
    for change in itertools.count(1):
        layout = Layout("shop", tmp_path / f"{change}")
        create(layout, TIME, credentials=NAMES)
        ended = not killed(change, lambda layout=layout: Releases(layout).destroy(ID))  # type: ignore[misc]
        service, socket = layout.part(ID, "service"), layout.part(ID, "socket")
        files = (layout.release(ID), layout.part(ID, "drop_in").parent, service, socket)
        left = [path.exists() for path in (*files, layout.credentials(ID), layout.environment_file(ID))]
        assert left == sorted(left), f"change {change}: what goes first is gone first"
        assert Releases(layout).get(ID) is None or all(left)
        seen.add(tuple(left))
        Releases(layout).destroy(ID)
        assert os.listdir(layout.environment_files) == []
        if ended:
            break
    assert len(seen) == 7


def test_credentials_that_are_too_large_in_total_are_refused(layout: Layout) -> None:
    hold(layout, ID, {f"C{number}": "x" * 100_000 for number in range(10)}, layout.processes)
    with pytest.raises(GreenlightError, match="1100000 bytes"):
        hold(layout, ID, {f"C{number}": "x" * 100_000 for number in range(11)}, layout.processes)
