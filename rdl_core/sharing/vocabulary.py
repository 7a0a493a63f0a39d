"""What of a schema are values of the data themselves: the vocabularies of its columns.

Numbers that count or rank something (at most 10 small integers) and true/false say nothing of anybody and are no such values; codes and names are,
whatever they mean. Moments (mean, standard deviation) and the oldest, median and newest time of a column are of all rows and no vocabulary.
"""

from __future__ import annotations

from rdl_core.graph.schema import ColumnSchema, Schema

_BOOLEANS = frozenset(("true", "false"))


def holds_values(column: ColumnSchema) -> bool:
    """Whether the column's schema holds values of the data as they are."""
    return bool(column.categories) and not column.is_ordinal and not _BOOLEANS.issuperset(column.categories)


def vocabularies(schema: Schema) -> dict[str, int]:
    """Returns {table.column: number of values} of the columns whose values the schema holds as they are."""
    return {
        f"{table.name}.{column.name}": len(column.categories)
        for table in schema.tables.values()
        for column in table.columns
        if holds_values(column)
    }
