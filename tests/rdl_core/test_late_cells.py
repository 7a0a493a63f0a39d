"""Cells that become known later: a planted label changes nothing before its time, wherever a cell is read, and is seen after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch_frame import TensorFrame

from rdl_core.batches.hetero_data import to_hetero_data
from rdl_core.batches.pretraining_batch import collate
from rdl_core.batches.row_source import ShardedRows
from rdl_core.batches.tree_batch import collate_trees
from rdl_core.config import CorruptionConfig, HGSamplingConfig, StoreConfig, TemporalSamplingConfig
from rdl_core.config.presets import paper
from rdl_core.database.dataset import open_dataset
from rdl_core.database.table_settings import TableSettings, write_table_settings
from rdl_core.graph.feature_rows import distinct_rows
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.pretraining import pretrain_here
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.share import GraphShare, Ownership, ownership
from rdl_core.sampling.temporal_sampling import TemporalSampling
from tests.bits import frame_bytes
from tests.nasty_database import write_database

DAY, NUM_ORDERS, CUTOFF_DAY = 86_400, 120, 90
LATE_COLUMNS = ("status", "paid", "tags", "note", "shipped")
KNOWN_FROM = {**dict.fromkeys(("status", "paid", "tags", "note"), "closed"), "shipped": "shipped"}


def closed_day(order: int) -> int | None:
    return None if order % 10 == 9 else order + order % 7


def store_of(folder: Path, plant_from_day: int | None = None, known_from: dict[str, str] = KNOWN_FROM) -> Store:
    """An order a day, closed up to six days later or never; what is known from `plant_from_day` on only holds the planted label."""
    orders = range(NUM_ORDERS)

    def planted(order: int) -> bool:
        day = closed_day(order)
        return plant_from_day is not None and (day is None or day >= plant_from_day)

    def ship_day(order: int) -> int:
        return order + 3 + (50 if plant_from_day is not None and order + 3 >= plant_from_day else 0)

    times = pa.array([o * DAY for o in orders], pa.timestamp("s"))
    closed = [None if closed_day(o) is None else (closed_day(o) + 30 * planted(o)) * DAY for o in orders]
    columns = {
        "id": list(orders),
        "customer": [o % 3 for o in orders],
        "at": times,
        "amount": [float(o % 13) for o in orders],
        "closed": pa.array(closed, pa.timestamp("s")),
        "status": ["label" if planted(o) else f"s{o % 3}" for o in orders],
        "paid": [1e6 if planted(o) else o % 11 + 0.5 for o in orders],
        "tags": [["label"] if planted(o) else [f"t{o % 2}", f"t{o % 5}"] for o in orders],
        "note": ["label" if planted(o) else f"note number {o}" for o in orders],
        "shipped": pa.array([ship_day(o) * DAY for o in orders], pa.timestamp("s")),
    }
    tables = {"orders": pa.table(columns), "customers": pa.table({"id": [0, 1, 2], "city": ["a", "b", "c"]})}
    specs = {
        "orders": {"pkey": "id", "time_col": "at", "fkeys": {"customer": "customers"}},
        "customers": {"pkey": "id"},
    }
    path = write_database(folder / "db", tables, specs, val_timestamp="1970-04-01", test_timestamp="1970-04-20")
    write_table_settings(path, {"orders": TableSettings(known_from=known_from)})
    return materialize(open_dataset(path), folder / "stores", StoreConfig())


def trees(store: Store, day: int, entities: list[int] | None = None) -> TensorFrame:
    """Orders of the trees of customers (or of orders as entities) at a day."""
    before_s = np.full(3, day * DAY)
    sampling = TemporalSampling(store.graph, TemporalSamplingConfig(num_neighbors=(64, 64)), seed=0)
    table, rows = ("customers", np.arange(3)) if entities is None else ("orders", np.array(entities))
    found = sampling.sample(table, rows, before_s, epoch=0)
    batch = collate_trees(found, before_s, store.graph, store.features)
    return batch.frames["orders"]


def batches(store: Store, bound: str = "cutoff") -> Iterator[TensorFrame]:
    config = HGSamplingConfig(seed_table="orders", seeds_per_sample=4, rows_per_hop=8, time_bound=bound)
    sampling = HGSampling(store.graph, config, seed=0, before_s=store.schema.cutoff_s + 1)
    cursors = [(0, k) for k in range(sampling.samples_per_epoch)]
    for number, subgraph in zip(cursors, sampling.sample(0, range(len(cursors))), strict=True):
        for distribution in ("distinct", "frequency"):
            corruption = CorruptionConfig(distribution=distribution)
            yield collate([subgraph], [number], store.graph, store.features, corruption, seed=0).frames["orders"]
        yield to_hetero_data(subgraph, store.graph, store.features)["orders"].tf


def same(first: TensorFrame, second: TensorFrame) -> bool:
    return frame_bytes(first) == frame_bytes(second)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("clean"))


@pytest.mark.parametrize("day", [91, 95, 100])
def test_a_label_filled_in_at_the_seeds_time_or_later_changes_no_tree(clean: Store, tmp_path: Path, day: int) -> None:
    planted = store_of(tmp_path, plant_from_day=day)
    assert same(trees(clean, day), trees(planted, day))
    assert same(trees(clean, day, [3, day - 2, day + 5]), trees(planted, day, [3, day - 2, day + 5]))  # entities, too


def test_the_label_is_seen_by_a_seed_one_second_after_it_is_known(clean: Store, tmp_path: Path) -> None:
    """The detector has power, and "known" is strictly before."""
    planted = store_of(tmp_path, plant_from_day=CUTOFF_DAY + 1)
    assert not same(trees(clean, 130), trees(planted, 130))
    features, order = clean.features["orders"], np.array([100])  # closed on day 102, shipped on day 103
    assert features.known(order, 102 * DAY).tolist() == [[True, True, False, False, False, False, False, False]]
    assert features.known(order, 102 * DAY + 1).tolist() == [[True, True, True, True, True, True, True, False]]
    assert features.known(np.array([9]), 1 << 60)[0].tolist() == [True, True, *[False] * 5, True]  # never closed


def test_without_the_setting_the_same_label_is_seen_at_once(tmp_path: Path) -> None:
    stores = [store_of(tmp_path / name, day, {}) for name, day in (("a", None), ("b", CUTOFF_DAY + 1))]
    assert not same(trees(stores[0], 100), trees(stores[1], 100))
    assert not all(same(a, b) for a, b in zip(*map(batches, stores), strict=True))


def test_schemas_and_donors_come_from_cells_known_by_the_cutoff(clean: Store, tmp_path: Path) -> None:
    planted = store_of(tmp_path, plant_from_day=CUTOFF_DAY + 1)
    assert clean.schema.tables["orders"] == planted.schema.tables["orders"]
    for distribution in ("distinct", "frequency"):
        pairs = zip(*(s.features["orders"].donors(distribution) for s in (clean, planted)), strict=True)
        for number, (first, second) in enumerate(pairs):
            np.testing.assert_array_equal(first, second)
            late = clean.schema.tables["orders"].columns[number].name in LATE_COLUMNS[:4]
            assert not late or all(closed_day(int(o)) in range(CUTOFF_DAY + 1) for o in first)


@pytest.mark.parametrize("bound", ["cutoff", "seeds"])
def test_pretraining_and_exported_samples_do_not_depend_on_cells_known_after_the_cutoff(
    clean: Store, tmp_path: Path, bound: str
) -> None:
    planted = store_of(tmp_path, plant_from_day=CUTOFF_DAY + 1)
    compared = [same(a, b) for a, b in zip(batches(clean, bound), batches(planted, bound), strict=True)]
    assert all(compared) and len(compared) >= 30


def test_a_sample_does_not_see_cells_known_from_its_newest_row_on(clean: Store) -> None:
    config = HGSamplingConfig(seed_table="orders", seeds_per_sample=4, rows_per_hop=8, time_bound="seeds")
    sampling = HGSampling(clean.graph, config, seed=0, before_s=clean.schema.cutoff_s + 1)
    seen = hidden = 0
    for subgraph in sampling.sample(0, range(sampling.samples_per_epoch)):
        rows = subgraph.rows["orders"]
        frame = to_hetero_data(subgraph, clean.graph, clean.features)["orders"].tf
        paid = frame.get_col_feat("paid").numpy()[:, 0]
        for row, value in zip(rows.tolist(), paid, strict=True):
            day = closed_day(row)
            known = day is not None and day < rows.max()
            assert known == (not np.isnan(value))
            seen, hidden = seen + known, hidden + (not known)
    assert seen > 50 and hidden > 20


def test_seeds_at_different_times_see_the_same_row_each_as_it_was(clean: Store) -> None:
    time_s = np.array([11, 30, 30, 130]) * DAY
    sampling = TemporalSampling(clean.graph, TemporalSamplingConfig(num_neighbors=(64, 64)), seed=0)
    found = sampling.sample("customers", np.array([1, 1, 1, 1]), time_s, epoch=0)
    batch = collate_trees(found, time_s, clean.graph, clean.features)
    rows, seed, index = found.rows["orders"][found.index["orders"]], found.seed["orders"], batch.index["orders"].numpy()
    paid = batch.frames["orders"].get_col_feat("paid").numpy()[:, 0][index]
    for row, of_seed, value in zip(rows.tolist(), seed.tolist(), paid, strict=True):
        day = closed_day(row)
        expected = row % 11 + 0.5 if day is not None and day * DAY < time_s[of_seed] else np.nan
        np.testing.assert_equal(value, np.float32(expected))
    assert len(batch.frames["orders"]) < len(rows)  # shared where they are alike


def test_distinct_rows_are_those_of_a_loop() -> None:
    generator = np.random.default_rng(0)
    rows, passed = generator.integers(0, 5, 200), generator.random((200, 3)) < 0.5
    first, index = distinct_rows(rows, passed)
    alike = {(int(r), *p.tolist()) for r, p in zip(rows, passed, strict=True)}
    assert len(first) == len(alike)
    np.testing.assert_array_equal(rows[first][index], rows)
    np.testing.assert_array_equal(passed[first][index], passed)


@pytest.mark.parametrize("num_shares", [1, 3])
def test_shares_send_the_same_cells(clean: Store, num_shares: int) -> None:
    config = HGSamplingConfig(seed_table="orders", seeds_per_sample=4, rows_per_hop=8, time_bound="seeds")
    sampling = HGSampling(clean.graph, config, seed=0, before_s=clean.schema.cutoff_s + 1)
    cursors = [(0, k) for k in range(4)]
    subgraphs = sampling.sample(0, range(4))
    owned: Ownership = ownership(clean.graph, num_shares)
    shares = [GraphShare(clean, owned, s, config, before_s=clean.schema.cutoff_s + 1) for s in range(num_shares)]
    sharded = ShardedRows(
        clean, owned, lambda asked: {s: shares[s].cells(rows) for s, rows in asked.items()}, "distinct"
    )
    corruption = CorruptionConfig(distribution="distinct")
    for graph, features in ((clean.graph, clean.features), sharded(subgraphs)):
        batch = collate(subgraphs, cursors, graph, features, corruption, seed=0)
        exported = [to_hetero_data(s, graph, features)["orders"].tf for s in subgraphs]
        if graph is clean.graph:
            expected, expected_exported = batch.frames["orders"], exported
    assert same(expected, batch.frames["orders"]) and all(map(same, expected_exported, exported))


def test_a_pretrained_model_is_the_same_whatever_becomes_known_after_the_cutoff(clean: Store, tmp_path: Path) -> None:
    sampling = HGSamplingConfig(seed_table="orders", seeds_per_sample=8, rows_per_hop=8)
    base = paper().pretraining
    backbone = dataclasses.replace(base.backbone, channels=16)
    config = dataclasses.replace(base, sampling=sampling, backbone=backbone, max_steps=2, validation_samples=1)
    weights = []
    for store in (clean, store_of(tmp_path, plant_from_day=CUTOFF_DAY + 1)):
        model, _ = pretrain_here(store, config)
        weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        assert all(torch.isfinite(tensor).all() for tensor in weights[-1].values())  # nulls are no numbers
    assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())
