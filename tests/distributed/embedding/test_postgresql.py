"""Embeddings in a real PostgreSQL: the same numbers, whole or not at all, by pgvector's type where it is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from distributed.embedding.postgresql import check_target, write_table
from rdl_core.embedding import EmbeddingsFolder
from rdl_core.problems import InputError
from tests.distributed.sources.servers import execute
from tests.rdl_core.embedding.small_models import folder_of

pytestmark = pytest.mark.servers

PGVECTOR = """
CREATE SCHEMA "Ext";
CREATE TYPE "Ext".vector;
CREATE FUNCTION vector_in(cstring, oid, int4) RETURNS "Ext".vector LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION vector_out("Ext".vector) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE FUNCTION vector_typmod(cstring[]) RETURNS int4 LANGUAGE internal IMMUTABLE STRICT AS 'varchartypmodin';
CREATE TYPE "Ext".vector (INPUT = vector_in, OUTPUT = vector_out, TYPMOD_IN = vector_typmod, STORAGE = extended);
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    SELECT 99999, 'vector', 10, oid, false, '0.8' FROM pg_namespace WHERE nspname = 'Ext';
"""
"""A type that is declared as pgvector's is and keeps the text that it is given, in a schema with a name to quote."""


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(scale=1e-3, size=(12, 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, vectors: NDArray[np.float32]) -> EmbeddingsFolder:
    """Twelve rows in three parts, with keys that need quotes and escapes."""
    keys = pa.table({"Town name": [f"Ústí\t\\{i}" for i in range(12)], "no": range(12)})
    return folder_of(tmp_path / "out", keys, vectors, at_s=86_400, rows_per_part=5)


def query(url: str, text: str) -> list[tuple]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text(text))]
    engine.dispose()
    return rows


def test_without_pgvector_the_column_is_real_and_holds_the_same_numbers(
    postgresql: str, folder: EmbeddingsFolder, vectors: NDArray[np.float32]
) -> None:
    assert write_table(folder, postgresql, "Shop vectors") == (12, "real[]")
    found = query(postgresql, 'SELECT "Town name", no, time, embedding FROM "Shop vectors" ORDER BY no')
    assert [row[:2] for row in found] == [(f"Ústí\t\\{i}", i) for i in range(12)]
    assert {row[2].timestamp() for row in found} == {86_400.0}
    np.testing.assert_array_equal(np.array([row[3] for row in found], np.float32), vectors)


def test_with_pgvector_the_column_is_its_vector_in_its_own_text_form(
    postgresql: str, folder: EmbeddingsFolder, vectors: NDArray[np.float32]
) -> None:
    execute(postgresql, PGVECTOR)
    assert write_table(folder, postgresql, "shop") == (12, '"Ext".vector(5)')
    found = query(postgresql, "SELECT embedding::text, pg_typeof(embedding)::text FROM shop ORDER BY no")
    assert {kind for _, kind in found} == {'"Ext".vector'}
    assert all(text.startswith("[") and text.endswith("]") for text, _ in found)
    read = [[float(x) for x in text.strip("[]").split(",")] for text, _ in found]
    np.testing.assert_array_equal(np.array(read, np.float32), vectors)


def test_a_table_that_is_there_is_refused_and_left_as_it_is(postgresql: str, folder: EmbeddingsFolder) -> None:
    execute(postgresql, "CREATE TABLE shop AS SELECT 1 AS mine;")
    with pytest.raises(InputError, match=r"has a table 'shop' already.\nRemedy: another --to-table"):
        check_target(postgresql, "shop")
    with pytest.raises(InputError, match="already exists; nothing was written"):
        write_table(folder, postgresql, "shop")
    assert query(postgresql, "SELECT * FROM shop") == [(1,)]


def test_nothing_is_there_of_a_table_whose_writing_fails(postgresql: str, folder: EmbeddingsFolder) -> None:
    folder.part_path(2).write_bytes(b"no Parquet")
    with pytest.raises(pa.ArrowInvalid):
        write_table(folder, postgresql, "shop")
    assert query(postgresql, "SELECT 1 FROM pg_tables WHERE tablename = 'shop'") == []


def test_an_error_shows_no_password(postgresql: str) -> None:
    url = sa.make_url(postgresql).set(password="s3cret", database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(InputError, match='database "nowhere" does not exist; nothing was written') as error:
        check_target(url, "shop")
    assert "s3cret" not in str(error.value)
