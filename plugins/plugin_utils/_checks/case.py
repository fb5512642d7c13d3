# SPDX-License-Identifier: GPL-3.0-or-later
"""The input of rules: one host's variables, and the files and the app that they lead to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._build import dotenv, gunicorn_file
from ansible_collections.greenlight.flask.plugins.module_utils._build.requirements import Choice
from ansible_collections.greenlight.flask.plugins.module_utils._build.source import list_files, take
from ansible_collections.greenlight.flask.plugins.module_utils._build.tree import Entry, directory_below
from ansible_collections.greenlight.flask.plugins.module_utils._proof.inspection import DEVELOPMENT
from ansible_collections.greenlight.flask.plugins.plugin_utils._inventory import reader
from ansible_collections.greenlight.flask.plugins.plugin_utils._source import files as source_files
from ansible_collections.greenlight.flask.plugins.plugin_utils._source.startup import Sources

#: A path relative to the source, without a step up.
BELOW = re.compile(r"(?![-/])(?!(.*/)?\.\.(/|\Z))[^\x00-\x1f\x7f]*\Z")
#: Signing keys, in addition to the one that flask_app_secret_key_variable names.
_SIGNING = ("SECRET_KEY", "JWT_SECRET_KEY", "WTF_CSRF_SECRET_KEY")


def _locked(_text: bytes) -> str:
    raise ValueError("nothing opens a vault here")


@dataclass(frozen=True)
class Reading:
    """How the role's variables were read.

    Args:
        names: all variables that the host has.
        known: the role's argument specification, name to option.
        given: the values with their templates resolved, not yet converted to their types.
        unreadable: variable to the reason why its templates can't be resolved; empty if only a required variable is
            not set.
        secrets: the same for each secret, if others can be read.
        faults: variable to the errors of Ansible's own type check.
    """

    names: Collection[str] = ()
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def wrong(self) -> frozenset[str]:
        """Variables that can't be read or have the wrong type; nothing else is reported about them."""
        return frozenset({*self.unreadable, *(name for name, texts in self.faults.items() if texts)})


@dataclass(frozen=True)
class Place:
    """Where inventory and playbook are, and what opens vault files; None for a directory that doesn't exist.

    Args:
        inventory: the directory of the inventory.
        playbook: the directory of the playbook.
        decrypt: opens vault files.
        file: the inventory, if it is one file and not the whole directory.
        groups: the groups of the host whose variables are examined.
    """

    inventory: Path | None = None
    playbook: Path | None = None
    decrypt: reader.Decrypt = _locked
    file: Path | None = None
    groups: tuple[str, ...] = ()

    def shown(self, path: Path) -> str:
        """Return a path as the operator would type it."""
        bases = []
        if self.inventory:
            bases.append(self.inventory if self.file else self.inventory.parent.parent)
        bases += [self.playbook.parent] if self.playbook else []
        return next((str(path.relative_to(base)) for base in bases if path.is_relative_to(base)), str(path))


@dataclass(frozen=True)
class Source:
    """The app's source, if it is a directory on the controller.

    Args:
        top: the directory.
        names: the files that are shipped.
    """

    top: Path
    names: Collection[str]


@dataclass(frozen=True)
class Shipped:
    """What a host reports about a source that it fetched itself.

    Args:
        environment_files: path of a file such as ``.env`` to its variables, without values.
        gunicorn_names: the names that its gunicorn.conf.py sets.
    """

    environment_files: Mapping[str, Mapping[str, dotenv.Value]] = field(default_factory=dict)
    gunicorn_names: Iterable[str] = ()


