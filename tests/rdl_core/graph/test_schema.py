"""Semantic types rule by rule, statistics of visible rows only, category order, JSON and differences."""

from __future__ import annotations

import dataclasses
import datetime
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from relbench.load import RelBenchDataset

from rdl_core.graph.schema import ColumnSchema, Schema, TableSchema, fit_columns
from rdl_core.graph.store import Store


def fit(values: pa.Array | list[Any], name: str = "x", visible: list[bool] | None = None) -> ColumnSchema | str:
    """The column's schema, or why it is left out."""
    column = values if isinstance(values, pa.Array) else pa.array(values)
    seen = np.ones(len(column), bool) if visible is None else np.array(visible)
    columns, left_out = fit_columns(pa.table({name: column}), seen, set())
    return columns[0] if columns else left_out[name]


def stype_of(values: pa.Array | list[Any], name: str = "x") -> str:
    schema = fit(values, name)
    assert isinstance(schema, ColumnSchema), schema
    return schema.stype


@pytest.mark.parametrize(
    ("values", "stype"),
    [
        ([True, False, None], "categorical"),
        (list(range(10)), "categorical"),
        (list(range(11)), "numerical"),
        (pa.array(range(11), pa.uint8()), "numerical"),
        ([*range(10), None], "categorical"),
        ([0.5, 1.5], "numerical"),
        (pa.array([1.0, 2.0], pa.float16()), "numerical"),
        ([1.0, 1.0], "numerical"),
        ([Decimal("1.50"), Decimal("2.25")], "numerical"),
        ([datetime.timedelta(seconds=3)], "numerical"),
        ([datetime.time(12, 30)], "numerical"),
        (pa.array([5], pa.time32("s")), "numerical"),
        ([datetime.datetime(2020, 1, 1)], "timestamp"),
        (pa.array([0], pa.timestamp("ns", "Europe/Prague")), "timestamp"),
        ([datetime.date(2020, 1, 1)], "timestamp"),
        (pa.array([0], pa.date64()), "timestamp"),
        (["a"] * 4 + ["b"] * 4, "categorical"),
        (["a"] * 4 + ["b"] * 3, "text"),
        (["a"] * 4 + ["b"] * 3 + [None], "text"),
        (pa.array(["a", "b"] * 4, pa.large_string()), "categorical"),
        (pa.array(["a", "b"] * 4).dictionary_encode(), "categorical"),
        (pa.array(["a", "b", "c"]).dictionary_encode(), "text"),
        ([[], ["a"], None], "multicategorical"),
        (pa.array([[1], [2, 3]], pa.large_list(pa.int32())), "multicategorical"),
        (pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)), "embedding"),
    ],
)
def test_the_type_decides_the_semantic_type(values: pa.Array | list[Any], stype: str) -> None:
    assert stype_of(values) == stype


@pytest.mark.parametrize(
    "name",
    ["id", "statusId", "teamID", "country_code", "type", "order_status", "is_flag", "kind", "areaCode", "roomType"],
)
def test_integers_named_as_a_code_are_categorical_up_to_1000_values(name: str) -> None:
    assert stype_of(list(range(1000)), name) == "categorical"
    assert stype_of(list(range(1001)), name) == "numerical"


@pytest.mark.parametrize("name", ["paid", "grid", "lap", "CODEX", "types", "Android", "id_count", "userid"])
def test_integers_whose_name_only_resembles_a_code_are_numerical(name: str) -> None:
    assert stype_of(list(range(11)), name) == "numerical"


def test_strings_are_categorical_up_to_1000_values() -> None:
    assert stype_of([f"v{i}" for i in range(1000)] * 4) == "categorical"
    assert stype_of([f"v{i}" for i in range(1001)] * 4) == "text"


@pytest.mark.parametrize(
    "values",
    [
        pa.nulls(3),
        pa.nulls(3, pa.float64()),
        pa.array([np.nan, np.inf, -np.inf, None]),
        pa.array([[], None, []], pa.list_(pa.string())),
        pa.array([b"a"]),
        pa.array([[0.5]], pa.list_(pa.float64())),
        pa.array([{"a": 1}]),
    ],
)
def test_a_column_without_a_value_or_of_no_supported_type_is_left_out_with_a_reason(values: pa.Array) -> None:
    reason = fit(values)
    assert isinstance(reason, str)
    assert "up to the cutoff" in reason or f"{values.type} are not supported" in reason


