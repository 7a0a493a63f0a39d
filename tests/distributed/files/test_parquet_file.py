"""Parquet files: each value exactly, or named; parts are one table."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distributed.files.folder_source import FolderSource
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import column, run

D = decimal.Decimal
NAN = float("nan")


def imported(folder: Path, schema: str, **tables: pa.Table) -> list[str]:
    """Imports Parquet tables by a schema file; returns the lines."""
    (folder / "in").mkdir(exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, folder / "in" / f"{name}.parquet")
    (folder / "schema.yaml").write_text(schema)
    return run(str(folder / "in"), folder / "out", schema_file=folder / "schema.yaml")


KEYS = "a: {pkey: id}\nb: {fkeys: {a: a}}\n"


PAIRS: list[tuple[pa.Array, pa.Array, list[Any]]] = [
    (pa.array([10, 9]), pa.array([10.0, NAN, 9.0]), [1, None, 0]),
    (pa.array([10, 9]), pa.array([10.0, None, 9.0], pa.float32()), [1, None, 0]),
    (pa.array([10.0, 9.0]), pa.array([10, None, 9], pa.int8()), [1, None, 0]),
    (pa.array([2**53 + 1, 2**53]), pa.array([2**53 + 1, 2**53, None]), [1, 0, None]),
    (
        pa.array([2**64 - 1, 2**64 - 2], pa.uint64()),
        pa.array([2**64 - 1, None, 2**64 - 2], pa.uint64()),
        [1, None, 0],
    ),
    (pa.array([2**64 - 1, 7], pa.uint64()), pa.array([7, 7, None]), [1, 1, None]),
    (pa.array([D(10), D(9)], pa.decimal128(38)), pa.array([10, 9, None]), [1, 0, None]),
    (
        pa.array([D(10**30 + 1), D(10**30)], pa.decimal128(38)),
        pa.array([D(10**30), None, D(10**30 + 1)], pa.decimal128(38)),
        [0, None, 1],
    ),
    (pa.array([D("10.00"), D("9.00")], pa.decimal128(10, 2)), pa.array([10, 9, None]), [1, 0, None]),
    (pa.array(["10", "09"]), pa.array(["09", None, "10"]).dictionary_encode(), [0, None, 1]),
    (pa.array(["x", "ž"], pa.large_string()), pa.array(["ž", "x", None], pa.string_view()), [1, 0, None]),
    (pa.array([1, 2]), pa.nulls(3), [None, None, None]),
]


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pairs of keys, imported in one go."""
    folder, tables, schema = tmp_path_factory.mktemp("pairs"), {}, ""
    for number, (pkey, fkey, _) in enumerate(PAIRS):
        tables[f"a{number}"] = pa.table({"id": pkey})
        tables[f"b{number}"] = pa.table({"n": [1, 2, 3], "a": fkey})
        schema += f"a{number}: {{pkey: id}}\nb{number}: {{fkeys: {{a: a{number}}}}}\n"
    imported(folder, schema, **tables)
    return folder / "out"


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_keys_of_any_type_find_their_parents(of_pairs: Path, number: int) -> None:
    assert column(of_pairs, f"b{number}", "a") == PAIRS[number][2]


@pytest.mark.parametrize(
    ("fkey", "message"),
    [
        (pa.array([10.0, 27.5]), r"column 'a', row 1 of the source: expected a whole number.*got 27.5.*--exclude b.a"),
        (pa.array([10.0, 2.0**53 + 2]), r"column 'a', row 1 of the source: expected a whole number, exactly held"),
        (pa.array([10.0, float("inf")]), "column 'a', row 1 of the source: .*got inf"),
        (pa.array([D("10.00"), D("9.50")], pa.decimal128(10, 2)), "column 'a', row 1 of the source: .*9.50"),
        (pa.array([b"10", b"9"]), "key column 'a': type binary is not supported"),
        (pa.array([["10"], ["9"]]), "key column 'a': a list"),
    ],
)
def test_a_key_that_cannot_be_held_exactly_is_named(tmp_path: Path, fkey: pa.Array, message: str) -> None:
    with pytest.raises(ImportRefused, match="table 'b'.*" + message):
        imported(tmp_path, KEYS, a=pa.table({"id": [10, 9]}), b=pa.table({"n": [1, 2], "a": fkey}))


TIME = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)


ATTRIBUTES: list[tuple[pa.Array, list[Any]]] = [
    (pa.array([["a", "b"], [], None]), [["a", "b"], [], None]),
    (pa.array([[1, 2], [], None], pa.large_list(pa.int16())), [["1", "2"], [], None]),
    (pa.array([D("1.5"), None, D("-2")], pa.decimal256(40, 3)), [1.5, None, -2.0]),
    (pa.array([1.5, NAN, None], pa.float16()), [1.5, None, None]),
    (pa.array([datetime.time(1, 0, 0, 500_000), None, datetime.time(0)]), [3600.5, None, 0.0]),
    (pa.array([1500, None, 0], pa.duration("ms")), [1.5, None, 0.0]),
    (pa.array([TIME, None, TIME], pa.timestamp("s", "Asia/Tokyo")), [pd.Timestamp("2020-01-01 12:00"), None] * 2),
    (pa.array([datetime.date(1960, 1, 1), None, None]), [pd.Timestamp("1960-01-01"), None, None]),
    (pa.array([True, None, False]).dictionary_encode(), [True, None, False]),
    (pa.array([2**64 - 1, None, 5], pa.uint64()), ["18446744073709551615", None, "5"]),
    (pa.array([250, None, 5], pa.uint8()), [250, None, 5]),
]


