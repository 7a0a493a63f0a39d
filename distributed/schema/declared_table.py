"""The declaration of one table in the schema file of a source: keys, times, and how its values and its file are to be read.

All of it is optional, and nothing of it is guessed here: a name of another type than text, an unknown word, or a combination that means nothing is
refused by its field.
"""

from __future__ import annotations

import codecs
from dataclasses import field
from typing import Literal

from rdl_core.config import checked
from rdl_core.database.table_settings import StypeName

DeclaredStype = Literal[
    "numerical", "categorical", "multicategorical", "timestamp", "text", "text_embedded", "embedding"
]
"""Semantic types; text_embedded is PyTorch Frame's name of `text`."""


@checked
class DeclaredKey:
    """A foreign key of several columns: `columns` refer to `parent_columns` of `table`; None for its primary key, in this order."""

    columns: tuple[str, ...]
    table: str
    parent_columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise ValueError(f"fkeys: columns is {list(self.columns)}; expected one or more different columns")
        if self.parent_columns is not None and len(self.parent_columns) != len(self.columns):
            raise ValueError(
                f"fkeys: {list(self.columns)} are {len(self.columns)} columns, parent_columns {list(self.parent_columns)} "
                f"are {len(self.parent_columns)}; expected as many"
            )


@checked
class DeclaredTable:
    """One table of a schema file.

    Args:
        pkey: Column of the primary key, or columns of a composite one.
        time_col: The column from which on a row is there. Written as null: the table has none, and none is looked for.
        formats: Notation of times by column, as strptime has it (%d.%m.%Y).
        null_values: Spellings of null in this table's text, beside the usual ones.
        stype: Semantic type by column, which materialize takes instead of its own rule.
        known_from: The column with the time from which on a column's cell is known, by column.
        valid_from, valid_to: The columns between whose times a row is its entity's version.
        filled_later: Foreign keys that are filled in, or changed, after their row came to be (of several columns: a+b): they date no row, and their
            links are not shown.
        known_with_row: Foreign keys that are known with their row, whatever the times of rows say.
        delimiter: What separates the fields of a CSV file.
        encoding: The encoding of a CSV file, by its Python name.
        decimal: The decimal mark of numbers in text.
    """

    pkey: tuple[str, ...] = ()
    fkeys: tuple[DeclaredKey, ...] = ()
    time_col: str | None = None
    formats: dict[str, str] = field(default_factory=dict)
    null_values: tuple[str, ...] = ()
    stype: dict[str, DeclaredStype] = field(default_factory=dict)
    known_from: dict[str, str] = field(default_factory=dict)
    valid_from: str | None = None
    valid_to: str | None = None
    filled_later: tuple[str, ...] = ()
    known_with_row: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str | None = None
    decimal: Literal[".", ","] | None = None
    time_col_is_declared: bool = False

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError(f"delimiter is {self.delimiter!r}; expected one character, such as ';' or \"\\t\" (a tab)")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise ValueError(f"encoding is {self.encoding!r}; expected one such as utf-8 or cp1252") from error
        if self.valid_to is not None and self.valid_from is None:
            raise ValueError(f"valid_to is {self.valid_to!r} without valid_from; name the column a version begins at")
        if len(set(self.pkey)) < len(self.pkey):
            raise ValueError(f"pkey is {list(self.pkey)}; expected different columns")

    def stype_of(self, column: str) -> StypeName:
        """Returns the semantic type that the file gives a column, by materialize's name."""
        stype = self.stype[column]
        return "text" if stype == "text_embedded" else stype

    def columns_by_field(self) -> dict[str, tuple[str, ...]]:
        """Returns the columns that each field names."""
        one = {"time_col": self.time_col, "valid_from": self.valid_from, "valid_to": self.valid_to}
        return {
            "pkey": self.pkey,
            "fkeys": tuple(column for key in self.fkeys for column in key.columns),
            **{name: (column,) for name, column in one.items() if column is not None},
            "formats": tuple(self.formats),
            "stype": tuple(self.stype),
            "known_from": (*self.known_from, *self.known_from.values()),
        }
