"""--sample-entities: chosen rows, all rows that refer to them, and all rows that those refer to; beside an oracle that walks row by row."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import config, files, run, sqlite_file
from tests.distributed.selection.test_condition import SHOP, source_keys

TABLES = {
    "area": ("up", ["id", "up"], {"up": "area"}),
    "customer": ("area", ["id", "area", "friend"], {"area": "area", "friend": "customer"}),
    "product": ("maker", ["id", "maker"], {"maker": "customer"}),
    "orders": ("customer", ["id", "customer"], {"customer": "customer"}),
    "line": ("orders", ["id", "orders", "product"], {"orders": "orders", "product": "product"}),
    "review": ("product", ["id", "product"], {"product": "product"}),
    "alone": ("", ["id"], {}),
}
"""Self references (in circles, too), two ways from a line to a customer, hubs, and a table that nothing leads to."""

Rows = dict[str, dict[int, dict[str, int | None]]]


def made(seed: int) -> Rows:
    """Returns random rows by table and id; some keys are null."""
    draw = random.Random(seed)
    rows: Rows = {}
    for table, (_, columns, fkeys) in TABLES.items():
        ids = draw.sample(range(1000), 4 if table == "area" else 12)
        rows[table] = {i: {c: i if c == "id" else None for c in columns} for i in ids}
        for row in rows[table].values():
            for column, parent in fkeys.items():
                known = list(rows.get(parent, {}))
                row[column] = draw.choice(known) if known and draw.random() < 0.7 else None
    return rows


def written(path: Path, rows: Rows, *, backwards: bool = False) -> str:
    """Writes the rows as a SQLite database; returns its URL."""
    with sqlite3.connect(path) as connection:
        for table, (_, columns, fkeys) in TABLES.items():
            kinds = [f"{c} INTEGER" + (f" REFERENCES {fkeys[c]}" if c in fkeys else "") for c in columns]
            connection.execute(f"CREATE TABLE {table} ({', '.join(kinds)}, PRIMARY KEY (id)) WITHOUT ROWID")
            values = [tuple(row.values()) for row in rows[table].values()]
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values[::-1] if backwards else values)
    connection.close()
    return f"sqlite:///{path}"


def oracle(rows: Rows, entity: str, count: int, seed: int = 0) -> dict[str, set[int]]:
    """Returns the ids of each table that a sample takes, found one reference at a time."""
    by_hash = sorted(rows[entity], key=lambda i: hashlib.md5(f"{seed}\x1f{i}".encode()).hexdigest())
    taken: dict[str, set[int]] = {table: set() for table in rows}
    taken[entity] = set(by_hash[:count])
    edges = [
        (table, i, parent, row[column])
        for table, (_, _, fkeys) in TABLES.items()
        for i, row in rows[table].items()
        for column, parent in fkeys.items()
        if row[column] is not None
    ]
    for down in (True, False):
        changed = True
        while changed:
            changed = False
            for child_table, child, parent_table, parent in edges:
                ends = [(child_table, child), (parent_table, parent)]
                (from_table, start), (to_table, end) = reversed(ends) if down else ends
                if start in taken[from_table] and end not in taken[to_table]:
                    taken[to_table].add(end)  # type: ignore[arg-type]
                    changed = True
    return taken


@pytest.mark.parametrize("entity", ["customer", "product", "area", "line", "alone"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_sample_is_that_of_a_walk_along_every_reference(tmp_path: Path, entity: str, count: int) -> None:
    rows = made(count)
    options: dict[str, Any] = {"time_cols": {}, "sample_entities": f"{entity}:{count}"}
    report = import_database(config(written(tmp_path / "s.db", rows), tmp_path / "out", **options), None)
    expected = oracle(rows, entity, count)
    assert {table: set(source_keys(tmp_path / "out", table)) for table in TABLES} == expected
    for table in report.tables.values():
        assert not any(table.dangling_fkeys.values()) and not any(table.unselected_fkeys.values())


def test_the_same_entities_are_taken_whatever_the_order_and_the_kind_of_source(tmp_path: Path) -> None:
    rows = made(5)
    (tmp_path / "a").mkdir()
    (tmp_path / "in").mkdir()
    run(written(tmp_path / "a" / "in", rows), tmp_path / "a" / "out", time_cols={}, sample_entities="customer:3")
    declared = []
    for table, (_, columns, fkeys) in TABLES.items():
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in rows[table].values()]
        (tmp_path / "in" / f"{table}.csv").write_text("\n".join([",".join(columns), *reversed(lines)]) + "\n")
        keys = ", ".join(f"{column}: {parent}" for column, parent in fkeys.items())
        declared.append(f"{table}: {{pkey: id, fkeys: {{{keys}}}}}")
    (tmp_path / "schema.yaml").write_text("\n".join(declared))
    options: dict[str, Any] = {"schema_file": tmp_path / "schema.yaml", "sample_entities": "customer:3"}
    run(str(tmp_path / "in"), tmp_path / "b", **options, time_cols={})
    for table in TABLES:
        assert source_keys(tmp_path / "a" / "out", table) == source_keys(tmp_path / "b", table)


def test_another_seed_takes_other_entities(tmp_path: Path) -> None:
    rows = made(6)
    source = written(tmp_path / "s.db", rows)
    for seed in (0, 1):
        run(source, tmp_path / str(seed), time_cols={}, sample_entities="alone:6", sample_seed=seed)
        assert set(source_keys(tmp_path / str(seed), "alone")) == oracle(rows, "alone", 6, seed)["alone"]
    assert source_keys(tmp_path / "0", "alone") != source_keys(tmp_path / "1", "alone")


def test_what_was_taken_of_each_table_is_said(tmp_path: Path) -> None:
    lines = run(sqlite_file(tmp_path / "s.db", SHOP), tmp_path / "out", sample_entities="sale:2", dangling="null")
    assert "sale: --sample-entities takes 2 of 5 rows: 2 chosen" in lines
    lines = run(sqlite_file(tmp_path / "t.db", SHOP), tmp_path / "all", sample_entities="customer:9", dangling="null")
    assert "customer: --sample-entities takes 4 of 4 rows: 4 chosen; there are no more, 9 were asked for" in lines
    assert "sale: --sample-entities takes 4 of 5 rows: 4 that refer to them" in lines  # the fifth refers to no customer


def test_a_key_that_dangles_in_the_source_is_refused_as_ever_if_its_row_is_taken(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP)
    with pytest.raises(ImportRefused, match="value 9 is no customer.id"):
        run(source, tmp_path / "out", sample_entities="sale:5")


def test_a_sample_is_drawn_from_the_rows_that_a_condition_keeps(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP)
    options: dict[str, Any] = {"where": (("customer", "city = 'Oslo'"),), "sample_entities": "customer:3"}
    run(source, tmp_path / "out", **options)
    assert source_keys(tmp_path / "out", "customer") == [1, 3]
    assert source_keys(tmp_path / "out", "sale") == [10]


def test_a_table_with_a_key_of_two_columns_has_entities_too(tmp_path: Path) -> None:
    script = """CREATE TABLE part (a INTEGER, b TEXT, n INTEGER, PRIMARY KEY (a, b));
        INSERT INTO part VALUES (1, 'x', 1), (1, 'y', 2), (2, 'x', 3), (2, 'y', 4);"""
    seeds = {}
    for seed in range(3):
        run(
            sqlite_file(tmp_path / f"{seed}.db", script),
            tmp_path / f"{seed}",
            sample_entities="part:2",
            sample_seed=seed,
        )
        seeds[seed] = pq.read_table(tmp_path / f"{seed}" / "db" / "part.parquet")["n"].to_pylist()
    assert all(len(rows) == 2 for rows in seeds.values()) and len({tuple(rows) for rows in seeds.values()}) > 1


def test_the_sample_of_a_sample_s_option_is_another_import(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP)
    run(source, tmp_path / "out", sample_entities="customer:2")
    before = files(tmp_path / "out")
    with pytest.raises(FileExistsError, match="other options"):
        run(source, tmp_path / "out", sample_entities="customer:3")
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("customer", "expected TABLE:COUNT"),
        ("customer:0", "a count of at least 1"),
        ("customer:-3", "expected TABLE:COUNT"),
        (":3", "expected TABLE:COUNT"),
        ("customer:many", "expected TABLE:COUNT"),
        ("customers:3", r"no table 'customers'; expected one of \['customer', 'keyless', 'sale'\]"),
        ("keyless:3", r"'keyless' has no primary key.*expected one of \['customer', 'sale'\]"),
    ],
)
def test_entities_that_cannot_be_chosen_are_refused_before_a_row_is_read(
    tmp_path: Path, text: str, message: str
) -> None:
    source = sqlite_file(tmp_path / "s.db", SHOP + "CREATE TABLE keyless (x INTEGER);")
    with pytest.raises(ImportRefused, match=f"--sample-entities.*{message}"):
        run(source, tmp_path / "out", sample_entities=text)
    assert not (tmp_path / "out").exists()
