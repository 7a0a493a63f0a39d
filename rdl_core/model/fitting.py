"""Fresh backbones, whose statistics and columns are ranked among those of questions that the store itself gives.

Promise: the questions are a function of the store alone and end at the cutoff, so every worker fits the same numbers, whatever the run's seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.config import BackboneConfig
from rdl_core.graph.reg import ALWAYS, RelationalEntityGraph
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.random_streams import PURPOSE_STANDARDIZATION, numpy_generator

NUM_QUESTIONS = 2_000
"""Questions per table from which ranks are taken."""


def new_encoder(store: Store, config: BackboneConfig) -> RelationalEncoder:
    """Returns a backbone with fresh weights, fitted to read what its configuration asks for of every table that keys lead to."""
    inputs, graph = QuestionInputs(store, config), store.graph
    encoder = RelationalEncoder(store.schema, graph.edge_types, config)
    for table, width in inputs.statistics_widths.items():
        rows, before_s = past_events(graph, table, NUM_QUESTIONS)
        encoder.add_statistics(table, width).ranks.fit(inputs.statistics_of(table, rows, before_s))
    if config.columns is not None:
        for table in dict.fromkeys(parent for _, _, parent in graph.edge_types):
            add_columns(encoder, inputs, table)
    return encoder


def add_columns(encoder: RelationalEncoder, inputs: QuestionInputs, table: str) -> None:
    """Lets a backbone read the columns of a table's seeds, by fresh weights."""
    rows, before_s = past_events(inputs.store.graph, table, NUM_QUESTIONS)
    columns = inputs.columns(table, rows, before_s)
    assert columns is not None
    encoder.add_columns(table, columns.shape[1]).ranks.fit(columns)


def past_events(
    graph: RelationalEntityGraph, table: str, num_events: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns questions on rows of a table: random children of them up to the cutoff, each at its own time.

    Returns:
        int64 [questions], rows; int64 [questions], UNIX seconds, strictly before which a question looks. A table without such children gives random
        rows that exist by the cutoff, after it.
    """
    generator = numpy_generator(PURPOSE_STANDARDIZATION, graph.node_types.index(table))
    keys = [e for e in graph.edge_types if e[2] == table]
    rows, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for edge_type in keys:
        parent, time = graph.key_parent(edge_type), graph.table_time(edge_type[0])
        if len(parent):
            children = generator.integers(len(parent), size=num_events // len(keys))
            is_event = (parent[children] >= 0) & (time[children] <= graph.cutoff_s) & (time[children] != ALWAYS)
            rows.append(parent[children[is_event]].astype(np.int64))
            times.append(time[children[is_event]])
    found, before_s = np.concatenate(rows), np.concatenate(times)
    if len(found):
        return found, before_s
    exists = np.flatnonzero(graph.table_time(table) <= graph.cutoff_s)
    found = exists[generator.integers(len(exists), size=num_events)] if len(exists) else exists
    return found.astype(np.int64), np.full(len(found), graph.cutoff_s + 1)
