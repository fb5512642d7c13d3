# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter environment_file, called by Ansible as in a play: it renders like the role, and errors name keys."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError, AnsibleTemplatePluginError, AnsibleTypeError, AnsibleUndefinedVariable
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret, VaultSecretsContext
from ansible.template import Templar, trust_as_template
from ansible_collections.greenlight.flask.plugins.filter.environment_file import FilterModule, environment_file
from ansible_collections.greenlight.flask.plugins.module_utils._base.environment_file import (
    EnvironmentValueError,
    parse,
    render,
)
from hypothesis import given
from hypothesis import strategies as st

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cn"], exclude_characters="\0"))
values = st.one_of(texts, st.integers(), st.sampled_from(["{{ 7 * 6 }}", "{% raw %}", "[1]", "true", "null", "{{"]))

VAULT = [("test", VaultSecret(b"only for these tests"))]
FILTER = "greenlight.flask.environment_file"


def loaded(text: str, directory: Path) -> dict[str, Any]:
    """Read variables like Ansible reads group_vars: tagged with their origin, and with encrypted !vault values."""
    path = directory / "variables.yml"
    path.write_text(text, encoding="utf-8")
    found: dict[str, Any] = DataLoader().load_from_file(str(path), trusted_as_template=True)
    return found


def template(expression: str, variables: dict[str, Any]) -> Any:
    return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(f"{{{{ {expression} }}}}"))


@given(st.dictionaries(names, values, max_size=5))
def test_the_filter_renders_like_the_role(given: dict[str, object]) -> None:
    """Even text that looks like a template or like YAML."""
    assert template(f"x | {FILTER}", {"x": given}) == render(given)


def test_there_is_exactly_one_filter() -> None:
    assert FilterModule().filters() == {"environment_file": environment_file}


def test_templates_numbers_and_vaulted_values_are_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VaultSecretsContext, "_current", VaultSecretsContext(VAULT))  # as ansible-playbook does
    secret = "hunter2 '\"$HOME`\\ #%;é\n"
    sealed = VaultLib(VAULT).encrypt(secret, vault_id="test").decode().replace("\n", "\n    ")
    text = f"""
colour: green
environment_of_worker:
  PLAIN: it's
  PORT: 8080
  COMPUTED: "{{{{ colour }}}} and {{{{ 1 + 1 }}}}"
  UNSAFE: !unsafe "{{{{ colour }}}}"
  SECRET: !vault |
    {sealed}
"""
    rendered = template(f"environment_of_worker | {FILTER}", loaded(text, tmp_path))
    expected = {"PLAIN": "it's", "PORT": "8080", "COMPUTED": "green and 2", "UNSAFE": "{{ colour }}", "SECRET": secret}
    assert parse(rendered) == expected
    assert list(parse(rendered)) == sorted(expected)


def test_the_rendered_text_is_not_templated_again(tmp_path: Path) -> None:
    variables = loaded(f'x: {{A: !unsafe "{{{{ 1 + 1 }}}}"}}\ny: "{{{{ x | {FILTER} }}}}"\n', tmp_path)
    assert template("y", variables) == "A='{{ 1 + 1 }}'\n"


@pytest.mark.parametrize("text", ["x: {A: '{{ nowhere }}'}", "x: '{{ nowhere }}'", "other: 1"])
def test_an_undefined_value_fails_as_usual_and_can_have_a_default(text: str, tmp_path: Path) -> None:
    variables = loaded(text, tmp_path)
    with pytest.raises(AnsibleUndefinedVariable, match=r"'(nowhere|x)' is undefined"):
        template(f"x | {FILTER}", variables)
    assert template(f"x | {FILTER} | default('none')", variables) == "none"


REFUSED: dict[str, dict[str, Any]] = {
    "a NUL": {"TOKEN": "hunter2\0"},
    "a noncharacter": {"TOKEN": "hunter2\ufffe"},
    "a surrogate": {"TOKEN": "hunter2\udcff"},
    "too long": {"TOKEN": "hunter2" * 20_000},
    "a boolean": {"TOKEN": True, "OTHER": "hunter2"},
    "null": {"TOKEN": None, "OTHER": "hunter2"},
    "a list": {"TOKEN": ["hunter2"]},
    "a mapping": {"TOKEN": {"hunter2": "hunter2"}},
    "a bad name": {"TOKEN-1": "hunter2"},
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
def test_an_unsupported_value_is_refused_by_name_without_its_value(given: dict[str, Any]) -> None:
    with pytest.raises(EnvironmentValueError) as why:
        render(given)
    with pytest.raises(AnsibleTemplatePluginError) as direct:
        environment_file(given)
    assert str(direct.value) == str(why.value)
    with pytest.raises(AnsibleError, match="TOKEN") as refused:
        template(f"x | {FILTER}", {"x": given})
    assert FILTER in str(refused.value)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(("given", "kind"), [("hunter2", "str"), (["hunter2"], "list"), (5, "int"), (None, "NoneType")])
def test_a_value_that_is_not_a_mapping_is_refused_by_its_type(given: object, kind: str, tmp_path: Path) -> None:
    with pytest.raises(AnsibleTypeError, match=f"needs a mapping, not a {kind}\\."):
        environment_file(given)  # type: ignore[arg-type]
    variables = {"x": given} if given != "hunter2" else loaded("x: hunter2", tmp_path)
    with pytest.raises(AnsibleError, match=f"not a {kind}\\.") as refused:
        template(f"x | {FILTER}", variables)
    assert "hunter2" not in str(refused.value)
