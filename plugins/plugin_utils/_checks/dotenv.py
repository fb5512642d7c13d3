# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of variables that a deploy would ship: with a secret, or with what chooses environment or DEBUG, or without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import WARNING, Finding
from ansible_collections.greenlight.flask.plugins.module_utils._build.dotenv import Value, is_example
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import named
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets.judge import is_credential

ID = "shipped-env-file"
_PUBLIC = re.compile(r"(^|_)(PUBLIC|PUBLISHABLE)_", re.IGNORECASE)
#: For tests and tools, which no release reads.
_ELSEWHERE = re.compile(r"(^|/)(tests?|testing|docs?|examples?|\.[^/]+)/")


def findings(
    files: Mapping[str, Mapping[str, Value]], severity: str, selectors: tuple[str, ...], debug: tuple[str, ...]
) -> Iterator[Finding]:
    """Return a finding for each file that says too much, or is read where nobody expects it.

    Args:
        files: path to its variables, without values.
        severity: of a file that says too much.
        selectors: variables that choose the environment.
        debug: variables that switch DEBUG and its like.
    """
    for name, given in sorted(files.items()):
        path = named([name])
        unread = is_example(path) or bool(_ELSEWHERE.search(path))
        wrong = [each for each, value in given.items() if value.is_set and _is_secret(each, value, unread)]
        if not unread:
            wrong += [each for each in selectors if each in given and given[each].is_set]
            wrong += [each for each in debug if each in given and given[each].is_set and not given[each].is_off]
        fix = (
            f"Leave it at home (git rm --cached {path}, and a line in .gitignore), and set what the app needs in"
            " flask_app_secrets and flask_app_env."
        )
        if wrong:
            what = f"the source has {path}, which sets {', '.join(dict.fromkeys(wrong))}."
            yield Finding(ID, severity, path, what, fix)
        elif not unread and PurePosixPath(path).name.startswith("."):
            what = f"the source has {path}: Flask's commands and python-dotenv read it where a variable isn't set."
            yield Finding(ID, WARNING, path, what, fix)


def _is_secret(name: str, value: Value, unread: bool) -> bool:
    secret = value.has_password or (is_credential(name) and not _PUBLIC.search(name))
    return secret and (value.looks_real or not unread)
