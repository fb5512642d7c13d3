# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell passwords and tokens in a source from texts that are only named like them."""

from __future__ import annotations

import re

from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import ENGINES
from ansible_collections.greenlight.flask.plugins.module_utils._release import inspector
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets.judge import is_placeholder, password_in

#: Settings that always hold a password or token.
_SETTING = re.compile(
    r"[A-Z][A-Z0-9_]*_(PASSWORD|PASSWD|PASSPHRASE|PWD|TOKEN|CLIENT_SECRET|API_KEY|SECRET_KEY|ACCESS_KEY)|CLIENT_SECRET"
    r"|PGPASSWORD"
)
#: Settings where even a plain word is the password, as in ADMIN_PASSWORD = "admin".
_SERVICE = re.compile(
    r"(.*_)?(DB|DATABASE|POSTGRES|POSTGRESQL|PG|MYSQL|MARIADB|MONGO|REDIS|RABBITMQ|AMQP|MAIL|SMTP|EMAIL|LDAP|FTP|ADMIN"
    r"|ROOT|SUPERUSER|USER)_?(PASSWORD|PASSWD|PWD)"
)
#: A file, an endpoint or a header, which a name such as RESET_PASSWORD or AUTH_TOKEN may hold.
_ORDINARY = re.compile(
    r"[\w-]*[./][\w./<>:-]*|([A-Z][a-z]*-)+[A-Z][a-z]*|[a-z]+([_-][a-z]+)*|[A-Z]+([_-][A-Z]+)*|[A-Z]?[a-z]+|[0-9]{1,3}"
)
_TEMPLATE = re.compile(r"[%{<$*].*|.*(\$\{|\{\w*\}|%\(?\w).*", re.DOTALL)
#: The host of an example address.
_DOCUMENTED = re.compile(r"@(host|hostname|server|([\w.-]+\.)?example(\.\w+)?)(?=[:/?#]|\Z)", re.IGNORECASE)
#: Names of variables, such as a default that names another one.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def is_setting(name: str) -> bool:
    """Return whether a setting of this name holds a password or token."""
    return bool(_SETTING.fullmatch(name))


def is_fallback(text: str) -> bool:
    """Return whether the default for a missing password is itself a password."""
    return text.strip().lower() not in ("", "none", "null", "false") and not _VARIABLE.fullmatch(text)


def is_password(name: str, text: str) -> bool:
    """Return whether the text of a setting with this name is a password or token, judged by both."""
    if not is_fallback(text) or re.search(r"\s", text) or _is_template(text):
        return False
    if _SERVICE.fullmatch(name):
        return not re.fullmatch(r"[\w-]*[./][\w./<>:-]*", text)
    return not _ORDINARY.fullmatch(text) or (is_placeholder(text) and not _repeats_its_name(name, text))


def has_password(text: str) -> bool:
    """Return whether a text is a URL with a password."""
    if "://" not in text or re.search(r"\s", text):
        return False
    password = password_in(text)
    return bool(password) and not _is_template(password) and not _DOCUMENTED.search(text)


def is_database(text: str) -> bool:
    """Return whether a URL is a database's of a kind that the app's workers can prove."""
    return inspector.engine(text) in ENGINES


def _is_template(text: str) -> bool:
    return bool(_TEMPLATE.fullmatch(text))


def _repeats_its_name(name: str, text: str) -> bool:
    plain = re.sub(r"[^A-Z0-9]", "", text.upper())
    return plain in re.sub(r"[^A-Z0-9]", "", name)
