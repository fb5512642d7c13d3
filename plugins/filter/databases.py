# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the variables of an app that name a database in a file or on a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
---
name: databases
short_description: Find the variables that name a database in a file or on a server
description:
  - Each host has its own database file, so a release command must run on every host. A database on a server is the same
    for all hosts.
  - A URL is recognised by its scheme. A path counts if Flask or its extensions read a database from the variable.
version_added: "0.1.0"
author:
  - Greenlight founders
positional: _input
options:
  _input:
    description: Variables of the app by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show whether the database is a file
  ansible.builtin.debug:
    msg: "{{ ({'DATABASE_URL': 'sqlite:////var/lib/shop/shop.db'} | greenlight.flask.databases).files | length > 0 }}"
"""

RETURN = r"""
_value:
  description: Names of variables in C(files) and C(servers), without their values, which may be secret.
  type: dict
"""

_FILE_URL = re.compile(r"(sqlite|duckdb)[:+]")
_SERVER_URL = re.compile(r"(postgres|mysql|mariadb|mssql|oracle|cockroach|mongodb)\w*([+][\w-]+)?:", re.IGNORECASE)
#: Names in Flask's tutorial, Flask-SQLAlchemy and its lite version, and in most apps.
_OF_A_DATABASE = re.compile(r"(FLASK_)?(DATABASE(_UR[IL]|_PATH)?|SQLALCHEMY_(DATABASE_UR[IL]|ENGINES))\Z")
#: A path except a socket's, or a name with the suffix of a database file.
_PATH = re.compile(r"(/|[.]{1,2}/|file:)(?!.*[.]sock\Z)|(?!.*://).*[.](db|db3|sqlite|sqlite3|duckdb)\Z", re.IGNORECASE)


def databases(variables: Mapping[str, Any]) -> dict[str, list[str]]:
    texts = {name: str(value) for name, value in variables.items()}
    return {
        "files": [name for name, text in texts.items() if _is_file(name, text)],
        "servers": [name for name, text in texts.items() if _SERVER_URL.match(text)],
    }


def _is_file(name: str, text: str) -> bool:
    return bool(_FILE_URL.match(text) or (_OF_A_DATABASE.match(name) and _PATH.match(text)))


class FilterModule:
    """The filters of this file, in the form that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"databases": databases}
