"""A user's own GNN and row encoder: trained, written and read under their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_frame.nn import MLP
from torch_geometric.nn import HeteroConv, SAGEConv

from rdl_core import load_model, load_task, pretrain, register_gnn, register_row_encoder
from rdl_core.api import PretrainedModel, finetune
from rdl_core.config import BackboneConfig, registered
from rdl_core.graph.store import Store
from rdl_core.model import ConstantRow, RelationalEncoder, frame_arguments
from tests.rdl_core.api.test_models import SMALL

pytestmark = pytest.mark.usefixtures("one_thread")


@register_gnn("test sage")
class Sage(torch.nn.Module):
    """PyG's HeteroConv of SAGEConv."""

    def __init__(self, tables: list[str], edge_types: list[Any], channels: int, num_layers: int) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(
            HeteroConv({e: SAGEConv((channels, channels), channels) for e in edge_types}) for _ in range(num_layers)
        )

    def forward(self, x_dict: dict[str, Any], edge_index_dict: dict[Any, Any]) -> dict[str, Any]:
        for conv in self.convs:
            x_dict = x_dict | {t: x.relu() for t, x in conv(x_dict, edge_index_dict).items()}
        return x_dict


@register_row_encoder("test mlp")
def mlp(table: Any, channels: int) -> MLP:
    """PyTorch Frame's MLP."""
    return MLP(channels, channels, num_layers=2, **frame_arguments(table), normalization="layer_norm")


def own(store: Store, folder: Path, **part: str) -> PretrainedModel:
    config = replace(SMALL, backbone=replace(SMALL.backbone, **part))
    return pretrain(store, config, max_steps=2, out=folder, on_report=None)


@pytest.mark.parametrize(("part", "name", "kind"), [("gnn", "test sage", Sage), ("row_encoder", "test mlp", MLP)])
def test_a_part_of_ones_own_is_trained_written_and_read(
    nasty_store: Store, nasty_dataset: Any, tmp_path: Path, part: str, name: str, kind: type
) -> None:
    model = own(nasty_store, tmp_path / "own", **{part: name})
    assert any(isinstance(module, kind) for module in model.modules())
    before = RelationalEncoder(nasty_store.schema, nasty_store.graph.edge_types, model.config)
    assert len(before.layers) == (0 if part == "gnn" else 2)
    batch = model.sample(nasty_store, "teams", [0, 3, 9])
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "own")(batch), model(batch))
    made = finetune(
        model, nasty_store, load_task(nasty_dataset, "team-points"), preset="contrast", max_steps=2, on_validation=None
    )
    gradients = torch.autograd.grad(made.model(batch).sum(), list(made.model.parameters()), allow_unused=True)
    assert sum(g is not None and bool(g.abs().sum() > 0) for g in gradients) > 10


def test_a_gnn_hears_of_neighbours_and_a_table_that_it_leaves_out_keeps_its_vectors(nasty_store: Store) -> None:
    @register_gnn("test neighbours")
    def neighbours(tables: list[str], edge_types: list[Any], channels: int, num_layers: int) -> Any:
        class SumOfMatches(torch.nn.Module):
            def forward(self, x_dict: dict[str, Any], edge_index_dict: dict[Any, Any]) -> dict[str, Any]:
                source, target = edge_index_dict["match", "home_id", "teams"]
                return {"teams": torch.zeros_like(x_dict["teams"]).index_add(0, target, x_dict["match"][source])}

        return SumOfMatches()

    config = replace(SMALL.backbone, gnn="test neighbours")
    encoder = RelationalEncoder(nasty_store.schema, nasty_store.graph.edge_types, config).eval()
    model_less = RelationalEncoder(nasty_store.schema, nasty_store.graph.edge_types, replace(config, gnn=None))
    from rdl_core.batches import hetero_data_to_rows, to_hetero_data
    from rdl_core.sampling import HGSampling

    sampler = HGSampling(nasty_store.graph, SMALL.sampling, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    data = to_hetero_data(sampler.sample(0, [0])[0], nasty_store.graph, nasty_store.features)
    frames, edges, _ = hetero_data_to_rows(data, encoder.timed_tables)
    x_dict = encoder.encode_rows(frames)
    found = encoder(frames, edges)
    source, target = data["match", "home_id", "teams"].edge_index
    assert len(source) and model_less.gnn is None
    expected = torch.zeros_like(x_dict["teams"]).index_add(0, target, x_dict["match"][source])
    torch.testing.assert_close(found["teams"], expected)
    assert torch.equal(found["match"], x_dict["match"])


def test_a_table_without_attributes_has_a_learned_vector_beside_ones_own_row_encoder(nasty_store: Store) -> None:
    config = replace(SMALL.backbone, row_encoder="test mlp")
    encoder = RelationalEncoder(nasty_store.schema, nasty_store.graph.edge_types, config)
    kinds = dict(zip(encoder.tables, map(type, encoder.row_encoders), strict=True))
    assert kinds.pop("équipe_catégorie") is ConstantRow
    assert set(kinds.values()) == {MLP}


def test_names_that_are_not_registered_and_vectors_of_another_form_are_refused_with_a_remedy(
    nasty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(nasty_store, tmp_path / "own", gnn="test sage")
    monkeypatch.setattr(registered, "_GNNS", {})
    with pytest.raises(
        ValueError, match=r"no GNN 'test sage' is registered .*none is.*import the module that says @reg"
    ):
        load_model(tmp_path / "own")
    with pytest.raises(ValueError, match="no row encoder 'cnn' is registered in this process"):
        own(nasty_store, tmp_path / "none", row_encoder="cnn")
    register_gnn("test narrow")(lambda *_: Narrow())
    with pytest.raises(ValueError, match="GNN 'test narrow' returned .* expected .*8"):
        own(nasty_store, tmp_path / "none", gnn="test narrow")
    assert not (tmp_path / "none").exists()


class Narrow(torch.nn.Module):
    """A GNN that returns too few channels."""

    def forward(self, x_dict: dict[str, Any], edge_index_dict: dict[Any, Any]) -> dict[str, Any]:
        return {table: x[:, :2] for table, x in x_dict.items()}


def test_a_name_stands_for_one_builder_and_a_cell_that_runs_again_replaces_its_own() -> None:
    def builder() -> Callable:
        @register_row_encoder("test again")
        def again(table: Any, channels: int) -> Any: ...

        return again

    builder()
    latest = builder()
    assert registered.registered_row_encoder("test again") is latest
    with pytest.raises(ValueError, match="the row encoder 'test again' is registered as .*again; choose another name"):
        register_row_encoder("test again")(mlp)
    assert BackboneConfig().row_encoder is None
