"""Columns along key paths: a loop in plain Python says the same, planted leaks change nothing, chunks and order change no byte."""

from __future__ import annotations

import datetime
from pathlib import Path as FilePath

import numpy as np
import pytest
from relbench.load import RelBenchDataset

import rdl_core.statistics.columns
from rdl_core.config import ColumnsConfig, StatisticsConfig, StoreConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.store import Store
from rdl_core.statistics.cells import RowCells
from rdl_core.statistics.columns import Columns
from rdl_core.statistics.key_statistics import KeyStatistics
from tests.nasty_database import TEST, TRAIN_SEEDS, VAL
from tests.oracles import children_before
from tests.rdl_core.test_late_cells import DAY, store_of
from tests.rdl_core.test_leakage import unix, write_mutated

CONFIG = ColumnsConfig(
    hops=4,
    num_children=3,
    statistics=StatisticsConfig(num_last=(1, 3), window_shares=(1 / 16,)),
    further=StatisticsConfig(num_last=(2,), window_shares=()),
)
TEAMS = np.array([*range(10), 11])
Values = dict[str, float]


class Loops:
    """The definition of columns, one row at a time, in plain Python: statistics and cells of single rows have oracles of their own.

    Args:
        store: An open store.
        table: The table of the columns.
        config: Their settings, with hops.
    """

    def __init__(self, store: Store, table: str, config: ColumnsConfig) -> None:
        assert config.hops is not None
        self.store, self.graph, self.table, self.config, self.hops = store, store.graph, table, config, config.hops
        self.near, self.far = KeyStatistics(store, config.statistics), KeyStatistics(store, config.further)

    def __call__(self, row: int, time: int) -> Values:
        return self.of_row(self.table, row, time, self.hops - 1, (), None)

    def of_row(
        self, table: str, row: int, time: int, hops: int, walked: tuple[str, ...], key: EdgeType | None
    ) -> Values:
        """Columns of a row, by names; `walked` is "v" or "^" for each key so far, `key` the last one."""
        values: Values = {}
        one, when = np.array([row]), np.array([time])
        if walked[-1:] != ("v",):
            cells = RowCells(self.store, table, is_dated=True)  # all tables of the nasty database are
            values |= dict(zip(cells.names, cells(one, when, raw=True)[0].tolist(), strict=True))
        statistics = self.far if "v" in walked else self.near
        for down in (e for e in self.graph.edge_types if e[2] == table):
            values |= dict(zip(statistics.names(down), statistics(down, one, when, raw=True)[0].tolist(), strict=True))
            if walked[-1:] == ("v",):
                values |= self.sums_of(down, row, time)
        if hops == 0:
            return values
        for up in (e for e in self.graph.edge_types if e[0] == table):
            if not (up == key and walked[-1] == "v"):
                values |= self.of_parent(up, row, time, hops, walked)
        for down in (e for e in self.graph.edge_types if e[2] == table and "^" not in walked):
            values |= self.of_children(down, row, time, hops, walked)
        return values

    def sums_of(self, key: EdgeType, row: int, time: int) -> Values:
        """Sums of the numbers of a row's children, from their cells."""
        children = children_before(self.graph, key, row, time)
        cells = RowCells(self.store, key[0], is_dated=False)
        rows = cells(np.array(children, np.int64), np.full(len(children), time), raw=True)
        schema = {c.name: c for c in self.store.schema.tables[key[0]].columns}
        values = {}
        for column in (c for c in schema.values() if c.stype == "numerical" or c.is_ordinal):
            numbers = rows[:, cells.names.index(f"{key[0]}.{column.name}")]
            known = [float(x) for x in numbers if not np.isnan(x)]
            total = sum(known) if known or not children else np.nan
            values[f"sum of {key[0]}.{column.name} over all via {key[1]}"] = total
        return values

    def of_parent(self, key: EdgeType, row: int, time: int, hops: int, walked: tuple[str, ...]) -> Values:
        parent = int(self.graph.key_parent(key)[row])
        there = parent >= 0 and self.graph.table_time(key[2])[parent] < time
        found = self.of_row(key[2], max(parent, 0), time, hops - 1, (*walked, "^"), key)
        return {f"{key[1]}'s {name}": value if there else np.nan for name, value in found.items()}

    def of_children(self, key: EdgeType, row: int, time: int, hops: int, walked: tuple[str, ...]) -> Values:
        table, fkey_col, _ = key
        children = children_before(self.graph, key, row, time)[::-1][: self.config.num_children]
        each = [self.of_row(table, child, time, hops - 1, (*walked, "v"), key) for child in children]
        names = self.of_row(table, 0, time, hops - 1, (*walked, "v"), key)
        values = {}
        for name in names:
            known = [c[name] for c in each if not np.isnan(c[name])]
            if not walked:
                values[f"latest {table} via {fkey_col}: {name}"] = each[0][name] if each else np.nan
            mean = float(np.mean(known)) if known else np.nan
            values[f"mean over the latest {self.config.num_children} {table} via {fkey_col} of {name}"] = mean
        return values


