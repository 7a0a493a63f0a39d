"""HeteroData of a subgraph: the same rows, cells, times and links, in PyG's terms."""

from __future__ import annotations

import numpy as np

from rdl_core.batches.hetero_data import to_hetero_data
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling


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
