# SPDX-License-Identifier: GPL-3.0-or-later
"""Flask's instance folder leads to the app's own directory, and doesn't collide with files of the source."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import Layout
from ansible_collections.greenlight.flask.plugins.module_utils._build.instance import provide_instance_folders
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import digest, entries
from ansible_collections.greenlight.flask.plugins.module_utils._drift import integrity
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.claim import claim
from ansible_collections.greenlight.flask.plugins.module_utils._protocol.prune import prune
from ansible_collections.greenlight.flask.plugins.module_utils._steps import Call
from ansible_collections.greenlight.flask.plugins.module_utils._steps import make_release as step

from tests.unit.fakes import Host, create, installed, release_options, specification

SOURCE, VENV = "a1" * 32, "b2" * 32


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = installed(tmp_path, monkeypatch.setattr)
    claim(host.layout, "staging")
    for directory in (host.layout.sources / SOURCE, host.layout.venvs / VENV, host.layout.state):
        directory.mkdir(parents=True)
    return host


@pytest.fixture
def layout(host: Host) -> Layout:
    return host.layout


def folders(layout: Layout) -> tuple[Path, Path]:
    """Return where Flask looks: next to the app's package, and in the venv if the app is installed there."""
    return layout.sources / SOURCE / "instance", layout.venvs / VENV / "var"


def test_files_written_to_the_instance_folder_are_in_the_state_directory(layout: Layout) -> None:
    provide_instance_folders(layout, SOURCE, VENV)
    beside, installed_as = folders(layout)
    (beside / "shop.sqlite").write_text("entries")
    (installed_as / "shop-instance").mkdir()
    assert sorted(path.name for path in layout.state.iterdir()) == ["shop-instance", "shop.sqlite"]
    provide_instance_folders(layout, SOURCE, VENV)
    assert (beside / "shop.sqlite").read_text() == "entries"


def test_an_instance_folder_shipped_by_source_or_package_is_unchanged(layout: Layout) -> None:
    beside, installed_as = folders(layout)
    beside.mkdir()
    (beside / "config.py").write_text("X = 1\n")
    installed_as.symlink_to("nowhere")
    provide_instance_folders(layout, SOURCE, VENV)
    assert (beside.is_symlink(), (beside / "config.py").read_text()) == (False, "X = 1\n")
    assert str(installed_as.readlink()) == "nowhere"


def test_the_link_does_not_change_the_time_of_the_source(layout: Layout) -> None:
    source = layout.sources / SOURCE
    before = source.stat().st_mtime_ns
    provide_instance_folders(layout, SOURCE, VENV)
    assert source.stat().st_mtime_ns == before


def test_a_source_with_the_link_still_matches_its_digest(layout: Layout) -> None:
    draft = layout.sources / SOURCE
    (draft / "wsgi.py").write_text("app = None\n")
    name = digest(draft, entries(draft, ["wsgi.py"]))
    source = draft.rename(layout.sources / name)
    provide_instance_folders(layout, name, VENV)
    assert integrity.check_source(layout, name) == integrity.Checked()
    link = source / "instance"
    link.unlink()
    link.symlink_to("/etc")
    assert integrity.check_source(layout, name).faults


def test_a_git_source_with_the_link_counts_as_unchanged(layout: Layout) -> None:
    release = create(layout, "20261121T094420Z")
    provide_instance_folders(layout, SOURCE, VENV)
    checked = integrity.check_source(layout, SOURCE)
    assert (checked.faults, bool(checked.unchecked), release) == ([], True, f"20261121T094420Z-{SOURCE[:8]}")


def test_pruning_keeps_the_state_directory(layout: Layout) -> None:
    provide_instance_folders(layout, SOURCE, VENV)
    (layout.state / "shop.sqlite").write_text("entries")
    prune(layout, 1)
    assert not any(layout.sources.iterdir())
    assert (layout.state / "shop.sqlite").read_text() == "entries"


def run(layout: Layout, *, dry: bool = False) -> None:
    step.run(Call(layout, release_options(specification()), dry))


def test_each_deploy_restores_the_link_even_for_an_existing_release(layout: Layout) -> None:
    run(layout, dry=True)
    assert not any(path.is_symlink() for path in folders(layout))
    for _ in range(2):
        run(layout)
        for path in folders(layout):
            assert path.readlink() == layout.state
            path.unlink()
