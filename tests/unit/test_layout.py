# SPDX-License-Identifier: GPL-3.0-or-later
"""The places on a server are those that the design and the units name."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._layout import APP_NAME, RELEASE_ID, Layout

RELEASE = "20261121T094420Z-1a2b3c4d"


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Layout("shop").environment_id, "/etc/shop/environment-id"),
        (Layout("shop").digest_key, "/etc/shop/digest.key"),
        (Layout("shop").environment_file(RELEASE), f"/etc/shop/releases/{RELEASE}.env"),
        (Layout("shop").sources, "/srv/shop/sources"),
        (Layout("shop").venvs, "/srv/shop/venvs"),
        (Layout("shop").release(RELEASE), f"/srv/shop/releases/{RELEASE}"),
        (Layout("shop").live, "/srv/shop/live"),
        (Layout("shop").live_socket, "/srv/shop/live.sock"),
        (Layout("shop").previous, "/srv/shop/previous"),
        (Layout("shop").ledger, "/srv/shop/ledger.jsonl"),
        (Layout("shop").state, "/var/lib/shop"),
        (Layout("shop").socket(RELEASE), f"/run/shop/{RELEASE}.sock"),
        (Layout("shop").lock, "/run/greenlight/shop.lock"),
        (Layout("shop").drop_in(RELEASE), f"/etc/systemd/system/shop@{RELEASE}.service.d/release.conf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_place_is_where_the_design_says(place: Path, path: str) -> None:
    assert str(place) == path


def test_each_release_has_units_of_its_own() -> None:
    layout = Layout("shop")
    assert layout.service_unit(RELEASE) == f"shop@{RELEASE}.service"
    assert layout.socket_unit(RELEASE) == f"shop@{RELEASE}.socket"
    assert [path.name for path in layout.unit_files(RELEASE)] == [f"shop@{RELEASE}.service", f"shop@{RELEASE}.socket"]


def test_a_socket_path_fits_into_the_kernels_address() -> None:
    longest = "a" * 31
    assert APP_NAME.match(longest)
    assert len(str(Layout(longest).socket(RELEASE))) < 108  # sun_path, unix(7)


@pytest.mark.parametrize("name", ["a", "guestbook", "my-app2", "a" * 31])
def test_a_plain_name_is_an_app_name(name: str) -> None:
    assert APP_NAME.match(name)


@pytest.mark.parametrize(
    "name", ["", "1app", "-app", "App", "my_app", "my.app", "my app", "a/b", "app\n", "a" * 32, "ä"]
)
def test_another_name_is_none(name: str) -> None:
    assert not APP_NAME.match(name)


@pytest.mark.parametrize(
    "name",
    ["", "20261121T094420Z", f"{RELEASE}x", f"{RELEASE}\n", f".unfinished-{RELEASE}", RELEASE.upper(), "../../etc"],
)
def test_only_a_whole_id_is_a_release_id(name: str) -> None:
    assert RELEASE_ID.match(RELEASE)
    assert not RELEASE_ID.match(name)
