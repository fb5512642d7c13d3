# SPDX-License-Identifier: GPL-3.0-or-later
"""The origin of the source, and its lock."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._build import git
from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import (
    decoded,
    how_to_lock,
    lock_faults,
    project_faults,
    within_source,
)
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import pattern_is_fit
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import (
    RefusedError,
    read_bytes,
)

from ..case import Case
from ..rule import Example, Found, Rule, finds
from .values import MALFORMED_VALUE

_APP = {"wsgi.py": "app = None\n"}
_LOCKED = {**_APP, "requirements.txt": f"gunicorn==27.0.1 --hash=sha256:{'0' * 64}\n"}
_GIT = "git@example.org:shop.git"

SOURCE_CHOICE = Rule(
    "source-choice",
    "flask_app_source_directory and flask_app_source_git_url are both set, or both empty.",
    fix="Set exactly one of them to where the app's code comes from.",
    bad=Example({"flask_app_source_git_url": ""}),
    good=Example({"flask_app_source_git_url": _GIT}),
)
UNFIT_SOURCE = Rule(
    "unfit-source",
    "The source directory doesn't exist, or holds something that can't be shipped, such as a link that leads outside.",
    bad=Example({"flask_app_source_directory": "/nowhere/shop"}),
    good=Example(source=_LOCKED),
)
INCLUDE_FROM_GIT = Rule(
    "include-from-git",
    "flask_app_source_include is set, but a source from git has no ignored files.",
    fix="Remove it, or deploy from a directory (flask_app_source_directory).",
    bad=Example({"flask_app_source_git_url": _GIT, "flask_app_source_include": ["static/dist"]}),
    good=Example({"flask_app_source_include": ["static/dist"]}, source={**_LOCKED, "static/dist/shop.css": "p {}\n"}),
)
SECRET_IN_URL = Rule(
    "secret-in-url",
    "flask_app_source_git_url holds a user name, a password or a token, which would be shown and logged.",
    fix="Remove it. Write the URL as in git@example.org:shop.git, and set flask_app_source_git_key_file to a deploy key"
    " on the host that may read the repository.",
    bad=Example({"flask_app_source_git_url": "https://robot:s3cret@example.org/shop.git"}),
    good=Example({"flask_app_source_git_url": _GIT}),
)
MISSING_LOCK = Rule(
    "missing-lock",
    "The requirements lock named by flask_app_requirements is not in the source, or git ignores it.",
    bad=Example(source=_APP),
    good=Example(source=_LOCKED),
)
UNREADABLE_LOCK = Rule(
    "unreadable-lock",
    "The requirements lock is not a readable text file in the source.",
    bad=Example({"flask_app_requirements": "../requirements.txt"}, source=_LOCKED),
    good=Example(source=_LOCKED),
)
UNFIT_LOCK = Rule(
    "unfit-lock",
    "The requirements lock does not pin each package with a hash, or lacks Gunicorn.",
    bad=Example(source={**_APP, "requirements.txt": "flask\n"}),
    good=Example(source=_LOCKED),
)

#: A user name or a password before the host, or a parameter that services use for tokens.
_URL_USER = re.compile(r"\s*https?://[^/?#]*@|\s*[a-z+]+://[^/?#:]*:[^/?#]*@", re.IGNORECASE)
_URL_TOKEN = re.compile(r"[?&;][^=&;#]*(token|secret|password|passwd|key|auth)[^=&;#]*=", re.IGNORECASE)


@finds(SOURCE_CHOICE)
def choice(case: Case) -> Iterator[Found]:
    directory, url = _places(case)
    if bool(directory) == bool(url):
        both = "are both set" if directory else "are both empty"
        what = f"flask_app_source_directory and flask_app_source_git_url {both}."
        yield SOURCE_CHOICE("flask_app_source_directory", what, variables=("flask_app_source_git_url",))


def _places(case: Case) -> tuple[str, str]:
    return case.values.get("flask_app_source_directory") or "", case.values.get("flask_app_source_git_url") or ""


@finds(SECRET_IN_URL, MALFORMED_VALUE)
def git_url(case: Case) -> Iterator[Found]:
    """Check the URL without showing it: one with a token would be shown, logged and kept on the host."""
    directory, url = _places(case)
    if directory or not url:
        return
    if _URL_USER.match(url) or _URL_TOKEN.search(url):
        what = "flask_app_source_git_url holds a user name, a password or a token."
        yield SECRET_IN_URL("flask_app_source_git_url", what)
    elif not git.url_is_fit(url, local=True):
        what = "flask_app_source_git_url is not a URL that git can fetch safely."
        yield MALFORMED_VALUE("flask_app_source_git_url", what, f"Use {git.URLS}.")


@finds(INCLUDE_FROM_GIT, MALFORMED_VALUE)
def include(case: Case) -> Iterator[Found]:
    directory, url = _places(case)
    patterns = case["source_include"]
    if bool(directory) == bool(url) or not patterns:
        return
    if url:
        what = "flask_app_source_include is set, but a source from git has no ignored files."
        yield INCLUDE_FROM_GIT("flask_app_source_include", what)
        return
    unfit = [pattern for pattern in patterns if not pattern_is_fit(pattern)]
    if unfit:
        what = f"flask_app_source_include has {', '.join(map(repr, unfit))}, which is not below the source."
        fix = "Name it relative to the source, as in guestbook/static/dist."
        yield MALFORMED_VALUE("flask_app_source_include", what, fix)


@finds(UNFIT_SOURCE, MISSING_LOCK, UNREADABLE_LOCK, UNFIT_LOCK)
def directory(case: Case) -> Iterator[Found]:
    """Check the files of a directory that a deploy would ship."""
    place, url = _places(case)
    if not place or url or not all(map(pattern_is_fit, case["source_include"])):
        return
    try:
        top, taken = case.shipped_entries
    except RefusedError as error:
        yield UNFIT_SOURCE("flask_app_source_directory", f"flask_app_source_directory: {error.what}.", error.fix)
    except GreenlightError as error:
        fix = "Set it to the directory of the app's code."
        yield UNFIT_SOURCE("flask_app_source_directory", f"flask_app_source_directory: {error}.", fix)
    else:
        yield from _lock_faults(case, top, [entry.path for entry in taken])


def _lock_faults(case: Case, top: Path, files: Collection[str]) -> Iterator[Found]:
    try:
        name = within_source(case["requirements"])
        if name not in files:
            why = "but .gitignore excludes it" if (top / name).exists() else f"but {top} has no such file"
            what = f"flask_app_requirements is {name}, {why}."
            yield MISSING_LOCK("flask_app_requirements", what, f"Make it with: {how_to_lock(name)}")
            return
        text = decoded(read_bytes(top, name) or b"", name)
    except GreenlightError as error:
        yield UNREADABLE_LOCK("flask_app_requirements", str(error))
        return
    fault = lock_faults(text, name, case.choice) or project_faults(text, name, case.choice, top)
    if fault:
        yield UNFIT_LOCK("flask_app_requirements", fault)
