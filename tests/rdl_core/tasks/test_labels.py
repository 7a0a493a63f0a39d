"""Seeds and labels of a task, the two regimes, and batches of trees against plain look-ups."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from relbench.base import EntityTask
from relbench.load import RelBenchDataset
from torch import Tensor
from torch_frame import stype

from rdl_core.batches.tree_batch import collate_trees
from rdl_core.config import TemporalSamplingConfig
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.sampling.temporal_sampling import TemporalSampling, TemporalSubgraph
from rdl_core.tasks.labels import Split, metric_name, read_split

SPLITS = ("train", "val", "test")
TASKS = ("team-wins", "team-points")


@pytest.fixture(scope="module")
def tasks(nasty_dataset: RelBenchDataset) -> dict[str, EntityTask]:
    return {name: load_task(nasty_dataset, name) for name in TASKS}


def trees_of(store: Store, split: Split) -> TemporalSubgraph:
    config = TemporalSamplingConfig(num_neighbors=(8, 4), strategy="recent")
    sampling = TemporalSampling(store.graph, config, seed=0)
    return sampling.sample("teams", split.entities, split.before_s, epoch=0)


def rows_seen(store: Store, trees: TemporalSubgraph, seed: int) -> set[tuple[str, int]]:
    return {
        (table, int(row))
        for table in store.graph.node_types
        for row in trees.rows[table][trees.index[table][trees.seed[table] == seed]]
    }


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", TASKS)
def test_a_split_keeps_the_order_and_the_labels_of_its_table(
    nasty_store: Store, tasks: dict[str, EntityTask], name: str, split: str
) -> None:
    task = tasks[name]
    frame = task.get_table(split, mask_input_cols=False).df
    got = read_split(task, split, "rolling", nasty_store.test_timestamp_s)
    assert len(got) == len(frame)
    assert got.entities.tolist() == frame[task.entity_col].tolist()
    assert got.target.tolist() == frame[task.target_col].tolist()
    assert [np.datetime64(int(s), "s") for s in got.time_s] == frame[task.time_col].to_numpy("datetime64[s]").tolist()


def test_the_metric_is_auroc_for_classes_and_mae_for_numbers(tasks: dict[str, EntityTask]) -> None:
    assert [metric_name(tasks[name]) for name in TASKS] == ["roc_auc", "mae"]


@pytest.mark.parametrize("split", SPLITS)
def test_rolling_sees_what_lies_before_each_seed(nasty_store: Store, tasks: dict[str, EntityTask], split: str) -> None:
    got = read_split(tasks["team-wins"], split, "rolling", nasty_store.test_timestamp_s)
    assert (got.before_s == got.time_s).all()


@pytest.mark.parametrize("split", SPLITS)
def test_snapshot_equals_rolling_for_seeds_up_to_the_test_timestamp(
    nasty_store: Store, tasks: dict[str, EntityTask], split: str
) -> None:
    test_s = nasty_store.test_timestamp_s
    rolling, snapshot = (read_split(tasks["team-wins"], split, regime, test_s) for regime in ("rolling", "snapshot"))
    early = rolling.time_s <= test_s
    assert early.all() == (split != "test")
    assert (snapshot.before_s[early] == rolling.before_s[early]).all()
    assert (snapshot.before_s[~early] == test_s + 1).all()
    assert (snapshot.time_s == rolling.time_s).all()


def test_after_the_test_timestamp_rolling_sees_the_rows_that_snapshot_cuts(
    nasty_store: Store, tasks: dict[str, EntityTask]
) -> None:
    test_s, graph = nasty_store.test_timestamp_s, nasty_store.graph
    splits = [read_split(tasks["team-wins"], "test", regime, test_s) for regime in ("rolling", "snapshot")]
    rolling, snapshot = (trees_of(nasty_store, split) for split in splits)
    num_different = 0
    for seed, (entity, time_s) in enumerate(zip(splits[0].entities, splits[0].time_s, strict=True)):
        wide, cut = (rows_seen(nasty_store, trees, seed) for trees in (rolling, snapshot))
        others = {(t, r) for t, r in cut if (t, r) != ("teams", int(entity))}
        assert all(graph.table_time(t)[r] <= test_s for t, r in others)
        assert all(graph.table_time(t)[r] < time_s for t, r in others)
        if time_s <= test_s:
            assert wide == cut
        else:
            num_different += wide != cut
            assert all(graph.table_time(t)[r] < time_s for t, r in wide if (t, r) != ("teams", int(entity)))
    assert num_different > 5


@pytest.mark.parametrize("split", SPLITS)
def test_a_batch_of_trees_equals_plain_look_ups(nasty_store: Store, tasks: dict[str, EntityTask], split: str) -> None:
    seeds = read_split(tasks["team-points"], split, "rolling", nasty_store.test_timestamp_s)
    trees, graph = trees_of(nasty_store, seeds), nasty_store.graph
    batch = collate_trees(trees, seeds.time_s, graph, nasty_store.features)
    assert batch.num_seeds == len(seeds)
    assert (trees.rows["teams"][batch.index["teams"][: len(seeds)]] == seeds.entities).all()
    timed = [t for t, s in nasty_store.schema.tables.items() if s.time_col is not None]
    assert list(batch.age_days) == timed
    for table in graph.node_types:
        assert batch.frames[table].num_rows == len(trees.rows[table]) == len(set(trees.rows[table].tolist()))
        assert batch.index[table].shape == trees.seed[table].shape
        if table in timed:
            rows = trees.rows[table][trees.index[table]]
            days = [
                (int(seeds.time_s[s]) - int(graph.table_time(table)[r])) / 86_400
                for s, r in zip(trees.seed[table], rows, strict=True)
            ]
            assert min(days, default=1.0) > 0
            torch.testing.assert_close(batch.age_days[table], torch.tensor(days, dtype=torch.float32))
    heights = cast(Tensor, batch.frames["teams"].feat_dict[stype.numerical])[batch.index["teams"], 0]
    assert heights[: len(seeds)].tolist() == (180.5 + seeds.entities).tolist()
    for (source, key, target), edges in batch.edges[-1].items():
        index = edges.edge_index
        u, v = (trees.rows[t][trees.index[t]][i.numpy()] for t, i in ((source, index[0]), (target, index[1])))
        if key.startswith("rev_"):
            assert (graph.key_parent((target, key.removeprefix("rev_"), source))[v] == u).all()
        else:
            assert (graph.key_parent((source, key, target))[u] == v).all()
        assert (trees.seed[source][index[0].numpy()] == trees.seed[target][index[1].numpy()]).all()


def test_a_seed_that_is_itself_a_dated_row_has_age_zero_at_least(nasty_store: Store) -> None:
    sampling = TemporalSampling(nasty_store.graph, TemporalSamplingConfig(num_neighbors=(4,)), seed=0)
    entities = np.arange(8)
    own_time = nasty_store.graph.table_time("match")[entities]
    for moment in (own_time, own_time - 86_400):
        trees = sampling.sample("match", entities, moment, epoch=0)
        batch = collate_trees(trees, moment, nasty_store.graph, nasty_store.features)
        assert (batch.age_days["match"][:8] == 0).all()
        assert all((ages >= 0).all() for ages in batch.age_days.values())
