"""Keys that are filled in later: found by the times of rows, left out of dating and of the graph, and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl_core.config import HGSamplingConfig, StoreConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.database.table_settings import TableSettings, write_table_settings
from rdl_core.graph.filled_later import LateKey, late_keys
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from tests.nasty_database import write_database

DAY = 86_400
LAST, MADE_BY = ("customers", "last_order", "orders"), ("orders", "customer", "customers")


def shop(customer_of_order: list[int], last_order: list[int], hours: int = 0) -> tuple[dict, dict, dict]:
    """Returns rows, parents and times of customers without time and orders, one a day."""
    times = np.arange(len(customer_of_order), dtype=np.int64) * DAY + hours * 3600
    parents = {LAST: np.array(last_order, np.int32), MADE_BY: np.array(customer_of_order, np.int32)}
    return {"customers": len(last_order), "orders": len(times)}, parents, {"orders": times}


def found(num_rows: dict, parents: dict, times: dict, **settings: TableSettings) -> list[LateKey]:
    return late_keys(num_rows, parents, times, {t: settings.get(t, TableSettings()) for t in num_rows})


def test_a_key_to_the_last_order_is_found_by_hand_count() -> None:
    # Customer 0 has orders 0 and 2, customer 1 order 1 alone: one of two is older than its last order.
    rows, parents, times = shop([0, 1, 0], [2, 1])
    assert found(rows, parents, times) == [LateKey(edge_type=LAST, num_later=1, num_compared=2)]
    assert found(rows, dict(reversed(parents.items())), times) == found(rows, parents, times)


def test_an_order_line_that_is_shipped_on_the_day_of_its_order_keeps_its_key() -> None:
    # Orders at noon, shipments by whole days: a day reaches to its end.
    rows = {"lines": 2, "orders": 2, "shipments": 2}
    parents = {
        ("lines", "order", "orders"): np.array([0, 1], np.int32),
        ("shipments", "line", "lines"): np.array([0, 1], np.int32),
    }
    times = {"orders": np.array([DAY // 2, DAY + DAY // 2]), "shipments": np.array([0, DAY])}
    assert found(rows, parents, times) == []
    times["orders"][0] += DAY  # a day later it is another matter
    assert [key.num_later for key in found(rows, parents, times)] == [1]


def test_one_wrong_time_in_many_is_said_and_the_key_is_kept() -> None:
    n = 200
    rows = {"lines": n, "orders": n, "shipments": n}
    same = np.arange(n, dtype=np.int32)
    parents = {("lines", "order", "orders"): same, ("shipments", "line", "lines"): same}
    times = {"orders": np.arange(n) * 10 + 5, "shipments": np.arange(n) * 10 + 7}
    times["shipments"][3] = 1
    (key,) = found(rows, parents, times)
    assert (key.num_later, key.num_compared, key.is_left_out) == (1, n, False) and "kept" in str(key)


def test_a_key_through_a_table_that_both_date_is_found() -> None:
    # parties (no time) links customers to orders; it would itself be dated by its customer, and so by the last order.
    rows = {"customers": 1, "orders": 2, "parties": 2}
    parents = {
        LAST: np.array([1], np.int32),
        ("parties", "customer", "customers"): np.array([0, 0], np.int32),
        ("parties", "order", "orders"): np.array([0, 1], np.int32),
    }
    (key,) = found(rows, parents, {"orders": np.array([3, 9])})
    assert key.edge_type == LAST and key.is_left_out


@pytest.mark.parametrize("has_both", [False, True])
def test_a_key_through_a_table_without_any_time_is_found_and_that_tables_own_key_is_kept(has_both: bool) -> None:
    # Orders are of a card, cards of a customer, who knows his last order: it is the customer's key that came later, not the card's.
    rows = {"customers": 1, "cards": 1, "orders": 2}
    of_card = ("cards", "last_order", "orders")
    parents = {
        ("cards", "customer", "customers"): np.array([0], np.int32),
        LAST: np.array([1], np.int32),
        ("orders", "card", "cards"): np.array([0, 0], np.int32),
    } | ({of_card: np.array([1], np.int32)} if has_both else {})
    times = {"orders": np.array([3, 9])}
    late = [LAST, *([of_card] if has_both else [])]
    assert [key.edge_type for key in found(rows, parents, times)] == late
    assert {key.edge_type for key in found(rows, dict(reversed(parents.items())), times)} == set(late)


def test_settings_decide_against_the_times() -> None:
    rows, parents, times = shop([0, 1, 0], [2, 1])
    assert found(rows, parents, times, customers=TableSettings(known_with_row=("last_order",))) == []
    early = shop([0, 1], [0, 1])
    assert found(*early) == []
    (key,) = found(*early, customers=TableSettings(filled_later=("last_order",)))
    assert key.is_left_out and key.is_declared


def folder_of(path: Path, last_order: list[int | None], customer_of_order: list[int]) -> Path:
    n = len(customer_of_order)
    orders = {"id": np.arange(n), "customer": customer_of_order, "at": pa.array(np.arange(n) * DAY, pa.timestamp("s"))}
    tables = {
        "customers": pa.table({"id": np.arange(len(last_order)), "last_order": pa.array(last_order, pa.int64())}),
        "orders": pa.table(orders),
    }
    specs = {
        "customers": {"pkey": "id", "fkeys": {"last_order": "orders"}},
        "orders": {"pkey": "id", "time_col": "at", "fkeys": {"customer": "customers"}},
    }
    return write_database(path, tables, specs, val_timestamp="1970-01-20", test_timestamp="1970-01-25")


def store_of(path: Path, last_order: list[int | None], **settings: TableSettings) -> Store:
    folder = folder_of(path, last_order, [i % 3 for i in range(30)])
    write_table_settings(folder, settings)
    return materialize(open_dataset(folder), path / "stores", StoreConfig())


def test_customers_exist_from_their_first_order_and_the_store_says_why(tmp_path: Path) -> None:
    store = store_of(tmp_path, [27, 28, 29])
    assert store.graph.table_time("customers").tolist() == [0, DAY, 2 * DAY]
    assert "in 3 of 3 rows of customers" in store.late_keys["customers.last_order"]["line"]
    assert store.schema.tables["customers"].num_rows_up_to_cutoff == 3


@pytest.mark.parametrize("told_by_hand", [False, True])
def test_the_last_order_tells_no_sample_that_it_is_the_last(tmp_path: Path, told_by_hand: bool) -> None:
    """A planted leak: only the key differs, in who has his last order before the cutoff; the samples must not."""

    def samples(name: str, last_order: list[int | None], **settings: TableSettings) -> list[bytes]:
        store = store_of(tmp_path / name, last_order, **settings)
        config = HGSamplingConfig(seeds_per_sample=4, rows_per_hop=8)
        sampling = HGSampling(store.graph, config, seed=0, before_s=store.schema.cutoff_s + 1)
        return [s.to_bytes() for s in sampling.sample(0, range(sampling.samples_per_epoch))]

    told = TableSettings(filled_later=("last_order",)) if told_by_hand else TableSettings()
    assert samples("a", [27, 28, 29], customers=told) == samples("b", [15, 28, 17], customers=told)
    # The detector has power: with the links shown, they do differ.
    kept = TableSettings(known_with_row=("last_order",))
    assert samples("c", [27, 28, 29], customers=kept) != samples("d", [15, 28, 17], customers=kept)


def test_a_first_reference_never_tells_that_a_parent_came_later() -> None:
    num_rows = {"category": 3, "team": 3, "match": 3, "line": 3}
    parents = {
        ("team", "category", "category"): np.array([0, 1, 2], np.int32),
        ("match", "team", "team"): np.array([0, 1, 2], np.int32),
        ("line", "category", "category"): np.array(
            [0, 1, 2], np.int32
        ),  # long after the teams of these categories played
    }
    day = 86_400 + 1
    own = {"match": np.array([1, 2, 3]) * day, "line": np.array([100, 101, 102]) * day}
    assert found(num_rows, parents, own) == []
