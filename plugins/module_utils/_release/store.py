# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases on a host: which ones exist, which one is live, and how to make a new one.

A release is immutable: source, venv, environment file, Gunicorn settings and unit settings under one id. Later results
(proved, bad) are in separate files next to its manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.greenlight.flask.plugins.module_utils._app import credentials
from ansible_collections.greenlight.flask.plugins.module_utils._app.layout import RELEASE_ID, Layout
from ansible_collections.greenlight.flask.plugins.module_utils._app.processes import WEB, Process
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    environment_texts,
    keyed_digest,
    parse,
    render,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.errors import GreenlightError
from ansible_collections.greenlight.flask.plugins.module_utils._base.files import (
    UNFINISHED,
    Damaged,
    entries,
    is_file_of_ours,
    kind,
    leads,
    link,
    make_directory,
    read,
    read_facts,
    readable,
    remove,
    write,
)
from ansible_collections.greenlight.flask.plugins.module_utils._base.finding import Refused, refused
from ansible_collections.greenlight.flask.plugins.module_utils._base.masking import Secrets

from . import inspector

#: Fix for a damaged file of a release.
DEPLOY = "Deploy with site.yml, which makes another release."
MANIFEST = "release.json"
PROVED = "proved.json"
BAD = "bad.json"
#: Written when the release command has succeeded, on the host that ran it.
COMMANDED = "commanded.json"
GUNICORN = "gunicorn.conf.py"
COMMAND = "release-command"
#: The program that the Gunicorn settings run, with which the workers report the app that they have loaded.
HOOKS = "gunicorn_hooks.py"
#: Text fields that every manifest has.
_FACTS = ("release", "revision", "environment", "digest", "source", "venv", "release_variable", "by")


def program() -> str:
    """Return the text of :mod:`.inspector`, even from inside Ansible's archive."""
    package, _, name = inspector.__name__.rpartition(".")
    return (pkgutil.get_data(package, f"{name}.py") or b"").decode()


