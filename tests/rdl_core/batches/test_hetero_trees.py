"""Trees as HeteroData: the same rows, strictly before the seeds' times, and the same vectors as of the trees themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from rdl_core.batches import collate, hetero_data_to_rows, hetero_data_to_trees, to_hetero_data, trees_to_hetero_data
from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import collate_trees
from rdl_core.config import (
    BackboneConfig,
    ColumnsConfig,
    CorruptionConfig,
    HGSamplingConfig,
    LinearRows,
    StatisticsConfig,
    TemporalSamplingConfig,
)
from rdl_core.graph.store import Store
from rdl_core.model.fitting import new_encoder
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.temporal_sampling import TemporalSampling, TemporalSubgraph
from rdl_core.timestamps import NO_TIME

TEAMS = np.array([0, 3, 3, 9, 11, 10])
FORMS: dict[str, dict[str, Any]] = {
    "mean": {"aggregation": "mean"},
    "attention": {"aggregation": "time_attention"},
    "kernels": {"aggregation": "temporal_kernels", "statistics": StatisticsConfig(), "columns": ColumnsConfig()},
    "no layers": {"num_layers": 0, "statistics": StatisticsConfig(), "seed_cells": False},
}


def trees_of(store: Store, hops: int) -> tuple[TemporalSubgraph, np.ndarray]:
    time_s = np.full(len(TEAMS), store.schema.cutoff_s) + 86_400 * np.arange(len(TEAMS))
    sampling = TemporalSampling(store.graph, TemporalSamplingConfig(num_neighbors=(8, 4)[:hops]), seed=0)
    return sampling.sample("teams", TEAMS, time_s, epoch=0), time_s


@pytest.mark.parametrize("form", FORMS)
def test_a_backbone_gives_the_same_vectors_for_the_hetero_data_of_trees_as_for_the_trees(
    nasty_store: Store, form: str
) -> None:
    config = BackboneConfig(channels=8, rows=LinearRows(), **FORMS[form])
    torch.manual_seed(0)
    encoder, inputs = new_encoder(nasty_store, config).eval(), QuestionInputs(nasty_store, config)
    trees, time_s = trees_of(nasty_store, config.num_layers)
    batch = collate_trees(trees, time_s, nasty_store.graph, nasty_store.features, inputs=inputs)
    data = trees_to_hetero_data(trees, time_s, nasty_store, inputs=inputs)
    assert data.validate()
    read = hetero_data_to_trees(data, encoder.timed_tables, newest_first=config.newest_first)
    with torch.no_grad():
        of_trees, of_data = encoder.embed(batch), encoder.embed(read)
    assert of_trees.std() > 0.01
    torch.testing.assert_close(of_data, of_trees, rtol=1e-6, atol=1e-6)


def test_the_nodes_of_a_seed_but_itself_are_of_rows_strictly_before_its_time(nasty_store: Store) -> None:
    trees, time_s = trees_of(nasty_store, 2)
    data = trees_to_hetero_data(trees, time_s, nasty_store)
    assert data["teams"].n_id[: len(TEAMS)].tolist() == TEAMS.tolist()
    assert data["teams"].seed_time.tolist() == time_s.tolist()
    seen = 0
    for table in data.node_types:
        own = slice(len(TEAMS) if table == "teams" else 0, None)
        before = data[table].time[own] < data["teams"].seed_time[data[table].batch[own]]
        assert before.all() and not (data[table].time[own] == NO_TIME).any()
        seen += len(before)
    assert seen > 50


@pytest.mark.parametrize("aggregation", ["mean", "temporal_kernels"])
def test_all_rows_of_a_batch_of_subgraphs_get_the_vectors_that_pretraining_gives_them(
    nasty_store: Store, aggregation: str
) -> None:
    config = BackboneConfig(channels=8, rows=LinearRows(), aggregation=aggregation)  # type: ignore[arg-type]
    torch.manual_seed(0)
    encoder, graph, features = new_encoder(nasty_store, config).eval(), nasty_store.graph, nasty_store.features
    sampling = HGSamplingConfig(seed_table="match", seeds_per_sample=5, rows_per_hop=6)
    sampler = HGSampling(graph, sampling, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    subgraphs = sampler.sample(0, range(3))
    corruption = CorruptionConfig(relative_time=True, target_link_share=0.0)
    cursors = [(0, sample) for sample in range(3)]
    batch = collate(subgraphs, cursors, graph, features, corruption, seed=0, newest_first=config.newest_first)
    data = Batch.from_data_list([to_hetero_data(s, graph, features) for s in subgraphs])
    with torch.no_grad():
        expected = encoder(batch.frames, batch.edges, batch.age_days)
        found = encoder(*hetero_data_to_rows(data, encoder.timed_tables, newest_first=config.newest_first))
    for table, of_table in found.items():
        assert len(of_table) == data[table].num_nodes
        torch.testing.assert_close(of_table, expected[table][: len(of_table)], rtol=1e-6, atol=1e-6)


def test_a_batch_without_seeds_or_of_joined_trees_is_refused_with_a_remedy(nasty_store: Store) -> None:
    trees, time_s = trees_of(nasty_store, 1)
    data = trees_to_hetero_data(trees, time_s, nasty_store)
    data["teams"].batch = data["teams"].batch.flip(0)
    with pytest.raises(ValueError, match="are not its seeds, in their order: batches were joined. Remedy: sample all"):
        hetero_data_to_trees(data, ("match",))
    sampling, before_s = HGSamplingConfig(seeds_per_sample=4, rows_per_hop=4), nasty_store.schema.cutoff_s + 1
    (subgraph,) = HGSampling(nasty_store.graph, sampling, seed=0, before_s=before_s).sample(0, [0])
    with pytest.raises(
        ValueError, match=r"expected a HeteroData with the `seed_time` .* got none. Remedy: model.sample"
    ):
        hetero_data_to_trees(to_hetero_data(subgraph, nasty_store.graph, nasty_store.features), ("match",))
