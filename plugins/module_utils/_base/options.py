# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive a step's options from the fields of a dataclass, so that they are written down once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_TYPES = {str: "str", bool: "bool", int: "int", float: "float"}


def options_of(kind: type, *left_out: str) -> dict[str, dict[str, Any]]:
    """Return the options for a dataclass, in the form of ansible.module_utils.common.arg_spec.

    All are required: the defaults of a dataclass are for its tests; the role has its own.

    Args:
        kind: a dataclass whose fields are plain values, lists of them, mappings, or such dataclasses.
        left_out: fields that come from elsewhere.
    """
    hints = get_type_hints(kind)
    return {
        field.name: {**_type(hints[field.name]), "required": True}
        for field in fields(kind)
        if field.name not in left_out
    }


def whole(kind: type) -> dict[str, Any]:
    """Return one option that takes all fields of a dataclass."""
    return {"type": "dict", "options": options_of(kind), "required": True}


def made(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass from the values of its options, and those of its fields that are dataclasses, too."""
    hints = get_type_hints(kind)
    return kind(
        **{
            name: made(hints[name], value) if isinstance(value, Mapping) and is_dataclass(hints[name]) else value
            for name, value in values.items()
        }
    )


def _type(hint: Any) -> dict[str, Any]:
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin is Literal:
        return {"type": "str", "choices": [*parts]}
    if is_dataclass(origin):
        return {"type": "dict", "options": options_of(origin)}  # type: ignore[arg-type]  # a class, not an instance
    if origin in (list, Sequence):
        return {"type": "list", "elements": _TYPES[parts[0]]}
    return {"type": "dict" if origin is Mapping else _TYPES[origin]}
