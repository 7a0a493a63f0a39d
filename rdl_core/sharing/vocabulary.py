"""The parts of a model that are values of the data themselves: vocabularies of its schema's columns, and the classes that a fine-tuned one
predicts.

Numbers that count or rank something (at most 10 small integers) and true/false say nothing of anybody and are no such values; codes and names are,
whatever they mean. Moments (mean, standard deviation) and the oldest, median and newest time of a column are of all rows and no vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rdl_core.graph.schema import CODE_NAME, MAX_SMALL_INTEGERS, ColumnSchema, Schema, TableSchema

_BOOLEANS = frozenset(("true", "false"))


def holds_values(column: ColumnSchema) -> bool:
    """Returns whether the column's schema holds values of the data as they are."""
    return (
        bool(column.categories)
        and not column.salt
        and not column.is_ordinal
        and not _BOOLEANS.issuperset(column.categories)
    )


def vocabularies(schema: Schema) -> dict[str, int]:
    """Returns {table.column: number of values} of the columns whose values the schema holds as they are."""
    return {
        f"{table.name}.{column.name}": len(column.categories)
        for table in schema.tables.values()
        for column in table.columns
        if holds_values(column)
    }


def class_names(about: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the classes that a fine-tuned model names by values of the data; () where it has none, or a few small integers that are no codes.

    Args:
        about: As a checkpoint has it (rdl_core/model/checkpoint.py).
    """
    names = tuple((about.get("target_scale") or {}).get("classes") or ())
    is_code = CODE_NAME.search((about.get("question") or {}).get("target", "")) is not None
    are_integers = all(name.removeprefix("-").isdecimal() for name in names)
    return () if are_integers and len(names) <= MAX_SMALL_INTEGERS and not is_code else names


def told_values(schema: Schema, about: Mapping[str, Any]) -> dict[str, int]:
    """Returns what a model folder tells of the data as it is, {where: number of values}: its vocabularies, and the classes that it predicts."""
    names = class_names(about)
    return vocabularies(schema) | ({f"classes of the task {about.get('task')}": len(names)} if names else {})


def hidden_columns(schema: Schema) -> list[str]:
    """Returns the columns whose values the schema holds as keyed SHA-256 only, as table.column."""
    return [f"{table.name}.{c.name}" for table in schema.tables.values() for c in table.columns if c.salt]


def with_hidden_values(schema: Schema, key: str) -> Schema:
    """Returns the schema with each value of its vocabularies replaced by its keyed SHA-256, so that new data is still read alike.

    Who has the schema can test a guess ("is 'Smith' among them?"), since it must be able to look values up; it hides values that nobody guesses.

    Args:
        key: Of the model; each column gets a salt of its own, made of it.
    """
    tables = {name: replace(table, columns=_hidden(table, key)) for name, table in schema.tables.items()}
    return replace(schema, tables=tables)


def _hidden(table: TableSchema, key: str) -> tuple[ColumnSchema, ...]:
    return tuple(c.hidden(_salt(key, table.name, c.name)) if holds_values(c) else c for c in table.columns)


def _salt(key: str, table: str, column: str) -> str:
    return hashlib.sha256("\0".join((key, table, column)).encode()).hexdigest()[:32]
