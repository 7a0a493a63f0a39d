"""What of a schema are values of the data themselves: the vocabularies of its columns.

Numbers that count or rank something (at most 10 small integers) and true/false say nothing of anybody and are no such values; codes and names are,
whatever they mean. Moments (mean, standard deviation) and the oldest, median and newest time of a column are of all rows and no vocabulary.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from rdl_core.graph.schema import ColumnSchema, Schema, TableSchema

_BOOLEANS = frozenset(("true", "false"))


def holds_values(column: ColumnSchema) -> bool:
    """Whether the column's schema holds values of the data as they are."""
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
