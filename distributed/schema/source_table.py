"""A table as its source declares it: columns and their kinds, keys, the time of its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from distributed.schema.declared_table import DeclaredTable
from rdl_core.database.table_settings import StypeName

Kind = Literal["integer", "float", "boolean", "timestamp", "text", "text_time", "list", "unsupported"]
"""Type of a staged column; `text_time` is text that must hold times (SQLite's DATETIME, whose numbers are delivered as text, too), `list` is a list
of texts (several categories)."""

TextTypes = Literal["declared", "time", "all"]
"""The types that may hide in text: none, times (SQLite has no type for them), or any (CSV)."""


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """`columns` of a table refer to `parent_columns` of table `parent`, in this order.

    Args:
        left_out: Why the source cannot deliver the parent, with the remedy; "" if it can.
    """

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    left_out: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceTable:
    """One table as its source declares it, and the schema file adds to it.

    Args:
        time_col_is_declared: Whether `time_col` (None too) is not to be guessed.
        stypes: Semantic types that the schema file gives, by column.
        known_from: The column of times from which a cell is known, by column.
        valid_from, valid_to: The times between which a version of an entity holds; `valid_from` is the table's time.
        filled_later, known_with_row: Foreign keys that are filled in after their row came to be, and that are not.
        declares_keys: Whether the source could declare keys; files cannot.
        declared: What the schema file says of the table.
        notes: Decisions of the source about this table, for the report.
    """

    name: str
    columns: dict[str, Kind]
    pkey: tuple[str, ...] = ()
    fkeys: tuple[ForeignKey, ...] = ()
    time_col: str | None = None
    time_col_is_declared: bool = False
    text_types: TextTypes = "declared"
    unsupported: dict[str, str] = field(default_factory=dict)
    stypes: dict[str, StypeName] = field(default_factory=dict)
    known_from: dict[str, str] = field(default_factory=dict)
    valid_from: str | None = None
    valid_to: str | None = None
    filled_later: tuple[str, ...] = ()
    known_with_row: tuple[str, ...] = ()
    declares_keys: bool = True
    declared: DeclaredTable = DeclaredTable()
    notes: tuple[str, ...] = ()
