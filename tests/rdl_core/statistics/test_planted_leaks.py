"""Rows at or after a time, changed or added, change no byte of what a row's past says before it; nor do versions and late cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl_core.config import StatisticsConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.database.table_settings import TableSettings, write_table_settings
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.statistics import KeyStatistics
from tests.nasty_database import write_database

DAY, NUM_DAYS, CUTOFF_DAY = 86_400, 120, 90
ORDERS = ("orders", "customer", "customers")


def store_of(
    folder: Path, changed_from: int | None = None, added: int = 0, settings: dict[str, TableSettings] | None = None
) -> Store:
    """Three orders a day, of three customers; those from a day on hold other cells, and there are more of them."""
    rng = np.random.default_rng(0)
    days = np.repeat(np.arange(NUM_DAYS), 3)
    customer, amount, stars = (
        rng.integers(0, 3, len(days)),
        rng.lognormal(size=len(days)),
        rng.integers(1, 6, len(days)),
    )
    status = rng.choice(["open", "paid", "sent"], len(days))
    if changed_from is not None:
        late = days >= changed_from
        amount[late], stars[late], status[late] = 1e6, 1, "label"
        customer[late] = 0
        more = np.repeat(np.arange(changed_from, NUM_DAYS), added)
        days, customer = np.concatenate([days, more]), np.concatenate([customer, 1 + np.arange(len(more)) % 2])
        amount, stars = (
            np.concatenate([amount, np.full(len(more), -1e6)]),
            np.concatenate([stars, np.full(len(more), 5)]),
        )
        status = np.concatenate([status, np.full(len(more), "label")])
    order = np.argsort(days, kind="stable")
    columns = {
        "id": np.arange(len(days)),
        "customer": customer[order],
        "at": pa.array(days[order] * DAY, pa.timestamp("s")),
        "amount": amount[order],
        "stars": stars[order],
        "status": status[order].tolist(),
        "until": pa.array((days[order] + 9) * DAY, pa.timestamp("s")),
    }
    tables = {"orders": pa.table(columns), "customers": pa.table({"id": [0, 1, 2], "city": ["a", "b", "c"]})}
    specs = {
        "orders": {"pkey": "id", "time_col": "at", "fkeys": {"customer": "customers"}},
        "customers": {"pkey": "id"},
    }
    path = write_database(folder / "db", tables, specs, val_timestamp="1970-04-01", test_timestamp="1970-04-20")
    write_table_settings(path, settings or {})
    return materialize(open_dataset(path), folder / "stores")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("clean"))


def past(store: Store, day: int) -> bytes:
    """All that is said of the customers' past at every day up to one."""
    customers, days = np.tile(np.arange(3), day + 1), np.repeat(np.arange(day + 1), 3)
    return KeyStatistics(store)(ORDERS, customers, days * DAY).tobytes()


@pytest.mark.parametrize("added", [0, 2])
@pytest.mark.parametrize("day", [CUTOFF_DAY + 1, CUTOFF_DAY + 10])
def test_rows_changed_or_added_at_a_time_or_later_change_no_byte_before_it(
    clean: Store, tmp_path: Path, day: int, added: int
) -> None:
    planted = store_of(tmp_path, day, added)
    assert past(planted, day) == past(clean, day)
    assert past(planted, day + 1) != past(clean, day + 1)


def test_rows_after_the_cutoff_change_neither_measures_nor_windows(clean: Store, tmp_path: Path) -> None:
    planted = store_of(tmp_path, CUTOFF_DAY + 1, added=3)
    assert planted.schema.time_span_s == clean.schema.time_span_s
    statistics = [KeyStatistics(store) for store in (planted, clean)]
    assert statistics[0].measures(ORDERS) == statistics[1].measures(ORDERS)
    assert statistics[0].names(ORDERS) == statistics[1].names(ORDERS)


def test_a_window_after_a_time_ends_before_its_end(clean: Store, tmp_path: Path) -> None:
    planted = store_of(tmp_path, CUTOFF_DAY + 10, added=2)
    customers, begin, end = np.arange(3), np.full(3, 80 * DAY), np.full(3, (CUTOFF_DAY + 10) * DAY)
    for later, is_equal in ((0, True), (1, False)):
        answers = [KeyStatistics(s).window_answers(ORDERS, customers, begin, end + later) for s in (clean, planted)]
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*answers, strict=True)) == is_equal


def test_cells_known_after_their_row_are_in_no_statistics_and_that_is_said(clean: Store, tmp_path: Path) -> None:
    settings = {"orders": TableSettings(known_from={"status": "until", "amount": "until"})}
    statistics = KeyStatistics(store_of(tmp_path, settings=settings))
    assert {m.column for m in statistics.measures(ORDERS)} == {"stars"}
    assert statistics.left_out() == [
        f"The cells of orders.{column} are in no statistics, since they become known after their row."
        for column in ("amount", "status")
    ]
    assert {m.column for m in KeyStatistics(clean).measures(ORDERS)} == {"amount", "stars", "status"}
    assert KeyStatistics(clean).left_out() == []


def test_keys_of_versions_have_no_statistics_and_that_is_said(tmp_path: Path) -> None:
    store = store_of(tmp_path, settings={"orders": TableSettings(valid_from="at", valid_to="until")})
    statistics = KeyStatistics(store, StatisticsConfig())
    assert statistics.width(ORDERS) == 0 and statistics.names(ORDERS) == [] and statistics.measures(ORDERS) == ()
    assert statistics.of_table("customers", np.arange(3), np.zeros(3, np.int64)).shape == (3, 0)
    assert statistics(ORDERS, np.arange(3), np.zeros(3, np.int64)).shape == (3, 0)
    assert statistics.left_out() == [
        "The key orders.customer -> customers has no statistics, since rows of orders are versions that end (valid_to)."
    ]
    with pytest.raises(KeyError, match=r"orders.customer -> customers has no running sums.*valid_to"):
        store.prefix_sums(ORDERS)
