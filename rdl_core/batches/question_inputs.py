"""The inputs that a backbone reads of a question besides its tree: statistics of every node's children, and wide columns of its row.

Promises: all of it is strictly before the question's bound; a value is a function of (row, bound) alone, neither of the batch nor of a draw.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import BackboneConfig
from rdl_core.graph.store import Store
from rdl_core.sampling.temporal_sampling import TemporalSubgraph
from rdl_core.statistics.columns import Columns
from rdl_core.statistics.key_statistics import KeyStatistics


class QuestionInputs:
    """The inputs that a backbone's configuration asks for.

    Args:
        store: An open store.
        config: The backbone's.
    """

    def __init__(self, store: Store, config: BackboneConfig) -> None:
        self.store, self.config = store, config
        self.key_statistics = None if config.statistics is None else KeyStatistics(store, config.statistics)
        self.columns_by_table: dict[str, Columns] = {}
        """Columns per table, made when they are first asked for; others with the same answers may be put here before."""

    def require_same_widths(self, statistics: Mapping[str, int], columns: Mapping[str, int]) -> None:
        """Raises ValueError if a model reads another number of statistics or columns of a table than the store has.

        Args:
            statistics, columns: What the model reads, per table.
        """
        found = {"statistics": self.statistics_widths, "columns": {t: self.columns_width(t) for t in columns}}
        for kind, expected in (("statistics", statistics), ("columns", columns)):
            if expected != found[kind]:
                raise ValueError(
                    f"the model reads {kind} per table {dict(expected)}, the store has {found[kind]}: it was made by another version, or with "
                    "other settings. Remedy: `rdl materialize --data ... --schema-of THE_CHECKPOINT`"
                )

    @property
    def statistics_widths(self) -> dict[str, int]:
        """Number of statistics per table that has any."""
        if self.key_statistics is None:
            return {}
        widths = {table: self.key_statistics.table_width(table) for table in self.store.schema.tables}
        return {table: width for table, width in widths.items() if width > 0}

    def statistics_of(self, table: str, rows: NDArray[np.integer], before_s: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the statistics of a table's rows before these times: float32 [rows, width], NaN where undefined."""
        assert self.key_statistics is not None
        return self.key_statistics.of_table(table, rows, before_s)

    def statistics(self, trees: TemporalSubgraph, before_s: NDArray[np.int64]) -> dict[str, NDArray[np.float32]] | None:
        """Returns the statistics of all nodes of trees, per table that has any: float32 [nodes, width]; None where none are asked for.

        Args:
            trees: The trees.
            before_s: int64 [seeds], UNIX seconds.
        """
        if self.key_statistics is None:
            return None
        return {
            table: self.statistics_of(table, trees.rows[table][trees.index[table]], before_s[trees.seed[table]])
            for table in self.statistics_widths
        }

    def columns(self, table: str, rows: NDArray[np.int64], before_s: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Returns the columns of a table's rows before these times: float32 [rows, width], NaN where undefined; None where none are asked for."""
        return None if self.config.columns is None else self.columns_of(table)(rows, before_s)

    def columns_width(self, table: str) -> int:
        """Number of columns of a table's rows, 0 where none are asked for."""
        return 0 if self.config.columns is None else self.columns_of(table).width

    def columns_of(self, table: str) -> Columns:
        """Returns what computes the columns of a table's rows, where any are asked for."""
        assert self.config.columns is not None
        if table not in self.columns_by_table:
            self.columns_by_table[table] = Columns(self.store, table, self.config.columns)
        return self.columns_by_table[table]