@pytest.mark.parametrize(
    ("table", "rows", "times"),
    [
        ("teams", [0, 3, 11], [TRAIN_SEEDS[2], VAL, TEST]),
        ("match", [3, 29], [VAL, TEST]),
        ("ticket", [0, 11, 12], [VAL, VAL + datetime.timedelta(days=9, seconds=1)]),
        ("categories", [0, 3], [TEST]),
    ],
)
def test_columns_are_those_of_a_loop(
    nasty_store: Store, table: str, rows: list[int], times: list[datetime.datetime]
) -> None:
    columns, loops = Columns(nasty_store, table, CONFIG), Loops(nasty_store, table, CONFIG)
    asked = [(row, unix(time)) for row in rows for time in times]
    found = columns(np.array([row for row, _ in asked]), np.array([time for _, time in asked]), raw=True)
    for (row, time), values in zip(asked, found, strict=True):
        expected = loops(row, time)
        assert sorted(expected) == sorted(columns.names)
        np.testing.assert_allclose(values, [expected[name] for name in columns.names], rtol=1e-5, atol=1e-6)
    assert np.isfinite(found).mean() > 0.1


def test_a_child_s_far_rows_are_told_by_name(nasty_store: Store) -> None:
    names = Columns(nasty_store, "teams", CONFIG).names
    for name in (
        "mean of match.score over the last 3 via home_id",
        "latest order via team_id: mean of order_line.price over all via order_id",
        "mean over the latest 3 match via home_id of away_id's mean of match.score over the last 2 via away_id",
        "mean over the latest 3 order via team_id of mean over the latest 3 order_line via order_id of category_id's count of teams via category_id",
        "latest order via team_id: sum of order_line.price over all via order_id",
        "category_id's parent_id's days since categories came to be",
    ):
        assert name in names


@pytest.mark.parametrize("table", ["teams", "match", "order_line", "categories"])
def test_names_are_as_many_as_columns_and_none_comes_twice(nasty_store: Store, table: str) -> None:
    columns = Columns(nasty_store, table, ColumnsConfig())
    assert len(columns.names) == len(set(columns.names)) == columns.width
    assert columns(np.array([0]), np.array([unix(TEST)])).shape == (1, columns.width)


def test_names_do_not_depend_on_the_row_or_on_rows_after_the_cutoff(nasty_store: Store, tmp_path: FilePath) -> None:
    folder = write_mutated(tmp_path / "nasty", nasty_store.graph, unix(VAL) + 1, {})
    later = materialize(open_dataset(folder), tmp_path)
    assert Columns(later, "teams", ColumnsConfig()).names == Columns(nasty_store, "teams", ColumnsConfig()).names


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("seed_time", [VAL + datetime.timedelta(seconds=1), VAL + datetime.timedelta(days=10), TEST])
def test_no_cell_from_the_time_on_changes_a_bit(
    nasty_store: Store, tmp_path: FilePath, seed_time: datetime.datetime, raw: bool
) -> None:
    """Every cell, time and key of every row at or after the time is another, far tables included."""
    before_s, entities = (
        unix(seed_time),
        {"teams": TEAMS.tolist(), "match": [3, 29], "ticket": [0, 2, 12], "categories": [0, 3]},
    )
    folder = write_mutated(tmp_path / "nasty", nasty_store.graph, before_s, entities)
    changed, differs = materialize(open_dataset(folder), tmp_path), []
    for table, rows in entities.items():
        first, second = (Columns(store, table, CONFIG) for store in (nasty_store, changed))
        times = np.full(len(rows), before_s)
        assert first(np.array(rows), times, raw=raw).tobytes() == second(np.array(rows), times, raw=raw).tobytes()
        later = [columns(np.array(rows), times + 30 * DAY, raw=raw).tobytes() for columns in (first, second)]
        differs.append(later[0] != later[1])
    assert any(differs)  # it has power


