# SPDX-License-Identifier: GPL-3.0-or-later
"""A source from git: which one a ref names now, and what of its files the controller examines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import dotenv, git
from .gunicorn_file import names_in
from .source import check_static, files_of, git_digest

#: The commit that is reported where git isn't installed yet.
UNKNOWN = "0" * 40


def named(remote: git.Remote, ref: str, subdirectory: str) -> tuple[str, str]:
    """Return the digest of the source that ``ref`` names in a repository, and its commit.

    Raises:
        GreenlightError: the address or the ref is unsafe, the repository can't be read, or has no such ref.
    """
    git.require_fit(remote.url, ref)
    commit = git.resolve(remote, ref)
    return git_digest(commit, subdirectory), commit


def examined(source: Path, static: Sequence[str]) -> dict[str, object]:
    """Return what the controller examines of a source that it doesn't have: names, but never values.

    Raises:
        GreenlightError: the source lacks a directory that Nginx serves.
    """
    check_static(source, static)
    files = dotenv.found(source, files_of(source))
    seen = {path: {name: value.as_dict() for name, value in given.items()} for path, given in files.items()}
    return {"environment_files": seen, "gunicorn_file": names_in(source)}
