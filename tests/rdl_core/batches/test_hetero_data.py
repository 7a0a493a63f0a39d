"""HeteroData of a subgraph: the same rows, cells, times and links, in PyG's terms."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, HeteroData

from rdl_core.batches.hetero_data import to_hetero_data
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from tests import REPOSITORY


def test_hetero_data_holds_the_cells_times_and_links_of_the_sampled_rows(nasty_store: Store) -> None:
    graph = nasty_store.graph
    config = HGSamplingConfig(seed_table="match", seeds_per_sample=5, rows_per_hop=6)
    sampler = HGSampling(graph, config, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    linked = 0
    for subgraph in sampler.sample(0, range(sampler.samples_per_epoch)):
        data = to_hetero_data(subgraph, graph, nasty_store.features)
        assert data.validate()
        assert set(data.node_types) == set(graph.node_types)
        for table, rows in subgraph.rows.items():
            assert data[table].n_id.tolist() == rows.tolist()
            assert data[table].time.tolist() == graph.table_time(table)[rows].tolist()
            assert data[table].num_nodes == len(rows)
            if nasty_store.schema.tables[table].columns:
                assert data[table].tf == nasty_store.features[table].gather(rows)
            else:
                assert "tf" not in data[table]
        for child, fkey_col, parent in graph.edge_types:
            index = data[child, fkey_col, parent].edge_index
            up = graph.key_parent((child, fkey_col, parent))[data[child].n_id[index[0]].numpy()]
            assert np.array_equal(up, data[parent].n_id[index[1]].numpy())
            assert data[parent, f"rev_{fkey_col}", child].edge_index.equal(index.flip(0))
            linked += index.shape[1]
    assert linked > 100


def test_a_batch_of_samples_holds_each_as_it_is(nasty_store: Store) -> None:
    config = HGSamplingConfig(seed_table="match", seeds_per_sample=5, rows_per_hop=6)
    sampler = HGSampling(nasty_store.graph, config, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    samples = [to_hetero_data(s, nasty_store.graph, nasty_store.features) for s in sampler.sample(0, range(3))]
    batch = Batch.from_data_list(samples)
    for table in nasty_store.graph.node_types:
        assert torch.equal(batch[table].n_id, torch.cat([s[table].n_id for s in samples]))
        if nasty_store.schema.tables[table].columns:
            assert batch[table].tf == nasty_store.features[table].gather(batch[table].n_id.numpy())
    for key in nasty_store.graph.edge_types:
        child, parent = batch[key].edge_index
        assert torch.equal(batch[key[0]].batch[child], batch[key[2]].batch[parent])


def test_the_documented_examples_run(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "\n".join(re.findall("```python\n(.*?)```", (REPOSITORY / "docs" / "hetero_data.md").read_text(), re.DOTALL))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code.replace("../shared/data", str(data_root.resolve())), names)
    batch, data = names["batch"], names["data"]
    assert isinstance(batch, Batch) and isinstance(data, HeteroData)
    assert batch.num_graphs == data["drivers"].batch_size == 4