def test_a_column_with_values_after_the_cutoff_only_is_left_out() -> None:
    assert fit([None, None, "late"], visible=[True, True, False]) == "no value up to the cutoff"
    assert fit([1.0, 2.0], visible=[False, False]) == "no value up to the cutoff"


def test_numbers_are_described_by_their_finite_visible_values() -> None:
    column = fit([1.0, 3.0, np.inf, np.nan, None, 1e300], visible=[True] * 5 + [False])
    assert isinstance(column, ColumnSchema)
    assert (column.mean, column.std) == (2.0, 1.0)


def test_small_integers_that_are_no_codes_are_ordinal_with_mean_and_deviation_of_the_visible() -> None:
    column = fit([1, 1, 3, None, 9], "stars", visible=[True] * 4 + [False])
    assert isinstance(column, ColumnSchema) and column.stype == "categorical" and column.is_ordinal
    assert (column.mean, column.std) == (pytest.approx(5 / 3), pytest.approx(np.std([1, 1, 3])))
    for name, values in (("statusId", [1, 1, 3]), ("flag", [True, False]), ("kind", ["1", "1", "1", "1"])):
        other = fit(values, name)
        assert isinstance(other, ColumnSchema) and other.stype == "categorical" and not other.is_ordinal


def test_a_column_is_skewed_if_its_visible_numbers_are() -> None:
    even, tail = [float(i) for i in range(20)], [float(10**i) for i in range(20)]
    for values, visible, is_skewed in (
        (even, 20, False),
        (tail, 20, True),
        (even + [1e9], 20, False),
        (even + [1e9], 21, True),
    ):
        column = fit(values, visible=[i < visible for i in range(len(values))])
        assert isinstance(column, ColumnSchema) and column.is_skewed == is_skewed
        if is_skewed:
            logs = [np.log1p(x) for x in values]
            assert (column.log_mean, column.log_std) == (pytest.approx(np.mean(logs)), pytest.approx(np.std(logs)))


@pytest.mark.parametrize("unknown", [None, np.nan, np.inf])
def test_a_null_or_a_number_that_is_not_finite_counts_if_it_is_visible(unknown: float | None) -> None:
    values = [1.0, 2.0, unknown]
    seen, hidden = fit(values), fit(values, visible=[True, True, False])
    assert isinstance(seen, ColumnSchema) and isinstance(hidden, ColumnSchema)
    assert seen.has_nulls and not hidden.has_nulls


