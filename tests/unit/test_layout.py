# SPDX-License-Identifier: GPL-3.0-or-later
"""Two apps, and two releases of one, share no path; a name that leads elsewhere is refused."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import APP_NAME, RELEASE_ID, Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import PROCESSES, WEB

RELEASE, OTHER = "20261121T094420Z-1a2b3c4d", "20261121T094421Z-1a2b3c4d"
#: Paths of the machine and not of an app, and the one list that repeats other paths.
LEFT_OUT = {"app", "root", "processes", "units", "settings_files", "unit", "part", "drop_in"}
LEFT_OUT |= {"units_of", "unit_globs", "unit_name"}


def places(layout: Layout, release: str = "") -> list[str]:
    """Return the paths and units of an app, or only those of one of its releases."""
    found: list[object] = []
    for name in set(dir(layout)) - LEFT_OUT:
        value = getattr(layout, name)
        if not name.startswith("_") and inspect.ismethod(value) is bool(release):
            whole = value(release) if release else value
            found += whole.values() if isinstance(whole, dict) else [whole]
    return [str(place) for place in found]


@pytest.mark.parametrize("other", ["shop2", "sho", "live", "greenlight-shop"])
def test_no_paths_of_two_apps_or_releases_overlap(other: str) -> None:
    shop, another = (Layout(app, Path("/root")) for app in ("shop", other))
    ours = [*places(shop), *places(shop, RELEASE), *places(shop, OTHER)]
    theirs = [*places(another), *places(another, RELEASE)]
    assert len(ours) > 30
    assert len({*ours, *theirs}) == len(ours) + len(theirs)
    assert not [(a, b) for a in ours for b in theirs if a.startswith(f"{b}/") or b.startswith(f"{a}/")]
    assert [place for place in ours if not place.startswith(("/root/", "shop@"))] == []


def test_systemd_reads_the_settings_of_a_release_after_its_unit() -> None:
    service, *drop_ins = Layout("shop").settings_files(RELEASE)
    assert service.name == Layout("shop").service_unit(RELEASE)
    assert drop_ins == sorted(drop_ins)
    assert {path.parent for path in drop_ins} == {service.with_name(f"{service.name}.d")}


def test_a_socket_path_fits_the_kernel_limit() -> None:
    longest = "a" * 31
    assert APP_NAME.match(longest)
    assert len(str(Layout(longest).socket(RELEASE))) < 108  # sun_path, unix(7)


def test_a_name_unusable_for_accounts_units_or_directories_is_refused() -> None:
    assert all(map(APP_NAME.match, ["a", "guestbook", "my-app2"]))
    names = ["", "1app", "-app", "App", "my_app", "my.app", "my app", "a/b", "app\n", "a" * 32, "ä"]
    assert [name for name in names if APP_NAME.match(name)] == []


def test_only_a_complete_id_is_a_release_id() -> None:
    assert RELEASE_ID.match(RELEASE)
    cut = [
        "",
        "20261121T094420Z",
        f"{RELEASE}x",
        f"{RELEASE}\n",
        f".unfinished-{RELEASE}",
        RELEASE.upper(),
        "../../etc",
    ]
    assert [name for name in cut if RELEASE_ID.match(name)] == []


def test_paths_on_existing_hosts_never_change() -> None:
    """A moved path would be made again: other digests, another release, a host without a stamp."""
    layout = Layout("shop", Path("/root"))
    kept = [layout.digest_key, layout.environment_id, layout.ledger, layout.live, layout.live_socket]
    in_etc, in_srv = ["digest.key", "environment-id"], ["ledger.jsonl", "live", "live.sock"]
    assert kept == [*(layout.etc / name for name in in_etc), *(layout.srv / name for name in in_srv)]
    assert (layout.etc, layout.srv) == (Path("/root/etc/shop"), Path("/root/srv/shop"))


def test_no_app_name_matches_the_process_units_of_another_app() -> None:
    assert [process for process in PROCESSES if process is not WEB and APP_NAME.match(f"shop{process.infix}")] == []
    assert [process.infix for process in PROCESSES if process is WEB] == [""]
