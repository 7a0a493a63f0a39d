"""No row sees its future: planted labels, and every cell after a time changed without a trace before it.

The planted database says in every cell of when it is: up to the cutoff numbers are below 100 and texts are "early";
after it numbers are 1,000 ("late"), at and after the task's seed time 1,000,000 ("label"). Each way a batch could see
them has its detector, and each detector is shown to see them where the rule is broken by one second, or by RelBench's
rule for rows without time.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from relbench.load import RelBenchDataset
from torch_frame import TensorFrame, stype

from rdl_core.batches.edges import Edges
from rdl_core.batches.pretraining_batch import PretrainingBatch, collate
from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.config import (
    BackboneConfig,
    ColumnsConfig,
    CorruptionConfig,
    HGSamplingConfig,
    StatisticsConfig,
    StoreConfig,
    TemporalKernelsAggregation,
    TemporalSamplingConfig,
)
from rdl_core.database import load_task, open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.reg import RelationalEntityGraph
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.temporal_sampling import TemporalSampling, TemporalSubgraph
from rdl_core.tasks.labels import read_split
from tests.bits import frame_bytes
from tests.nasty_database import TEST, TRAIN_SEEDS, VAL, write_database, write_nasty_database

LATE, LABEL = 1e3, 1e6
CONFIGS = [
    CorruptionConfig(distribution=d, target_link_share=0.25, relative_time=True) for d in ("distinct", "frequency")
]

READS_ALL = BackboneConfig(
    aggregation=TemporalKernelsAggregation(), statistics=StatisticsConfig(), columns=ColumnsConfig()
)


def unix(time: datetime.datetime) -> int:
    return int(time.replace(tzinfo=datetime.timezone.utc).timestamp())  # noqa: UP017


CUTOFF, SEED = unix(VAL), unix(TEST)


# --- a planted label


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> RelBenchDataset:
    """Customers, products and order lines without time. Customer 7 and product 7 have late orders only."""
    day = 86_400
    early = [CUTOFF - day * (60 - i) for i in range(60)] + [CUTOFF, CUTOFF]
    late = [CUTOFF + 1, CUTOFF + 1, *(CUTOFF + day * i for i in range(1, 40)), SEED - 1]
    label = [SEED, SEED, SEED + 1, *(SEED + day * i for i in range(1, 20))]
    times, n = np.array(early + late + label), len(early + late + label)
    scale = np.where(times <= CUTOFF, 1.0, np.where(times < SEED, LATE, LABEL))
    word = np.where(times <= CUTOFF, "early", np.where(times < SEED, "late", "label"))
    order = {
        "order_id": np.arange(n),
        "customer_id": [i % 7 if times[i] <= CUTOFF else 4 + i % 4 for i in range(n)],
        "placed_at": pa.array(times, pa.timestamp("s")),
        "amount": scale * (1 + np.arange(n) % 13 / 20),
        "count": (scale * (1 + np.arange(n) % 37)).astype(np.int64),
        "channel": [f"{w} {i % 2}" for i, w in enumerate(word)],
        "note": [f"{w} note {i}" for i, w in enumerate(word)],
        "tags": [[w, f"{w}{i % 3}"] for i, w in enumerate(word)],
    }
    of = np.repeat(np.arange(n), 2)
    line = {
        "order_id": of,
        "product_id": [int(i % 7) if times[o] <= CUTOFF else int(4 + i % 4) for i, o in enumerate(of)],
        "price": scale[of] * (1 + np.arange(2 * n) % 11 / 20),
    }
    product = {"product_id": np.arange(8), "weight": [1.5 + i if i < 7 else LATE for i in range(8)]}
    customer = {"customer_id": np.arange(8), "age": [20.5 + i if i < 7 else LATE for i in range(8)]}
    folder = write_database(
        tmp_path_factory.mktemp("planted") / "planted",
        {t: pa.table(c) for t, c in (("customer", customer), ("product", product), ("order", order), ("line", line))},
        {
            "customer": {"pkey": "customer_id"},
            "product": {"pkey": "product_id"},
            "order": {"pkey": "order_id", "time_col": "placed_at", "fkeys": {"customer_id": "customer"}},
            "line": {"fkeys": {"order_id": "order", "product_id": "product"}},
        },
        val_timestamp=VAL.isoformat(),
        test_timestamp=TEST.isoformat(),
    )
    return open_dataset(folder)


@pytest.fixture(scope="module")
def strict(planted: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return materialize(planted, tmp_path_factory.mktemp("strict"))


@pytest.fixture(scope="module")
def always(planted: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return materialize(planted, tmp_path_factory.mktemp("always"), StoreConfig(timeless_rows="always"))


def pretraining_batches(store: Store, before_s: int, **sampling: object) -> Iterator[PretrainingBatch]:
    """Batches of two samples for every seed table, both ways to corrupt."""
    for table in store.graph.node_types:
        options = {"seed_table": table, "seeds_per_sample": 4, "rows_per_hop": 12, **sampling}
        if (store.graph.table_time(table) < before_s).sum() < 4:
            continue
        sampler = HGSampling(store.graph, HGSamplingConfig(**options), seed=0, before_s=before_s)  # type: ignore[arg-type]
        cursors = [(epoch, k) for epoch in range(2) for k in range(min(sampler.samples_per_epoch, 3))]
        samples = [sampler.sample(*c[:1], [c[1]])[0] for c in cursors]
        for config in CONFIGS:
            yield collate(samples, cursors, store.graph, store.features, config, seed=0)


def task_trees(graph: RelationalEntityGraph, table: str, entities: list[int], before_s: int) -> list[TemporalSubgraph]:
    bounds, rows = np.full(len(entities), before_s), np.array(entities)
    configs = [TemporalSamplingConfig(num_neighbors=(4, 3), strategy=s) for s in ("uniform", "recent")]  # type: ignore[arg-type]
    configs.append(TemporalSamplingConfig(num_neighbors=(10**6, 10**6, 10**6), time_window_s=86_400 * 7))
    configs.append(TemporalSamplingConfig(num_neighbors=(10**6, 10**6, 10**6)))
    return [TemporalSampling(graph, c, seed=0).sample(table, rows, bounds, epoch=0) for c in configs]


def task_batches(store: Store, table: str, entities: list[int], before_s: int) -> list[TreeBatch]:
    times = np.full(len(entities), before_s)
    trees = task_trees(store.graph, table, entities, before_s)
    inputs = QuestionInputs(store, READS_ALL)
    return [collate_trees(t, times, store.graph, store.features, inputs=inputs) for t in trees]


def largest_number(batch: PretrainingBatch | TreeBatch) -> float:
    numbers = [f.feat_dict[stype.numerical] for f in batch.frames.values() if stype.numerical in f.feat_dict]
    return max(float(x.max()) for x in numbers if x.numel())


def test_statistics_and_vocabularies_never_contain_the_planted_rows(strict: Store) -> None:
    text = json.dumps(strict.schema.to_json()["tables"])
    assert "late" not in text
    assert "label" not in text
    means = {(t, c.name): c.mean for t, s in strict.schema.tables.items() for c in s.columns if c.stype == "numerical"}
    assert set(means) == {
        ("customer", "age"),
        ("product", "weight"),
        ("order", "amount"),
        ("order", "count"),
        ("line", "price"),
    }
    assert max(means.values()) < 100
    (when,) = (c for c in strict.schema.tables["order"].columns if c.stype == "timestamp")
    assert when.newest_s == CUTOFF


def test_donors_are_never_planted_rows(strict: Store) -> None:
    for table, features in strict.features.items():
        time = strict.graph.table_time(table)
        for distribution in ("distinct", "frequency"):
            for donors in features.donors(distribution):
                assert len(donors)
                assert (time[donors] <= CUTOFF).all()


def test_pretraining_never_sees_a_planted_row(strict: Store) -> None:
    seen = [largest_number(b) for b in pretraining_batches(strict, CUTOFF + 1)]
    assert len(seen) == 8
    assert 1 < max(seen) < 100


def test_task_batches_never_see_the_label_but_all_that_came_before(strict: Store) -> None:
    for table in ("customer", "product"):
        seen = [largest_number(b) for b in task_batches(strict, table, list(range(7)), SEED)]
        assert LATE <= max(seen) < LABEL
        assert 1 < max(largest_number(b) for b in task_batches(strict, table, list(range(7)), CUTOFF + 1)) < 100


@pytest.mark.parametrize("table", ["customer", "product"])
def test_the_detector_sees_the_label_when_the_bound_moves_by_one_second(strict: Store, table: str) -> None:
    assert max(largest_number(b) for b in task_batches(strict, table, list(range(7)), SEED + 1)) >= LABEL
    assert LABEL > max(largest_number(b) for b in task_batches(strict, table, list(range(7)), CUTOFF + 2)) >= LATE
    assert LABEL > max(largest_number(b) for b in pretraining_batches(strict, CUTOFF + 2, rows_per_hop=64)) >= LATE


def test_the_detector_sees_the_label_under_relbenchs_rule_for_rows_without_time(always: Store) -> None:
    (price,) = (c for c in always.schema.tables["line"].columns if c.name == "price")
    assert price.mean > LATE
    assert max(largest_number(b) for b in pretraining_batches(always, CUTOFF + 1, rows_per_hop=64)) >= LABEL
    assert max(largest_number(b) for b in task_batches(always, "product", list(range(7)), CUTOFF + 1)) >= LABEL


# --- every cell after a time changed


def mutated(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Another value, of the same type, in these rows."""
    kind, values = column.type, column.to_pylist()
    for row in np.flatnonzero(rows):
        old = values[row]
        if pa.types.is_boolean(kind):
            values[row] = not old
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            values[row] = (old or datetime.datetime(2031, 1, 1)) + datetime.timedelta(days=3)
        elif pa.types.is_list(kind):
            values[row] = [77, 77, 78] if pa.types.is_integer(kind.value_type) else ["mutated", f"m{row}"]
        elif pa.types.is_string(kind):
            values[row] = f"mutated {row % 3}"
        elif not pa.types.is_null(kind):
            values[row] = (old or 0) + 1 if kind != pa.uint8() else (old or 0) // 2 + 100
    return pa.chunked_array([pa.array(values, kind)])


