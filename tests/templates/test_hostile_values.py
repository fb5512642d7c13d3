# SPDX-License-Identifier: GPL-3.0-or-later
"""Data stays data: whatever a variable holds, each file has the same settings, with the value in its place.

A value that can't be written so is refused by the name of its variable. Each variable of the role is tried, so that a
new one can't be forgotten.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.greenlight.flask.plugins.module_utils._app.credentials import drop_in
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import environment_texts, render
from ansible_collections.greenlight.flask.plugins.module_utils._edge.shared_site import DIGESTS, facts_in
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks import registry
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.case import Case
from ansible_collections.greenlight.flask.plugins.plugin_utils._checks.rules import gunicorn, source

from tests.templates import test_templates as templates
from tests.templates.test_templates import BASELINE, ROLE, ROLE_VARIABLES, unit

OPTIONS: dict[str, dict[str, Any]] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text("utf-8"))[
    "argument_specs"
]["main"]["options"]
#: Configuration or a program by design: the content is the operator's own, and is used verbatim.
BY_DESIGN = {
    "flask_app_nginx_before": "Nginx configuration of the user's own",
    "flask_app_nginx_inside": "Nginx configuration of the user's own",
    "flask_app_nginx_after": "Nginx configuration of the user's own",
    "flask_app_maintenance_page": "the page itself",
    "flask_app_release_command": "a program for the shell",
}
#: Tried with each variable: ways to break out of a line, a word, a block and a quoted text of any of these files.
HOSTILE = [
    "x\nExecStartPre=+/bin/touch /root/x",
    "x\rUser=root",
    "x\u2028y",
    "x\\",
    "x\\\ny",
    "x; } server { listen 1; }",
    "x{y}z",
    'x"; root /; "',
    "x' + __import__('os').name + '",
    'x" + y + "',
    "x$host$$y",
    "x%i%%h%z",
    "x # y",
    "#x",
    "[x]",
    "<script>x</script>&amp;",
    "${x}",
    "é\U0001f600",
    " x  y ",
    "x\ty|`z`",
]
PLAIN = "plainvalue"
#: Text to put around a value, for variables that refuse the bare one for its form.
FRAMES = {
    "flask_app_health_path": ["/{}", "/x?{}"],
    "flask_app_server_names": ["a.{}"],
    "flask_app_service_memory_max": ["1G{}"],
    "flask_app_nginx_trusted_proxies": ["2001:db8::1%{}", "10.0.0.0/8{}"],
    "flask_app_nginx_health_networks": ["2001:db8::1%{}", "10.0.0.0/8{}"],
    "flask_app_acme_directory": ["https://example.org/{}"],
    "flask_app_acme_email": ["a@example.{}"],
}


# The content of the files


def words(text: str) -> list[Any]:
    """Parse an Nginx configuration: each directive as its words, a block as a list at the end (ngx_conf_file.c)."""
    stack: list[list[Any]] = [[]]
    current: list[str] = []
    token = re.compile(
        r"""\s+ | \#[^\n]* | [;{}] | "((?:[^"\\]|\\.)*)" | '((?:[^'\\]|\\.)*)'
        | ((?:\\.|\$\{|[^\s;{"'\\])(?:\\.|\$\{|[^\s;{\\])*)""",
        re.DOTALL | re.VERBOSE,
    )
    place = 0
    while place < len(text):
        match = token.match(text, place)
        assert match, text[place : place + 40]
        place, found = match.end(), match[0]
        if found == ";":
            stack[-1].append(current)
            current = []
        elif found == "{":
            block: list[Any] = []
            stack[-1].append([*current, block])
            stack.append(block)
            current = []
        elif found == "}":
            assert not current, current
            stack.pop()
        elif not found[0].isspace() and found[0] != "#":
            current.append(re.sub(r"\\(.)", r"\1", next(each for each in match.groups() if each is not None)))
    assert len(stack) == 1
    assert not current
    return stack[0]


def python(text: str) -> dict[str, Any]:
    """Return the constants that a module assigns; its other statements as text."""
    found: dict[str, Any] = {}
    for number, statement in enumerate(ast.parse(text).body):
        if isinstance(statement, ast.Assign) and not isinstance(statement.value, ast.Call):
            assert isinstance(statement.targets[0], ast.Name)
            found[statement.targets[0].id] = ast.literal_eval(statement.value)
        else:
            found[f"statement {number}"] = ast.dump(statement)
    return found


def units(text: str) -> dict[str, dict[str, list[str]]]:
    """Parse a unit with systemd's line rules: lines end at CR, LF and NUL, and continue after a backslash."""
    return unit(re.sub(r"\\\n", " ", re.sub(r"[\r\n\0]", "\n", text)))


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append(f"<{tag} {attrs}>")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def environment(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read a release's environment file by the rules of a shell; server tests use systemd's own reader."""
    given = [templates.render(name, **values) for name in ("__flask_app_identity", "__flask_app_fallbacks")]
    given += [values.get(name, {}) for name in ("flask_app_env", "flask_app_secrets")]
    texts = environment_texts({name: value for each in given for name, value in each.items()})
    read = dict(word.split("=", 1) for word in shlex.split(render(texts)))
    return {name: json.loads(text) if name.endswith("_FALLBACKS") else text for name, text in read.items()}


#: File -> the function that reads it.
READERS: dict[str, Callable[[str], Any]] = {
    "__flask_app_specification.gunicorn": python,
    "__flask_app_specification.processes.web.drop_in": units,
    "__flask_app_specification.processes.web.service": units,
    "__flask_app_specification.processes.web.socket": units,
    "__flask_app_nginx.drop_in": units,
    "__flask_app_nginx.main": words,
    "__flask_app_maintenance_page": lambda text: Page(text).parts,
}
#: Enables all parts of the sites.
WHOLE = {
    "flask_app_tls": "self_signed",
    "flask_app_nginx_http3": True,
    "flask_app_nginx_rate_limit": 3,
    "flask_app_nginx_trusted_proxies": ["10.0.0.0/8"],
    "flask_app_nginx_health_networks": ["10.0.0.0/8"],
    "flask_app_gunicorn_settings": {"proc_name": "x"},
    "flask_app_service_settings": {"Nice": 5},
}


#: An app inside another one's site.
INSIDE = {"flask_app_nginx_site_of": "main", "flask_app_url_prefix": "/shop"}


def files(values: Mapping[str, Any], only: Collection[str] = ()) -> dict[str, Any]:
    """Return the parsed files of a deploy with these values, or only these files."""
    given = {**BASELINE, **WHOLE, **values}
    wanted = only or untouched().keys()
    found = {name: read(templates.render(name, **given)) for name, read in READERS.items() if name in wanted}
    if wanted - found.keys() - {"environment", "credentials"}:
        found |= sites(given)
    if "environment" in wanted:
        found["environment"] = environment(given)
    if "credentials" in wanted:
        found["credentials"] = units(drop_in("shop", given["flask_app_secrets"]))
    return {name: content for name, content in found.items() if name in wanted}


def sites(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parsed Nginx files of an app with its own site and of one inside another's site."""
    found = {}
    for more in ({}, INSIDE):
        texts = templates.render("__flask_app_nginx_files", **{**more, **given})
        for name, text in texts.items():
            facts = {name: value for name, value in facts_in(text).items() if name not in DIGESTS}
            found[name] = [words(text), facts]
    return found


@cache
def untouched() -> dict[str, Any]:
    return files({}, {*READERS, *sites({**BASELINE, **WHOLE}), "environment", "credentials"})


@cache
def computed(name: str) -> Any:
    return templates.render(name, **{**BASELINE, **WHOLE})


def everything(**changed: Any) -> dict[str, Any]:
    """Return all of the role's variables in their types, as the preflight gets them."""
    given = {**BASELINE, **WHOLE, **changed}
    known = {name: given.get(name, ROLE_VARIABLES.get(name)) for name in OPTIONS}
    spec = {
        name: {key: option[key] for key in ("type", "elements", "choices") if key in option}
        for name, option in OPTIONS.items()
    }
    for name, value in known.items():
        if name == "flask_app_rotation_vault_file" and name not in changed:
            known[name] = None
        elif isinstance(value, str) and "{{" in value and name not in changed:
            depends = any(each in value for each in changed)
            known[name] = templates.render(name, **given) if depends else computed(name)
    outcome = ArgumentSpecValidator(spec).validate({name: value for name, value in known.items() if value is not None})
    if outcome.error_messages:
        raise RefusedError(" ".join(outcome.error_messages))
    return dict(outcome.validated_parameters)


class RefusedError(Exception):
    """The preflight refuses; the message is its output."""


#: These rules need a source, which these tests don't have.
_OF_A_SOURCE = {source.choice, source.git_url, source.include, source.directory}


def refusals(values: Mapping[str, Any]) -> str:
    inputs = registry.findings(Case(values), lambda rule: not rule.acceptable, set(registry.checks()) - _OF_A_SOURCE)
    ignored = registry.findings(Case(values), asked=[gunicorn.ignored])
    return "\n".join([*map(str, inputs), *(finding.what for finding in ignored)])


# Where a value may be


def put(name: str, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the ways to put a text into a variable."""
    kind = OPTIONS[name]["type"]
    framed = [frame.format(text) for frame in ["{}", *FRAMES.get(name, [])]]
    if kind in ("str", "int", "bool"):
        yield from (("", each) for each in framed)
    elif kind == "list":
        yield from (("an element", [each]) for each in framed)
    elif name == "flask_app_nginx_static":
        yield "a directory", {"/static/": text}
        yield "a path", {f"/{text}/": "static"}
    else:
        known = {"flask_app_gunicorn_settings": "proc_name", "flask_app_service_settings": "SyslogIdentifier"}
        own = known.get(name, "ONE")
        yield "a value", {own: text}
        yield "a name", {text: "x"}
        if name in ("flask_app_gunicorn_settings", "flask_app_service_settings"):
            yield "in a list", {own: ["x", text]}
        if name == "flask_app_gunicorn_settings":
            yield "nested", {"logconfig_dict": {"x": {text: [text]}}}


def replaced(content: Any, old: str, new: str) -> Any:
    """Return parsed content with one text replaced by another."""
    if isinstance(content, str):
        return content.replace(old, new)
    if isinstance(content, list):
        return [replaced(each, old, new) for each in content]
    if isinstance(content, dict):
        return {replaced(key, old, new): replaced(value, old, new) for key, value in content.items()}
    return content


def test_plain_values_are_accepted() -> None:
    assert refusals(everything()) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in BY_DESIGN])
def test_hostile_values_stay_data(name: str) -> None:
    for number, (how, plain) in enumerate(put(name, PLAIN)):
        expected: Any = None
        for text in HOSTILE:
            value = [each for _, each in put(name, text)][number]
            try:
                told = refusals(everything(**{name: value}))
            except (
                RefusedError,
                AnsibleError,
            ) as error:  # refused by its type or choices, or a template can't use it
                told = str(error)
            if told:
                assert name in told, (how, text, told)
                continue
            if expected is None:
                whole = files({name: plain})
                expected = {path: content for path, content in whole.items() if content != untouched()[path]}
            if not expected:  # it is in no file
                break
            assert files({name: value}, expected.keys()) == replaced(expected, PLAIN, text), (how, text)


@pytest.mark.parametrize("name", BY_DESIGN)
def test_values_that_are_configuration_by_design_are_rendered_verbatim(name: str) -> None:
    """Otherwise they would not need this exception."""
    if name.startswith("flask_app_nginx_"):
        assert files({name: "map $x $y { a b; }"}) != files({})
    elif name == "flask_app_release_command":
        assert templates.render("__flask_app_specification.command", **{name: "a; b"}) == "a; b"
    else:
        assert templates.render("__flask_app_maintenance_page", **{name: "<p>x</p>"}) == "<p>x</p>"
