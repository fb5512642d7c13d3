# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of the package gets the whole collection, and nothing else from this repository."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path, PurePath

import pytest
import yaml

from tests.repository import repository

GALAXY = repository.tool("ansible-galaxy")
PLAYBOOK = repository.tool("ansible-playbook")
ALLOWED = re.compile(
    r"""
    MANIFEST\.json | FILES\.json | LICENSE | README\.md | CHANGELOG\.md | docs/([\w-]+/)?[\w-]+\.md
    | meta/runtime\.yml
    | playbooks/(compare|deploy|doctor|maintenance|releases|rollback|rotate|unlock|verify)\.yml
    | plugins/(action|doc_fragments|filter|lookup|modules|(module|plugin)_utils(/_\w+(/rules)?)?)/\w+\.py
    | roles/flask_app/(defaults|meta|tasks|vars/main)/\w+\.yml
    | roles/flask_app/files/[\w.-]+
    | roles/flask_app/templates/(etc|srv)/[\w./@-]+\.j2
    """,
    re.VERBOSE,
)
REQUIRED = {
    "LICENSE",
    "README.md",
    "meta/runtime.yml",
    "playbooks/deploy.yml",
    "playbooks/doctor.yml",
    "playbooks/rollback.yml",
    "playbooks/rotate.yml",
    "playbooks/unlock.yml",
    "playbooks/verify.yml",
    "roles/flask_app/tasks/main.yml",
}
#: Files in a contributor's directory that must not get into the package.
LITTER = [
    ".cache/ruff/x",
    ".demo/id_ed25519",
    ".env",
    ".vault/staging",
    ".venv/bin/python",
    "build/guestbook-venv/pyvenv.cfg",
    "greenlight-flask-0.0.1.tar.gz",
    "inventories/staging/group_vars/flask_app/vault.yml",
    "plugins/module_utils/_base/__pycache__/files.cpython-311.pyc",
    "tests/unit/__pycache__/test_load.cpython-311.pyc",
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package, as from a contributor's directory."""
    directory = repository.copy(repository.tracked(), tmp_path_factory.mktemp("repository"))
    for name in LITTER:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("not for others\n", encoding="utf-8")
    into = tmp_path_factory.mktemp("package")
    done = repository.run(GALAXY, "collection", "build", "--output-path", into, directory=directory)
    assert done.returncode == 0, done.stderr
    [built] = into.iterdir()
    return built


@pytest.fixture(scope="module")
def members(package: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(package) as archive:
        return archive.getmembers()


def test_the_package_contains_no_unintended_file(members: list[tarfile.TarInfo]) -> None:
    files = [member.name for member in members if not member.isdir()]
    assert [name for name in files if not ALLOWED.fullmatch(name)] == []


def test_the_only_links_in_the_package_are_step_names(members: list[tarfile.TarInfo]) -> None:
    links = [member for member in members if member.issym() or member.islnk()]
    assert links
    assert {PurePath(link.name).parent for link in links} == {PurePath("plugins/action")}
    assert {link.linkname for link in links} == {"step.py", "opening_step.py"}


def test_the_package_contains_the_whole_collection(members: list[tarfile.TarInfo]) -> None:
    needed = REQUIRED | set(repository.matching("plugins/**/*.py", "roles/flask_app/**/*"))
    assert needed - {member.name for member in members} == set()


def test_the_version_matches_the_newest_changelog_entry() -> None:
    version = yaml.safe_load(repository.text("galaxy.yml"))["version"]
    newest = re.search(r"^## (\S+)", repository.text("CHANGELOG.md"), re.MULTILINE)
    assert newest
    assert newest.group(1) == version


@pytest.mark.slow
def test_the_installed_playbook_works_from_an_empty_directory(package: Path, tmp_path: Path) -> None:
    collections, empty = tmp_path / "collections", tmp_path / "empty"
    empty.mkdir()
    install = ["collection", "install", "--offline", "--collections-path", collections, package]
    installed = repository.run(GALAXY, *install, directory=empty)
    assert installed.returncode == 0, installed.stderr
    # Loads the same as --syntax-check, and prints it.
    command = [PLAYBOOK, "--inventory=app.example.org,", "--list-tasks", "greenlight.flask.deploy"]
    done = repository.run(*command, directory=empty, ANSIBLE_COLLECTIONS_PATH=str(collections))
    assert done.returncode == 0, done.stderr
    assert f"playbook: {collections}/" in done.stdout
    assert "flask_app : switch | " in done.stdout