def write_mutated(folder: Path, graph: RelationalEntityGraph, before_s: int, kept: dict[str, list[int]]) -> Path:
    """The nasty database, changed in every cell of every row that does not exist before `before_s`.

    Attributes; times, later by days, nulls to 2031; keys of dated rows, to the row's own number modulo 3. Not `kept`
    rows, nor primary keys, nor the keys of rows without time, which date them.
    """
    manifest = open_dataset(write_nasty_database(folder)).manifest
    for table, spec in manifest.tables.items():
        path = folder / "db" / f"{table}.parquet"
        rows = pq.read_table(path)
        changed = graph.table_time(table) >= before_s
        changed[kept.get(table, [])] = False
        for at, name in enumerate(rows.column_names):
            if name in spec.fkeys and spec.time_col:
                old = rows[name].to_pylist()
                new = [i % 3 if changed[i] and graph.num_rows(spec.fkeys[name]) > 2 else v for i, v in enumerate(old)]
                rows = rows.set_column(at, name, pa.array(new, rows[name].type))
            elif name != spec.pkey and name not in spec.fkeys:
                rows = rows.set_column(at, name, mutated(rows[name], changed))
        pq.write_table(rows, path)
    return folder


def batch_bytes(batch: PretrainingBatch | TreeBatch) -> dict[str, object]:
    """Every field bit for bit."""
    return {name: value_bytes(value) for name, value in vars(batch).items()}