@dataclass(frozen=True)
class Case:
    """What the rules examine; expensive parts are computed when the first rule needs them.

    Args:
        values: the role's variables in their types.
        reading: how they were read.
        place: where the inventory is.
        says: what the live app reports about itself; empty if it wasn't queried.
        app_unreachable: why it could not be queried.
        fetched: what the host reports about a source from git; None until it is queried.
    """

    values: Mapping[str, Any]
    reading: Reading = Reading()
    place: Place = Place()
    says: Mapping[str, Any] = field(default_factory=dict)
    app_unreachable: str = ""
    fetched: Shipped | None = None

    def __getitem__(self, name: str) -> Any:
        """Return a variable of the role by its name without ``flask_app_``."""
        return self.values[f"flask_app_{name}"]

    @property
    def outside_development(self) -> bool:
        return bool(self["environment"] != DEVELOPMENT)

    @property
    def app_variables(self) -> dict[str, Mapping[str, Any]]:
        """Variable of the role to the process's variables that it sets."""
        return {name: self.values.get(name) or {} for name in ("flask_app_env", "flask_app_secrets")}

    @property
    def signing_names(self) -> list[str]:
        """Names of the signing keys."""
        return list(dict.fromkeys([self["secret_key_variable"], *_SIGNING]))

    @cached_property
    def shipped_entries(self) -> tuple[Path, list[Entry]]:
        """The top of the source and what a deploy ships of it, if it is a directory on the controller.

        Raises:
            GreenlightError: see :func:`.source.take`.
        """
        top = directory_below(Path(self["source_directory"]), self["source_subdirectory"])
        static = [each for each in map(str, self["nginx_static"].values()) if BELOW.match(each)]
        return top, take(top, self["source_include"], static, to_be_made=bool(self["hooks_before_build"]))

    @cached_property
    def _top(self) -> Path | None:
        """The directory of the source; None if it isn't on the controller, or leads elsewhere."""
        directory = self.values.get("flask_app_source_directory")
        try:
            return directory_below(Path(directory), self["source_subdirectory"]) if directory else None
        except GreenlightError:
            return None

    @cached_property
    def source(self) -> Source | None:
        """The source; None if it isn't on the controller, or can't be listed, which other rules report."""
        try:
            return Source(self._top, list_files(self._top, self["source_include"])) if self._top else None
        except GreenlightError:
            return None

    @cached_property
    def survey(self) -> source_files.Survey:
        """Literal keys, passwords and flags in the source."""
        if not self.source:
            return source_files.Survey()
        return source_files.survey(self.source.top, self.source.names, self.signing_names)

    @cached_property
    def startup(self) -> Sources | None:
        """What the source's modules do when imported; None without a source on the controller."""
        if not self.source:
            return None
        return Sources(self.source.top, self.source.names, self["wsgi"], self["gunicorn_settings"])

    @cached_property
    def shipped(self) -> Shipped:
        """Files of the source that a process reads without being asked to."""
        if self.fetched or not self.source:
            return self.fetched or Shipped()
        top, names = self.source.top, self.source.names
        own = gunicorn_file.names_in(top) if gunicorn_file.FILE in names else ()
        return Shipped(dotenv.found(top, names), own)

    @property
    def choice(self) -> Choice:
        """The parts of the lock that the role's variables select."""
        return Choice(
            extras=tuple(self["uv_extras"]),
            groups=tuple(self["uv_groups"]),
            package=self["uv_package"],
            project=bool(self["install_project"]),
            installer=self["installer"],
        )

    @cached_property
    def gunicorn_version(self) -> str:
        """The version of the locked Gunicorn; empty if the controller doesn't know it."""
        try:
            return source_files.versions(self._top, self["requirements"]).get("gunicorn", "") if self._top else ""
        except GreenlightError:
            return ""

    @cached_property
    def inventory(self) -> reader.Inventory | None:
        """The inventory of this host; None if it isn't a directory or a file."""
        place = self.place
        if not place.inventory or not place.inventory.is_dir():
            return None
        return reader.Inventory(place.inventory, place.file, place.playbook)

    @cached_property
    def neighbours(self) -> list[reader.Inventory]:
        """The inventories next to this one."""
        return reader.neighbours(self.inventory, self.place.groups) if self.inventory else []

    @cached_property
    def other_environments(self) -> list[tuple[reader.Inventory, list[reader.View]]]:
        """The inventories of other environments, with the variables of each host that has the app."""
        found = []
        for other in self.neighbours:
            views = [
                view
                for view in other.views(self.place.decrypt, self["name"], self.place.groups)
                # Another inventory of the same environment may share everything.
                if (view.text("flask_app_environment") or other.name) != self["environment"]
            ]
            if views:
                found.append((other, views))
        return found

    @property
    def compared(self) -> list[str]:
        """The inventories whose secrets were compared with those of this one."""
        return [
            self.place.shown(other.path)
            for other, views in self.other_environments
            if any(view.variables.mapping("flask_app_secrets")[0] for view in views)
        ]
