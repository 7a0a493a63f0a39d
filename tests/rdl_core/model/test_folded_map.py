"""The maps of a table's cells: the kernels against PyTorch's operations, and the same bits each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rdl_core.config import LinearRows
from rdl_core.graph.store import Store
from rdl_core.kernels.product_kernels import HAS_KERNEL
from rdl_core.model import folded_map
from rdl_core.model.folded_map import folded_maps
from rdl_core.model.row_encoder import RowEncoder

WITH_ATTRIBUTES = ["categories", "teams", "order", "order_line", "match", "lineup", "goal", "ticket"]
CHANNELS = 16
pytestmark = pytest.mark.skipif(not HAS_KERNEL, reason="this PyTorch or system has no kernel")


def mapped(store: Store, table: str, rows: np.ndarray) -> dict[str, Tensor]:
    """Two maps of a table's cells, and the gradients of all parameters, by name."""
    torch.manual_seed(0)
    encoder = RowEncoder(store.schema.tables[table], CHANNELS, LinearRows(), 0)
    first = encoder.model.linear
    maps = torch.nn.ModuleList([first, torch.nn.Linear(first.in_features, 24)])
    modules = torch.nn.ModuleDict({"encoder": encoder, "maps": maps})
    with torch.no_grad():
        for parameter in modules.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    out = folded_maps(encoder.model.encoder, store.features[table].gather(rows), list(maps))
    (out * torch.randn(out.shape)).sum().backward()
    gradients = {name: p.grad for name, p in modules.named_parameters()}
    assert all(g is not None for g in gradients.values())
    return {"out": out.detach(), **gradients}


@pytest.mark.parametrize("table", WITH_ATTRIBUTES)
@pytest.mark.parametrize("num_rows", [0, 1, 40, 200])
def test_kernels_compute_what_operations_do_in_value_and_gradient(
    nasty_store: Store, monkeypatch: pytest.MonkeyPatch, table: str, num_rows: int
) -> None:
    """No rows; fewer than categories; fewer than an embedding is wide; more."""
    rows = np.arange(num_rows) * 7 % nasty_store.schema.tables[table].num_rows
    found = mapped(nasty_store, table, rows)
    again = mapped(nasty_store, table, rows)
    monkeypatch.setattr(folded_map, "HAS_KERNEL", False)
    expected = mapped(nasty_store, table, rows)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)
        assert torch.equal(found[name], again[name]), name