def value_bytes(value: Any) -> object:
    """A field, with tensors as bytes."""
    if isinstance(value, TensorFrame):
        return frame_bytes(value)
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, Edges):
        return value_bytes(vars(value))
    if isinstance(value, dict):
        return {k: value_bytes(x) for k, x in value.items()}
    return [value_bytes(x) for x in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="module")
def changed_after_cutoff(nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = write_mutated(tmp_path_factory.mktemp("mutated") / "nasty", nasty_store.graph, CUTOFF + 1, {})
    return materialize(open_dataset(folder), folder.parent)


def test_the_schema_does_not_depend_on_any_cell_after_the_cutoff(
    nasty_store: Store, changed_after_cutoff: Store
) -> None:
    assert changed_after_cutoff.content_hash != nasty_store.content_hash
    first, second = (json.dumps(s.schema.to_json(), ensure_ascii=False) for s in (nasty_store, changed_after_cutoff))
    assert first == second


def test_pretraining_batches_do_not_depend_on_any_cell_after_the_cutoff(
    nasty_store: Store, changed_after_cutoff: Store
) -> None:
    pairs = zip(*(pretraining_batches(s, CUTOFF + 1) for s in (nasty_store, changed_after_cutoff)), strict=True)
    compared = 0
    for first, second in pairs:
        assert batch_bytes(first) == batch_bytes(second)
        compared += 1
    assert compared >= 14


def test_a_bound_one_day_later_would_show_the_changed_cells(nasty_store: Store, changed_after_cutoff: Store) -> None:
    """The comparison has power: orders are placed 20 days after the cutoff, which are later in the changed database."""
    pairs = zip(
        *(pretraining_batches(s, CUTOFF + 86_400 * 30) for s in (nasty_store, changed_after_cutoff)), strict=True
    )
    assert all(batch_bytes(first) != batch_bytes(second) for first, second in pairs)


@pytest.mark.parametrize("seed_time", [VAL + datetime.timedelta(seconds=1), VAL + datetime.timedelta(days=10), TEST])
def test_task_batches_do_not_depend_on_any_cell_from_the_seed_time_on(
    nasty_store: Store, tmp_path: Path, seed_time: datetime.datetime
) -> None:
    before_s, entities = unix(seed_time), {"teams": [*range(10), 11], "match": [3, 29], "categories": [0, 3]}
    folder = write_mutated(tmp_path / "nasty", nasty_store.graph, before_s, entities)
    store = materialize(open_dataset(folder), tmp_path)
    differs = []
    for table, rows in entities.items():
        for first, second in zip(*(task_batches(s, table, rows, before_s) for s in (nasty_store, store)), strict=True):
            assert batch_bytes(first) == batch_bytes(second)
        later = [task_batches(s, table, rows, before_s + 1)[-1] for s in (nasty_store, store)]
        differs.append(batch_bytes(later[0]) != batch_bytes(later[1]))
    assert any(differs) == (nasty_store.graph.time == before_s).any()  # it has power where rows lie in that very second


@pytest.mark.parametrize("seed_time", TRAIN_SEEDS)
def test_trees_of_train_seeds_do_not_depend_on_rows_from_the_seed_time_on(
    nasty_store: Store, tmp_path: Path, seed_time: datetime.datetime
) -> None:
    """Statistics may see up to the cutoff, trees only what is strictly before their own time."""
    before_s = unix(seed_time)
    folder = write_mutated(tmp_path / "nasty", nasty_store.graph, before_s, {"teams": list(range(10))})
    store = materialize(open_dataset(folder), tmp_path)
    trees = [task_trees(s.graph, "teams", list(range(10)), before_s) for s in (nasty_store, store)]
    for first, second in zip(*trees, strict=True):
        for name, value in vars(first).items():
            np.testing.assert_equal(vars(second)[name], value)
    assert any(len(r) for t in trees[0] for r in t.rows.values())


@pytest.mark.parametrize(("regime", "newest"), [("rolling", TEST + datetime.timedelta(days=30)), ("snapshot", TEST)])
def test_a_regime_bounds_what_test_seeds_see(
    nasty_dataset: RelBenchDataset, nasty_store: Store, regime: str, newest: datetime.datetime
) -> None:
    split = read_split(load_task(nasty_dataset, "team-wins"), "test", regime, nasty_store.test_timestamp_s)  # type: ignore[arg-type]
    assert split.time_s.max() == unix(TEST + datetime.timedelta(days=30))
    assert split.before_s.min() == unix(TEST)
    assert split.before_s.max() == unix(newest) + (regime == "snapshot")
    assert (split.before_s <= split.time_s).all()
