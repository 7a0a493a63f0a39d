"""Sources of generated columns: they say of each column what its name says, on every path and for every table."""

from __future__ import annotations

import re

import pytest

from rdl_core.config import ColumnsConfig
from rdl_core.graph.store import Store
from rdl_core.statistics.columns import Columns
from rdl_core.statistics.key_statistics import KeyStatistics
from rdl_core.statistics.sources import Source

TABLES = ("teams", "order", "categories", "match", "goal")


def says(name: str, source: Source) -> bool:
    """Returns whether the words of a column name what its source does."""
    if not all(key[1] in name for key in source.keys):
        return False
    if source.reading == "cell":
        return f"{source.table}.{source.column}" in name
    if source.reading == "age":
        return name.endswith(f"days since {source.table} came to be")
    return bool(re.search(rf" of {source.table}\W.*via {re.escape(source.keys[-1][1])}$", name))


@pytest.mark.parametrize("table", TABLES)
def test_a_columns_source_is_what_its_name_says(nasty_store: Store, table: str) -> None:
    columns = Columns(nasty_store, table, ColumnsConfig(hops=4))
    assert len(columns.sources) == columns.width == len(columns.names)
    for name, source in zip(columns.names, columns.sources, strict=True):
        assert says(name, source), (name, source)
        assert source.start == table


def test_the_tables_of_a_way_are_the_other_ends_of_its_keys(nasty_store: Store) -> None:
    for source in Columns(nasty_store, "teams", ColumnsConfig(hops=4)).sources:
        here = "teams"
        for (child, _, parent), there in zip(source.keys, source.tables, strict=True):
            assert (here, there) in ((child, parent), (parent, child))
            here = there
        assert source.table == here


@pytest.mark.parametrize("table", TABLES[:4])
def test_a_statistics_source_is_what_its_name_says(nasty_store: Store, table: str) -> None:
    statistics = KeyStatistics(nasty_store)
    names, sources = statistics.table_names(table), statistics.table_sources(table)
    assert len(sources) == len(names) == statistics.table_width(table)
    assert all(says(name, source) for name, source in zip(names, sources, strict=True))
