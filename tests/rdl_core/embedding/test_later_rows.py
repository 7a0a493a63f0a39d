"""A row added at or after the time that is asked for changes no vector of any table, to the bit."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rdl_core.database import open_dataset
from rdl_core.embedding import RowEmbedder
from rdl_core.embedding.questions import questions_at
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.timestamps import seconds_of
from tests.nasty_database import DAY, VAL, write_nasty_database
from tests.rdl_core.embedding.small_models import READS_COLUMNS, READS_STATISTICS, SAMPLING, fresh_model

pytestmark = pytest.mark.usefixtures("one_thread")
AT = VAL + 5 * DAY
LATE = {
    "categories": {"parent_id": 1},
    "teams": {"category_id": 1},
    "order": {"team_id": 0, "placed_at": AT},
    "order_line": {"order_id": 19, "category_id": 1.0},  # of an order after AT
    "match": {"home_id": 0, "away_id": 1, "played_at": AT},
    "lineup": {"match_id": 30, "team_id": 0},  # of a match after AT
    "goal": {"lineup_id": 1, "scored_at": AT},
    "ticket": {"match_id": 2, "sold_at": AT},
    "équipe_catégorie": {"team_id": 11, "category_id": 1},  # of a team that is first there after AT
}
"""Keys and time of the row that is added to each table."""
KEYED = ("categories", "teams", "order", "match", "lineup", "goal")
"""Tables whose first column is their primary key."""


def with_late_rows(folder: Path, tables: list[str]) -> Path:
    """The nasty database with one more row at the end of each of some tables, its cells those of row 0."""
    write_nasty_database(folder)
    for table in tables:
        path = folder / "db" / f"{table}.parquet"
        rows = pq.read_table(path)
        row = rows.slice(0, 1)
        values: dict[str, int | float | datetime.datetime] = {**LATE[table]}
        if table in KEYED:
            values[rows.column_names[0]] = len(rows)
        for name, value in values.items():
            place = row.column_names.index(name)
            row = row.set_column(place, row.schema.field(name), pa.array([value], row.schema.field(name).type))
        pq.write_table(pa.concat_tables([rows, row]), path)
    return folder


@pytest.fixture(scope="module")
def models(nasty_store: Store) -> list[Checkpoint]:
    """One that embeds every table, and one that reads columns and embeds those that keys lead to."""
    return [fresh_model(nasty_store, backbone) for backbone in (READS_STATISTICS, READS_COLUMNS)]


def vectors(store: Store, models: list[Checkpoint], at_s: int) -> dict[tuple[int, str], np.ndarray]:
    """The vectors of every table by every model that embeds it, behind the rows that they are of."""
    found = {}
    for number, model in enumerate(models):
        embedded = store.schema.tables if model.backbone.columns is None else model.encoder().columns_widths
        for table in embedded:
            asked = questions_at(store.graph, table, at_s)
            of_rows = RowEmbedder(store, model, table, SAMPLING)(asked.rows, asked.time_s)
            found[number, table] = np.concatenate([asked.rows[:, None].astype(np.float32), of_rows], axis=1)
    return found


def test_a_row_added_to_each_table_at_the_time_or_later_changes_no_vector(
    nasty_store: Store, models: list[Checkpoint], tmp_path: Path
) -> None:
    dataset = open_dataset(with_late_rows(tmp_path / "nasty", list(LATE)))
    later = materialize(dataset, tmp_path / "stores", model=nasty_store.schema)
    assert {t: later.graph.num_rows(t) - nasty_store.graph.num_rows(t) for t in LATE} == dict.fromkeys(LATE, 1)
    before, after = (vectors(store, models, seconds_of(AT)) for store in (nasty_store, later))
    assert len(before) == len(LATE) + 5
    for name, of_table in before.items():
        np.testing.assert_array_equal(of_table, after[name], err_msg=str(name))


def test_a_second_later_the_row_is_seen(nasty_store: Store, models: list[Checkpoint], tmp_path: Path) -> None:
    """What the test above relies on: its rows would be noticed."""
    dataset = open_dataset(with_late_rows(tmp_path / "nasty", ["order", "match", "goal", "ticket"]))
    later = materialize(dataset, tmp_path / "stores", model=nasty_store.schema)
    before, after = (vectors(store, models[:1], seconds_of(AT) + 1) for store in (nasty_store, later))
    changed = {table for (_, table), x in before.items() if not np.array_equal(x, after[0, table])}
    assert {"order", "match", "goal", "ticket", "teams", "lineup"} <= changed
