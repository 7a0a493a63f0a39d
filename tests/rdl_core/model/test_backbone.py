"""The backbone against PyG's layers, trimming against no trimming, one pass of two views against two passes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.nn import HeteroConv, MaxAggregation, SAGEConv

from rdl_core.batches.edges import Edges, make_edges
from rdl_core.batches.pretraining_batch import collate
from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.config import (
    AggregationConfig,
    BackboneConfig,
    CorruptionConfig,
    HGSamplingConfig,
    LinearRows,
    MeanAggregation,
    ResNetRows,
    SumAggregation,
    TemporalKernelsAggregation,
    TemporalSamplingConfig,
    TimeAttentionAggregation,
)
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.graph.schema import ColumnSchema, Schema, TableSchema
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.dropout import KeyedDropout
from rdl_core.model.message_passing import RelationalLayer
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.model import TaskModel

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


AGGREGATIONS = [SumAggregation(), MeanAggregation(), TimeAttentionAggregation(heads=2), TemporalKernelsAggregation()]


def random_edges(seed: int) -> dict[EdgeType, Edges]:
    generator = np.random.default_rng(seed)
    edges = {}
    for source, key, target in DIRECTED:
        count = 0 if key == "unused" or "empty" in (source, target) else 12  # more than rows: repeated edges
        ends = [generator.integers(max(1, SIZES[t]), size=count) for t in (source, target)]
        ages = generator.uniform(0, 500, SIZES[source]).astype(np.float32) if source == "a" else None
        dates = generator.integers(4, size=SIZES[source]), np.arange(SIZES[source])
        edges[source, key, target] = make_edges(*ends, SIZES[source], SIZES[target], ages, dates)
    return edges


@pytest.mark.parametrize("aggregation", AGGREGATIONS[:2], ids=lambda a: a.kind)
def test_a_layer_equals_hetero_conv_of_sage_convs(aggregation: AggregationConfig) -> None:
    torch.manual_seed(0)
    layer = RelationalLayer(tuple(SIZES), DIRECTED, CHANNELS, aggregation.build).double()
    convs = {e: SAGEConv((CHANNELS, CHANNELS), CHANNELS, aggr=aggregation.kind).double() for e in DIRECTED}
    with torch.no_grad():
        for edge_type, neighbours in zip(DIRECTED, layer.aggregations, strict=True):
            neighbours.linear.weight.copy_(convs[edge_type].lin_l.weight)
        for i, table in enumerate(layer.tables):
            incoming = [e for e in DIRECTED if e[2] == table]
            if incoming:
                layer.root[i].weight.copy_(torch.stack([convs[e].lin_r.weight for e in incoming]).sum(0))
                layer.root[i].bias.copy_(torch.stack([convs[e].lin_l.bias for e in incoming]).sum(0))
            layer.norm[i].weight.normal_()
            layer.norm[i].bias.normal_()
    x = {t: torch.randn(n, CHANNELS, dtype=torch.float64) for t, n in SIZES.items()}
    edges = random_edges(1)
    oracle = HeteroConv(convs, aggr="sum")(x, {e: some.edge_index for e, some in edges.items()})
    got = layer(x, edges)
    for i, table in enumerate(layer.tables):
        expected = oracle[table] if any(e[2] == table for e in DIRECTED) else layer.root[i](x[table])
        torch.testing.assert_close(got[table], layer.norm[i](expected).relu(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_a_layer_without_any_edge_is_finite_in_value_and_gradient(aggregation: AggregationConfig) -> None:
    layer = RelationalLayer(tuple(SIZES), DIRECTED, CHANNELS, aggregation.build)
    x = {t: torch.randn(n, CHANNELS, requires_grad=True) for t, n in SIZES.items()}
    none = np.zeros(0, np.int64)
    edges = {e: make_edges(none, none, SIZES[e[0]], SIZES[e[2]], np.zeros(SIZES[e[0]], np.float32)) for e in DIRECTED}
    out = layer(x, edges)
    sum(h.square().sum() for h in out.values()).backward()
    assert {t: len(h) for t, h in out.items()} == SIZES
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.fixture(scope="module")
def trees(nasty_store: Store) -> dict[int, TreeBatch]:
    """Batches of trees by number of hops: four teams at two times."""
    entities, before_s = np.tile([0, 3, 6, 11], 2), np.repeat([1_583_020_800, 1_606_780_800], 4)
    batches: dict[int, TreeBatch] = {}
    for hops in (1, 2, 3, 4):
        sampling = TemporalSampling(
            nasty_store.graph, TemporalSamplingConfig(num_neighbors=(4, 3, 2, 2)[:hops]), seed=0
        )
        found = sampling.sample("teams", entities, before_s, epoch=0)
        inputs = QuestionInputs(nasty_store, BackboneConfig(aggregation=TemporalKernelsAggregation()))
        batches[hops] = collate_trees(found, before_s, nasty_store.graph, nasty_store.features, inputs=inputs)
    return batches


def relational_encoder(
    store: Store, *, layers: int = 2, aggregation: AggregationConfig = AGGREGATIONS[0]
) -> RelationalEncoder:
    torch.manual_seed(0)
    config = BackboneConfig(channels=CHANNELS, num_layers=layers, aggregation=aggregation, rows=LinearRows())
    return RelationalEncoder(store.schema, store.graph.edge_types, config).double()


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_trimming_by_hops_leaves_the_seed_vectors_as_they_are(
    nasty_store: Store, trees: dict[int, TreeBatch], hops: int, layers: int, aggregation: AggregationConfig
) -> None:
    encoder, batch = relational_encoder(nasty_store, layers=layers, aggregation=aggregation), trees[hops]
    x = {t: v[batch.index[t]] for t, v in encoder.encode_rows(batch.frames).items()}
    whole = encoder.propagate(x, batch.edges[-1])
    trimmed = encoder.propagate(x, batch.edges, batch.num_nodes_per_hop)
    assert {t: len(h) for t, h in trimmed.items()} == {t: n[0] for t, n in batch.num_nodes_per_hop.items()}
    torch.testing.assert_close(trimmed["teams"], whole["teams"][:8], rtol=0, atol=1e-12)


def test_every_hop_that_a_layer_reaches_matters(nasty_store: Store, trees: dict[int, TreeBatch]) -> None:
    shallow, deep = trees[1], trees[2]
    encoder = relational_encoder(nasty_store, layers=2)
    x = {t: v[deep.index[t]] for t, v in encoder.encode_rows(deep.frames).items()}
    two_hops = encoder.propagate(x, deep.edges, deep.num_nodes_per_hop)
    x = {t: v[shallow.index[t]] for t, v in encoder.encode_rows(shallow.frames).items()}
    one_hop = encoder.propagate(x, shallow.edges, shallow.num_nodes_per_hop)
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
        database="odd",
        cutoff_s=0,
        time_span_s=86_400,
        text_embedder="hashed-ngram:8",
        timeless_rows="first_reference",
        tables=tables,
    )
    edge_types = tuple((a, "key.to x", b) for a, b in zip(names, names[1:], strict=False))
    config = BackboneConfig(channels=CHANNELS, rows=ResNetRows(num_layers=1))
    encoder = RelationalEncoder(schema, edge_types, config)
    directed = [*edge_types, *map(reverse, edge_types)]
    edges = {e: make_edges(np.array([0, 1]), np.array([1, 0]), 2, 2) for e in directed}
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
            for (source, _, target), edges in batch.edges.items():
                grown[target][edges.target[reached[source][edges.source]]] = True
            reached = grown
        changed = {t: (after[t] != before[t]).any(dim=1) for t in x}
        assert changed["goal"][0]
        assert sum(int(c.sum()) for c in changed.values()) > layers
        for table in x:
            assert not (changed[table] & ~reached[table]).any(), f"{table} beyond {layers} layers"


@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_both_views_in_one_batch_equal_two_passes(nasty_store: Store, aggregation: AggregationConfig) -> None:
    sampling = HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=5)
    sampler = HGSampling(nasty_store.graph, sampling, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    subgraphs = sampler.sample(0, [0, 1])
    cursors = [(0, 0), (0, 1)]
    config = CorruptionConfig(probability=0.5, target_link_share=0.3, relative_time=True)
    batch = collate(subgraphs, cursors, nasty_store.graph, nasty_store.features, config, seed=0, newest_first=True)
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
        for e, both in batch.edges.items():
            index = both.edge_index
            mine = (index[0] >= rows[e[0]]) == bool(view)
            ends = (index[:, mine] - view * torch.tensor([[rows[e[0]]], [rows[e[2]]]])).numpy()
            one_view = make_edges(*ends, rows[e[0]], rows[e[2]], ages[e[0]].numpy() if e[0] in ages else None)
            edges[e] = dataclasses.replace(one_view, is_newest_first=True)  # as they were in the batch
        alone = encoder.propagate(encoder.add_relative_time(alone, ages), edges)
        for table, h in together.items():
            torch.testing.assert_close(h[part[table]], alone[table], rtol=0, atol=1e-12)


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_distinct_rows_and_ages_give_what_nodes_of_their_own_give(
    nasty_store: Store, trees: dict[int, TreeBatch], hops: int, aggregation: AggregationConfig
) -> None:
    """Fine-tuning's way, in value and gradient, against every node with a vector of its own and no trimming."""
    encoder, batch = relational_encoder(nasty_store, layers=2, aggregation=aggregation), trees[hops]
    nodes = {t: v[batch.index[t]] for t, v in encoder.encode_rows(batch.frames).items()}
    expected = encoder.propagate(encoder.add_relative_time(nodes, batch.age_days), batch.edges[-1])["teams"][:8]
    expected.square().sum().backward()
    gradients = {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
    encoder.zero_grad()
    found = TaskModel(encoder, 4).embed(batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    found.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=1e-10, msg=name)
        else:
            assert (gradients.get(name, torch.zeros(1)) == 0).all(), name


@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_the_gradient_of_a_layer_is_that_of_its_value(aggregation: AggregationConfig) -> None:
    torch.manual_seed(0)
    layer = RelationalLayer(tuple(SIZES), DIRECTED, CHANNELS, aggregation.build).double()
    edges, parameters = random_edges(2), list(layer.parameters())
    x = [torch.randn(n, CHANNELS, dtype=torch.float64, requires_grad=True) for n in SIZES.values()]

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(dict(zip(SIZES, tensors[: len(SIZES)], strict=True)), edges).values())

    assert torch.autograd.gradcheck(run, (*x, *parameters), fast_mode=True)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # TorchDynamo's own
