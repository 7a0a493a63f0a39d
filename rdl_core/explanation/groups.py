"""The groups of inputs that are left out, at three levels, and which of a model's inputs each of them is.

    table     all that is read of its rows or of rows behind them, as if the table were not there; of the entity table the row's own cells and age,
              and rows of it that other rows lead back to
    key       all that comes along a foreign key, at whatever distance
    column    all that is made of a column's cells; "counts and times of <table> via <key>"; "age of <table>": since when its rows are there

Promises: groups of one level are in the schema's order and have distinct names; every input that a model reads is in a group of each level but the
row's own cells and age, which no key leads to, and, in trees, the number of neighbours, which only tables and keys can leave out. Groups of
tables and keys overlap: a race that a result leads to is behind the table of results and behind two keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.prediction import Predictor
from rdl_core.statistics.columns import Columns
from rdl_core.statistics.sources import Source

Level = Literal["table", "key", "column"]
LEVELS: tuple[Level, ...] = ("table", "key", "column")
Mask = NDArray[np.bool_]
Part = tuple[str, str, str | EdgeType | None]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Some of a model's inputs.

    Args:
        columns: bool [width], columns of the entity table that the network reads; [0] where it reads none.
        head_columns: bool [width], the same of heads on columns.
        statistics: bool [width] per table of whose nodes the network reads statistics.
        cells: Columns per table whose cells the network's row encoders read.
        ages: Tables whose rows' ages the network reads.
        edges: Directed edge types.
    """

    columns: Mask
    head_columns: Mask
    statistics: dict[str, Mask]
    cells: dict[str, frozenset[str]]
    ages: frozenset[str]
    edges: frozenset[EdgeType]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Inputs that are left out together.

    Args:
        level: "table", "key" or "column".
        name: Words for people, such as "results.points" or "counts and times of results via driverId".
        table: The table, or a key's child table.
        key: The key as table.column, where it is one.
        column: The column, where it is one.
        part: Of level "column", what `part_of` gives for the sources of its generated columns.
        inputs: Which inputs these are.
    """

    level: Level
    name: str
    table: str
    key: str | None = None
    column: str | None = None
    part: Part | None = None
    inputs: Inputs


class ReadInputs:
    """The inputs of a predictor's model, each with its source.

    Args:
        predictor: An open predictor.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.store, self.entity_table = predictor.store, predictor.question.entity_table
        inputs, heads = predictor.inputs, predictor.heads
        self.columns = None if inputs.config.columns is None else inputs.columns_of(self.entity_table)
        """Columns of the entity table that the network reads."""
        self.head_columns = heads.columns if heads.needs_columns(predictor.head) else None
        """Columns of the entity table that the head, or a part of it, reads."""
        self.key_statistics = inputs.key_statistics
        """Statistics of nodes that the network reads."""
        self.statistics_tables = tuple(inputs.statistics_widths)
        edge_types = self.store.graph.edge_types
        self._edge_types = [*edge_types, *map(reverse, edge_types)]
        graph = self.store.graph
        self._timed = [t for t, has_time in zip(graph.node_types, graph.has_time_col, strict=True) if has_time]

    def where(
        self,
        is_in: Callable[[Source], bool],
        *,
        cells: Callable[[str, str], bool] = lambda table, column: False,
        ages: Callable[[str], bool] = lambda table: False,
        edges: Callable[[EdgeType], bool] = lambda edge_type: False,
    ) -> Inputs:
        """Returns the inputs that predicates of their source, of (table, column), of a table and of a directed edge type name."""

        def mask(read: Columns | None) -> Mask:
            return np.array([is_in(source) for source in (read.sources if read else ())], bool)

        statistics = self.key_statistics
        sources = {t: statistics.table_sources(t) for t in self.statistics_tables} if statistics else {}
        tables = self.store.schema.tables.items()
        named = {t: frozenset(c.name for c in schema.columns if cells(t, c.name)) for t, schema in tables}
        return Inputs(
            columns=mask(self.columns),
            head_columns=mask(self.head_columns),
            statistics={table: np.array(list(map(is_in, of)), bool) for table, of in sources.items()},
            cells={table: names for table, names in named.items() if names},
            ages=frozenset(filter(ages, self._timed)),
            edges=frozenset(filter(edges, self._edge_types)),
        )

    def everything(self) -> Inputs:
        """Returns all inputs."""
        return self.where(
            lambda source: True, cells=lambda t, c: True, ages=lambda table: True, edges=lambda edge_type: True
        )

    def groups(self) -> list[Group]:
        """Returns the groups of all levels, those of tables first, then those of keys, then those of columns."""
        return [*self._tables(), *self._keys(), *self._columns()]

    def _tables(self) -> Iterator[Group]:
        for table in self.store.schema.tables:
            inputs = self.where(
                lambda source, t=table: t in (source.tables or (source.start,)),  # type: ignore[misc]
                cells=lambda of, _, t=table: of == t,  # type: ignore[misc]
                ages=lambda of, t=table: of == t,  # type: ignore[misc]
                edges=lambda edge_type, t=table: edge_type[0] == t,  # type: ignore[misc]
            )
            yield Group(level="table", name=table, table=table, inputs=inputs)

    def _keys(self) -> Iterator[Group]:
        for key in self.store.graph.edge_types:
            both, (child, fkey_col, parent) = {key, reverse(key)}, key
            inputs = self.where(
                lambda source, k=key: k in source.keys,  # type: ignore[misc]
                edges=lambda edge_type, ends=both: edge_type in ends,  # type: ignore[misc]
            )
            name = f"{child}.{fkey_col} -> {parent}"
            yield Group(level="key", name=name, table=child, key=f"{child}.{fkey_col}", inputs=inputs)

    def _columns(self) -> Iterator[Group]:
        tables = self.store.schema.tables
        for table, schema in tables.items():
            for column in (c.name for c in schema.columns):
                yield self._column(f"{table}.{column}", ("cell", table, column), column=column)
        for key in self.store.graph.edge_types:
            child, fkey_col, _ = key
            name = f"counts and times of {child} via {fkey_col}"
            yield self._column(name, ("counts", child, key), key=f"{child}.{fkey_col}")
        for table in tables:
            yield self._column(f"age of {table}", ("age", table, None))

    def _column(self, name: str, part: Part, **about: str) -> Group:
        reading, table, _ = part
        inputs = self.where(
            lambda source: part_of(source) == part,
            cells=lambda of, column: ("cell", of, column) == part,
            ages=lambda of: reading == "age" and of == table,
        )
        return Group(level="column", name=name, table=table, part=part, inputs=inputs, **about)


def part_of(source: Source) -> Part:
    """Returns what tells the column-level group of a generated column from the others."""
    return source.reading, source.table, source.keys[-1] if source.reading == "counts" else source.column
