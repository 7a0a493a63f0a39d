"""Small integers as numbers and categories, skewed numbers with their logarithms, against plain computation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch_frame import stype

from rdl_core.config import LinearRows, ResNetRows
from rdl_core.graph.features import TableFeatures
from rdl_core.graph.schema import ColumnSchema, TableSchema
from rdl_core.graph.store import Store
from rdl_core.model.row_encoder import make_row_encoder

CHANNELS = 6
STARS = ColumnSchema(name="stars", stype="categorical", categories=("5", "1", "3"), is_ordinal=True, mean=3.0, std=2.0)
KIND = ColumnSchema(name="kind", stype="categorical", categories=("7", "8"), mean=0.0, std=1.0)
PRICE = ColumnSchema(
    name="price", stype="numerical", mean=10.0, std=4.0, is_skewed=True, log_mean=2.0, log_std=0.5, has_nulls=True
)
WIDTH = ColumnSchema(name="width", stype="numerical", mean=1.0, std=2.0)
SCHEMA = TableSchema(
    name="review",
    num_rows=4,
    num_rows_up_to_cutoff=4,
    pkey_col=None,
    time_col=None,
    fkey_col_to_pkey_table={},
    columns=(STARS, PRICE, KIND, WIDTH),
)
FEATURES = TableFeatures(
    SCHEMA,
    {
        "categorical": np.array([[0, 1], [1, 0], [-1, -1], [2, 1]], np.int32),
        "numerical": np.array([[12.0, 1.0], [-3.0, 5.0], [np.nan, 2.0], [1e6, np.nan]], np.float32),
    },
)


def encoder(*, rich: bool = True) -> torch.nn.Module:
    torch.manual_seed(0)
    made = make_row_encoder(SCHEMA, CHANNELS, LinearRows(rich_numbers=rich))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("weight") and "emb" not in name:
                parameter += torch.randn_like(parameter)
    return made


def test_a_small_integer_is_its_category_and_its_number() -> None:
    module = encoder().encoder.encoder_dict["categorical"]
    cells = module(FEATURES.gather(np.arange(4)).feat_dict[stype.categorical])
    codes, numbers = [0, 1, None, 2], [5.0, 1.0, None, 3.0]
    for row, (code, number) in enumerate(zip(codes, numbers, strict=True)):
        if code is None or number is None:
            assert (cells[row] == 0).all()
        else:
            expected = module.emb.weight[1 + code] + module.weight[0] * (number - 3.0) / 2.0
            torch.testing.assert_close(cells[row, 0], expected)
    torch.testing.assert_close(cells[0, 1], module.emb.weight[1 + 3 + 1])  # a code is no number


def test_a_skewed_number_has_a_logarithm_and_no_other_number_has() -> None:
    module = encoder().encoder.encoder_dict["numerical"]
    cells = module(FEATURES.gather(np.arange(4)).feat_dict[stype.numerical])
    for row, price in enumerate([12.0, -3.0, None, 1e6]):
        if price is None:
            assert (cells[row, 0] == 0).all()
            continue
        log = math.copysign(math.log1p(abs(price)), price)
        expected = module.bias[0] + module.weight[0] * (price - 10.0) / 4.0 + module.log_weight[0] * (log - 2.0) / 0.5
        torch.testing.assert_close(cells[row, 0], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cells[1, 1], module.bias[1] + module.weight[1] * 2.0, rtol=1e-5, atol=1e-5)


def test_folding_cells_into_the_map_changes_nothing() -> None:
    made, frame = encoder().double(), FEATURES.gather(np.arange(4))
    cells, _ = made.encoder(frame)
    torch.testing.assert_close(made(frame), made.linear(cells.flatten(1)), rtol=1e-9, atol=1e-6)


def test_rich_and_plain_numbers_are_told_apart_by_the_setting() -> None:
    names = [{n for n, _ in encoder(rich=rich).named_parameters()} for rich in (False, True)]
    assert {n.rpartition(".")[2] for n in names[1] - names[0]} == {"weight", "log_weight"}


@pytest.mark.parametrize("rows", [LinearRows(rich_numbers=True), ResNetRows(num_layers=1, rich_numbers=True)])
def test_every_table_gives_finite_vectors_and_gradients(nasty_store: Store, rows: LinearRows | ResNetRows) -> None:
    assert any(c.is_ordinal for t in nasty_store.schema.tables.values() for c in t.columns)
    for table, schema in nasty_store.schema.tables.items():
        made = rows.build(schema, CHANNELS)
        x = made(nasty_store.features[table].gather(np.arange(schema.num_rows)))
        x.square().sum().backward()
        assert x.isfinite().all()
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_the_numbers_of_categories_come_from_the_schema_not_from_weights() -> None:
    other = make_row_encoder(dataclasses.replace(SCHEMA, num_rows=9), CHANNELS, LinearRows(rich_numbers=True))
    made = encoder()
    other.load_state_dict(made.state_dict())
    frame = FEATURES.gather(np.arange(4))
    assert torch.equal(other(frame), made(frame))
