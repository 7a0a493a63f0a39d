"""The example shop: the same for a seed, of the promised size, with its signal where it was planted, and importable."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import relbench

from distributed.importing.importer import ImportConfig, ImportReport, import_database
from distributed.importing.marks import TimeSpan
from distributed.importing.tasks import read_task_files, write_tasks
from examples.shop import TASKS, TEST_TIMESTAMP, VAL_TIMESTAMP, main, write_shop
from rdl_core.database import load_task, open_dataset
from rdl_core.database.label_replay import further_labels
from tests import REPOSITORY

TABLES = ("customers", "categories", "products", "orders", "order_lines", "reviews", "events")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with opened(path) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop") / "shop.db")


@pytest.fixture(scope="module")
def dataset(shop: Path) -> tuple[Path, ImportReport]:
    out = shop.with_name("rel-shop")
    config = ImportConfig(
        source=f"sqlite:///{shop}",
        out=out,
        name="rel-shop",
        val_timestamp=VAL_TIMESTAMP,
        test_timestamp=TEST_TIMESTAMP,
        tasks=TASKS,
    )
    return out, import_database(config, None)


def test_rows_follow_from_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows(write_shop(tmp_path / "a.db", seed=3, customers=100))
    assert rows(write_shop(tmp_path / "b.db", seed=3, customers=100)) == first
    assert rows(write_shop(tmp_path / "b.db", seed=4, customers=100)) != first  # and replaces the file
    monkeypatch.setattr("sys.argv", ["shop", "--out", str(tmp_path / "c.db"), "--seed", "3", "--customers", "100"])
    main()
    assert rows(tmp_path / "c.db") == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "b.db", "c.db"]


def test_the_shop_until_a_time_is_the_shop_without_its_later_rows(tmp_path: Path) -> None:
    whole = rows(write_shop(tmp_path / "whole.db", seed=3, customers=100))
    early = rows(write_shop(tmp_path / "early.db", seed=3, customers=100, until="2024-06-01"))
    orders = {row[0] for row in early["orders"]}
    time_columns = {"customers": 1, "orders": 2, "reviews": 3, "events": 3}
    for table in TABLES:
        place = time_columns.get(table)
        kept = whole[table] if place is None else [row for row in whole[table] if str(row[place]) < "2024-06-01"]
        kept = [row for row in kept if row[1] in orders] if table == "order_lines" else kept
        assert early[table] == kept, table
        assert table in ("categories", "products", "customers") or len(kept) < len(whole[table]), table


def test_size_keys_and_dates(shop: Path) -> None:
    found = rows(shop)
    counts = {table: len(found[table]) for table in TABLES}
    assert (counts["customers"], counts["categories"], counts["products"]) == (2000, 42, 600)
    assert 45_000 < sum(counts.values()) < 65_000
    with opened(shop) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("orders", "reviews", "events"):
            early, first, last = connection.execute(
                f"SELECT avg(time <= '{VAL_TIMESTAMP}'), min(time), max(time) FROM {table}"
            ).fetchone()
            assert early >= 0.7 and first > "2022-12-20" and "2024-12-30" < last < "2025-01-01"
        before_signup = "SELECT count(*) FROM {} JOIN customers USING (customer_id) WHERE time < signup_time"
        assert all(connection.execute(before_signup.format(t)).fetchone() == (0,) for t in ("orders", "events"))
    for table in TABLES:
        keys = [row[0] for row in found[table]]
        assert keys != list(range(len(keys))) and len(set(keys)) == len(keys)


def test_import_gives_both_tasks_few_balanced_labels(dataset: tuple[Path, ImportReport]) -> None:
    out, report = dataset
    assert {name: table.time_col for name, table in report.tables.items() if table.time_col} == {
        "customers": "signup_time", "events": "time", "orders": "time", "reviews": "time"}  # fmt: skip
    assert report.tables["categories"].fkey_col_to_pkey_table == {"parent_id": "categories"}
    assert not any(sum(table.dangling_fkeys.values()) for table in report.tables.values())
    opened_dataset = relbench.load_dataset(out)
    assert opened_dataset.get_task_names() == ["customer-churn", "customer-spend"]
    assert len(opened_dataset.get_db().table_dict) == len(TABLES)
    for name in opened_dataset.get_task_names():
        task = opened_dataset.load_task(name)
        size = {split: len(task.get_table(split, mask_input_cols=False)) for split in ("train", "val", "test")}
        assert 500 <= size["train"] <= 1500 and size["val"] >= 500 and size["test"] >= 500
    churn, spend = (opened_dataset.load_task(name) for name in ("customer-churn", "customer-spend"))
    for split in ("train", "val", "test"):
        labels = churn.get_table(split, mask_input_cols=False).df
        assert 0.2 <= labels["churn"].mean() <= 0.5
        # Who orders nothing spends nothing: two SQL texts, one truth.
        spent = spend.get_table(split, mask_input_cols=False).df
        assert ((spent["spend"] == 0) == (labels["churn"] == 1)).all()


def test_churn_follows_the_quality_that_others_see(dataset: tuple[Path, ImportReport]) -> None:
    """AUROC of one number: mean stars that OTHERS gave, before the seed time, to what the last order held."""
    out, _ = dataset
    orders, lines, reviews = (
        pd.read_parquet(out / "db" / f"{t}.parquet") for t in ("orders", "order_lines", "reviews")
    )
    labels = pd.read_parquet(out / "tasks" / "customer-churn" / "val.parquet")
    now = labels["timestamp"].iloc[0]
    last = orders[orders["time"] <= now].groupby("customer_id").tail(1)
    bought = last.merge(lines, on="order_id")[["customer_id", "product_id"]]
    seen = bought.merge(reviews[reviews["time"] <= now], on="product_id", suffixes=("", "_of_review"))
    others = seen[seen["customer_id"] != seen["customer_id_of_review"]]
    stars = labels["customer_id"].map(others.groupby("customer_id")["stars"].mean()).fillna(3.3)
    assert auroc(labels["churn"], -stars) > 0.72
    customers = pd.read_parquet(out / "db" / "customers.parquet").loc[labels["customer_id"]]
    for column in ("signup_time", "birth_year"):
        alone = customers[column].rank().fillna(0).reset_index(drop=True)
        assert 0.4 < auroc(labels["churn"], alone) < 0.6


def auroc(label: pd.Series, score: pd.Series) -> float:
    rank, positive = score.rank().to_numpy(), label.to_numpy() == 1
    pairs = positive.sum() * (~positive).sum()
    return float((rank[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / pairs)


def test_spend_follows_what_was_bought(dataset: tuple[Path, ImportReport]) -> None:
    """Mean price of earlier lines tells later spend among those who order again: taste and price level stay."""
    out, _ = dataset
    orders, lines = (pd.read_parquet(out / "db" / f"{table}.parquet") for table in ("orders", "order_lines"))
    labels = pd.read_parquet(out / "tasks" / "customer-spend" / "val.parquet")
    labels = labels[labels["spend"] > 0]
    earlier = lines.merge(orders[orders["time"] <= labels["timestamp"].iloc[0]], on="order_id")
    price = labels["customer_id"].map(earlier.groupby("customer_id")["price"].mean())
    assert np.corrcoef(price.rank(), labels["spend"].rank())[0, 1] > 0.3


def test_the_task_of_the_docs_is_one_of_this_shop(dataset: tuple[Path, ImportReport], tmp_path: Path) -> None:
    """And its labels are those of a loop over the reviews."""
    text = (REPOSITORY / "docs" / "tasks.md").read_text()
    (tmp_path / "task.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    folder = dataset[0]
    made = write_tasks(read_task_files(tmp_path), shutil.copytree(folder, tmp_path / "rel-shop"), TimeSpan())
    assert list(made) == ["customer-reviews"] and min(made["customer-reviews"].values()) > 100
    labels = pd.read_parquet(tmp_path / "rel-shop" / "tasks" / "customer-reviews" / "test.parquet")
    reviews = pd.read_parquet(folder / "db" / "reviews.parquet")
    seed = pd.Timestamp(TEST_TIMESTAMP)
    assert set(labels["timestamp"]) == {seed}
    before, after = (
        reviews[reviews["time"] <= seed],
        reviews[(reviews["time"] > seed) & (reviews["time"] <= seed + pd.Timedelta("60 days"))],
    )
    expected = dict.fromkeys(before["customer_id"], 0.0)
    for customer in after["customer_id"]:
        if customer in expected:
            expected[customer] += 1.0
    assert dict(zip(labels["customer_id"], labels["num_reviews"], strict=True)) == expected


@pytest.mark.parametrize("name", ["customer-churn", "customer-spend"])
def test_label_replay_reproduces_the_labels_and_adds_closed_ones(dataset: tuple[Path, ImportReport], name: str) -> None:
    task = load_task(open_dataset(dataset[0]), name)
    own = task.get_table("train", mask_input_cols=False).df
    further = further_labels(task, 0.25)
    assert len(further) > len(own)
    assert (further["timestamp"] + task.timedelta <= pd.Timestamp(VAL_TIMESTAMP)).all()
    assert not set(further["timestamp"]) & set(own["timestamp"])