def test_the_time_span_is_from_the_twentieth_part_of_visible_row_times_to_the_cutoff(
    nasty_store: Store, nasty_dataset: RelBenchDataset
) -> None:
    cutoff_s = nasty_store.schema.cutoff_s
    times = sorted(
        int(time.timestamp())
        for table, column in (
            ("order", "placed_at"),
            ("match", "played_at"),
            ("goal", "scored_at"),
            ("ticket", "sold_at"),
        )
        for time in pd.read_parquet(nasty_dataset.db_dir / f"{table}.parquet")[column].dropna()
        if time.timestamp() <= cutoff_s
    )
    assert nasty_store.schema.time_span_s == cutoff_s - times[len(times) // 20]


def test_a_constant_has_standard_deviation_one() -> None:
    column = fit([7.0, 7.0])
    assert isinstance(column, ColumnSchema)
    assert (column.mean, column.std) == (7.0, 1.0)


def test_numbers_beyond_float32_are_no_values() -> None:
    """A cell is a float32: such a number could only become infinity."""
    column = fit([1.0, 3.0, 1e300, -1e39])
    assert isinstance(column, ColumnSchema)
    assert (column.mean, column.std) == (2.0, 1.0)


def test_durations_and_times_of_day_are_in_seconds() -> None:
    for values in (pa.array([1500, 2500], pa.duration("ms")), pa.array([1_500_000, 2_500_000], pa.time64("us"))):
        column = fit(values)
        assert isinstance(column, ColumnSchema)
        assert (column.mean, column.std) == (2.0, 0.5)


def test_timestamps_have_oldest_median_and_newest_of_the_visible_not_null_values() -> None:
    times = pa.array([-5, 40, None, 7, 9, 1000], pa.timestamp("s")).cast(pa.timestamp("us"))
    column = fit(times, visible=[True] * 5 + [False])
    assert isinstance(column, ColumnSchema)
    assert (column.oldest_s, column.median_s, column.newest_s) == (-5, 9, 40)


def test_categories_come_by_frequency_then_by_value_whatever_the_row_order() -> None:
    values = ["b"] * 5 + ["a"] * 5 + ["c"] * 9 + [None] * 20
    for order in (np.arange(len(values)), np.random.default_rng(0).permutation(len(values))):
        column = fit([values[i] for i in order])
        assert isinstance(column, ColumnSchema)
        assert column.categories == ("c", "a", "b")


def test_list_categories_count_elements_not_lists() -> None:
    column = fit([["b", "b"], ["a"], [], None, ["a", "c", "b"], [None]])
    assert isinstance(column, ColumnSchema)
    assert column.categories == ("b", "a", "c")


def test_keys_are_no_attributes_and_the_table_order_is_kept() -> None:
    table = pa.table({"z": [1.5], "key": [0], "a": [2.5]})
    columns, left_out = fit_columns(table, np.array([True]), {"key"})
    assert ([c.name for c in columns], left_out) == (["z", "a"], {})


def test_the_schema_of_the_nasty_database_is_the_one_written_out_here(nasty_store: Store) -> None:
    stypes = {t: {c.name: c.stype for c in s.columns} for t, s in nasty_store.schema.tables.items()}
    assert stypes == {
        "categories": {"name": "text"},
        "teams": {
            "home town": "text",  # the visible teams are ten, for three towns
            "größe_cm": "numerical",
            "budget": "numerical",
            "founded": "timestamp",
            "country": "categorical",
        },
        "order": {"placed_at": "timestamp", "note": "text", "delivered": "timestamp", "is_paid": "categorical"},
        "order_line": {"quantity": "categorical", "price": "numerical"},
        "match": {
            "played_at": "timestamp",
            "kind": "categorical",
            "score": "numerical",
            "tags": "multicategorical",
            "minutes": "multicategorical",
            "home_id.note": "categorical",
        },
        "lineup": {"formation": "text"},
        "goal": {"scored_at": "timestamp", "minute": "numerical"},
        "ticket": {"sold_at": "timestamp", "price": "numerical"},
        "équipe_catégorie": {},
    }
    teams = nasty_store.schema.tables["teams"]
    assert set(teams.left_out) == {"retired_number", "unknown"}
    kind = next(c for c in nasty_store.schema.tables["match"].columns if c.name == "kind")
    assert set(kind.categories) == {"league", "cup"}  # "playoff" is first seen after the cutoff


def test_a_schema_survives_json(nasty_store: Store) -> None:
    text = json.dumps(nasty_store.schema.to_json())
    assert Schema.from_json(json.loads(text)) == nasty_store.schema


def changed(schema: Schema, table: str, **fields: Any) -> Schema:
    return dataclasses.replace(
        schema, tables={**schema.tables, table: dataclasses.replace(schema.tables[table], **fields)}
    )


def test_differences_name_tables_columns_and_keys_and_nothing_else(nasty_store: Store) -> None:
    schema = nasty_store.schema
    assert schema.differences(schema) == []
    assert schema.differences(changed(schema, "order", num_rows=10**6, num_rows_up_to_cutoff=3)) == []
    teams: TableSchema = schema.tables["teams"]
    other_mean = tuple(dataclasses.replace(c, mean=c.mean + 1) if c.name == "budget" else c for c in teams.columns)
    assert schema.differences(changed(schema, "teams", columns=other_mean)) == ["table teams: columns differ: budget"]
    assert schema.differences(changed(schema, "teams", columns=teams.columns[1:])) == [
        "table teams: columns differ: home town"
    ]
    assert schema.differences(changed(schema, "goal", fkey_col_to_pkey_table={})) == ["table goal: foreign keys differ"]
    fewer = dataclasses.replace(schema, tables={t: s for t, s in schema.tables.items() if t != "goal"})
    assert schema.differences(fewer) == ["table goal: only in the model"]
    assert fewer.differences(schema) == ["table goal: only in the store"]
    longer = dataclasses.replace(schema, time_span_s=2 * schema.time_span_s)
    assert schema.differences(longer) == [
        f"time_span_s, by which windows are scaled, is {schema.time_span_s} in the model and {longer.time_span_s} in the store"
    ]


def test_differences_see_another_order_of_columns(nasty_store: Store) -> None:
    """Cells are addressed by place, so the same columns in another order are another input."""
    reordered = changed(nasty_store.schema, "teams", columns=nasty_store.schema.tables["teams"].columns[::-1])
    assert nasty_store.schema.differences(reordered) == ["table teams: columns differ: order of columns"]
