"""Exported samples, checked from outside: DuckDB joins against the database's own Parquet files."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from relbench.load import RelBenchDataset

from distributed.sampling.export import export_samples
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.store import Store
from tests.nasty_database import VAL

CONFIG = HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6, num_hops=4)
NUM_SAMPLES = 60  # more than one group of the writer, more than one epoch


@pytest.fixture(scope="module")
def exported(nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, int]]]:
    out = tmp_path_factory.mktemp("samples") / "new" / "out"
    return out, export_samples(nasty_store, CONFIG, NUM_SAMPLES, out, seed=7)


Exported = tuple[Path, dict[str, dict[str, int]]]


@pytest.fixture
def sql(exported: Exported, nasty_dataset: RelBenchDataset) -> duckdb.DuckDBPyConnection:
    """Views `rows`, `edges` and, per table, its Parquet file with its row number as `_row`."""
    connection = duckdb.connect()
    for name in ("rows", "edges"):
        connection.execute(f"CREATE VIEW {name} AS FROM '{exported[0]}/{name}.parquet'")
    for table in nasty_dataset.manifest.tables:
        path = nasty_dataset.db_dir / f"{table}.parquet"
        parquet = f"read_parquet('{path}', file_row_number=true)"
        connection.execute(f'CREATE VIEW "db {table}" AS SELECT *, file_row_number AS _row FROM {parquet}')
    return connection


def foreign_keys(dataset: RelBenchDataset) -> list[tuple[str, str, str]]:
    return [
        (table, key, parent) for table, spec in dataset.manifest.tables.items() for key, parent in spec.fkeys.items()
    ]


def test_every_sample_is_there_with_rows_of_many_tables(
    exported: Exported, sql: duckdb.DuckDBPyConnection, nasty_store: Store
) -> None:
    assert sql.execute("SELECT count(DISTINCT sample), min(sample), max(sample) FROM rows").fetchone() == (
        NUM_SAMPLES,
        0,
        NUM_SAMPLES - 1,
    )
    assert (
        sql.execute("SELECT count(*) FROM (SELECT DISTINCT * FROM rows)").fetchone()
        == sql.execute("SELECT count(*) FROM rows").fetchone()
    )
    assert dict(sql.execute('SELECT "table", count(*) FROM rows GROUP BY ALL').fetchall()) == exported[1]["rows"]
    assert set(exported[1]["rows"]) == set(nasty_store.schema.tables)


def test_the_edges_are_the_true_foreign_keys_between_sampled_rows_each_once(
    exported: Exported, sql: duckdb.DuckDBPyConnection, nasty_dataset: RelBenchDataset
) -> None:
    num_edges = 0
    for child, key, parent in foreign_keys(nasty_dataset):
        true = sql.execute(
            f"""
            SELECT c.sample, c.row, p.row FROM rows c
            JOIN "db {child}" d ON c."table" = '{child}' AND d._row = c.row
            JOIN rows p ON p.sample = c.sample AND p."table" = '{parent}' AND p.row = TRY_CAST(d."{key}" AS BIGINT)
            ORDER BY ALL
            """
        ).fetchall()
        name = f"{child}.{key}"
        assert (
            sql.execute("SELECT sample, child, parent FROM edges WHERE edge_type = ? ORDER BY ALL", [name]).fetchall()
            == true
        )
        assert exported[1]["edges"][name] == len(true) > 0
        num_edges += len(true)
    assert sql.execute("SELECT count(*) FROM edges").fetchone() == (num_edges,)


def test_no_dated_row_is_from_after_the_cutoff(sql: duckdb.DuckDBPyConnection, nasty_dataset: RelBenchDataset) -> None:
    for table, spec in nasty_dataset.manifest.tables.items():
        if spec.time_col is None:
            continue
        sampled = f'''
            SELECT d."{spec.time_col}" AS time FROM rows r
            JOIN "db {table}" d ON r."table" = '{table}' AND d._row = r.row'''
        assert sql.execute(f"SELECT count(*) FROM ({sampled}) WHERE time IS NULL OR time > ?", [VAL]).fetchone() == (0,)
        (later,) = sql.execute(f'SELECT count(*) FROM "db {table}" WHERE "{spec.time_col}" > ?', [VAL]).fetchall()
        assert later[0] > 0, "nothing to leak, no test"


def test_no_row_without_time_is_first_referenced_after_the_cutoff(sql: duckdb.DuckDBPyConnection) -> None:
    """Team 11 is first named after the cutoff; an order line is as old as its order."""
    assert sql.execute("SELECT count(*) FROM rows WHERE \"table\" = 'teams' AND row = 11").fetchone() == (0,)
    lines = """
        SELECT max(o.placed_at) FROM rows r
        JOIN "db order_line" l ON r."table" = 'order_line' AND l._row = r.row
        JOIN "db order" o USING (order_id)"""
    assert sql.execute(lines).fetchone() == (VAL,)


def test_the_files_are_a_function_of_the_seed(exported: Exported, nasty_store: Store, tmp_path: Path) -> None:
    def bytes_of(out: Path) -> list[bytes]:
        return [(out / f"{name}.parquet").read_bytes() for name in ("rows", "edges")]

    again = export_samples(nasty_store, CONFIG, NUM_SAMPLES, tmp_path / "again", seed=7)
    assert again == exported[1]
    assert bytes_of(tmp_path / "again") == bytes_of(exported[0])
    export_samples(nasty_store, CONFIG, NUM_SAMPLES, tmp_path / "again", seed=8)  # and replaces its own files
    assert bytes_of(tmp_path / "again") != bytes_of(exported[0])
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == ["edges.parquet", "rows.parquet"]
    assert [p.name for p in tmp_path.iterdir()] == ["again"]


def test_fewer_samples_are_the_first_ones(exported: Exported, nasty_store: Store, tmp_path: Path) -> None:
    export_samples(nasty_store, CONFIG, 3, tmp_path / "few", seed=7)
    for name in ("rows", "edges"):
        few, all_of = (
            duckdb.sql(f"FROM '{out}/{name}.parquet' WHERE sample < 3").fetchall()
            for out in (tmp_path / "few", exported[0])
        )
        assert few == all_of


def test_a_folder_that_holds_other_files_is_refused_and_left_alone(nasty_store: Store, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("mine")
    (tmp_path / "thesis.tex").write_text("mine too")
    with pytest.raises(FileExistsError, match="holds more than .* choose another --out"):
        export_samples(nasty_store, CONFIG, 3, tmp_path, seed=7)
    assert sorted(p.read_text() for p in tmp_path.iterdir()) == ["mine", "mine too"]
