"""Semantic types rule by rule, statistics of visible rows only, category order, JSON and differences."""

from __future__ import annotations

import dataclasses
import datetime
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

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


def test_differences_see_another_order_of_columns(nasty_store: Store) -> None:
    """Cells are addressed by place, so the same columns in another order are another input."""
    reordered = changed(nasty_store.schema, "teams", columns=nasty_store.schema.tables["teams"].columns[::-1])
    assert nasty_store.schema.differences(reordered) == ["table teams: columns differ: order of columns"]
