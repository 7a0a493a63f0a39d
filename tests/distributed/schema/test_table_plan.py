"""The schema of an imported folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from relbench.manifest import DatasetManifest

from tests.distributed.importing.small_imports import column


def test_schema_of_the_folder(imported: Path) -> None:
    tables = DatasetManifest.load(imported / "manifest.yaml").tables
    assert sorted(tables) == ["badge", "label", "order", "part", "person"]  # the view is none
    # `born` is the only date that is not named a birthday.
    assert (tables["person"].pkey, tables["person"].time_col) == ("code", "born")
    assert tables["person"].fkeys == {"boss": "person"}
    assert tables["order"].fkeys == {"buyer": "person", "seller": "person"}
    assert (tables["order"].pkey, tables["order"].time_col) == ("the id", "order_time")
    assert "photo" not in pq.read_schema(imported / "db" / "person.parquet").names
    # A foreign key to a unique column that is not the primary key.
    assert (tables["label"].pkey, tables["label"].fkeys) == (None, {"tag": "person"})
    person = pq.read_table(imported / "db" / "person.parquet").to_pylist()
    assert [person[row]["tag"] for row in column(imported, "label", "tag")] == ["z", "b", "b"]
    # A composite primary key: a column of its own; its foreign key stays one, its other column an attribute.
    assert (tables["part"].pkey, tables["part"].fkeys) == ("the id+position", {"the id": "order"})
    assert list(zip(column(imported, "part", "the id"), column(imported, "part", "position"), strict=True)) == [
        (1, 1),
        (2, 1),
        (2, 2),
    ]
    # Primary and foreign key in one: both survive.
    assert (tables["badge"].pkey, tables["badge"].fkeys) == ("code__pkey", {"code": "person"})
