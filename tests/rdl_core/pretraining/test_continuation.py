"""Pretraining that goes on from a model: known weights to the bit, new categories in new slots, no value from after the cutoff."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from relbench.load import RelBenchDataset
from torch import Tensor

from rdl_core.communicator import SingleProcess
from rdl_core.config import LinearRows, PretrainingConfig
from rdl_core.database import open_dataset
from rdl_core.database.column_values import column_of
from rdl_core.graph.known_schema import with_new_values
from rdl_core.graph.materialization import materialize, with_new_categories
from rdl_core.graph.measures import measures
from rdl_core.graph.schema import ColumnSchema, Schema
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.pretraining import pretrain_here, pretrained_checkpoint, start_from, train_step
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.step_input import step_input
from rdl_core.problems import InputError
from rdl_core.sharing.vocabulary import holds_values, with_hidden_values
from tests.nasty_database import write_nasty_database
from tests.rdl_core.pretraining.test_levels import settings
from tests.rdl_core.pretraining.test_loop import Run, assert_equal_bits

pytestmark = pytest.mark.usefixtures("one_thread")

KEPT = {"quantity": 7, "kind": 1, "tags": 2, "minutes": 10, "home_id.note": 2}
"""So many categories of a column does the earlier model know."""


def columns(schema: Schema) -> dict[str, ColumnSchema]:
    return {f"{t.name}.{c.name}": c for t in schema.tables.values() for c in t.columns}


def changed(schema: Schema, change: Any) -> Schema:
    tables = {n: dataclasses.replace(t, columns=tuple(map(change, t.columns))) for n, t in schema.tables.items()}
    return dataclasses.replace(schema, tables=tables)


@pytest.fixture(scope="module")
def earlier(nasty_store: Store) -> Schema:
    """The schema of a model that knows the first categories only."""
    return changed(
        nasty_store.schema,
        lambda c: dataclasses.replace(c, categories=c.categories[: KEPT.get(c.name)]) if c.categories else c,
    )


@pytest.fixture(scope="module")
def stores(nasty_dataset: RelBenchDataset, earlier: Schema, tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    """The data as the earlier model reads it, and with its new categories."""
    folder = tmp_path_factory.mktemp("stores")
    models = (earlier, with_new_categories(nasty_dataset, earlier))
    return [materialize(nasty_dataset, folder, model=model) for model in models]


def trained(store: Store, config: PretrainingConfig) -> Checkpoint:
    model, state = pretrain_here(store, config)
    return pretrained_checkpoint(model.state_dict(), store, config, state, future=model.future_targets)


def first_losses(store: Store, config: PretrainingConfig, begin: Any) -> dict[str, float]:
    """The losses of the first step of a run whose weights `begin` sets."""
    run = Run(store, config)
    begin(run.model)
    subgraphs = [run.sampler.sample(0, [sample])[0] for sample in range(2)]
    cursors = [(0, 0), (0, 1)]
    made = step_input(run.model, subgraphs, cursors, run.validation.rows, config.corruption, config.loss, seed=5)
    return train_step(run.model, made.contrast, run.optimizer, SingleProcess(), questions=made.questions)[0]


def test_without_new_categories_the_first_step_is_the_one_of_the_model_itself(nasty_store: Store) -> None:
    config = settings(max_steps=2)
    checkpoint = trained(nasty_store, config)
    other = dataclasses.replace(config, seed=77)
    model = PretrainingModel(nasty_store, other)
    assert start_from(model, checkpoint, nasty_store) == []
    assert_equal_bits(model.state_dict(), dict(checkpoint.weights))
    mine = first_losses(nasty_store, other, lambda model: start_from(model, checkpoint, nasty_store))
    assert mine == first_losses(nasty_store, other, lambda model: model.load_state_dict(checkpoint.weights))
    assert mine != first_losses(nasty_store, other, lambda model: None)


def test_levels_that_the_model_did_not_have_begin_with_fresh_weights(nasty_store: Store) -> None:
    checkpoint = trained(nasty_store, settings("row", max_steps=1))
    model = PretrainingModel(nasty_store, settings("row", "link"))
    before = {n: w.clone() for n, w in model.state_dict().items()}
    fresh = start_from(model, checkpoint, nasty_store)
    assert fresh and all(name.startswith("loss.link") for name in fresh)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name] if name in fresh else checkpoint.weights[name]), name


def test_a_decoder_whose_targets_are_unknown_begins_fresh(nasty_store: Store) -> None:
    config = settings("future", max_steps=1)
    checkpoint = trained(nasty_store, config)
    targets = {table: numbers[::-1] for table, numbers in checkpoint.about["future"]["targets"].items()}
    about = {**checkpoint.about, "future": {**checkpoint.about["future"], "targets": targets}}
    model = PretrainingModel(nasty_store, config)
    start_from(model, dataclasses.replace(checkpoint, about=about), nasty_store)
    key = "future.decoders.0.bias"
    assert torch.equal(model.state_dict()[key], checkpoint.weights[key].flip(0)), "each target's own row"
    other = dataclasses.replace(config, future=dataclasses.replace(config.future, window_shares=(1 / 8, 1 / 4)))
    model = PretrainingModel(nasty_store, other)
    before = model.state_dict()[key].clone()
    start_from(model, checkpoint, nasty_store)
    assert torch.equal(model.state_dict()[key], before)


def test_new_categories_come_behind_the_known_ones(stores: list[Store], earlier: Schema, nasty_store: Store) -> None:
    found, whole = columns(stores[1].schema), columns(nasty_store.schema)
    for name, known in columns(earlier).items():
        assert found[name].categories[: len(known.categories)] == known.categories
        assert set(found[name].categories) == set(whole[name].categories), "those up to the cutoff, and no others"
        is_more = len(found[name].categories) > len(known.categories)
        assert found[name].num_measured == (len(known.categories) if is_more else None)
    assert sum(column.num_measured is not None for column in found.values()) == len(KEPT)
    assert any(table.unknown_values for table in stores[0].schema.tables.values())


def test_statistics_stay_as_wide_as_the_model_knows_them(stores: list[Store], earlier: Schema) -> None:
    for name, table in stores[1].schema.tables.items():
        assert measures(table) == measures(earlier.tables[name])


def test_known_categories_keep_their_vectors_and_new_ones_begin_as_zeros(stores: list[Store], earlier: Schema) -> None:
    config = settings("row", max_steps=2)
    checkpoint = trained(stores[0], config)
    model = PretrainingModel(stores[1], config)
    assert start_from(model, checkpoint, stores[1]) == []
    own, num_grown = model.state_dict(), 0
    for name, weight in checkpoint.weights.items():
        if own[name].shape == weight.shape:
            assert torch.equal(own[name], weight), name
            continue
        num_grown += 1
        rows = [row for row in own[name] if row.abs().sum() > 0]
        known = [row for row in weight if row.abs().sum() > 0]
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(rows, known, strict=True)), name
    assert num_grown == 4  # quantity of order_line; kind and note of match in one; tags; minutes


def test_each_known_category_keeps_its_own_vector(stores: list[Store]) -> None:
    config = settings("row", max_steps=1)
    checkpoint = trained(stores[0], config)
    model = PretrainingModel(stores[1], config)
    start_from(model, checkpoint, stores[1])
    number = list(stores[1].schema.tables).index("match")
    encoders = [
        e.row_encoders[number].encoder.encoder_dict["categorical"] for e in (checkpoint.encoder(), model.encoder)
    ]  # type: ignore[union-attr,index]
    old, new = (e.emb.weight for e in encoders)  # null, then kind, then note
    kind, note = (columns(stores[1].schema)[f"match.{name}"].categories for name in ("kind", "home_id.note"))
    assert (len(old), len(new)) == (1 + KEPT["kind"] + KEPT["home_id.note"], 1 + len(kind) + len(note))
    assert torch.equal(new[:2], old[:2])
    assert torch.equal(new[1 + len(kind) : 1 + len(kind) + 2], old[2:])


def row_vectors(encoder: RelationalEncoder, store: Store) -> dict[str, Tensor]:
    encoder.eval()
    frames = {t: f.gather(np.arange(store.schema.tables[t].num_rows)) for t, f in store.features.items()}
    with torch.no_grad():
        return encoder.encode_rows(frames)


@pytest.mark.parametrize("rows", [LinearRows(), None], ids=["linear", "resnet"])
def test_rows_with_new_categories_have_at_first_the_vectors_that_the_model_gives_them(
    stores: list[Store], rows: LinearRows | None
) -> None:
    config = settings("row", max_steps=2)
    backbone = config.backbone if rows is None else dataclasses.replace(config.backbone, rows=rows)
    config = dataclasses.replace(config, backbone=backbone)
    checkpoint = trained(stores[0], config)
    model = PretrainingModel(stores[1], config)
    start_from(model, checkpoint, stores[1])
    expected = row_vectors(checkpoint.encoder(), stores[0])
    for table, found in row_vectors(model.encoder, stores[1]).items():
        if table != "match":  # its lists take the mean over their known categories, and unknown ones count there
            torch.testing.assert_close(found, expected[table], rtol=1e-5, atol=1e-6, msg=table)


def test_a_run_that_goes_on_learns_and_is_the_same_each_time(stores: list[Store]) -> None:
    config = settings(max_steps=2)
    checkpoint = trained(stores[0], config)
    (first, state), (second, _) = (pretrain_here(stores[1], config, init_from=checkpoint) for _ in range(2))
    weights, future = first.state_dict(), first.future_targets
    assert_equal_bits(weights, second.state_dict())
    again = pretrained_checkpoint(weights, stores[1], config, state, future=future, init_from="0a1b")
    assert again.about["init_from"] == "0a1b"
    third = PretrainingModel(stores[1], config)
    assert start_from(third, again, stores[1]) == [], "and goes on once more"


def test_a_model_of_another_form_or_schema_is_refused(nasty_store: Store, stores: list[Store]) -> None:
    config = settings("row", max_steps=1)
    checkpoint = trained(stores[1], config)
    wider = settings("row", backbone=dataclasses.replace(config.backbone, channels=16))
    with pytest.raises(InputError, match="another form than the model to begin with"):
        start_from(PretrainingModel(nasty_store, wider), checkpoint, nasty_store)
    with pytest.raises(
        InputError, match=r"(?s)cannot go on with the store.*columns differ.*Remedy: `rdl pretrain --init"
    ):
        start_from(PretrainingModel(nasty_store, config), checkpoint, nasty_store)


STRINGS = pa.chunked_array([["b", "new", "newer", "new", "newer", "newer", None, "of tomorrow", "a"]])


def test_new_values_come_by_frequency_from_visible_cells_only() -> None:
    column = ColumnSchema(name="x", stype="categorical", categories=("a", "b"))
    values, visible = column_of(STRINGS), np.array([True] * 7 + [False, True])
    grown = with_new_values(column, values, visible)
    assert grown.categories == ("a", "b", "newer", "new")
    assert grown.num_measured == 2
    last = with_new_values(grown, values, np.ones(9, bool))
    assert (last.categories, last.num_measured) == ((*grown.categories, "of tomorrow"), 2)
    assert with_new_values(last, values, np.ones(9, bool)) is last
    hidden = with_new_values(column.hidden("salt"), values, visible)
    assert hidden == grown.hidden("salt")


def test_no_more_than_the_most_categories_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdl_core.graph.known_schema.MAX_CATEGORIES", 3)
    column = ColumnSchema(name="x", stype="categorical", categories=("a", "b"))
    assert with_new_values(column, column_of(STRINGS), np.ones(9, bool)).categories == ("a", "b", "newer")


def test_a_category_of_a_row_after_the_cutoff_is_not_taken(nasty_store: Store, tmp_path: Path) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    path = folder / "db" / "match.parquet"
    table = pq.read_table(path)
    kinds = table.column("kind").to_pylist()
    times = table.column("played_at").to_pylist()
    late = [i for i, t in enumerate(times) if t is not None and t.timestamp() > nasty_store.schema.cutoff_s + 86_400]
    early = [i for i, t in enumerate(times) if t is not None and t.timestamp() < nasty_store.schema.cutoff_s - 86_400]
    kinds[late[0]], kinds[early[0]] = "of tomorrow", "of yesterday"
    position = table.column_names.index("kind")
    pq.write_table(table.set_column(position, "kind", pa.array(kinds, table.schema.field("kind").type)), path)
    grown = columns(with_new_categories(open_dataset(folder), nasty_store.schema))["match.kind"]
    assert grown.categories == (*columns(nasty_store.schema)["match.kind"].categories, "of yesterday")


def test_without_new_values_the_schema_is_the_model_s_own(nasty_dataset: RelBenchDataset, nasty_store: Store) -> None:
    assert with_new_categories(nasty_dataset, nasty_store.schema) == nasty_store.schema
    hidden = with_hidden_values(nasty_store.schema, "key")
    assert any(holds_values(c) for c in columns(nasty_store.schema).values())
    assert with_new_categories(nasty_dataset, hidden) == hidden
