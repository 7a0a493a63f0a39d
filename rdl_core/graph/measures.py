"""Measures: what exact statistics count and average of a table's cells, as the schema alone decides.

    number      of a numerical or ordinal column, standardised; NaN where unknown
    log         of a skewed numerical column, its signed logarithm, standardised; NaN where unknown
    category    of a categorical column, 1 where the cell is this one of its 8 most frequent categories, else 0; one of two categories says all
    missing     of a column with nulls up to the cutoff, 1 where the cell is null (or a list empty, or a category unknown), else 0

Promises: measures depend on the schema, hence on rows up to the cutoff only, so that a model's are the same on every store that it can read. Texts,
vectors, times and lists have no measure but `missing`. Cells that become known after their row (`known_from`) have none unless they are asked for:
who asks must hide those that are not known yet.

Limit: a number without a measure `missing` has no count of unknown cells, so one that is null (or not among the small integers) in a later row alone
counts as the column's mean in averages over children. A model that was fitted without such cells would not know what to make of their absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.features import BLOCK, TableFeatures
from rdl_core.graph.schema import ColumnSchema, TableSchema, signed_log

MAX_SHOWN_CATEGORIES = 8

Kind = Literal["number", "log", "category", "missing"]


@dataclass(frozen=True)
class Measure:
    """A number that each row of a table has.

    Args:
        column: The column's name.
        kind: What of its cell it is, as the top of this file says.
        category: The category that is counted, of kind "category".
        mean, std: A value x of the column, or its logarithm, is (x - mean) / std; 0 and 1 where nothing is standardised.
    """

    column: str
    kind: Kind
    category: str | None = None
    mean: float = 0.0
    std: float = 1.0

    def of(self, table: str) -> str:
        """Returns words for people: "results.points", "log of results.points", "results.status = 'x'", "results.points is missing"."""
        cell = f"{table}.{self.column}"
        if self.kind == "category":
            return f"{cell} = {self.category!r}"
        return {"number": cell, "log": f"log of {cell}", "missing": f"{cell} is missing"}[self.kind]

    def average(self, table: str) -> str:
        """Returns words for its average: "mean of results.points", "share of results.status = 'x'"."""
        return f"{'mean' if self.kind in ('number', 'log') else 'share'} of {self.of(table)}"


def measures(schema: TableSchema, *, late: bool = False) -> tuple[Measure, ...]:
    """Returns the measures of a table's rows, in the order of its columns.

    Args:
        late: Whether those of cells that become known after their row are among them.
    """
    return tuple(m for c in schema.columns if late or c.name not in schema.known_from for m in _of_column(c))


def late_measures(schema: TableSchema) -> list[str]:
    """Returns the columns that have measures only if those of late cells are asked for."""
    return [c.name for c in schema.columns if c.name in schema.known_from and _of_column(c)]


def _of_column(column: ColumnSchema) -> list[Measure]:
    found = []
    if column.stype == "numerical" or column.is_ordinal:
        found.append(Measure(column.name, "number", mean=column.mean, std=column.std))
    if column.is_skewed:
        found.append(Measure(column.name, "log", mean=column.log_mean, std=column.log_std))
    if column.stype == "categorical":
        found += [Measure(column.name, "category", category) for category in _shown_categories(column)]
    if column.has_nulls:
        found.append(Measure(column.name, "missing"))
    return found


def _shown_categories(column: ColumnSchema) -> tuple[str, ...]:
    """Returns the categories that are counted: of two, one says all, and of a number with two values, the number does."""
    categories = column.categories[: column.num_measured]
    if len(categories) == 2 and not column.is_ordinal:
        return ("true",) if "true" in categories else categories[:1]
    return categories[:MAX_SHOWN_CATEGORIES] if len(categories) > 2 else ()


class MeasureValues:
    """The measures of a table's rows, from its cells.

    Args:
        features: The table's cells.
        of: The measures; None for those of `measures`.
    """

    def __init__(self, features: TableFeatures, of: tuple[Measure, ...] | None = None) -> None:
        schema = features.schema
        self.measures = measures(schema) if of is None else of
        self._arrays = features.arrays
        self._columns = {column.name: column for column in schema.columns}
        self._position: dict[str, int] = {}
        for column in schema.columns:
            block = BLOCK.get(column.stype, "multicategorical")
            same = [c.name for c in schema.columns if BLOCK.get(c.stype, "multicategorical") == block]
            self._position[column.name] = same.index(column.name)
        self._blocks = {BLOCK[self._columns[m.column].stype] for m in self.measures if self._has_block(m)}

    def __call__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Returns the measures of rows: float32 [m, measures], NaN where a number is unknown."""
        return self.exact(rows).astype(np.float32)

    def exact(self, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        """Returns the measures of rows: float64 [m, measures], NaN where a number is unknown."""
        blocks = {name: np.asarray(self._arrays[name][rows]) for name in self._blocks}
        values = np.empty((len(rows), len(self.measures)))
        for j, measure in enumerate(self.measures):
            if self._has_block(measure):
                cells = blocks[BLOCK[self._columns[measure.column].stype]][:, self._position[measure.column]]
                values[:, j] = _values(measure, self._columns[measure.column], cells)
            else:
                offset = self._arrays[f"multicategorical_{self._position[measure.column]}_offset"]
                values[:, j] = offset[rows] == offset[rows + 1]
        return values

    def _has_block(self, measure: Measure) -> bool:
        return self._columns[measure.column].stype in BLOCK


def _values(measure: Measure, column: ColumnSchema, cells: NDArray) -> NDArray:
    """Returns a measure of cells of one column, as the column's block holds them: [m], or [m, 7] of a time."""
    if measure.kind == "missing":
        if column.stype == "numerical":
            return ~np.isfinite(cells)
        if column.stype == "timestamp":
            return cells[:, 0] < 0
        return cells < 0 if column.stype == "categorical" else cells == 0
    if measure.kind == "category":
        assert measure.category is not None
        return cells == column.categories.index(measure.category)
    numbers = cells.astype(np.float64)
    if column.is_ordinal:
        numbers = np.array([*map(float, column.categories), np.nan])[cells]  # -1 is the last
    elif measure.kind == "log":
        numbers = signed_log(numbers)
    return (numbers - measure.mean) / measure.std
