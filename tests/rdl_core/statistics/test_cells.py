"""What a row brings by itself: cells in either unit, days since its timestamps, its age, and nothing before it is known."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from rdl_core.graph.store import Store
from rdl_core.statistics.cells import RowCells
from tests.nasty_database import TEST
from tests.rdl_core.test_late_cells import DAY, store_of
from tests.rdl_core.test_leakage import unix


def column(cells: RowCells, name: str, rows: list[int], before_s: list[int], *, raw: bool = True) -> list[float]:
    values = cells(np.array(rows), np.array(before_s), raw=raw)
    assert values.dtype == np.float32 and values.shape == (len(rows), len(cells.names))
    return values[:, cells.names.index(name)].tolist()


def test_raw_cells_are_in_the_column_s_own_unit_and_others_standardised(nasty_store: Store) -> None:
    cells = RowCells(nasty_store, "teams", is_dated=True)
    heights = column(cells, "teams.größe_cm", [0, 7], [unix(TEST)] * 2)
    assert heights == pytest.approx([180.5, 187.5])
    (schema,) = (c for c in nasty_store.schema.tables["teams"].columns if c.name == "größe_cm")
    standardised = column(cells, "teams.größe_cm", [0, 7], [unix(TEST)] * 2, raw=False)
    assert standardised == pytest.approx([(h - schema.mean) / schema.std for h in heights], rel=1e-5)
    kinds = column(RowCells(nasty_store, "match", is_dated=True), "match.kind = 'league'", [0, 1, 2], [unix(TEST)] * 3)
    assert kinds == [1.0, 0.0, 1.0]


def test_days_since_a_timestamp_count_from_its_day_and_a_null_has_none(nasty_store: Store) -> None:
    cells = RowCells(nasty_store, "teams", is_dated=True)
    expected = (TEST - datetime.datetime(1900, 2, 28)).days
    found = column(cells, "days since teams.founded", [1, 5], [unix(TEST)] * 2)
    np.testing.assert_equal(found, [float(expected), np.nan])
    logarithm = column(cells, "days since teams.founded", [1], [unix(TEST)], raw=False)
    assert logarithm == pytest.approx([np.log1p(expected)])


def test_a_row_has_an_age_from_the_second_after_it_came_to_be(nasty_store: Store) -> None:
    cells, time = RowCells(nasty_store, "order", is_dated=True), int(nasty_store.graph.table_time("order")[5])
    found = column(cells, "days since order came to be", [5, 5, 5], [time, time + 1, time + 2 * DAY])
    np.testing.assert_equal(found, [np.nan, np.float32(1 / DAY), 2.0])
    assert "days since order.placed_at" not in cells.names  # the table's time tells the same
    assert not any("came to be" in name for name in RowCells(nasty_store, "order", is_dated=False).names)


def test_a_late_cell_is_missing_until_the_second_after_it_is_known(tmp_path: Path) -> None:
    cells = RowCells(store_of(tmp_path), "orders", is_dated=True)
    known_s = 102 * DAY  # of order 100
    times = [known_s, known_s + 1]
    np.testing.assert_equal(column(cells, "orders.paid", [100, 100], times), [np.nan, np.float32(100 % 11 + 0.5)])
    np.testing.assert_equal(column(cells, "orders.status = 's1'", [100, 100], times), [np.nan, 1.0])
    assert column(cells, "orders.amount", [100, 100], times) == [100 % 13] * 2
    np.testing.assert_equal(
        column(cells, "days since orders.shipped", [100, 100], [103 * DAY, 103 * DAY + DAY // 2]), [np.nan, 0.5]
    )
    assert np.isnan(column(cells, "orders.paid", [9], [1 << 60])).all()  # never known
