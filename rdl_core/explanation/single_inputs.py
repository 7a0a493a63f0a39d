"""The generated columns that tell most of one prediction: each left out alone, with its name and its value in the source's own units.

A column and a statistic of the row's node that have one name are one input: they hold one value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdl_core.explanation.groups import ReadInputs
from rdl_core.explanation.left_out import Columns, LeavingOut, Rows, Values
from rdl_core.statistics.sources import Source

INPUTS_PER_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class OneByOne:
    """The inputs of one question, each left out alone.

    Args:
        values: float32 [inputs], in the source's own units; NaN where undefined.
        without: float64 [inputs], predictions; of classes [inputs, classes].
    """

    values: Columns
    without: Values


class SingleInputs:
    """Leaves out generated columns one by one.

    Args:
        leaving_out: What predicts.
        read: What the model reads.
    """

    def __init__(self, leaving_out: LeavingOut, read: ReadInputs) -> None:
        self._leaving_out, self._read = leaving_out, read
        self._network = read.columns if leaving_out.needs_network else None
        parts: list[tuple[list[str], list[Source]]] = []
        for columns in (self._network, read.head_columns):
            parts.append((columns.names, columns.sources) if columns is not None else ([], []))
        table, statistics = read.entity_table, read.key_statistics
        has_statistics = statistics is not None and leaving_out.needs_network and table in read.statistics_tables
        if has_statistics and statistics is not None:
            parts.append((statistics.table_names(table), statistics.table_sources(table)))
        else:
            parts.append(([], []))
        found = {name: source for names, sources in parts for name, source in zip(names, sources, strict=True)}
        self.names, self.sources = list(found), list(found.values())
        """Words for each input, and where it comes from."""
        numbers = {name: number for number, name in enumerate(self.names)}
        self._places = [np.full(len(self.names), -1) for _ in parts]
        for places, (names, _) in zip(self._places, parts, strict=True):
            places[[numbers[name] for name in names]] = np.arange(len(names))

    def __call__(self, row: int, time_s: int, prediction: Values) -> OneByOne:
        """Leaves out each input of a question whose prediction, float64 [] or [classes], is known."""
        rows, times = np.array([row]), np.array([time_s])
        in_network, in_heads, in_statistics = self._places
        values = self._values(rows, times)
        network = None if self._network is None else self._network(rows, times)
        of_heads = self._read.head_columns
        heads = None if of_heads is None else of_heads(rows, times, raw=True)
        asked = np.arange(len(self.names)) if heads is not None else np.flatnonzero(~np.isnan(values))
        without = np.repeat(prediction[None], len(self.names), axis=0)
        for begin in range(0, len(asked), INPUTS_PER_BATCH):
            some = asked[begin : begin + INPUTS_PER_BATCH]
            changed = self._leaving_out.without_one_each(
                row,
                time_s,
                network=(network, in_network[some]),
                heads=(heads, in_heads[some]),
                statistics=in_statistics[some],
            )
            without[some] = self._leaving_out.predict(changed)
        return OneByOne(values=values, without=without)

    def _values(self, rows: Rows, times: Rows) -> Columns:
        """Returns the inputs of one question in their own units: float32 [inputs]."""
        values = np.full(len(self.names), np.nan, np.float32)
        statistics, table = self._read.key_statistics, self._read.entity_table
        parts = [
            None if of is None else of(rows, times, raw=True)[0] for of in (self._network, self._read.head_columns)
        ]
        has_statistics = statistics is not None and (self._places[2] >= 0).any()
        parts.append(statistics.of_table(table, rows, times, raw=True)[0] if has_statistics and statistics else None)
        for places, part in zip(self._places, parts, strict=True):
            if part is not None:
                there = places >= 0
                values[there] = part[places[there]]
        return values