@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_a_layer_is_one_graph_for_torch_compile(aggregation: AggregationConfig) -> None:
    layer = RelationalLayer(tuple(SIZES), DIRECTED, CHANNELS, aggregation.build)
    x, edges = {t: torch.randn(n, CHANNELS) for t, n in SIZES.items()}, random_edges(1)
    expected = layer(x, edges)
    found = torch.compile(layer, backend="aot_eager", fullgraph=True)(x, edges)
    for table, h in expected.items():
        torch.testing.assert_close(found[table], h)


@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_every_parameter_gets_a_gradient_whatever_edges_and_times_there_are(aggregation: AggregationConfig) -> None:
    """DistributedDataParallel expects it in every step; two tables have no time, two edge types have no edges."""
    layer = RelationalLayer(tuple(SIZES), DIRECTED, CHANNELS, aggregation.build)
    out = layer({t: torch.randn(n, CHANNELS) for t, n in SIZES.items()}, random_edges(1))
    sum(h.square().sum() for h in out.values()).backward()  # type: ignore[union-attr]
    assert [name for name, parameter in layer.named_parameters() if parameter.grad is None] == []


def test_attention_gives_zeros_to_a_target_without_neighbours_and_sees_order_and_age() -> None:
    torch.manual_seed(0)
    attention = TimeAttentionAggregation(heads=2).build(CHANNELS).double()
    source, target = torch.randn(3, CHANNELS, dtype=torch.float64), torch.randn(4, CHANNELS, dtype=torch.float64)
    ends = np.array([0, 1, 2, 0]), np.array([0, 0, 2, 2])

    def out(ages: list[float]) -> Tensor:
        return attention(source, target, make_edges(*ends, 3, 4, np.array(ages, np.float32)))

    old = out([1.0, 30.0, 400.0])
    assert (old[[1, 3]] == 0).all()
    assert (old[[0, 2]] != 0).any(dim=1).all()
    moved = out([1.0, 30.0, 1.0])
    assert torch.equal(moved[0], old[0])
    assert not torch.allclose(moved[2], old[2])
    swapped = out([30.0, 1.0, 400.0])
    assert not torch.allclose(swapped[0], old[0])


