# SPDX-License-Identifier: GPL-3.0-or-later
"""Cache two things that Ansible repeats for each template; they take two thirds of the time of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest
from ansible._internal._templating._jinja_bits import (
    _TEMPLATE_OVERRIDE_FIELD_NAMES,
    AnsibleEnvironment,
    _TemplateCompileContext,
)
from ansible.plugins.loader import lookup_loader


@pytest.fixture(scope="session", autouse=True)
def _template_cache() -> Iterator[None]:
    """Compile a template once, and let the template lookup copy its variables shallowly."""
    compiled: dict[object, CodeType] = {}
    compile_anew = AnsibleEnvironment.compile

    def compile_once(environment: AnsibleEnvironment, source: Any, *places: Any, **options: Any) -> Any:
        if not isinstance(source, str):  # parsed already
            return compile_anew(environment, source, *places, **options)
        context = _TemplateCompileContext.current(optional=True)
        syntax = tuple(getattr(environment, name) for name in _TEMPLATE_OVERRIDE_FIELD_NAMES)
        key = (str(source), places, *options.items(), syntax, context and context.escape_backslashes)
        if key not in compiled:
            compiled[key] = compile_anew(environment, source, *places, **options)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AnsibleEnvironment, "compile", compile_once)
        patch.setitem(lookup_loader.get("ansible.builtin.template").run.__globals__, "deepcopy", dict)
        yield
