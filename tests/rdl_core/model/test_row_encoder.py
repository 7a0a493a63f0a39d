"""Row encoders on every table of the nasty database: nulls, unknown values, dtypes, dropout by sample."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from relbench.load import RelBenchDataset
from torch import Tensor

from rdl_core.config import FTTransformerRows, LinearRows, ResNetRows, RowsKind
from rdl_core.database.dataset import read_table
from rdl_core.graph.store import Store
from rdl_core.kernels.dropout_mask import row_keys
from rdl_core.model.dropout import KeyedDropout, replace_dropout

TABLES = ["categories", "teams", "order", "order_line", "match", "lineup", "goal", "ticket", "équipe_catégorie"]
WITH_ATTRIBUTES = TABLES[:-1]
MODELS = ["linear", "resnet", "ft_transformer"]
CHANNELS = 8


def row_encoder(store: Store, table: str, model: RowsKind = "resnet", *, dropout: float = 0.0) -> torch.nn.Module:
    """An encoder no parameter of which is zero, as after training."""
    torch.manual_seed(0)
    config = {
        "linear": LinearRows(),
        "resnet": ResNetRows(num_layers=2, dropout=dropout),
        "ft_transformer": FTTransformerRows(num_layers=2, dropout=dropout),
    }[model]
    encoder = config.build(store.schema.tables[table], CHANNELS)
    replace_dropout(encoder, 100 * store.graph.node_types.index(table))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for module in encoder.modules():
            if isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag):
                module.weight[0] = 0.0  # the padding row, which no gradient reaches
    return encoder


def cell_vectors(store: Store, encoder: torch.nn.Module, table: str, rows: np.ndarray) -> dict[str, Tensor]:
    """{column: [rows, channels]} before any mixing of columns."""
    cells, names = encoder.encoder(store.features[table].gather(rows))
    return {name: cells[:, i] for i, name in enumerate(names)}


def all_rows(store: Store, table: str) -> np.ndarray:
    return np.arange(store.schema.tables[table].num_rows)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("model", MODELS)
def test_every_table_gives_finite_vectors_and_finite_gradients(nasty_store: Store, table: str, model: RowsKind) -> None:
    encoder = row_encoder(nasty_store, table, model)
    rows = all_rows(nasty_store, table)
    x = encoder(nasty_store.features[table].gather(rows))
    x.square().sum().backward()
    assert x.shape == (len(rows), CHANNELS)
    assert x.isfinite().all()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("model", MODELS)
def test_a_table_without_sampled_rows_gives_no_vectors(nasty_store: Store, table: str, model: RowsKind) -> None:
    encoder = row_encoder(nasty_store, table, model)
    x = encoder(nasty_store.features[table].gather(np.zeros(0, np.int64)))
    x.sum().backward()
    assert x.shape == (0, CHANNELS)


@pytest.mark.parametrize("table", WITH_ATTRIBUTES)
def test_a_null_cell_contributes_zero(nasty_dataset: RelBenchDataset, nasty_store: Store, table: str) -> None:
    data = read_table(nasty_dataset, table)
    rows = all_rows(nasty_store, table)
    for column, cells in cell_vectors(nasty_store, row_encoder(nasty_store, table), table, rows).items():
        values = data.column(column)
        is_null = values.is_null(nan_is_null=pa.types.is_floating(values.type)).to_numpy()
        assert (cells[torch.from_numpy(is_null)] == 0).all(), f"{table}.{column}"
        assert (cells != 0).any(), f"{table}.{column} contributes nothing at all"


def test_a_null_time_is_not_taken_for_the_median_time(nasty_store: Store) -> None:
    encoder = row_encoder(nasty_store, "order")
    cells = cell_vectors(nasty_store, encoder, "order", all_rows(nasty_store, "order"))["delivered"]
    is_null = torch.tensor([i % 6 == 5 and i != 1 for i in range(24)])
    assert (cells[is_null] == 0).all()
    assert (cells[~is_null] != 0).any(dim=1).all()


@pytest.mark.parametrize(
    ("table", "row", "column"),
    [("order_line", 11, "price"), ("teams", 5, "founded"), ("order", 0, "note"), ("match", 8, "minutes")],
)
def test_a_null_cell_gives_zero_gradient_to_its_encoder(nasty_store: Store, table: str, row: int, column: str) -> None:
    encoder = row_encoder(nasty_store, table)
    cell_vectors(nasty_store, encoder, table, np.array([row]))[column].sum().backward()
    for name, parameter in encoder.encoder.named_parameters():
        assert parameter.grad is None or (parameter.grad == 0).all(), name


def test_a_category_first_seen_after_the_cutoff_contributes_as_null(
    nasty_dataset: RelBenchDataset, nasty_store: Store
) -> None:
    kinds = read_table(nasty_dataset, "match").column("kind").to_pylist()
    cells = cell_vectors(nasty_store, row_encoder(nasty_store, "match"), "match", np.arange(len(kinds)))["kind"]
    is_unknown = torch.tensor([kind == "playoff" for kind in kinds])
    assert is_unknown.any()
    assert (cells[is_unknown] == 0).all()
    assert (cells[~is_unknown] != 0).any(dim=1).all()


def test_a_table_with_only_keys_has_one_learned_vector(nasty_store: Store) -> None:
    encoder = row_encoder(nasty_store, "équipe_catégorie")
    x = encoder(nasty_store.features["équipe_catégorie"].gather(np.arange(12)))
    x.sum().backward()
    assert (x == encoder.vector).all()
    assert (encoder.vector.grad == 12).all()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("model", MODELS)
def test_a_float64_model_agrees_with_float32(nasty_store: Store, table: str, model: RowsKind) -> None:
    encoder = row_encoder(nasty_store, table, model)
    frame = nasty_store.features[table].gather(all_rows(nasty_store, table))
    single = encoder(frame)
    double = encoder.double()(frame)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("table", WITH_ATTRIBUTES)
@pytest.mark.parametrize("model", MODELS)
def test_changing_one_column_changes_that_cell_vector_alone(nasty_store: Store, table: str, model: RowsKind) -> None:
    encoder = row_encoder(nasty_store, table, model)
    features, rows = nasty_store.features[table], all_rows(nasty_store, table)
    columns = [c.name for c in nasty_store.schema.tables[table].columns]
    cells = np.repeat(rows[:, None], len(columns), axis=1)
    before, vectors = cell_vectors(nasty_store, encoder, table, rows), encoder(features.gather(rows))
    for position, changed in enumerate(columns):
        moved = cells.copy()
        moved[:, position] = np.roll(rows, 1)
        after = cell_vectors(nasty_store, encoder, table, moved)
        for column in columns:
            expected = before[column].roll(1, dims=0) if column == changed else before[column]
            assert torch.equal(after[column], expected), f"{column} while {changed} was changed"
        differs = (after[changed] != before[changed]).any(dim=1)
        row_differs = ((encoder(features.gather(moved)) - vectors).abs() > 1e-7).any(dim=1)
        assert not (row_differs & ~differs).any(), f"a row moved whose {changed} is the same"
        assert row_differs.any() == differs.any(), f"{changed} does not reach the row vector"


def test_multicategorical_lists_reach_the_row_vector(nasty_store: Store) -> None:
    encoder, features = row_encoder(nasty_store, "match"), nasty_store.features["match"]
    names = [c.name for c in nasty_store.schema.tables["match"].columns]
    cells = np.full((4, len(names)), 2)
    cells[:, names.index("tags")] = [0, 1, 2, 3]  # null, [], ["derby"], ["derby", "cup"]
    x = encoder(features.gather(cells))
    assert torch.equal(x[0], x[1])
    assert not torch.allclose(x[1], x[2])
    assert not torch.allclose(x[2], x[3])


@pytest.mark.parametrize("model", ["resnet", "ft_transformer"])
def test_the_vectors_of_a_sample_under_dropout_are_the_same_in_any_batch(nasty_store: Store, model: RowsKind) -> None:
    encoder, features = row_encoder(nasty_store, "match", model, dropout=0.3).double(), nasty_store.features["match"]
    samples = {(0, 0, 4, 0): np.arange(5), (0, 0, 5, 0): np.arange(3, 12)}

    def encoded(*streams: tuple[int, ...]) -> Tensor:
        for module in encoder.modules():
            if isinstance(module, KeyedDropout):
                module.set_keys(row_keys([(len(samples[s]), s) for s in streams]))
        return encoder(features.gather(np.concatenate([samples[s] for s in streams])))

    alone = [encoded(stream) for stream in samples]
    torch.testing.assert_close(encoded(*samples), torch.cat(alone), rtol=0, atol=1e-12)
    encoder.eval()
    assert not torch.allclose(encoded(*samples), torch.cat(alone))


@pytest.mark.parametrize("model", ["resnet", "ft_transformer"])
def test_no_dropout_of_pytorch_is_left_in_a_row_encoder(nasty_store: Store, model: RowsKind) -> None:
    for table in WITH_ATTRIBUTES:
        modules = list(row_encoder(nasty_store, table, model, dropout=0.1).modules())
        assert not any(isinstance(m, torch.nn.Dropout) for m in modules)
        assert {m.dropout for m in modules if isinstance(m, torch.nn.MultiheadAttention)} <= {0.0}
        keyed = [m for m in modules if isinstance(m, KeyedDropout)]
        assert {m.probability for m in keyed} == {0.1}
        assert len({m.number for m in keyed}) == len(keyed) > 1


@pytest.mark.parametrize("table", WITH_ATTRIBUTES)
@pytest.mark.parametrize("model", ["linear", "resnet"])
@pytest.mark.parametrize("num_rows", [1, 5, 40, 200])
def test_equals_pytorch_frames_own_forward_in_value_and_gradient(
    nasty_store: Store, table: str, model: RowsKind, num_rows: int
) -> None:
    """Cell vectors by PyTorch Frame, then its ResNet's blocks or one linear map: what folding must not change."""
    rows = np.arange(num_rows) * 7 % nasty_store.schema.tables[table].num_rows
    frame = nasty_store.features[table].gather(rows)
    encoder = row_encoder(nasty_store, table, model).double()
    x = encoder(frame)
    weights = torch.randn(x.shape, dtype=torch.float64)
    (x * weights).sum().backward()
    found = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
    encoder.zero_grad()
    cells = encoder.encoder(frame)[0].flatten(1)
    expected = encoder.linear(cells) if model == "linear" else encoder.decoder(encoder.backbone(cells))
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-10)
    (expected * weights).sum().backward()
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-10, msg=name)