def test_attention_sees_order_and_age_in_both_views(nasty_store: Store) -> None:
    sampling = HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=5)
    sampler = HGSampling(nasty_store.graph, sampling, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    batch = collate(
        sampler.sample(0, [0, 1]), [(0, 0), (0, 1)], nasty_store.graph, nasty_store.features, CorruptionConfig(), seed=0
    )
    num_timed = 0
    for (source, _, _), edges in batch.edges.items():
        assert (edges.age_days is not None) == (nasty_store.schema.tables[source].time_col is not None)
        if edges.age_days is not None and len(edges.source):
            clean, corrupted = edges.age_days.chunk(2)
            assert torch.equal(clean, corrupted)
            num_timed += len(clean.unique()) > 1
    assert num_timed > 2


class LargestNeighbour(torch.nn.Module):
    """An aggregation that somebody else wrote, with PyG's parts."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = MaxAggregation()

    def forward(self, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        return self.largest(source[edges.source], edges.target, dim_size=len(target))


def test_an_aggregation_of_somebody_else_takes_part() -> None:
    layer = RelationalLayer(tuple(SIZES), DIRECTED, CHANNELS, lambda channels: LargestNeighbour())
    out = layer({t: torch.randn(n, CHANNELS) for t, n in SIZES.items()}, random_edges(1))
    assert all(h.isfinite().all() for h in out.values())


class OwnRows(torch.nn.Module):
    """A row encoder that somebody else wrote."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dropout, self.vector = torch.nn.Dropout(0.5), torch.nn.Parameter(torch.ones(channels))

    def forward(self, frame: TensorFrame) -> Tensor:
        return self.dropout(self.vector.expand(frame.num_rows, -1))


def test_row_encoders_and_aggregations_of_somebody_else_take_part(nasty_store: Store) -> None:
    sampling = HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=5)
    sampler = HGSampling(nasty_store.graph, sampling, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    batch = collate(
        sampler.sample(0, [0]), [(0, 0)], nasty_store.graph, nasty_store.features, CorruptionConfig(), seed=0
    )
    config = BackboneConfig(channels=CHANNELS)
    encoder = RelationalEncoder(
        nasty_store.schema,
        nasty_store.graph.edge_types,
        config,
        row_encoder=lambda schema, channels: OwnRows(channels),
        aggregation=lambda channels: LargestNeighbour(),
    )
    out = [encoder(batch.frames, batch.edges, None, batch.dropout_keys) for _ in range(2)]
    for table, h in out[0].items():
        assert h.shape == (batch.frames[table].num_rows, CHANNELS)
        assert torch.equal(h, out[1][table])  # its dropout follows the rows' keys
    assert any(isinstance(m, KeyedDropout) for m in encoder.modules())


def test_dropouts_are_told_apart_across_tables(nasty_store: Store) -> None:
    """Rows of two tables may have equal keys; the numbers of the modules keep their masks apart."""
    config = BackboneConfig(channels=CHANNELS, rows=ResNetRows(dropout=0.1))
    encoder = RelationalEncoder(nasty_store.schema, nasty_store.graph.edge_types, config)
    numbers = [m.number for m in encoder.modules() if isinstance(m, KeyedDropout)]
    assert len(set(numbers)) == len(numbers) > len(nasty_store.schema.tables)