@dataclass(frozen=True)
class Specification:
    """Everything a release consists of.

    Args:
        time: UTC time of the deploy as ``20261121T094420Z``, the same on all hosts.
        source: digest of the source.
        venv: digest of the venv.
        revision: what the app reports as its revision.
        environment: name of the environment.
        variables: the process's environment, without the release's own id.
        secret_names: which of the variables are masked in messages.
        release_variable: name of the variable with the release's id.
        command: shell commands to run once for the group before the release gets traffic; empty for none.
        reversible: whether older code works with the changes of the command. It doesn't change the release itself, so
            it isn't part of the digest.
        gunicorn: text of gunicorn.conf.py.
        processes: name of each process to the texts of its parts, see :class:`~.processes.Process`.
        credentials: names of the variables that the process gets as systemd credentials instead.
        hooks: text of the program that the Gunicorn settings run.
    """

    time: str
    source: str
    venv: str
    revision: str
    environment: str
    variables: Mapping[str, object] = field(repr=False)
    secret_names: list[str]
    release_variable: str
    command: str
    reversible: bool
    gunicorn: str
    processes: Mapping[str, Mapping[str, str]]
    credentials: Sequence[str] = ()
    hooks: str = field(default_factory=program)

    @property
    def files(self) -> dict[str, str]:
        """The files in the release's directory, by name; they are readable by all."""
        return {GUNICORN: self.gunicorn, COMMAND: self.command, HOOKS: self.hooks}

    @property
    def parts(self) -> dict[tuple[str, str], str]:
        """The texts of the units and drop-ins, by names of process and part."""
        return {(process, part): text for process, parts in self.processes.items() for part, text in parts.items()}

    def with_part(self, process: str, part: str, text: str) -> Specification:
        """Return the specification with another text for a unit or a drop-in."""
        return replace(self, processes={**self.processes, process: {**self.processes.get(process, {}), part: text}})

    def digest(self, key: bytes) -> str:
        """Return SHA-256 over everything except the time and comments; the environment is included as a keyed hash.

        Comments are left out because Ansible's header may name who ran the play, which doesn't change the release.
        """
        parts = {
            "source": self.source,
            "venv": self.venv,
            "revision": self.revision,
            "environment": keyed_digest(key, environment_texts(self.variables)),
            "release_variable": self.release_variable,
            "command": self.command,
            **{name: _without_comments(getattr(self, name)) for name in ("gunicorn", "hooks")},
            # The web process has no prefix, for hosts whose releases were made when it was the only one.
            **{
                part if process == WEB.name else f"{process}.{part}": _without_comments(text)
                for (process, part), text in self.parts.items()
            },
        }
        if self.credentials:
            parts["credentials"] = ",".join(sorted(self.credentials))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def texts(self, release: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return the environment and the credentials of the process of ``release``."""
        texts = environment_texts({**self.variables, self.release_variable: release})
        kept = {name: texts.pop(name) for name in self.credentials if name in texts}
        return texts, kept

    @property
    def is_reversible(self) -> bool:
        """Whether older code works with this release's changes to the data."""
        return self.reversible or not self.command

    @property
    def id(self) -> str:
        return f"{self.time}-{self.source[:8]}"


@dataclass(frozen=True)
class Release:
    """A complete release.

    Args:
        manifest: its release.json.
        variables: all variables that its processes get from the inventory, and its id.
    """

    id: str
    manifest: Mapping[str, object]
    proved: bool
    bad: bool
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        return str(self.manifest.get("digest", ""))

    @property
    def secret_names(self) -> set[str]:
        """Names of the variables whose values are masked in messages."""
        names = self.manifest.get("secret_names")
        return {str(name) for name in names} if isinstance(names, list) else set()

    @property
    def secrets(self) -> Secrets:
        """Masks its secret values."""
        return Secrets(self.secret_values)

    @property
    def secret_values(self) -> list[str]:
        return _with_listed(value for name, value in self.variables.items() if name in self.secret_names)

    @property
    def reversible(self) -> bool:
        """Whether older code works with the changes of its release command."""
        return self.manifest.get("reversible") is not False


def _with_listed(secrets: Iterable[str]) -> list[str]:
    """Add the items of lists: a list of old keys is one value, but each of its keys is a secret, too."""
    values = list(secrets)
    return [*values, *(item for value in values for item in listed(value))]


def damaged_release(release: str, damage: Damaged) -> Refused:
    """Return the error for a damaged release."""
    what = f"Release {release} is damaged: {damage.path}: {damage.why}."
    return refused("damaged-release", release, what, damage.fix)


class Releases:
    """The releases of one app on this host."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def all(self) -> list[Release]:
        """Return all complete releases, oldest first."""
        return [release for release in map(self.get, self.names()) if release]

    def names(self) -> list[str]:
        """Return the ids of all releases, complete or not, oldest first."""
        return [path.name for path in entries(self.layout.releases) if RELEASE_ID.match(path.name)]

    def get(self, release: str) -> Release | None:
        """Return the release with this id, or None if it is missing or incomplete."""
        return self.look(release)[0]

    def fault(self, release: str) -> Damaged | None:
        """Return the first reason why the release with this id isn't complete, or None."""
        return next(iter(self.faults(release)), None)

    def faults(self, release: str) -> list[Damaged]:
        """Return why the release with this id isn't complete, one reason for each path; empty if it is."""
        return self.look(release)[1]

    def look(self, release: str) -> tuple[Release | None, list[Damaged]]:
        """Return the results of both :meth:`get` and :meth:`faults`, but read the release only once."""
        if not RELEASE_ID.match(release):
            return None, [Damaged(self.layout.releases, "it has no release with that name", DEPLOY)]
        home, environment = self.layout.release(release), self.layout.environment_file(release)
        damage: dict[Path, Damaged] = {}
        variables: dict[str, str] = {}
        directories, files = self.parts(release)
        for parts, wanted, is_one in ((directories, "a directory", stat.S_ISDIR), (files, "a file", stat.S_ISREG)):
            for path in parts:
                if not os.path.lexists(path):
                    damage[path] = Damaged(path, "it is missing", DEPLOY)
                elif not is_one(mode := path.lstat().st_mode):
                    damage[path] = Damaged(path, f"it is {kind(mode)}, not {wanted}", DEPLOY)
        try:
            manifest = _manifest(home / MANIFEST, release)
            for name in ("source", "venv"):
                if not leads(home / name, _shared(name, str(manifest[name]))):
                    why = f"it does not point to the {name} that the release was made of"
                    damage[home / name] = Damaged(home / name, why, DEPLOY)
            variables = self.variables(release)
            if variables.get(str(manifest["release_variable"])) != release:
                damage.setdefault(environment, Damaged(environment, "it was edited", DEPLOY))
        except Damaged as error:
            damage.setdefault(error.path, error)
        if damage:
            return None, list(damage.values())
        return Release(release, manifest, os.path.lexists(home / PROVED), os.path.lexists(home / BAD), variables), []

    def manifest(self, release: str) -> Mapping[str, object]:
        """Return a release's release.json, even if the release is incomplete; empty if it can't be read."""
        try:
            return _manifest(self.layout.release(release) / MANIFEST, release)
        except Damaged:
            return {}

    def processes(self, release: str) -> list[Process]:
        """Return the processes in a release's manifest; older manifests without that field mean web only.

        If the manifest can't be read, return all processes that a release may have.
        """
        try:
            said = (read_facts(self.layout.release(release) / MANIFEST) or {}).get("processes", [WEB.name])
        except Damaged:
            said = None
        known = list(self.layout.processes)
        return [process for process in known if process.name in said] if isinstance(said, list) else known

    def units(self, release: str) -> list[str]:
        """Return the units of a release, in the order in which they start."""
        return self.layout.units_of(release, self.processes(release))

    def processes_taking(self, release: str, *, requests: bool) -> list[Process]:
        """Return the processes of a release that take requests, or those that fetch their own work."""
        return [process for process in self.processes(release) if process.takes_requests == requests]

    def parts(self, release: str) -> tuple[dict[Path, int], dict[Path, int]]:
        """Return the directories and files that make a release, with their modes; no links, no marks."""
        layout, home = self.layout, self.layout.release(release)
        processes = self.processes(release)
        units = layout.parts(release, processes).values()
        directories = dict.fromkeys((home, *(path.parent for path in units if path.parent != layout.units)), 0o755)
        public = (home / MANIFEST, home / GUNICORN, home / COMMAND, home / HOOKS, *units)
        files = {layout.environment_file(release): 0o600, **dict.fromkeys(public, 0o644)}
        names = credentials.held(layout, release).keys() | credentials.named(layout, release)
        if names:
            directories[layout.credentials(release)] = 0o700
            files |= {layout.credentials(release) / name: 0o600 for name in sorted(names)}
            files |= {layout.credentials_drop_in(release, each): 0o644 for each in processes}
        return directories, files

    def live(self) -> str:
        """Return the id of the release that the live socket's link names, or an empty text."""
        return _linked_release(self.layout.live_socket, ".sock")

    def previous(self) -> str:
        """Return the id of the release that was live before, if it is still complete and good, or an empty text."""
        name = _linked_release(self.layout.previous, "")
        release = self.get(name)
        return name if release and not release.bad and name != self.live() else ""

    def find(self, digest: str) -> Release | None:
        """Return the live release if it has this digest, otherwise the newest good one that has it."""
        # The manifests are enough: only the secrets of a match are needed.
        named = [name for name in self.names() if self._says_digest(name, digest)]
        candidates = [release for release in map(self.get, named) if release and not release.bad]
        live = self.live()
        return next((release for release in candidates if release.id == live), candidates[-1] if candidates else None)

    def _says_digest(self, release: str, digest: str) -> bool:
        try:
            return _manifest(self.layout.release(release) / MANIFEST, release).get("digest") == digest
        except Damaged:
            return False

    def is_intact(self, release: Release, specification: Specification) -> bool:
        """Say whether the files of a release are unchanged from what the specification makes.

        A release that is newly declared irreversible isn't intact either, because its manifest never changes.
        """
        processes = self.processes(release.id)
        if release.reversible and not specification.is_reversible:
            return False
        if {process.name for process in processes} != specification.processes.keys():
            return False
        layout = self.layout
        variables, kept = specification.texts(release.id)
        paths = layout.parts(release.id)
        # Compare every byte: a line of a secret may look like a comment.
        secret = {
            layout.environment_file(release.id): render(variables),
            **{layout.credentials(release.id) / name: value for name, value in kept.items()},
        }
        public = {
            **{paths[part]: text for part, text in specification.parts.items()},
            **{layout.release(release.id) / name: text for name, text in specification.files.items()},
        }
        if kept:
            handed_over = credentials.drop_in(layout.app, kept)
            public |= {layout.credentials_drop_in(release.id, each): handed_over for each in processes}
        drop_ins = {path.parent for path in paths.values()} - {layout.units}
        # Made by "systemctl edit", for example.
        added = {path for place in drop_ins for path in place.glob("*.conf")} - public.keys()
        return (
            not added
            and credentials.held(layout, release.id).keys() == kept.keys()
            and all(
                is_file_of_ours(path, 0o600) and path.read_bytes() == text.encode() for path, text in secret.items()
            )
            and all(
                is_file_of_ours(path, 0o644) and _without_comments(readable(path) or "") == _without_comments(text)
                for path, text in public.items()
            )
        )

    def variables(self, release: str) -> dict[str, str]:
        """Return all variables that the process of a release gets from the inventory, and its id.

        Raises:
            Damaged: its environment file can't be parsed.
        """
        return {**environment_of(self.layout, release), **credentials.held(self.layout, release)}

    def secrets(self, release: str) -> Secrets:
        """Return what masks the secret values of a release, complete or not."""
        return Secrets(self.secret_values(release))

    def secret_values(self, release: str) -> list[str]:
        """Return the secret values of a release; all values of an incomplete one, because any may be secret."""
        found = self.get(release)
        if found:
            return found.secret_values
        try:
            return _with_listed(self.variables(release).values())
        except Damaged:
            return []

    def create(self, specification: Specification, key: bytes, by: str) -> Release:
        """Make the release: environment file, drop-ins and units first, the directory with its id last.

        Raises:
            GreenlightError: another release has the id (two deploys in one second).
        """
        layout = self.layout
        name = specification.id
        if layout.release(name).exists():
            raise GreenlightError(f"Release {name} already exists with different contents. Run again in a second.")
        variables, kept = specification.texts(name)
        make_directory(layout.environment_files, 0o700)
        write(layout.environment_file(name), render(variables), 0o600)
        processes = [process for process in layout.processes if process.name in specification.processes]
        credentials.hold(layout, name, kept, processes)
        paths = layout.parts(name)
        for part, text in specification.parts.items():
            if paths[part].parent != layout.units:
                make_directory(paths[part].parent)
            write(paths[part], text)
        unfinished = layout.releases / f"{UNFINISHED}{name}"
        make_directory(layout.releases)
        remove(unfinished)
        make_directory(unfinished)
        link(unfinished / "source", _shared("source", specification.source))
        link(unfinished / "venv", _shared("venv", specification.venv))
        for file, text in specification.files.items():
            write(unfinished / file, text)
        manifest = {
            "release": name,
            "revision": specification.revision,
            "environment": specification.environment,
            "digest": specification.digest(key),
            "source": specification.source,
            "venv": specification.venv,
            "secret_names": sorted(specification.secret_names),
            "release_variable": specification.release_variable,
            "reversible": specification.is_reversible,
            "processes": sorted(specification.processes),
            "by": by,
        }
        write(unfinished / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        unfinished.rename(layout.release(name))
        return Release(name, manifest, proved=False, bad=False, variables={**variables, **kept})

    def mark(self, release: str, mark: str, fact: Mapping[str, object]) -> None:
        """Write one of the marks, such as :data:`PROVED` or :data:`BAD`, with its facts."""
        write(self.layout.release(release) / mark, json.dumps(fact, ensure_ascii=False) + "\n", 0o600)

    def destroy(self, release: str) -> None:
        """Remove a release, except its shared source and venv.

        Remove its directory first, so that it no longer counts as complete, and its secrets last, because they show
        that a removal was begun.
        """
        layout = self.layout
        home = layout.release(release)
        if home.exists():
            home.rename(layout.releases / f"{UNFINISHED}{release}")
            remove(layout.releases / f"{UNFINISHED}{release}")
        secrets = (layout.credentials(release), layout.environment_file(release))
        units = (path if path.parent == layout.units else path.parent for path in layout.parts(release).values())
        for path in (*units, *secrets):
            remove(path)


def changes(releases: Releases, specification: Specification) -> dict[str, str]:
    """Return Ansible's diff from the live release to the specification; names of variables, but never values."""
    live = releases.get(releases.live())
    layout = releases.layout
    before = []
    if live:
        home = layout.release(live.id)
        values = releases.variables(live.id)
        values.pop(specification.release_variable, None)
        units = layout.parts(live.id, releases.processes(live.id)).values()
        paths = [*(home / name for name in specification.files), *units]
        texts = [readable(path) or "" for path in paths]
        before = _description(live.manifest, values, values, credentials.held(layout, live.id), texts)
    after = _description(
        {name: getattr(specification, name) for name in ("environment", "revision", "source", "venv")},
        environment_texts(specification.variables),
        values if live else {},
        specification.credentials,
        [*specification.files.values(), *specification.parts.values()],
    )
    return {
        "before_header": f"live release {releases.live()}" if releases.live() else "no live release",
        "before": "\n".join(before),
        "after_header": "new release",
        "after": "\n".join(after),
    }


def _description(
    manifest: Mapping[str, object],
    variables: Mapping[str, str],
    known: Mapping[str, str],
    handed_over: Collection[str],
    texts: list[str],
) -> list[str]:
    facts = [f"{name}: {manifest.get(name)}" for name in ("environment", "revision", "source", "venv")]
    names = [
        f"{name}=(hidden{', credential' if name in handed_over else ''}{'' if known.get(name) == value else ', new'})"
        for name, value in sorted(variables.items())
    ]
    return [*facts, "", *names, "", *texts]


def listed(value: str) -> list[str]:
    """Return the texts in a JSON list, such as SECRET_KEY_FALLBACKS; an empty list for anything else."""
    try:
        found = json.loads(value)
    except ValueError:
        return []
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _without_comments(text: str) -> str:
    # Not splitlines(), which also splits at U+2028 and the like: what follows it inside a value isn't a comment.
    return "\n".join(line for line in text.removesuffix("\n").split("\n") if not line.startswith("#"))


def _shared(name: str, digest: str) -> str:
    """Return the target of a release's link to its source or venv."""
    return f"../../{name}s/{digest}"


def _manifest(path: Path, release: str) -> dict[str, object]:
    """Read a manifest.

    Raises:
        Damaged: it isn't the release's.
    """
    try:
        found = read_facts(path)
    except Damaged as damage:
        raise Damaged(path, damage.why, DEPLOY) from None
    if found is None:
        raise Damaged(path, "it is missing", DEPLOY)
    names = found.get("secret_names")
    texts = [*(found.get(name) for name in _FACTS), *(names if isinstance(names, list) else [None])]
    if found.get("release") != release or not all(isinstance(text, str) for text in texts):
        raise Damaged(path, "it was edited", DEPLOY)
    return found


def environment_of(layout: Layout, release: str) -> dict[str, str]:
    """Return the variables in the environment file of a release.

    Raises:
        Damaged: it can't be parsed.
    """
    path = layout.environment_file(release)
    try:
        return parse(read(path) or "")
    except Damaged as damage:
        raise Damaged(path, damage.why, DEPLOY) from None
    except ValueError:
        raise Damaged(path, "it isn't an environment file", DEPLOY) from None


def noted_release(path: Path) -> str:
    """Return the id of the release in a file, or an empty text."""
    name = (readable(path) or "").strip()
    return name if RELEASE_ID.match(name) else ""


def _linked_release(path: Path, suffix: str) -> str:
    try:
        name = path.readlink().name
    except OSError:
        return ""
    name = name[: -len(suffix)] if suffix and name.endswith(suffix) else name
    return name if RELEASE_ID.match(name) else ""


def as_made(layout: Layout, release: Release) -> Specification:
    """Return the specification of a release from its current files.

    Raises:
        Damaged: one of them can't be read.
    """
    manifest, home = release.manifest, layout.release(release.id)
    variable = str(manifest.get("release_variable"))
    variables = {name: value for name, value in release.variables.items() if name != variable}
    paths = layout.parts(release.id)
    return Specification(
        time="",
        source=str(manifest.get("source")),
        venv=str(manifest.get("venv")),
        revision=str(manifest.get("revision")),
        environment=str(manifest.get("environment")),
        variables=variables,
        secret_names=sorted(release.secret_names),
        release_variable=variable,
        command=read(home / COMMAND) or "",
        reversible=release.reversible,
        gunicorn=read(home / GUNICORN) or "",
        processes={
            each.name: {part: read(paths[each.name, part]) or "" for part in each.parts}
            for each in Releases(layout).processes(release.id)
        },
        credentials=sorted(credentials.held(layout, release.id)),
        hooks=read(home / HOOKS) or "",
    )
