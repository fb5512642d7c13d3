# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare two inventories: list differences, important ones first; for a secret only whether it is the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import MASK
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets.judge import credentials

#: Group of a difference by the prefix of the variable's name; the first match counts.
_GROUPS = {
    "flask_app_gunicorn_": "server",
    "flask_app_service_": "server",
    "flask_app_wsgi": "server",
    "flask_app_debug": "server",
    "flask_app_tls": "TLS",
    "flask_app_acme_": "TLS",
    "flask_app_https_port": "TLS",
    "flask_app_nginx_": "Nginx",
    "flask_app_http_port": "Nginx",
    "flask_app_requirements": "packages",
    "flask_app_packages": "packages",
    "flask_app_python": "packages",
    "flask_app_installer": "packages",
    "flask_app_install_project": "packages",
    "flask_app_uv_": "packages",
    "flask_app_source_": "source",
    "flask_app_release_command": "source",
}
#: Groups that matter, in this order.
MATTERS = ("server", "Nginx", "database", "TLS", "packages", "source")
OTHER = "other"
SECRET = "secret"  # noqa: S105  # the name of a group
#: Variables that always differ.
EXPECTED = ("flask_app_environment", "flask_app_server_names")
#: Variables whose values are never shown.
HIDDEN = (
    "flask_app_tls_certificate",
    "flask_app_tls_key",
    "flask_app_acme_eab_kid",
    "flask_app_acme_eab_hmac_key",
    "flask_app_notify_url",
    "flask_app_build_environment",
    "flask_app_secret_key_fallbacks",
)
MISSING = "missing"


@dataclass(frozen=True)
class Unreadable:
    """A value that can't be read, with the reason."""

    reason: str

    def __str__(self) -> str:
        return f"can't be read: {self.reason}"


@dataclass(frozen=True)
class Side:
    """An inventory: its name, the role's variables with their values by host, and the locked versions."""

    name: str
    hosts: Mapping[str, Mapping[str, Any]]
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A setting that differs: its group, its name, and its value on both sides."""

    group: str
    setting: str
    one: str
    other: str

    @property
    def matters(self) -> bool:
        return self.group in MATTERS

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "matters": self.matters}


def differences(one: Side, other: Side) -> list[Difference]:
    """Return every difference, those that matter first. All secrets are listed, even equal ones."""
    sides = [_flat(one), _flat(other)]
    found = [
        *_settings(*([{key: of[key] for key in of if key[0] != SECRET} for of in sides])),
        *_secrets(*([{key[1]: of[key] for key in of if key[0] == SECRET} for of in sides])),
    ]
    order = [*MATTERS, OTHER, SECRET]
    return sorted(found, key=lambda each: (order.index(each.group), each.setting))


_Values = dict[tuple[str, str], dict[str, Any]]


def _flat(side: Side) -> _Values:
    """Return the settings: group and name to the value on each host."""
    flat: _Values = {}
    for host, values in side.hosts.items():
        for key, value in _of_host(values):
            flat.setdefault(key, {})[host] = value
    for package, version in side.packages.items():
        flat["packages", f"package {package}"] = {"": version}
    return flat


def _of_host(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    for name, value in values.items():
        if name in EXPECTED:
            continue
        if name in ("flask_app_secrets", "flask_app_env") and isinstance(value, Mapping):
            secret = name == "flask_app_secrets"
            hidden = value.keys() if secret else credentials(value, secret=False)
            for key, item in value.items():
                engine = _engine(item)
                if engine:
                    yield ("database", f"engine of {key}"), engine
                yield (SECRET if key in hidden else OTHER, f"{name}.{key}"), item
        elif name in HIDDEN:
            yield (SECRET, name), value
        else:
            yield (next((group for start, group in _GROUPS.items() if name.startswith(start)), OTHER), name), value


#: Schemes of databases, without the driver.
_ENGINES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql", "mongodb", "redis", "rediss",
            "cockroachdb", "amqp", "amqps")  # fmt: skip


def _engine(value: object) -> str:
    scheme = value.partition("://")[0].lower() if isinstance(value, str) and "://" in value else ""
    return scheme if scheme.split("+")[0] in _ENGINES else ""


def _settings(one: _Values, other: _Values) -> Iterator[Difference]:
    for key in sorted({*one, *other}):
        texts = [_text(side.get(key)) for side in (one, other)]
        if texts[0] != texts[1]:
            yield Difference(*key, *map(_without_users, texts))


def _without_users(text: str) -> str:
    """Mask credentials in URLs: names, passwords and tokens."""
    text = re.sub(r"""(?<=://)[^/?#\s"']*@""", f"{MASK}@", text)
    return re.sub(r"""([?&;][^=&;#\s"']*(token|secret|passw|key|auth)[^=&;#\s"']*=)[^&;#\s"']+""", rf"\1{MASK}", text)


def _text(by_host: Mapping[str, Any] | None) -> str:
    """Render a value. If hosts of an inventory differ, render each value with its hosts."""
    if by_host is None:
        return MISSING
    hosts: dict[str, list[str]] = {}
    for host, value in by_host.items():
        shown = value if isinstance(value, str) else str(value) if isinstance(value, Unreadable) else json.dumps(value)
        hosts.setdefault(shown or '""', []).append(host)
    if len(hosts) == 1:
        return next(iter(hosts))
    return "; ".join(f"{shown} on {', '.join(names)}" for shown, names in hosts.items())


def _secrets(one: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]]) -> Iterator[Difference]:
    for name in sorted({*one, *other}):
        held = [_held(side.get(name)) for side in (one, other)]
        if held == [[], []]:  # optional, and neither side has it
            continue
        words = [
            MISSING if not mine else str(mine[0]) if isinstance(mine[0], Unreadable) else _compared(mine, its)
            for mine, its in (held, held[::-1])
        ]
        yield Difference(SECRET, name, *words)


def _held(by_host: Mapping[str, Any] | None) -> list[Any]:
    return [value for value in (by_host or {}).values() if value not in (None, "", [], {})]


def _compared(mine: Sequence[Any], its: Sequence[Any]) -> str:
    return "same" if any(value in its for value in mine) else "different"


def rendered(found: Sequence[Difference], one: str, other: str) -> str:
    """Render differences for people."""
    shown = [each for each in found if each.group != SECRET]
    important = sum(each.matters for each in shown)
    count = f"{len(shown)} setting{'' if len(shown) == 1 else 's'} differ{'s' if len(shown) == 1 else ''}"
    lines = [f"{one} and {other}: {count}, of which {important} matter{'s' if important == 1 else ''}."]
    for group in dict.fromkeys(each.group for each in found):
        lines.append({SECRET: "secrets (same, different or missing)"}.get(group, group))
        for each in (each for each in found if each.group == group):
            both = each.one if group == SECRET and each.one == each.other else ""
            lines.append(f"  {each.setting}: {both or f'{one} {each.one} | {other} {each.other}'}")
    return "\n".join(lines)
