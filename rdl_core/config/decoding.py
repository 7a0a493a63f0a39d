"""Configurations are checked when they are made, and read from mappings, by the same rules.

Promises: a value of another type, outside its range or not among the allowed ones is refused as `Class.field`, with what was expected and what was
given; an unknown field is refused with the fields that there are. Nothing is converted in silence: text is no number, and 1.0 is no integer.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Config = TypeVar("Config")


@typing.dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, dataclasses.field))
def checked(cls: type[Config]) -> type[Config]:
    """Makes a frozen dataclass whose fields are checked against their types and ranges whenever an object is made.

    The object raises ValueError, one line per wrong field.
    """
    rules = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    made: Any = dataclass(frozen=True, kw_only=True, config=rules)(cls)
    make = made.__init__

    @functools.wraps(make)
    def init(self: Any, *args: Any, **values: Any) -> None:
        try:
            make(self, *args, **values)
        except ValidationError as error:
            raise ValueError("\n".join(problems(error, type(self), type(self).__name__))) from None

    made.__init__ = init
    return typing.cast("type[Config]", made)


def decode(kind: type[Config], values: Mapping[str, Any], at: str) -> Config:
    """Returns the dataclass `kind` that nested mappings describe, as JSON and YAML hold them; lists become tuples.

    Args:
        at: How messages call it; fields follow with dots.

    Raises:
        ValueError: Unknown or missing fields, and values that the class refuses.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise ValueError("\n".join(problems(error, kind, at))) from None


def changed(config: Config, changes: Mapping[str, Any], at: str) -> Config:
    """Returns the configuration with what nested mappings change; all else stays.

    Where a part may be of several kinds, its kind's name, or a mapping with another `kind`, takes the place of the whole part; the kind that it has
    keeps its settings.

    Args:
        at: How messages call the configuration; fields follow with dots.

    Raises:
        ValueError: Unknown fields, and values that the class refuses.
    """
    return decode(type(config), _merged(dataclasses.asdict(config), changes), at)  # type: ignore[call-overload]


def _merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, change in changes.items():
        before = values.get(name)
        if (
            isinstance(before, dict)
            and isinstance(change, Mapping)
            and change.get("kind") in (None, before.get("kind"))
        ):
            merged[name] = _merged(before, change)
        elif not (isinstance(before, dict) and "kind" in before and change == before["kind"]):
            merged[name] = change
    return merged


def problems(error: ValidationError, kind: Any, at: str) -> list[str]:
    """One line for each wrong field: its dotted name, what was expected and what was given."""
    lines = []
    for problem in error.errors(include_url=False):
        owners, names = [kind], [at] if at else []
        for part in problem["loc"]:
            if tagged := [owner for owner in owners if _tag(owner) == part]:
                owners = tagged  # a member of a union, which is no part of the name
                continue
            names.append(str(part))
            owners = [below for owner in owners for below in _kinds_at(owner, part)] or owners
        name, owner = ".".join(names), owners[0]
        if problem["type"] == "unexpected_keyword_argument":
            fields = ", ".join(f.name for f in dataclasses.fields(owner) if f.name != "kind")
            lines.append(f"{name} is unknown; {owner.__name__} has the fields {fields}")
        elif problem["type"] == "missing":
            lines.append(f"{name} is missing")
        else:
            text = re.sub("^(Input|String) should", "it should", problem["msg"].removeprefix("Value error, "))
            lines.append(
                text if not name or text.startswith(f"{owner.__name__}.") else f"{name} is {problem['input']!r}; {text}"
            )
    return lines


def _kinds_at(owner: Any, part: int | str) -> list[Any]:
    """The dataclasses that a field may be."""
    return _dataclasses_in(typing.get_type_hints(owner).get(str(part))) if dataclasses.is_dataclass(owner) else []


def _dataclasses_in(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [kind for member in typing.get_args(hint) for kind in _dataclasses_in(member)]
    return [hint] if isinstance(hint, type) and dataclasses.is_dataclass(hint) else []


def _tag(kind: Any) -> Any:
    """The value of the field `kind`, by which a member of a union is told."""
    return getattr(kind, "kind", None)