@pytest.fixture(scope="module")
def of_attributes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All attributes in one table."""
    folder = tmp_path_factory.mktemp("attributes")
    columns = {f"x{number}": values for number, (values, _) in enumerate(ATTRIBUTES)}
    imported(folder, "a: {pkey: id, time_col: null}", a=pa.table({"id": [1, 2, 3], **columns}))
    return folder / "out"


@pytest.mark.parametrize("number", range(len(ATTRIBUTES)))
def test_attributes_of_any_type_come_through(of_attributes: Path, number: int) -> None:
    found, expected = column(of_attributes, "a", f"x{number}"), ATTRIBUTES[number][1]
    assert [repr(value) for value in found] == [repr(value) for value in expected][:3]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([b"x", b"y"]),
        pa.array([{"x": 1}, {"x": 2}]),
        pa.array([[("x", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([[1.5], [2.5]]),
        pa.array([[[1]], []]),
    ],
)
def test_what_no_kind_can_hold_is_left_out_and_said(tmp_path: Path, values: pa.Array) -> None:
    lines = imported(tmp_path, "a: {pkey: id}", a=pa.table({"id": [1, 2], "x": values}))
    kind = str(values.type).partition("<")[0]
    assert any(line.startswith(f"a.x: left out, type {kind}") and "is not supported" in line for line in lines)


def test_a_table_in_which_nothing_is_left_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ImportRefused,
        match=r"table 'b': no column can be imported \(x: type binary.*; leave the table out by --tables a c",
    ):
        tables = {name: pa.table({"id": [1]}) for name in "ac"}
        imported(tmp_path, "a: {pkey: id}\nb: {}\nc: {}", b=pa.table({"x": [b"1"]}), **tables)


def test_pandas_index_is_left_out_and_said_unless_it_is_a_key(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pd.DataFrame({"x": [1, 2]}, index=[7, 8]).to_parquet(tmp_path / "in" / "a.parquet")
    assert "pandas' index" in "".join(imported(tmp_path, "a: {}"))
    assert pq.read_schema(tmp_path / "out" / "db" / "a.parquet").names == ["x"]
    (tmp_path / "schema.yaml").write_text("a: {pkey: __index_level_0__}")
    run(str(tmp_path / "in"), tmp_path / "kept", schema_file=tmp_path / "schema.yaml")
    assert pq.read_table(tmp_path / "kept" / "keys" / "a.parquet")["source_key"].to_pylist() == [7, 8]


def write_parts(folder: Path, *parts: pa.Table, names: tuple[str, ...] = ()) -> None:
    for number, part in enumerate(parts):
        path = folder / (names[number] if names else f"part-{number:05}.snappy.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, path)


@pytest.mark.parametrize("folder", ["orders.parquet", "orders"])
def test_a_folder_of_parts_is_one_table(tmp_path: Path, folder: str) -> None:
    parts = tmp_path / "in" / folder
    write_parts(
        parts,
        pa.table({"id": [3, 4], "x": [1, 2]}),
        pa.table({"x": [3.5], "id": [5]}),
        pa.table({"id": pa.array([], pa.int64()), "x": pa.nulls(0)}),
    )
    for name in ("_SUCCESS", ".part-00000.crc", "_metadata"):
        (parts / name).write_bytes(b"")
    imported(tmp_path, "orders: {pkey: id}")
    assert column(tmp_path / "out", "orders", "x") == [1.0, 2.0, 3.5]


def test_folders_of_key_and_value_become_columns(tmp_path: Path) -> None:
    names = ("year=2018/town=Brno%20a/p.parquet", "year=2019/town=__HIVE_DEFAULT_PARTITION__/p.parquet")
    write_parts(tmp_path / "in" / "orders", pa.table({"id": [1, 2]}), pa.table({"id": [3]}), names=names)
    lines = imported(tmp_path, "orders: {pkey: id}")
    assert [time.year for time in column(tmp_path / "out", "orders", "year")] == [2018, 2018, 2019]  # the only time
    assert column(tmp_path / "out", "orders", "town") == ["Brno a", "Brno a", None]
    assert "orders.town: read from the names of the folders, town=..." in lines


def test_folders_of_dates_give_a_table_its_time(tmp_path: Path) -> None:
    names = ("day=2020-02-01/p.parquet", "day=2020-01-01/p.parquet")
    write_parts(tmp_path / "in" / "orders", pa.table({"id": [1]}), pa.table({"id": [2]}), names=names)
    imported(tmp_path, "orders: {pkey: id, time_col: day}")
    keys = pq.read_table(tmp_path / "out" / "keys" / "orders.parquet")
    assert keys["source_key"].to_pylist() == [2, 1]


@pytest.mark.parametrize(
    ("names", "parts", "message"),
    [
        (
            ("a.parquet", "b.parquet"),
            ({"id": [1]}, {"no": [1]}),
            r"file orders/b.parquet: columns \['id', 'no'\] are not in",
        ),
        (
            ("a.parquet", "b.parquet"),
            ({"id": [1]}, {"id": ["x"]}),
            "orders/b.parquet, column 'id': string, in a.parquet int64",
        ),
        (("x=1/a.parquet", "y=1/b.parquet"), ({"id": [1]}, {"id": [2]}), "the parts lie in folders of different keys"),
        (("a.parquet", "old/b.parquet"), ({"id": [1]}, {"id": [2]}), "holds a folder old/ beside its parts"),
        (("a.parquet", "_delta_log/b.parquet"), ({"id": [1]}, {"id": [2]}), "is a Delta or Iceberg table"),
    ],
)
def test_parts_that_are_no_one_table_are_refused(
    tmp_path: Path, names: tuple[str, ...], parts: tuple[dict[str, list[Any]], ...], message: str
) -> None:
    write_parts(tmp_path / "in" / "orders", *map(pa.table, parts), names=names)
    with pytest.raises(ImportRefused, match="table 'orders'.*" + message):
        imported(tmp_path, "orders: {}")


def test_files_that_are_no_parquet_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": range(100_000)}), tmp_path / "in" / "c.parquet", compression="snappy")
    whole = (tmp_path / "in" / "c.parquet").read_bytes()
    (tmp_path / "in" / "c.parquet").write_bytes(whole[:500] + b"\xff" * 200_000 + whole[200_500:])
    (tmp_path / "in" / "a.parquet").write_bytes(b"")
    (tmp_path / "in" / "b.parquet").write_bytes(whole[:-100])
    with pytest.raises(ImportRefused) as refused:
        imported(tmp_path, "a: {}\nb: {}\nc: {}")
    assert [str(problem)[:35] for problem in refused.value.problems] == [
        "table 'a', file a.parquet: Parquet ",
        "table 'b', file b.parquet: Parquet ",
    ]
    with pytest.raises(ImportRefused, match="table 'c', file c.parquet, after row .* of the source"):
        run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml", tables=("c",))


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.xlsx").write_bytes(b"")
    (tmp_path / "docs").mkdir()
    (tmp_path / "orders.csv").write_text("id\n1\n")
    source = FolderSource(str(tmp_path), {}, 100, may_declare_nothing=True)
    assert list(source.schemas()) == ["orders"] and source.notes() == ("no tables, and left out: docs, notes.xlsx",)


def test_a_file_of_any_name_is_a_table(tmp_path: Path) -> None:
    names = [
        "t?.csv",
        "t*.parquet",
        "t[1].csv",
        "it's.csv",
        'a "b".parquet',
        "ž e.csv",
        "select.csv",
        "a.b.csv",
        "{x}.csv",
        "%41.csv",
    ]
    folder = tmp_path / "in?[x]*"
    folder.mkdir()
    for number, name in enumerate(["t1.csv", *names]):
        path, values = folder / name, list(range(number + 1))
        if name.endswith(".csv"):
            path.write_text("\n".join(map(str, ["id", *values])))
        else:
            pq.write_table(pa.table({"id": values}), path)
    stems = ["t1", *(name.rpartition(".")[0] for name in names)]
    (tmp_path / "schema.yaml").write_text(json.dumps({stem: {"pkey": "id"} for stem in stems}))
    run(str(folder), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
    assert [len(column(tmp_path / "out", stem, "id")) for stem in stems] == list(range(1, len(stems) + 1))


def test_a_float_that_is_not_there_is_no_time_of_a_row(tmp_path: Path) -> None:
    seconds = [1_577_836_800.0, NAN, 1_577_923_200.0]
    imported(tmp_path, "a: {pkey: id, time_col: at}", a=pa.table({"id": [1, 2, 3], "at": seconds}))
    day = datetime.datetime(2020, 1, 1)
    assert column(tmp_path / "out", "a", "at") == [day, day.replace(day=2), None]


def test_an_index_that_pandas_has_not_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pd.DataFrame({"x": [1, 2]}, index=pd.RangeIndex(1, 3, name="id")).to_parquet(tmp_path / "in" / "a.parquet")
    with pytest.raises(
        ImportRefused, match=r"'a', file a.parquet: pandas' index 'id' is in the file's metadata only.*reset_index"
    ):
        imported(tmp_path, "a: {pkey: id}")


def test_infinite_numbers_of_a_typed_source_are_said(tmp_path: Path) -> None:
    lines = imported(tmp_path, "a: {pkey: id}", a=pa.table({"id": [1, 2], "x": [1.0, float("inf")]}))
    assert "a.x: 1 values are infinite; materialize takes them as null" in lines
