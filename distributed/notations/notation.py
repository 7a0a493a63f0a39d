"""One way to write values: its name, the type that it gives, and the SQL that reads it.

`value` is null wherever a text is not written in this notation, so counting it tells how many values are. Every notation
works on text without blanks around it, of which spellings of null are taken out (`null_values.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distributed.schema.source_table import Kind

Sql = Callable[[str], str]
"""The SQL of an expression, to the SQL of another one."""


@dataclass(frozen=True, kw_only=True)
class Notation:
    """A way to write values.

    Args:
        name: What a report calls it.
        kind: The type of its values.
        value: From the SQL of a trimmed text (of an integer, in epochs.py) to the SQL of its value, null where it is not written so.
        declared: What `formats:` of a schema file calls it.
    """

    name: str
    kind: Kind
    value: Sql
    declared: str = ""


def matched(pattern: str, value: Sql) -> Sql:
    """Returns the SQL of `value` where the whole text matches `pattern`, else null."""
    literal = pattern.replace("'", "''")
    return lambda text: f"CASE WHEN regexp_full_match({text}, '{literal}') THEN {value(text)} END"


def first_of(*values: Sql) -> Sql:
    """Returns the SQL of the first that is not null."""
    return lambda text: f"coalesce({', '.join(value(text) for value in values)})"
