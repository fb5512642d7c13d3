# SPDX-License-Identifier: GPL-3.0-or-later
"""Read neighbouring inventories without Ansible, and without their hosts, lookups and scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets.fingerprints import is_open, texts
from ansible_collections.greenlight.flask.plugins.plugin_utils._secrets.judge import is_credential, is_public
from jinja2 import Environment, StrictUndefined, TemplateError, Undefined, UndefinedError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from . import hosts_file as hosts_files
from .hosts_file import ALL, Listed

Decrypt = Callable[[bytes], str]
HEADER = "$ANSIBLE_VAULT;"
GROUP = "flask_app"
_NAMES = (".yml", ".yaml", ".json", "")
_TEMPLATE = re.compile(r"\{\{|\{%")
_LOOKUPS = {"lookup", "query", "q"}
SECRETS = "flask_app_secrets"
#: Fixes for what can't be read.
_AT_ITS_PASSWORD = "Run this on a machine that has its vault password."  # noqa: S105  # a sentence
_FIX = "Fix the file."
_DEFINE = "Define the undefined variables there, secrets in its vault.yml."
_BY_HAND = "Compare these values by hand, because only Ansible can resolve them."


class UnreadableError(Exception):
    """A file or a value of an inventory can't be read. The text names it and quotes none of its content.

    Args:
        text: what can't be read, and why.
        fix: what to do.
        locked: whether the only problem is that this machine doesn't have the vault's password.
    """

    def __init__(self, text: str, fix: str, *, locked: bool = False) -> None:
        super().__init__(text)
        self.fix, self.locked = fix, locked


@dataclass(frozen=True)
class Encrypted:
    """A value behind ``!vault``."""

    text: bytes


class Unsafe(str):
    """A text behind ``!unsafe``, which Ansible never resolves as a template."""

    __slots__ = ()


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


def _encrypted(loader: Any, node: Any) -> Encrypted:
    return Encrypted(loader.construct_scalar(node).strip().encode())


for _tag in ("!vault", "!vault-encrypted"):
    _Loader.add_constructor(_tag, _encrypted)
_Loader.add_constructor("!unsafe", lambda loader, node: Unsafe(loader.construct_scalar(node)))


def load(path: Path, decrypt: Decrypt) -> dict[str, Any]:
    """Return the variables of a file. Values behind ``!vault`` stay encrypted.

    Raises:
        UnreadableError: it can't be decrypted, or is not a mapping in YAML.
    """
    try:
        raw = path.read_bytes()
        text = _opened(raw, path.name, decrypt) if raw.startswith(HEADER.encode()) else raw.decode()
        found = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader with two more tags
    except (OSError, ValueError, yaml.YAMLError) as error:  # their texts may quote the file
        raise UnreadableError(f"{path.name} is not plain YAML ({type(error).__name__})", _FIX) from None
    if found is not None and not isinstance(found, dict):
        raise UnreadableError(f"{path.name} holds no variables", _FIX)
    return found or {}


def _opened(text: bytes, name: str, decrypt: Decrypt) -> str:
    try:
        return decrypt(text)
    except Exception:  # whatever it is, the value is unreadable, and the text might quote it
        what = f"{name} can't be decrypted with the vault passwords of this machine"
        raise UnreadableError(what, _AT_ITS_PASSWORD, locked=True) from None


def variable_files(directory: Path, name: str) -> list[Path]:
    """Return the files of ``group_vars`` or ``host_vars``, in the order in which Ansible reads them."""
    places = [path for ending in _NAMES for path in [directory / f"{name}{ending}"]]
    found = [path for path in places if path.is_file()]
    if (directory / name).is_dir():
        found += sorted(path for path in (directory / name).rglob("*") if path.is_file() and _is_variables(path))
    return found


def _is_variables(path: Path) -> bool:
    return path.suffix in _NAMES and not path.name.startswith(".")


def names_in(directory: Path) -> list[str]:
    """Return the groups or hosts with variables in a directory."""
    if not directory.is_dir():
        return []
    found = {path.name if path.is_dir() else path.stem for path in directory.iterdir() if not path.name.startswith(".")}
    return sorted(name for name in found if variable_files(directory, name))


@dataclass
class Variables:
    """Variables of one group or host. Templates are resolved on access.

    Args:
        raw: the values in the files.
        decrypt: decrypts values behind ``!vault``.
    """

    raw: Mapping[str, Any]
    decrypt: Decrypt
    _resolving: list[str] = field(default_factory=list)

    def get(self, name: str) -> Any:
        """Return a variable's value.

        Raises:
            UnreadableError: it, or a variable that its template needs, can't be read here.
        """
        if name not in self.raw:
            raise UnreadableError(f"{name} is undefined", _DEFINE)
        if name in self._resolving:
            raise UnreadableError(f"{name} needs itself", _FIX)
        self._resolving.append(name)
        try:
            return self.resolved(self.raw[name], name)
        finally:
            self._resolving.pop()

    def mapping(self, name: str) -> tuple[dict[str, Any], list[UnreadableError]]:
        """Return the readable part of a variable that holds a mapping, and why the rest can't be read."""
        raw = self.raw.get(name)
        found: dict[str, Any] = {}
        why: list[UnreadableError] = []
        if isinstance(raw, str):  # a template for the whole mapping
            try:
                raw = self.resolved(raw, name)
            except UnreadableError as error:
                why.append(error)
        for key, value in raw.items() if isinstance(raw, dict) else ():
            try:
                found[str(key)] = self.resolved(value, f"{name}.{key}")
            except UnreadableError as error:
                why.append(error)
        return found, why

    def resolved(self, value: Any, name: str) -> Any:
        if isinstance(value, Encrypted):
            return _opened(value.text, name, self.decrypt)
        if isinstance(value, dict):
            return {str(key): self.resolved(item, f"{name}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolved(item, name) for item in value]
        if isinstance(value, str) and not isinstance(value, Unsafe) and _TEMPLATE.search(value):
            return self._rendered(value, name)
        return value

    def _rendered(self, text: str, name: str) -> Any:
        environment = _environment()
        alone = re.fullmatch(r"\s*\{\{\s*(\w+)\s*\}\}\s*", text)
        if alone:
            return self.get(alone[1])
        try:
            parsed = environment.parse(text)
            if not _looks_up(parsed):
                needed = meta.find_undeclared_variables(parsed)
                given = {one: self.get(one) for one in sorted(needed) if one in self.raw}
                whole = re.fullmatch(r"\s*\{\{((?:(?!\{\{|\}\}).)*)\}\}\s*", text, re.DOTALL)
                if whole:  # its value may have any type
                    return _evaluated(environment, whole[1], given)
                return environment.from_string(text).render(given)
        except TemplateError as error:
            what = f"the template of {name} can't be resolved ({type(error).__name__})"
            raise UnreadableError(what, _BY_HAND) from None
        except UnreadableError:
            raise
        except Exception as error:  # a template may raise anything
            raise UnreadableError(f"the template of {name} fails ({type(error).__name__})", _BY_HAND) from None
        raise UnreadableError(f"{name} is looked up elsewhere", _BY_HAND)


def _looks_up(parsed: nodes.Template) -> bool:
    """Decide by the called functions, because the template may have filters that only Ansible knows."""
    called = {call.node.name for call in parsed.find_all(nodes.Call) if isinstance(call.node, nodes.Name)}
    return bool(called & _LOOKUPS)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.filters["combine"] = _combine
    return environment


def _evaluated(environment: Environment, expression: str, given: Mapping[str, Any]) -> Any:
    found = environment.compile_expression(expression, undefined_to_none=False)(**given)
    if isinstance(found, Undefined):
        raise UndefinedError
    return found


def _combine(*mappings: Mapping[str, Any]) -> dict[str, Any]:
    """Do the same as ansible.builtin.combine without options."""
    return {name: value for mapping in mappings for name, value in mapping.items()}


@dataclass(frozen=True)
class View:
    """The variables of a host, or of several hosts with the same variables.

    Args:
        variables: merged as Ansible does it.
        groups: the host's groups; empty if no file lists them.
        unreadable: the errors of its unreadable files.
    """

    variables: Variables
    groups: frozenset[str]
    unreadable: tuple[UnreadableError, ...]

    def text(self, name: str) -> str:
        """Return a variable as a text, or an empty text if it can't be read."""
        try:
            return str(self.variables.get(name))
        except UnreadableError:
            return ""


@dataclass(frozen=True)
class Inventory:
    """An inventory: a directory, or one file in a directory of several.

    Args:
        directory: the parent of group_vars and host_vars.
        file: the inventory's file, if its directory has others.
        playbook: the directory of the playbooks, which may have group_vars too.
    """

    directory: Path
    file: Path | None = None
    playbook: Path | None = None

    @property
    def path(self) -> Path:
        return self.file or self.directory

    @property
    def name(self) -> str:
        return self.file.stem if self.file else self.directory.name

    def files(self) -> list[Path]:
        return [self.file] if self.file else hosts_files.inventory_files(self.directory)

    def listed(self, decrypt: Decrypt, unreadable: list[UnreadableError] | None = None) -> Listed:
        """Return the content of its files, if a person wrote them as inventories."""
        listed = Listed()
        for path in self.files():
            add_file(listed, path, decrypt, unreadable)
        return listed

    def groups(self, listed: Listed) -> list[str]:
        """Return the groups with variables. If inventories share the directory, only those that its file lists."""
        named = listed.groups.keys()
        return sorted({ALL, *named} if self.file else {*named, *names_in(self.directory / "group_vars")})

    def variable_files(self) -> list[Path]:
        """Return the files with variables, except those that list the hosts."""
        listed = self.listed(_nothing)
        hosts = {*listed.hosts, *(() if self.file else names_in(self.directory / "host_vars"))}
        places = [(self.directory / "group_vars", name) for name in self.groups(listed)]
        places += [(self.directory / "host_vars", name) for name in sorted(hosts)]
        return list(dict.fromkeys(path for directory, name in places for path in variable_files(directory, name)))

    def views(self, decrypt: Decrypt, app: str = "", groups: Collection[str] = ()) -> list[View]:
        """Return the variables of an app's hosts.

        Args:
            decrypt: decrypts vaults.
            app: name of the app. If no host has it, hosts in one of ``groups`` count.
            groups: groups of the app's hosts in another inventory.
        """
        unreadable: list[UnreadableError] = []
        reader = _Reader(self, self.listed(decrypt, unreadable), decrypt, tuple(unreadable))
        hosts = {host: reader.listed.groups_of(host) for host in reader.listed.hosts}
        views = {}
        for host, of in hosts.items():
            if {GROUP, *groups}.isdisjoint(of):
                continue
            own = reader.has_own(host)
            views[(*of, "", host if own else "")] = reader.view(of, host)
        known = _of_app(list(views.values()), app, {*groups} - {GROUP, ALL})
        unlisted = [host for host in names_in(self.directory / "host_vars") if host not in hosts and not self.file]
        if not known or unlisted:
            of = [name for name in self.groups(reader.listed) if name != ALL and name not in {GROUP, *groups}]
            of += [GROUP, *(name for name in groups if name not in (GROUP, ALL))]
            known += [] if known else [reader.view(of, "")]
            known += [reader.view(of, host) for host in unlisted]
        return known


def _of_app(views: list[View], app: str, groups: set[str]) -> list[View]:
    names = [view.text("flask_app_name") for view in views]
    if app and app in names:
        return [view for view, name in zip(views, names, strict=True) if name in (app, "")]
    return [view for view in views if view.groups & groups] or views


@dataclass
class _Reader:
    """Reads each file of an inventory once."""

    inventory: Inventory
    listed: Listed
    decrypt: Decrypt
    unreadable: tuple[UnreadableError, ...]
    _read: dict[Path, dict[str, Any] | UnreadableError] = field(default_factory=dict)

    def has_own(self, host: str) -> bool:
        places = [self.inventory.directory, self.inventory.playbook]
        return bool(self.listed.host_variables.get(host)) or any(
            variable_files(place / "host_vars", host) for place in places if place
        )

    def view(self, groups: list[str], host: str) -> View:
        """Merge the variables of a host; later groups in the list win."""
        directory, playbook = self.inventory.directory, self.inventory.playbook
        merged: dict[str, Any] = {"inventory_dir": str(directory)}
        unreadable = list(self.unreadable)
        for group in (ALL, *groups):
            merged.update(self.listed.groups.get(group, {}))
        # The playbook's group_vars/all overrides the inventory's, and the inventory's groups override both.
        for names in ([ALL], groups):
            for place in filter(None, (directory, playbook)):
                for name in names:
                    merged.update(self._layer(place / "group_vars", name, unreadable))
        if host:
            merged.update(self.listed.host_variables.get(host, {}))
            for place in filter(None, (directory, playbook)):
                merged.update(self._layer(place / "host_vars", host, unreadable))
            merged["inventory_hostname"] = host
        return View(Variables(merged, self.decrypt), frozenset(groups), tuple(unreadable))

    def _layer(self, directory: Path, name: str, unreadable: list[UnreadableError]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in variable_files(directory, name):
            if path not in self._read:
                try:
                    self._read[path] = load(path, self.decrypt)
                except UnreadableError as error:
                    self._read[path] = error
            read = self._read[path]
            if isinstance(read, UnreadableError):
                unreadable.append(read)
            else:
                found.update(read)
        return found


def add_file(listed: Listed, path: Path, decrypt: Decrypt, unreadable: list[UnreadableError] | None = None) -> None:
    """Add the content of an inventory file. Skip a plugin's settings and files that aren't inventories."""
    try:
        if hosts_files.is_yaml(path):
            listed.add_yaml(load(path, decrypt))
        else:
            raw = path.read_bytes()
            listed.add_ini(_opened(raw, path.name, decrypt) if raw.startswith(HEADER.encode()) else raw.decode())
    except UnreadableError as error:
        if error.locked and unreadable is not None:
            unreadable.append(error)
    except (OSError, ValueError):
        return


def _nothing(_text: bytes) -> str:
    return ""


def neighbours(mine: Inventory, groups: Collection[str] = ()) -> list[Inventory]:
    """Return the other inventories for Flask apps: directories and files next to this one.

    Args:
        mine: this one.
        groups: groups of a host, to recognise an inventory without the group flask_app.
    """
    wanted = {GROUP, *groups} - {ALL, "ungrouped"}
    own = {place.resolve() for place in (mine.directory, mine.playbook) if place}

    def directories(place: Path) -> list[Path]:
        found = [path for path in sorted(place.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        return [path for path in found if path.resolve() not in own]

    def names(inventory: Inventory) -> bool:
        return hosts_files.has_group(inventory.listed(_nothing), wanted)

    found = [Inventory(path, None, mine.playbook) for path in directories(mine.directory.parent)]
    found = [
        one for one in found if any(variable_files(one.directory / "group_vars", name) for name in wanted) or names(one)
    ]
    if mine.file:
        inner = [Inventory(path, None, mine.playbook) for path in directories(mine.directory)]
        found += [one for one in inner if names(one)]
    place = mine.directory if mine.file else mine.directory.parent
    files = [path for path in hosts_files.inventory_files(place) if path != mine.file]
    return found + [one for path in files if names(one := Inventory(place, path, mine.playbook))]


# Secrets in plain text


@dataclass
class Plain:
    """Secrets in plain text in a file.

    Args:
        path: the file.
        vault: variables that belong in a vault.
        secrets: names in flask_app_secrets with a literal value.
        variables: other variables that flask_app_secrets uses, each with the secret's name.
        lists_hosts: whether it is the inventory's own file.
    """

    path: Path
    vault: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    lists_hosts: bool = False


#: A file, a group of variables in it, and whether the file lists hosts.
Block = tuple[Path, Mapping[str, Any], bool]


def blocks(inventory: Inventory, lists_hosts: bool = True) -> list[Block]:
    """Return the variables in an inventory's files, except those of encrypted files."""
    found: list[Block] = []
    for path in inventory.variable_files():
        if not path.read_bytes().startswith(HEADER.encode()):
            try:
                found.append((path, load(path, _nothing), False))
            except UnreadableError:
                continue  # Ansible's own error is better
    for path in inventory.files() if lists_hosts else ():
        add_file(listed := Listed(), path, _nothing)
        found += [(path, given, True) for given in listed.variables()]
    return found


def plain_text(own: list[Block], others: list[Block]) -> list[Plain]:
    """Return the files that have secrets in plain text.

    Args:
        own: the blocks to search.
        others: blocks elsewhere that may show which variables flask_app_secrets uses.
    """
    mappings, needed = _secrets_are_made_of([*own, *others])
    found: dict[Path, Plain] = {}
    for path, values, lists_hosts in own:
        plain = found.setdefault(path, Plain(path, lists_hosts=lists_hosts))
        is_vault = not lists_hosts and _is_vault(path)
        for name, value in values.items():
            key = str(name)
            if (is_vault or key.startswith("vault_")) and key != "sops":
                plain.vault += [key] if any(_plain(value)) else []
            elif key in mappings and isinstance(value, dict):
                literal = {one: text for one, text in texts(value).items() if any(_plain(text))}
                plain.secrets += [one for one, text in literal.items() if not is_open(one, text)]
            elif key in needed and any(
                any(_plain(text)) and not is_open(name, text) for name, text in texts({needed[key]: value}).items()
            ):
                plain.variables[key] = needed[key]
    return [plain for plain in found.values() if plain.vault or plain.secrets or plain.variables]


def _is_vault(path: Path) -> bool:
    """Decide by its name, or by the name of a directory in group_vars or host_vars."""
    parts = path.with_suffix("").parts
    top = max(place for place, part in enumerate(parts) if part in ("group_vars", "host_vars"))
    return "vault" in parts[top:] or path.stem.endswith("_vault")


def _secrets_are_made_of(every: list[Block]) -> tuple[set[str], dict[str, str]]:
    """Return the variables that flask_app_secrets uses as mappings, and those it uses as values, with their names."""
    mappings, needed = {SECRETS}, {}

    def given(name: str) -> Iterator[Any]:
        return (values[name] for _, values, _ in every if name in values)

    waiting = [SECRETS]
    while waiting:
        for value in given(waiting.pop()):
            more = set(_needs(value, whole=True)) - mappings if isinstance(value, str) else set()
            mappings |= more
            waiting += more
    pairs = [
        (str(name), value)
        for mapping in mappings
        for value in given(mapping)
        if isinstance(value, dict)
        for name, value in value.items()
        if not is_public(str(name))
    ]
    while pairs:
        name, value = pairs.pop()
        for variable in _needs(value):
            if variable not in needed:
                needed[variable] = name
                pairs += [(name, deeper) for deeper in given(variable)]
    return mappings, needed


def _needs(value: Any, whole: bool = False) -> list[str]:
    """Return the variables that a template turns into a secret: its only variable, or those named like a secret."""
    if not isinstance(value, str) or isinstance(value, Unsafe) or not _TEMPLATE.search(value):
        return []
    try:
        parsed = _environment().parse(value)
    except TemplateError:
        return []
    if _looks_up(parsed):
        return []
    # All names, because jinja2.meta fails on filters that only Ansible has.
    names = sorted({node.name for node in parsed.find_all(nodes.Name)})
    alone = len(names) == 1 and re.fullmatch(r"\s*\{\{((?!\{\{|\}\}).)*\}\}\s*", value, re.DOTALL)
    return names if whole or alone else [name for name in names if is_credential(name)]


def _plain(value: Any) -> Iterator[str]:
    """Yield the texts in a value that are neither templates nor encrypted."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _plain(item)
    elif isinstance(value, list):
        for item in value:
            yield from _plain(item)
    elif isinstance(value, bool) or value is None or isinstance(value, Encrypted):
        return
    elif str(value).strip() and not _TEMPLATE.search(str(value)) and not str(value).startswith("ENC["):  # of SOPS
        yield str(value)


# Vault ids


def vault_ids(inventory: Inventory) -> Iterator[tuple[Path, str, bool]]:
    """Yield each vault id in an inventory's files, and whether it belongs to the whole file or to a value."""
    for path in [*inventory.variable_files(), *inventory.files()]:
        raw = path.read_bytes()
        if raw.startswith(HEADER.encode()):
            found, whole = {_vault_id(raw)}, True
        else:
            try:
                found, whole = {_vault_id(one.text) for one in _encrypted_in(load(path, _nothing))}, False
            except UnreadableError:
                continue
        yield from ((path, one, whole) for one in sorted(found) if one)


def _vault_id(text: bytes) -> str:
    parts = text.split(b"\n", maxsplit=1)[0].decode(errors="replace").strip().split(";")
    return parts[3] if len(parts) > 3 else ""  # noqa: PLR2004  # $ANSIBLE_VAULT;1.2;AES256;staging


def _encrypted_in(value: Any) -> Iterator[Encrypted]:
    if isinstance(value, Encrypted):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _encrypted_in(item)
