"""Samples and trees of a store, as benchmarks/gpu.py feeds them: the same ones in every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rdl_core.batches.pretraining_batch import PretrainingBatch, collate
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.config import PretrainingConfig, TemporalSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.pretraining.here import local_sampler
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.sampling.temporal_sampling import TemporalSampling


def subgraphs_of(store: Store, config: PretrainingConfig, samples: Iterable[int]) -> list[Subgraph]:
    """Returns the subgraphs of these samples of the first epoch."""
    sampler = local_sampler(store, config, seed=0)
    return sampler.sample(0, [sample % sampler.samples_per_epoch for sample in samples])


def pretraining_batch(store: Store, config: PretrainingConfig, samples: Iterable[int]) -> PretrainingBatch:
    """Returns the batch of these samples, on the host."""
    numbers = list(samples)
    return batch_of(store, config, subgraphs_of(store, config, numbers), numbers)


def batch_of(
    store: Store, config: PretrainingConfig, subgraphs: Sequence[Subgraph], samples: Sequence[int]
) -> PretrainingBatch:
    """Returns the batch of these subgraphs, on the host."""
    cursors = [(0, sample) for sample in samples]
    return collate(subgraphs, cursors, store.graph, store.features, config.corruption, seed=0, loss=config.loss)


def task_batch(store: Store, num_seeds: int, num_neighbors: tuple[int, ...], number: int = 0) -> TreeBatch:
    """Returns trees of random rows of the table with the most children, asked about at random times before the cutoff.

    Args:
        num_seeds: Seeds of the batch.
        num_neighbors: Neighbours per hop.
        number: Which batch; each has other seeds.
    """
    graph = store.graph
    table = max(graph.node_types, key=lambda t: sum(edge[2] == t for edge in graph.edge_types))
    generator = np.random.default_rng(number)
    rows = generator.integers(store.schema.tables[table].num_rows, size=num_seeds)
    times = [graph.table_time(t) for t, has_time in zip(graph.node_types, graph.has_time_col, strict=True) if has_time]
    known = np.concatenate(times)
    oldest = int(np.quantile(known[known <= store.schema.cutoff_s], 0.1))
    before_s = generator.integers(oldest, store.schema.cutoff_s, size=num_seeds)
    sampling = TemporalSampling(graph, TemporalSamplingConfig(num_neighbors=num_neighbors, strategy="recent"), seed=0)
    trees = sampling.sample(table, rows, before_s, epoch=0, numbers=np.arange(num_seeds) + number * num_seeds)
    return collate_trees(trees, before_s, graph, store.features)
