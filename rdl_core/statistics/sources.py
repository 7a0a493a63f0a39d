"""Sources of generated columns: the keys that are walked to one, the table whose rows are read there, and what is read of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rdl_core.graph.reg import EdgeType

Reading = Literal["cell", "age", "counts"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source of one generated column.

    Args:
        start: Table of the row that the column is of.
        keys: Foreign keys (child, fkey_col, parent) walked from that row on; none for what is read of the row itself.
        tables: The table that each of these keys leads to.
        reading: "cell" for what is made of the cells of a column; "age" for how long ago the rows came to be; "counts" for how many rows there are
            along the last key, and when they came.
        column: Of a cell, its column; None of all else.
    """

    start: str
    keys: tuple[EdgeType, ...] = ()
    tables: tuple[str, ...] = ()
    reading: Reading = "cell"
    column: str | None = None

    @property
    def table(self) -> str:
        """The table whose rows are read."""
        return self.tables[-1] if self.tables else self.start

    def along(self, key: EdgeType, table: str) -> Source:
        """Returns the source one key farther, at a table."""
        return replace(self, keys=(*self.keys, key), tables=(*self.tables, table))

    def read(self, columns: list[str | None], otherwise: Reading) -> list[Source]:
        """Returns the sources of what is read of the rows here: a column's cells or, for None, `otherwise`."""
        return [replace(self, reading="cell" if name else otherwise, column=name) for name in columns]
