"""Statistics of nodes and columns of seeds against plain computation; what fits them; checkpoints; what reads another number is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.config import (
    BackboneConfig,
    ColumnsConfig,
    LinearRows,
    StatisticsConfig,
    TemporalKernelsAggregation,
    TemporalSamplingConfig,
)
from rdl_core.graph.reg import ALWAYS
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint, cpu_weights, from_pretrained, save_pretrained
from rdl_core.model.fitting import add_columns, new_encoder, past_events
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.statistics.columns import Columns
from rdl_core.statistics.key_statistics import KeyStatistics

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS = 8
CONFIG = BackboneConfig(
    channels=CHANNELS,
    aggregation=TemporalKernelsAggregation(),
    residual=True,
    rows=LinearRows(rich_numbers=True),
    statistics=StatisticsConfig(num_last=(1, 4), window_shares=(1 / 16,)),
    columns=ColumnsConfig(hops=2),
    columns_channels=6,
)
ENTITIES = np.tile([0, 3, 6, 11], 2)
BEFORE_S = np.repeat([1_583_020_800, 1_606_780_800], 4)


@pytest.fixture(scope="module")
def encoder(nasty_store: Store) -> RelationalEncoder:
    torch.manual_seed(0)
    return new_encoder(nasty_store, CONFIG).eval()


def trees(store: Store, config: BackboneConfig = CONFIG, keep: slice = slice(None)) -> TreeBatch:
    sampling = TemporalSampling(
        store.graph, TemporalSamplingConfig(num_neighbors=(4, 3)[: config.num_layers], strategy="recent"), seed=0
    )
    rows, before_s = ENTITIES[keep], BEFORE_S[keep]
    found = sampling.sample("teams", rows, before_s, epoch=0, numbers=np.arange(8)[keep])
    return collate_trees(found, before_s, store.graph, store.features, inputs=QuestionInputs(store, config))


def test_every_node_has_the_statistics_of_its_row_before_the_time_of_its_seed(nasty_store: Store) -> None:
    assert CONFIG.statistics is not None
    batch, statistics = trees(nasty_store), KeyStatistics(nasty_store, CONFIG.statistics)
    sampling = TemporalSampling(
        nasty_store.graph, TemporalSamplingConfig(num_neighbors=(4, 3), strategy="recent"), seed=0
    )
    found = sampling.sample("teams", ENTITIES, BEFORE_S, epoch=0, numbers=np.arange(8))
    assert batch.statistics is not None
    assert set(batch.statistics) == {e[2] for e in nasty_store.graph.edge_types}
    for table, of_nodes in batch.statistics.items():
        for node, values in enumerate(of_nodes.numpy()):
            row = found.rows[table][found.index[table][node : node + 1]]
            before_s = BEFORE_S[found.seed[table][node : node + 1]]
            np.testing.assert_array_equal(values, statistics.of_table(table, row, before_s)[0])


def test_seeds_have_the_columns_of_their_rows_before_their_times(nasty_store: Store) -> None:
    assert CONFIG.columns is not None
    batch = trees(nasty_store)
    assert batch.columns is not None
    np.testing.assert_array_equal(batch.columns, Columns(nasty_store, "teams", CONFIG.columns)(ENTITIES, BEFORE_S))
    assert batch.columns.isnan().any()


def test_a_vector_is_that_of_its_parts(nasty_store: Store, encoder: RelationalEncoder) -> None:
    batch = trees(nasty_store)
    assert batch.statistics is not None
    assert batch.columns is not None
    x = {t: v[batch.index[t]] for t, v in encoder.encode_rows(batch.frames).items()}
    x = encoder.add_relative_time(x, batch.age_days)
    for number, table in enumerate(nasty_store.schema.tables):
        if table in batch.statistics:
            part = encoder.statistics[str(number)]
            z = part.ranks(batch.statistics[table])
            hidden = torch.nn.functional.layer_norm(part.hidden(z), (CHANNELS,)).relu()
            x[table] = x[table] + part.out(hidden)
    h = encoder.propagate(x, batch.edges[-1])["teams"][:8]
    wide = encoder.columns[str(list(nasty_store.schema.tables).index("teams"))]
    z = wide.ranks(batch.columns)
    beside = wide.norm_of_columns(wide.out(wide.hidden(z).relu()))
    torch.testing.assert_close(encoder.embed(batch), wide.norm_of_vector(h) + beside, rtol=1e-4, atol=1e-4)


def test_a_seeds_vector_does_not_depend_on_the_rest_of_its_batch(
    nasty_store: Store, encoder: RelationalEncoder
) -> None:
    whole = encoder.embed(trees(nasty_store))
    assert whole.isfinite().all()
    for i in range(8):
        alone = encoder.embed(trees(nasty_store, keep=slice(i, i + 1)))
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)


def test_all_that_a_tree_reaches_gets_a_finite_gradient(nasty_store: Store) -> None:
    encoder = new_encoder(nasty_store, CONFIG)
    encoder.embed(trees(nasty_store)).square().sum().backward()
    learned = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
    assert all(g.isfinite().all() for g in learned.values())
    number = list(nasty_store.schema.tables).index("teams")
    for name, _ in encoder.named_parameters():
        if name.startswith((f"columns.{number}.", f"statistics.{number}.")):
            assert (learned[name] != 0).any(), name


def test_dropout_of_columns_follows_the_keys_of_rows(nasty_store: Store) -> None:
    encoder = new_encoder(nasty_store, dataclasses.replace(CONFIG, columns_dropout=0.5)).train()
    batch = trees(nasty_store)
    keys = {t: torch.arange(frame.num_rows) for t, frame in batch.frames.items()}
    first, again = (encoder.embed(batch, keys) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, encoder.embed(batch, {t: k + 1000 for t, k in keys.items()}))
    assert not torch.equal(first, encoder.embed(batch))


def test_without_layers_a_seed_is_its_row_its_statistics_and_its_columns(nasty_store: Store) -> None:
    config = dataclasses.replace(CONFIG, num_layers=0)
    encoder, batch = new_encoder(nasty_store, config).eval(), trees(nasty_store, config)
    assert {t: len(i) for t, i in batch.index.items() if len(i)} == {"teams": 8}
    found = encoder.embed(batch)
    assert found.shape == (8, CHANNELS)
    assert len(found.unique(dim=0)) == 8


@pytest.mark.parametrize("seed_cells", [False, True])
def test_the_cells_of_the_row_in_question_are_read_or_not_those_of_its_neighbours_always(
    nasty_store: Store, seed_cells: bool
) -> None:
    torch.manual_seed(0)
    encoder = new_encoder(nasty_store, dataclasses.replace(CONFIG, seed_cells=seed_cells)).eval()
    batch = trees(nasty_store)
    before = encoder.embed(batch)
    changed = {}
    for table in ("teams", "match"):
        rows = torch.arange(batch.frames[table].num_rows)
        shifted = {**batch.frames, table: batch.frames[table][rows.roll(1)]}
        changed[table] = not torch.equal(encoder.embed(dataclasses.replace(batch, frames=shifted)), before)
    assert changed == {"teams": True, "match": True}  # other teams are neighbours, too
    alone = dataclasses.replace(CONFIG, seed_cells=seed_cells, num_layers=0)
    encoder, batch = new_encoder(nasty_store, alone).eval(), trees(nasty_store, alone)
    rows = torch.arange(batch.frames["teams"].num_rows)
    shifted = {**batch.frames, "teams": batch.frames["teams"][rows.roll(1)]}
    other = encoder.embed(dataclasses.replace(batch, frames=shifted))
    assert torch.equal(other, encoder.embed(batch)) != seed_cells


def test_what_a_backbone_is_fitted_by_is_a_function_of_the_store(
    nasty_store: Store, encoder: RelationalEncoder
) -> None:
    torch.manual_seed(99)
    other = new_encoder(nasty_store, CONFIG)
    buffers = dict(encoder.named_buffers())
    assert sum("ranks" in name for name in buffers) > 8
    for name, buffer in other.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
        assert buffer.isfinite().all(), name


def test_past_events_are_children_up_to_the_cutoff_at_their_own_times(nasty_store: Store) -> None:
    graph, tables = nasty_store.graph, {e[2] for e in nasty_store.graph.edge_types}
    for table in tables:
        rows, before_s = past_events(graph, table, 200)
        events = {
            (int(p), int(t))
            for e in graph.edge_types
            if e[2] == table
            for p, t in zip(graph.key_parent(e), graph.table_time(e[0]), strict=True)
            if p >= 0 and ALWAYS < t <= graph.cutoff_s
        }
        found = set(zip(rows.tolist(), before_s.tolist(), strict=True))
        assert found <= events if events else set(before_s.tolist()) <= {graph.cutoff_s + 1}
        assert len(found) > min(len(events), 5) - 1


def test_a_backbone_comes_back_from_its_checkpoint(
    nasty_store: Store, encoder: RelationalEncoder, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(
        weights={f"encoder.{n}": w for n, w in cpu_weights(encoder).items()},
        backbone=CONFIG,
        schema=nasty_store.schema,
        edge_types=nasty_store.graph.edge_types,
        kind="pretrained",
        about={},
    )
    read = from_pretrained(save_pretrained(tmp_path / "model", checkpoint))
    read.require_same_schema(nasty_store)
    assert read.backbone == CONFIG
    batch = trees(nasty_store)
    assert torch.equal(read.encoder().eval().embed(batch), encoder.embed(batch))


def test_columns_of_a_table_that_was_not_pretrained_are_added(nasty_store: Store, encoder: RelationalEncoder) -> None:
    assert "order_line" not in encoder.columns_widths
    other, inputs = new_encoder(nasty_store, CONFIG), QuestionInputs(nasty_store, CONFIG)
    add_columns(other, inputs, "order_line")
    assert other.columns_widths["order_line"] == inputs.columns_width("order_line") > 0


def test_inputs_that_the_backbone_does_not_read_are_refused(nasty_store: Store, encoder: RelationalEncoder) -> None:
    without = dataclasses.replace(CONFIG, statistics=None)
    with pytest.raises(ValueError, match="reads statistics of .*teams.*the batch has those of \\[\\]"):
        encoder.embed(trees(nasty_store, without))
    with pytest.raises(ValueError, match="differ in whether seeds have columns"):
        encoder.embed(dataclasses.replace(trees(nasty_store), columns=None))
    inputs = QuestionInputs(nasty_store, CONFIG)
    inputs.require_same_widths(encoder.statistics_widths, encoder.columns_widths)
    with pytest.raises(ValueError, match=r"reads columns per table .*'teams': 3.*the store has"):
        inputs.require_same_widths(encoder.statistics_widths, {"teams": 3})


def test_a_backbone_without_these_inputs_has_the_weights_that_it_always_had(nasty_store: Store) -> None:
    config = dataclasses.replace(CONFIG, statistics=None, columns=None)
    torch.manual_seed(1)
    fitted = new_encoder(nasty_store, config).state_dict()
    torch.manual_seed(1)
    plain = RelationalEncoder(nasty_store.schema, nasty_store.graph.edge_types, config).state_dict()
    assert fitted.keys() == plain.keys()
    assert all(torch.equal(w, plain[n]) for n, w in fitted.items())