@pytest.mark.parametrize("seed_time", TRAIN_SEEDS)
def test_rows_between_a_train_seed_and_the_cutoff_change_nothing_in_raw_columns(
    nasty_store: Store, tmp_path: FilePath, seed_time: datetime.datetime
) -> None:
    """Those rows may change the schema's statistics, and with them which columns there are: what both have is the same."""
    folder = write_mutated(tmp_path / "nasty", nasty_store.graph, unix(seed_time), {"teams": list(range(10))})
    changed = materialize(open_dataset(folder), tmp_path)
    values = []
    for store in (nasty_store, changed):
        columns = Columns(store, "teams", CONFIG)
        found = columns(np.arange(10), np.full(10, unix(seed_time)), raw=True)
        values.append(dict(zip(columns.names, found.T, strict=True)))
    same = [name for name in values[0] if name in values[1] and "within" not in name and "log of" not in name]
    assert len(same) > 200
    for name in same:
        np.testing.assert_allclose(values[0][name], values[1][name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_a_parent_dated_after_the_time_is_not_there_until_the_second_after(nasty_store: Store) -> None:
    """Tickets are sold a day before their match."""
    graph, columns = nasty_store.graph, Columns(nasty_store, "ticket", CONFIG)
    key = ("ticket", "match_id", "match")
    match = int(graph.key_parent(key)[0])
    time = int(graph.table_time("match")[match])
    assert graph.table_time("ticket")[0] < time
    of_match = [i for i, name in enumerate(columns.names) if name.startswith("match_id's ")]
    before, after = columns(np.array([0, 0]), np.array([time, time + 1]), raw=True)
    assert np.isnan(before[of_match]).all() and not np.isnan(after[of_match]).all()


def test_a_row_is_shown_itself_whatever_its_time_but_has_no_age_before(nasty_store: Store) -> None:
    columns, time = Columns(nasty_store, "match", CONFIG), int(nasty_store.graph.table_time("match")[3])
    (values,) = columns(np.array([3]), np.array([time]), raw=True)
    assert values[columns.names.index("match.score")] == 1.5
    assert np.isnan(values[columns.names.index("days since match came to be")])


def test_a_late_cell_of_the_row_itself_is_missing_until_it_is_known(tmp_path: FilePath) -> None:
    columns = Columns(store_of(tmp_path), "orders", CONFIG)
    (before, after) = columns(np.array([100, 100]), np.array([102 * DAY, 102 * DAY + 1]), raw=True)
    paid = columns.names.index("orders.paid")
    assert np.isnan(before[paid]) and after[paid] == 100 % 11 + 0.5
    assert not any("mean of orders.paid" in name for name in columns.names)  # statistics leave late cells out


@pytest.mark.parametrize("rows_per_chunk", [1, 50])
def test_neither_chunks_nor_order_nor_other_rows_change_a_byte(
    nasty_store: Store, monkeypatch: pytest.MonkeyPatch, rows_per_chunk: int
) -> None:
    columns = Columns(nasty_store, "teams", CONFIG)
    rows = np.tile(TEAMS, 6)
    times = np.repeat([unix(t) for t in (*TRAIN_SEEDS, VAL, TEST)], len(TEAMS))
    whole = columns(rows, times)
    monkeypatch.setattr(rdl_core.statistics.columns, "ROWS_PER_CHUNK", rows_per_chunk)
    done: list[int] = []
    assert columns(rows, times, advance=done.append).tobytes() == whole.tobytes()
    assert sum(done) == len(rows) and len(done) > 1
    order = np.random.default_rng(0).permutation(len(rows))
    assert columns(rows[order], times[order]).tobytes() == whole[order].tobytes()
    assert columns(rows[7:8], times[7:8]).tobytes() == whole[7:8].tobytes()


def test_rows_that_are_always_there_have_no_age(nasty_dataset: RelBenchDataset, tmp_path: FilePath) -> None:
    always = materialize(nasty_dataset, tmp_path, StoreConfig(timeless_rows="always"))
    names = Columns(always, "teams", CONFIG).names
    assert "days since teams came to be" not in names
    assert "days since match came to be" in Columns(always, "match", CONFIG).names


def test_what_is_no_row_or_no_table_is_refused(nasty_store: Store) -> None:
    with pytest.raises(ValueError, match=r"no table 'clubs'; its tables: categories, teams"):
        Columns(nasty_store, "clubs", CONFIG)
    columns = Columns(nasty_store, "teams", CONFIG)
    with pytest.raises(ValueError, match="rows must be 0 to 11 of 'teams', got 0 to 12"):
        columns(np.array([0, 12]), np.array([0, 0]))
    with pytest.raises(ValueError, match="one length"):
        columns(np.array([0, 1]), np.array([0]))
    assert columns(np.empty(0, np.int64), np.empty(0, np.int64)).shape == (0, columns.width)
