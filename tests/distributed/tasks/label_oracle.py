"""The labels of a task in plain Python: a loop over seed times, entities and rows, which shares nothing with the SQL."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from relbench.manifest import DatasetManifest

Row = dict[str, Any]
Time = datetime.datetime


class Oracle:
    """The tables of a folder as lists of rows."""

    def __init__(self, folder: Path) -> None:
        self.specs = DatasetManifest.load(folder / "manifest.yaml").tables
        self.rows: dict[str, list[Row]] = {}
        for name in self.specs:
            rows = pq.read_table(folder / "db" / f"{name}.parquet").to_pylist()
            self.rows[name] = [{key: None if value != value else value for key, value in row.items()} for row in rows]

    def parent(self, table: str, row: Row, column: str) -> Row | None:
        """The row that a key refers to."""
        if row[column] is None:
            return None
        parent = self.specs[table].fkeys[column]
        return self.rows[parent][int(row[column])]

    def time(self, table: str, row: Row | None) -> Time | None:
        """A row's own time."""
        column = self.specs[table].time_col
        return None if row is None or column is None else row[column]

    def labels(
        self,
        entity_table: str,
        seeds: list[Time],
        *,
        table: str,
        entity_of: Callable[[Row], Any],
        time_of: Callable[[Row], Time | None],
        answer: Callable[[list[Row]], Any],
        first_seen: Callable[[int], Time | None],
        window: datetime.timedelta,
        keeps: Callable[[Row], bool] = lambda row: True,
        active_within: datetime.timedelta | None = None,
    ) -> dict[tuple[Time, int], Any]:
        """{(seed time, entity): label} of all that are asked; an answer of None is no label."""
        found = {}
        rows = [row for row in self.rows[table] if keeps(row)]
        for seed in seeds:
            for entity in range(len(self.rows[entity_table])):
                seen = first_seen(entity)
                if seen is None or seen > seed:
                    continue
                own = [row for row in rows if entity_of(row) == entity and time_of(row) is not None]
                if active_within is not None and not any(
                    seed - active_within < self._known(time_of(row)) <= seed for row in own
                ):
                    continue
                inside = [row for row in own if seed < self._known(time_of(row)) <= seed + window]
                inside.sort(key=lambda row: self._known(time_of(row)))
                label = answer(inside)
                if label is not None:
                    found[seed, entity] = label
        return found

    @staticmethod
    def _known(time: Time | None) -> Time:
        assert time is not None
        return time


def values(rows: list[Row], column: str) -> list[Any]:
    """The cells that are not null."""
    return [row[column] for row in rows if row[column] is not None]


def mode(found: list[Any]) -> Any:
    """The most frequent value, the least of equally frequent ones; None of none."""
    counts = Counter(found)
    return min(counts, key=lambda value: (-counts[value], value)) if counts else None
