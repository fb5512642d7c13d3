# SPDX-License-Identifier: GPL-3.0-or-later
"""The role fetches one commit, git takes no value for an option, and a damaged cache costs a run nothing."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._build import git as _git
from ansible_collections.greenlight.flask.plugins.module_utils._build.git import Remote, fetch, holds, resolve

from tests.unit.test_source import commit, exported, git, put


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    put(directory, "wsgi.py")
    git(directory, "init", "--quiet")
    commit(directory)
    return directory


@pytest.fixture
def remote(repository: Path, tmp_path: Path) -> Remote:
    return Remote(f"file://{repository}", "", tmp_path / "cache")


def more(repository: Path, name: str) -> str:
    put(repository, name)
    return commit(repository)


# Which commit


def test_a_branch_a_tag_and_a_commit_are_found(repository: Path, remote: Remote) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "light")
    git(repository, "tag", "--annotate", "--message=x", "v1.0")
    git(repository, "branch", "release/1")
    second = more(repository, "new.py")
    for ref in ("light", "v1.0", "release/1", "refs/heads/release/1", "refs/tags/v1.0", first):
        assert resolve(remote, ref) == first, ref
    for ref in ("main", "HEAD", "refs/heads/main"):
        assert resolve(remote, ref) == second, ref


def test_a_branch_takes_precedence_over_a_tag_of_the_same_name(repository: Path, remote: Remote) -> None:
    git(repository, "tag", "main")
    second = more(repository, "new.py")
    assert resolve(remote, "main") == second


@pytest.mark.parametrize("ref", ["no-such-branch", "ain", "heads/main", "abc1234", "x/main"])
def test_a_ref_missing_from_the_repository_is_named(repository: Path, remote: Remote, ref: str) -> None:
    git(repository, "branch", "other/x/main")
    with pytest.raises(GreenlightError, match=f"flask_app_source_git_ref is {ref}"):
        resolve(remote, ref)


@pytest.mark.parametrize("url", ["--upload-pack=touch {here}/run", "-u{here}/run", "ext::touch {here}/run"])
def test_an_address_is_never_read_as_an_option_or_a_program(tmp_path: Path, url: str) -> None:
    with pytest.raises(GreenlightError):
        _git.require_fit(url.format(here=tmp_path), "main")
    remote = Remote(url.format(here=tmp_path), "", tmp_path / "cache")
    for ask in (lambda: resolve(remote, "main"), lambda: fetch(remote, "1" * 40)):
        with pytest.raises(GreenlightError):
            ask()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ref", ["--upload-pack=x", "-x", "a b", "a\nb", "", "a:b"])
def test_a_ref_is_never_read_as_an_option(ref: str) -> None:
    with pytest.raises(GreenlightError, match="flask_app_source_git_ref"):
        _git.require_fit("/srv/shop.git", ref)


@pytest.mark.parametrize("key", ["/root/a key", "/root/k -o ProxyCommand=touch", "/root/$(touch x);'\"`"])
def test_the_path_of_a_key_file_is_one_ssh_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    said = tmp_path / "said"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {said}\nexit 1\n')
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GreenlightError):
        resolve(Remote("git@example.test:shop.git", key, tmp_path / "cache"), "main")
    words = said.read_text().splitlines()
    assert words[words.index("-i") + 1] == key
    assert "BatchMode=yes" in words
    assert sorted(os.listdir(tmp_path)) == ["bin", "said"]


def test_control_characters_from_a_git_server_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nprintf 'go away \\033[2J\\007\\n' >&2; exit 1\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    remote = Remote("git@example.test:shop.git", "", tmp_path / "cache")
    for ask in (lambda: resolve(remote, "main"), lambda: fetch(remote, "1" * 40)):
        with pytest.raises(GreenlightError, match="go away") as refused:
            ask()
        assert all(line.isprintable() for line in str(refused.value).splitlines())


# Fetching it


def test_a_commit_comes_without_its_history(repository: Path, remote: Remote) -> None:
    first = git(repository, "rev-parse", "HEAD")
    second = more(repository, "new.py")
    store = fetch(remote, second)
    assert holds(store, second)
    assert not holds(store, first)


def test_an_older_commit_can_be_fetched(repository: Path, remote: Remote) -> None:
    first = git(repository, "rev-parse", "HEAD")
    second = more(repository, "new.py")
    for wanted in (second, first, second):
        assert holds(fetch(remote, wanted), wanted)


def test_a_cached_commit_is_not_fetched_again(repository: Path, remote: Remote) -> None:
    wanted = git(repository, "rev-parse", "HEAD")
    fetch(remote, wanted)
    repository.rename(repository.with_name("gone"))
    assert holds(fetch(remote, wanted), wanted)


def test_a_server_without_single_commit_support_sends_everything(
    repository: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = git(repository, "rev-parse", "HEAD")
    more(repository, "new.py")
    for name, value in {"COUNT": "1", "KEY_0": "protocol.version", "VALUE_0": "0"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert holds(fetch(remote, first), first)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["lock", "config", "packs", "empty", "file"])
def test_a_damaged_cache_is_recreated(repository: Path, remote: Remote, damage: str) -> None:
    store = fetch(remote, git(repository, "rev-parse", "HEAD"))
    wanted = more(repository, "new.py")
    if damage == "lock":
        (store / "shallow.lock").touch()
    if damage == "config":
        (store / "config").write_text("[core")
    if damage == "packs":
        for pack in store.glob("objects/pack/*"):
            pack.chmod(0o644)
            pack.write_bytes(b"damaged")
    if damage in ("empty", "file"):
        shutil.rmtree(store)
        (store if damage == "file" else store / "x").parent.mkdir(exist_ok=True)
        if damage == "file":
            store.touch()
    assert holds(fetch(remote, wanted), wanted)


def test_a_cache_with_damaged_objects_fails_only_once(repository: Path, tmp_path: Path) -> None:
    wanted = git(repository, "rev-parse", "HEAD")
    remote = Remote(str(repository), "", tmp_path / "git")
    [pack] = fetch(remote, wanted).glob("objects/pack/*.pack")
    pack.chmod(0o644)
    content = bytearray(pack.read_bytes())
    content[-40:-20] = bytes(20)  # of the last object, which is a file
    pack.write_bytes(content)
    with pytest.raises(GreenlightError):
        exported(repository, wanted, tmp_path)
    assert (exported(repository, wanted, tmp_path) / "wsgi.py").read_text() == "content of wsgi.py\n"


def test_an_unknown_commit_is_named_with_the_message_of_git(remote: Remote) -> None:
    with pytest.raises(GreenlightError, match=f"{'1' * 40}(.|\n)*not our ref"):
        fetch(remote, "1" * 40)


def test_a_cache_keeps_few_packs_and_only_its_own_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_git, "_PACKS", 2)
    (tmp_path / "git/other").mkdir(parents=True)
    remote = Remote(str(repository), "", tmp_path / "git")
    for number in range(5):
        exported(repository, more(repository, f"{number}.py"), tmp_path)
        assert len(list(remote.store.glob("objects/pack/*.pack"))) <= 3
    assert os.listdir(remote.cache) == [remote.store.name]


def test_the_cache_is_private(repository: Path, remote: Remote) -> None:
    fetch(remote, git(repository, "rev-parse", "HEAD"))
    assert remote.cache.stat().st_mode & 0o777 == 0o700


# Addresses of submodules


@pytest.mark.parametrize(
    ("above", "url", "meant"),
    [
        ("https://example.org/team/shop.git", "../lib.git", "https://example.org/team/lib.git"),
        ("https://example.org/team/shop.git/", "../../x/lib", "https://example.org/x/lib"),
        ("git@example.org:team/shop.git", "../lib.git", "git@example.org:team/lib.git"),
        ("git@example.org:shop.git", "../lib.git", "git@example.org:lib.git"),
        ("ssh://git@example.org:22/shop.git", "./lib.git", "ssh://git@example.org:22/shop.git/lib.git"),
        ("https://example.org/shop.git", "../../../../etc/x", None),
        ("git@example.org:shop.git", "../../../x", None),
    ],
)
def test_a_relative_submodule_url_is_resolved_against_its_parent(above: str, url: str, meant: str | None) -> None:
    found = _git._resolve_relative(above, url)
    if meant is None:
        assert not re.match(r"(file:|/)", found) or not _git.url_is_fit(found, local=False)
    else:
        assert found == meant
