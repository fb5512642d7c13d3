# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of an app's variables name a database, and whether that is a file or a server's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
---
name: databases
short_description: Find the variables that name a database in a file, and those that name one of a server
description:
  - A database in a file is another one on each host, so a release command must run on each. One of a server is the same
    for all hosts.
  - A URL says what it is by its scheme. A path counts where the variable is one that Flask and its extensions read a
    database from.
version_added: "0.1.0"
author:
  - Greenlight founders
positional: _input
options:
  _input:
    description: Variables of the app, by name.
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
  description: Names of variables, as C(files) and C(servers). Their values, which may be secret, are not among them.
  type: dict
"""

_FILE_URL = re.compile(r"(sqlite|duckdb)[:+]")
_SERVER_URL = re.compile(r"(postgres|mysql|mariadb|mssql|oracle|cockroach|mongodb)\w*([+][\w-]+)?:", re.IGNORECASE)
#: Flask's tutorial, Flask-SQLAlchemy and its lite version, and what most apps call it.
_OF_A_DATABASE = re.compile(r"(FLASK_)?(DATABASE(_UR[IL]|_PATH)?|SQLALCHEMY_(DATABASE_UR[IL]|ENGINES))\Z")
#: A path, which is no socket's, or a name that ends as files of databases do.
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
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"databases": databases}
