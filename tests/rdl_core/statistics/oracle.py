"""Statistics by plain loops over rows, from the Parquet files: nothing is sorted but a parent's children, and nothing is summed up beforehand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rdl_core.config import StatisticsConfig
from rdl_core.graph.measures import Measure
from rdl_core.graph.reg import ALWAYS, EdgeType
from rdl_core.graph.store import Store

NAN, DAY_S = math.nan, 86_400


class Oracle:
    """The children of a key, as Python objects.

    Args:
        store, db: A store, and the folder of the Parquet files that it was made of.
        edge_type: The key.
    """

    def __init__(self, store: Store, db: Path, edge_type: EdgeType) -> None:
        self.parent = store.graph.key_parent(edge_type).tolist()
        self.time = store.graph.table_time(edge_type[0]).tolist()
        self.cells = pq.read_table(db / f"{edge_type[0]}.parquet").to_pydict()
        self.categories = {c.name: c.categories for c in store.schema.tables[edge_type[0]].columns}

    def children(self, parent: int, from_s: int, until_s: int) -> list[int]:
        """The children with from_s <= time < until_s, in the order of (time, row)."""
        rows = [r for r, p in enumerate(self.parent) if p == parent and from_s <= self.time[r] < until_s]
        return sorted(rows, key=lambda r: (self.time[r], r))

    def value(self, measure: Measure, row: int) -> float:
        """A measure in its own units; NaN where the cell is unknown."""
        cell: Any = self.cells[measure.column][row]
        known = not (cell is None or cell == [] or (isinstance(cell, float) and math.isnan(cell)))
        text = str(cell).lower() if isinstance(cell, bool) else str(cell)
        if measure.kind == "category":
            return float(known and text == measure.category)
        if measure.kind == "missing":
            unseen = known and isinstance(cell, str | bool) and bool(self.categories[measure.column])
            return float(not known or (unseen and text not in self.categories[measure.column]))
        if not known or (self.categories[measure.column] and text not in self.categories[measure.column]):
            return NAN
        number = float(cell)
        return math.copysign(math.log1p(abs(number)), number) if measure.kind == "log" else number

    def mean(self, measure: Measure, rows: list[int], has_missing: bool, raw: bool) -> float:
        """The mean over known cells; where the column had no nulls up to the cutoff, an unknown one counts as an average one."""
        values = [(self.value(measure, row) - measure.mean) / measure.std for row in rows]
        known = [v for v in values if not math.isnan(v)]
        number = len(known) if has_missing else len(rows)
        if not number:
            return NAN
        mean = sum(known) / number
        return mean * measure.std + measure.mean if raw else mean

    def means(self, measures: tuple[Measure, ...], rows: list[int], raw: bool) -> list[float]:
        missing = {m.column for m in measures if m.kind == "missing"}
        return [self.mean(m, rows, m.column in missing, raw) for m in measures]

    def times(self, rows: list[int], before_s: int, raw: bool) -> list[float]:
        """Count, days since the last and the first, days between the last two, age of the last in mean gaps."""
        at = [NAN if self.time[r] == ALWAYS else float(self.time[r]) for r in rows]
        last, first = (at[-1], at[0]) if at else (NAN, NAN)
        days = [(before_s - last) / DAY_S, (before_s - first) / DAY_S]
        days.append((last - at[-2]) / DAY_S if len(at) > 1 else NAN)
        gap = (last - first) / (len(at) - 1) if len(at) > 1 else NAN
        gaps = (before_s - last) / gap if gap > 0 else NAN
        if raw:
            return [len(rows), *days, gaps]
        return [
            math.log1p(len(rows)),
            *(math.log1p(d) for d in days),
            NAN if math.isnan(gaps) else min(max(math.log(gaps), -5), 5),
        ]

    def statistics(
        self,
        parent: int,
        before_s: int,
        measures: tuple[Measure, ...],
        config: StatisticsConfig,
        windows_s: tuple[int, ...],
        raw: bool,
    ) -> list[float]:
        """All statistics of a row at a time."""
        rows = self.children(parent, ALWAYS, before_s)
        found = self.times(rows, before_s, raw)
        for n in config.num_last:
            found += self.means(measures, rows[-n:], raw)
        found += self.means(measures, rows, raw)
        for window_s in windows_s:
            inside = [r for r in rows if self.time[r] != ALWAYS and before_s - window_s <= self.time[r]]
            found += [len(inside) if raw else math.log1p(len(inside)), *self.means(measures, inside, raw)]
        return found


def times_to_ask(times: np.ndarray, number: int, rng: np.random.Generator) -> list[int]:
    """Some row times themselves, a second later, and one between."""
    known = np.unique(times[(times > ALWAYS) & (times < np.iinfo(np.int64).max)])
    if not len(known):
        return [0]
    some = rng.choice(known, number)
    return [*map(int, some), *(int(t) + 1 for t in some[:2]), int(known[0]), int(known[-1]) + 100 * DAY_S]
