"""The backbone against PyG's layers, trimming against no trimming, one pass of two views against two passes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.nn import HeteroConv, SAGEConv

from rdl_core.batches.pretraining_batch import collate
from rdl_core.config import (
    AggregationKind,
    BackboneConfig,
    CorruptionConfig,
    HGSamplingConfig,
    LinearRows,
    MeanAggregation,
    ResNetRows,
    SumAggregation,
    TemporalSamplingConfig,
)
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.graph.schema import ColumnSchema, Schema, TableSchema
from rdl_core.graph.store import Store
from rdl_core.model.backbone import HeteroSAGELayer, RelationalEncoder
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.batch import TaskBatch, collate_trees

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS = 8
SIZES = {"a": 7, "b": 5, "empty": 0, "lone": 3}
DIRECTED: list[EdgeType] = [
    ("a", "first", "b"),
    ("a", "second", "b"),  # two keys to one table
    ("a", "parent", "a"),  # self reference
    ("b", "rev_first", "a"),
    ("empty", "key", "b"),
    ("b", "rev_key", "empty"),
    ("b", "unused", "a"),  # an edge type without edges
]


def random_edges(seed: int) -> dict[EdgeType, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    edges = {}
    for source, key, target in DIRECTED:
        count = 0 if key == "unused" or "empty" in (source, target) else 12  # more than rows: repeated edges
        ends = [torch.randint(max(1, SIZES[t]), (count,), generator=generator) for t in (source, target)]
        edges[source, key, target] = torch.stack(ends)
    return edges


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_a_layer_equals_hetero_conv_of_sage_convs(aggregation: Literal["sum", "mean"]) -> None:
    torch.manual_seed(0)
    layer = HeteroSAGELayer(
        tuple(SIZES), DIRECTED, CHANNELS, SumAggregation() if aggregation == "sum" else MeanAggregation()
    ).double()
    convs = {e: SAGEConv((CHANNELS, CHANNELS), CHANNELS, aggr=aggregation).double() for e in DIRECTED}
    with torch.no_grad():
        for i, table in enumerate(layer.tables):
            incoming = layer.incoming[table]
            if incoming:
                layer.root[i].weight.copy_(torch.stack([convs[e].lin_r.weight for e in incoming]).sum(0))
                layer.root[i].bias.copy_(torch.stack([convs[e].lin_l.bias for e in incoming]).sum(0))
                layer.neighbour[i].copy_(torch.cat([convs[e].lin_l.weight for e in incoming], dim=1))
            layer.norm[i].weight.normal_()
            layer.norm[i].bias.normal_()
    x = {t: torch.randn(n, CHANNELS, dtype=torch.float64) for t, n in SIZES.items()}
    edges = random_edges(1)
    oracle = HeteroConv(convs, aggr="sum")(x, edges)
    got = layer(x, edges, SIZES)
    for i, table in enumerate(layer.tables):
        expected = oracle[table] if layer.incoming[table] else layer.root[i](x[table])
        torch.testing.assert_close(got[table], layer.norm[i](expected).relu(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_a_layer_without_any_edge_is_finite_in_value_and_gradient(aggregation: AggregationKind) -> None:
    layer = HeteroSAGELayer(
        tuple(SIZES), DIRECTED, CHANNELS, SumAggregation() if aggregation == "sum" else MeanAggregation()
    )
    x = {t: torch.randn(n, CHANNELS, requires_grad=True) for t, n in SIZES.items()}
    edges = {e: torch.zeros(2, 0, dtype=torch.int64) for e in DIRECTED}
    out = layer(x, edges, SIZES)
    sum(h.square().sum() for h in out.values()).backward()
    assert {t: len(h) for t, h in out.items()} == SIZES
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.fixture(scope="module")
def trees(nasty_store: Store) -> dict[int, TaskBatch]:
    """Batches of trees by number of hops: four teams at two times."""
    entities, before_s = np.tile([0, 3, 6, 11], 2), np.repeat([1_583_020_800, 1_606_780_800], 4)
    batches: dict[int, TaskBatch] = {}
    for hops in (1, 2, 3, 4):
        sampling = TemporalSampling(
            nasty_store.graph, TemporalSamplingConfig(num_neighbors=(4, 3, 2, 2)[:hops]), seed=0
        )
        found = sampling.sample("teams", entities, before_s, epoch=0)
        batches[hops] = collate_trees(found, before_s, nasty_store.graph, nasty_store.features)
    return batches


def relational_encoder(store: Store, *, layers: int = 2, aggregation: AggregationKind = "sum") -> RelationalEncoder:
    torch.manual_seed(0)
    rows = LinearRows()
    config = BackboneConfig(channels=CHANNELS, num_layers=layers, aggregation=aggregation, rows=rows)
    return RelationalEncoder(store.schema, store.graph.edge_types, config).double()


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_trimming_by_hops_leaves_the_seed_vectors_as_they_are(
    nasty_store: Store, trees: dict[int, TaskBatch], hops: int, layers: int, aggregation: AggregationKind
) -> None:
    encoder, batch = relational_encoder(nasty_store, layers=layers, aggregation=aggregation), trees[hops]
    x = {t: v[batch.index[t]] for t, v in encoder.encode_rows(batch.frames).items()}
    whole = encoder.propagate(x, batch.edges)
    trimmed = encoder.propagate(x, batch.edges, batch.num_nodes_per_hop, batch.num_edges_per_hop)
    assert {t: len(h) for t, h in trimmed.items()} == {t: n[0] for t, n in batch.num_nodes_per_hop.items()}
    torch.testing.assert_close(trimmed["teams"], whole["teams"][:8], rtol=0, atol=1e-12)


def test_every_hop_that_a_layer_reaches_matters(nasty_store: Store, trees: dict[int, TaskBatch]) -> None:
    shallow, deep = trees[1], trees[2]
    encoder = relational_encoder(nasty_store, layers=2)
    x = {t: v[deep.index[t]] for t, v in encoder.encode_rows(deep.frames).items()}
    two_hops = encoder.propagate(x, deep.edges, deep.num_nodes_per_hop, deep.num_edges_per_hop)
    x = {t: v[shallow.index[t]] for t, v in encoder.encode_rows(shallow.frames).items()}
    one_hop = encoder.propagate(x, shallow.edges, shallow.num_nodes_per_hop, shallow.num_edges_per_hop)
    assert not torch.allclose(two_hops["teams"], one_hop["teams"])


def test_tables_and_columns_may_have_any_name() -> None:
    names = ["results.v2", "home town", "forward", "weight", "", "0", "équipe/№"]
    column = ColumnSchema(name="a.b c", stype="numerical")
    tables = {
        n: TableSchema(
            name=n,
            num_rows=2,
            num_rows_up_to_cutoff=2,
            pkey_col=None,
            time_col=None,
            fkey_col_to_pkey_table={},
            columns=(column,),
        )
        for n in names
    }
    schema = Schema(
        database="odd", cutoff_s=0, text_embedder="hashed-ngram:8", timeless_rows="first_reference", tables=tables
    )
    edge_types = tuple((a, "key.to x", b) for a, b in zip(names, names[1:], strict=False))
    config = BackboneConfig(channels=CHANNELS, rows=ResNetRows(num_layers=1))
    encoder = RelationalEncoder(schema, edge_types, config)
    directed = [*edge_types, *map(reverse, edge_types)]
    edges = {e: torch.tensor([[0, 1], [1, 0]]) for e in directed}
    out = encoder.propagate({n: torch.randn(2, CHANNELS) for n in names}, edges)
    assert list(out) == names
    assert all(h.isfinite().all() for h in out.values())
    encoder.load_state_dict(encoder.state_dict())


def test_relative_time_touches_only_tables_with_time(nasty_store: Store) -> None:
    encoder = relational_encoder(nasty_store)
    timed = {"order", "match", "goal", "ticket"}
    x = {t: torch.randn(3, CHANNELS, dtype=torch.float64) for t in nasty_store.schema.tables}
    ages = {t: torch.tensor([0.0, 1.0, 400.0]) for t in timed}
    out = encoder.add_relative_time(x, ages)
    assert set(encoder.timed_tables) == timed
    for table in x:
        assert torch.equal(out[table], x[table]) == (table not in timed)
        change = out[table] - x[table]
        assert table not in timed or not torch.allclose(change[0], change[1])


def test_a_row_reaches_no_further_than_the_layers(nasty_store: Store) -> None:
    sampler = HGSampling(
        nasty_store.graph,
        HGSamplingConfig(seed_table="match", seeds_per_sample=6, rows_per_hop=6),
        seed=0,
        before_s=nasty_store.schema.cutoff_s + 1,
    )
    config = CorruptionConfig()
    batch = collate(sampler.sample(0, [0]), [(0, 0)], nasty_store.graph, nasty_store.features, config, seed=0)
    for layers in (1, 2, 3):
        encoder = relational_encoder(nasty_store, layers=layers)
        x = encoder.encode_rows(batch.frames)
        before = encoder.propagate(x, batch.edges)
        moved = {**x, "goal": x["goal"] + torch.nn.functional.one_hot(torch.tensor(0), len(x["goal"])).unsqueeze(1)}
        after = encoder.propagate(moved, batch.edges)
        reached = {t: torch.zeros(len(v), dtype=torch.bool) for t, v in x.items()}
        reached["goal"][0] = True
        for _ in range(layers):
            grown = {t: r.clone() for t, r in reached.items()}
            for (source, _, target), (u, v) in batch.edges.items():
                grown[target][v[reached[source][u]]] = True
            reached = grown
        changed = {t: (after[t] != before[t]).any(dim=1) for t in x}
        assert changed["goal"][0]
        assert sum(int(c.sum()) for c in changed.values()) > layers
        for table in x:
            assert not (changed[table] & ~reached[table]).any(), f"{table} beyond {layers} layers"


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_both_views_in_one_batch_equal_two_passes(nasty_store: Store, aggregation: AggregationKind) -> None:
    sampling = HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=5)
    sampler = HGSampling(nasty_store.graph, sampling, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    subgraphs = sampler.sample(0, [0, 1])
    cursors = [(0, 0), (0, 1)]
    config = CorruptionConfig(probability=0.5, target_link_share=0.3, relative_time=True)
    batch = collate(subgraphs, cursors, nasty_store.graph, nasty_store.features, config, seed=0)
    assert batch.age_days is not None
    encoder = relational_encoder(nasty_store, aggregation=aggregation)
    x = encoder.add_relative_time(encoder.encode_rows(batch.frames), batch.age_days)
    together = encoder.propagate(x, batch.edges)
    rows = {t: len(s) for t, s in batch.sample.items()}
    for view in range(2):
        part = {t: slice(view * n, (view + 1) * n) for t, n in rows.items()}
        ages = {t: a[part[t]] for t, a in batch.age_days.items()}
        alone = encoder.encode_rows({t: f[torch.arange(2 * rows[t])[part[t]]] for t, f in batch.frames.items()})
        edges = {}
        for e, index in batch.edges.items():
            mine = (index[0] >= rows[e[0]]) == bool(view)
            edges[e] = index[:, mine] - view * torch.tensor([[rows[e[0]]], [rows[e[2]]]])
        alone = encoder.propagate(encoder.add_relative_time(alone, ages), edges)
        for table, h in together.items():
            torch.testing.assert_close(h[part[table]], alone[table], rtol=0, atol=1e-12)


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_sums_of_distinct_rows_and_ages_equal_nodes_of_their_own(
    nasty_store: Store, trees: dict[int, TaskBatch], hops: int, aggregation: AggregationKind
) -> None:
    """Fine-tuning's first layer, in value and gradient, against every node with a vector of its own."""
    encoder, batch = relational_encoder(nasty_store, layers=2, aggregation=aggregation), trees[hops]
    nodes = {t: v[batch.index[t]] for t, v in encoder.encode_rows(batch.frames).items()}
    nodes = encoder.add_relative_time(nodes, batch.age_days)
    expected = encoder.propagate(nodes, batch.edges)["teams"][:8]
    expected.square().sum().backward()
    gradients = {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
    encoder.zero_grad()
    x, lookup = encoder.spread(encoder.encode_rows(batch.frames), batch.index, batch.age_days)
    for hop_counts in ((None, None), (batch.num_nodes_per_hop, batch.num_edges_per_hop)):
        found = encoder.propagate(x, batch.edges, *hop_counts, lookup)["teams"][:8]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        encoder.zero_grad()
        found.square().sum().backward(retain_graph=True)
        for name, parameter in encoder.named_parameters():
            if name in gradients:
                torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=1e-10, msg=name)


def test_a_weight_that_lies_across_has_the_same_gradient() -> None:
    """As a parametrization or an assigned transposed matrix leaves it; kernels take addresses and strides."""
    torch.manual_seed(0)
    tables, edge_types = ["a", "b"], [("a", "r", "b"), ("b", "s", "a")]
    layer = HeteroSAGELayer(tables, edge_types, 4, MeanAggregation())
    x = {"a": torch.randn(5, 4), "b": torch.randn(3, 4)}
    edges = {edge_types[0]: torch.tensor([[0, 1, 2], [0, 1, 1]]), edge_types[1]: torch.tensor([[0, 1], [0, 3]])}

    def gradients() -> list[Tensor]:
        layer.zero_grad(set_to_none=True)
        out = layer(x, edges, {"a": 5, "b": 3})
        (out["a"] * torch.arange(20.0).view(5, 4)).sum().backward()
        return [p.grad.clone() for p in layer.parameters() if p.grad is not None]

    before = gradients()
    weight = layer.root[0].weight
    weight.data = weight.data.T.contiguous().T
    for found, expected in zip(gradients(), before, strict=True):
        torch.testing.assert_close(found, expected)
