"""The columns that a row brings by itself at a time: its cells as measures, the days since its timestamps, and its age.

Promises: a cell that is known later than its row is NaN for whoever looks at or before that time. A row that does not exist before the time has no
age, but has its cells: whether it may be shown is the caller's business. Names, number and order are functions of the table's schema and of how its
rows are dated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.measures import MeasureValues, measures
from rdl_core.graph.reg import ALWAYS
from rdl_core.graph.store import Store
from rdl_core.timestamps import NO_TIME, SECONDS_PER_DAY


class RowCells:
    """The columns of a table's rows by themselves.

    Args:
        store: An open store.
        table: The table.
        is_dated: Whether its rows exist from some time on, not always.
    """

    def __init__(self, store: Store, table: str, *, is_dated: bool) -> None:
        schema, self._features = store.schema.tables[table], store.features[table]
        self._time, self._is_dated = store.graph.table_time(table), is_dated
        self._measures = MeasureValues(self._features, measures(schema, late=True))
        stamps = [column.name for column in schema.columns if column.stype == "timestamp"]
        shown = [name for name in stamps if name != schema.time_col]
        self._stamp_at = np.array([stamps.index(name) for name in shown], np.int64)
        position = {column.name: i for i, column in enumerate(schema.columns)}
        columns = [*(m.column for m in self._measures.measures), *shown]
        self._column_of = np.array([position[name] for name in columns], np.int64)
        self.columns: list[str | None] = [*columns, *([None] if is_dated else [])]
        """The column of the table that each is made of; None for the age."""
        self.names = [
            *(measure.of(table) for measure in self._measures.measures),
            *(f"days since {table}.{name}" for name in shown),
            *([f"days since {table} came to be"] if is_dated else []),
        ]

    def __call__(self, rows: NDArray[np.int64], before_s: NDArray[np.int64], *, raw: bool) -> NDArray[np.float32]:
        """Returns the columns at a time.

        Args:
            rows: int64 [m].
            before_s: int64 [m], UNIX seconds.
            raw: In the cells' own units and days, instead of standardised and as logarithms.

        Returns:
            float32 [m, columns].
        """
        parts = [self._values(rows, raw)]
        if len(self._stamp_at):
            parts.append(_days(self._days_since(rows, before_s), raw))
        cells = np.concatenate(parts, axis=1)
        known = self._features.known(rows, before_s)
        if known is not None:
            cells[~known[:, self._column_of]] = np.nan
        return np.concatenate([cells, self._age(rows, before_s, raw)], axis=1) if self._is_dated else cells

    def _values(self, rows: NDArray[np.int64], raw: bool) -> NDArray[np.float32]:
        values = self._measures.exact(rows)
        if raw:
            values = values * [m.std for m in self._measures.measures] + [m.mean for m in self._measures.measures]
        return values.astype(np.float32)

    def _days_since(self, rows: NDArray[np.int64], before_s: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the days from the day of each timestamp: float64 [m, timestamps], negative for one ahead, NaN for none."""
        calendar = self._features.arrays["timestamp"][rows][:, self._stamp_at].astype(np.int64)
        year, month, day = calendar[..., 0], calendar[..., 1], calendar[..., 2]
        dates = ((year - 1970) * 12 + month).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day
        days = before_s[:, None] / SECONDS_PER_DAY - dates
        return np.where(day < 0, np.nan, days)

    def _age(self, rows: NDArray[np.int64], before_s: NDArray[np.int64], raw: bool) -> NDArray[np.float32]:
        time = self._time[rows]
        exists = (time < before_s) & (time != ALWAYS) & (time != NO_TIME)
        days = np.where(exists, before_s - np.where(exists, time, 0), np.nan) / SECONDS_PER_DAY
        return _days(days[:, None], raw)


def _days(days: NDArray[np.float64], raw: bool) -> NDArray[np.float32]:
    """Returns days, or their signed logarithm."""
    return (days if raw else np.sign(days) * np.log1p(np.abs(days))).astype(np.float32)
