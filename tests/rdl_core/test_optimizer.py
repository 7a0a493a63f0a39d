"""The optimizer is PyTorch's fused Adam, bit for bit: over steps, checkpoints, and where a parameter has no gradient for a while."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rdl_core.optimizer import make_optimizer

SIZES = [(3, 4), (5,), (1,), (2, 2)]


def run(make: Callable[[torch.nn.Module], torch.optim.Optimizer], missing: dict[int, range], reload_at: int) -> list:
    """Weights and state after ten steps; in steps missing[i] parameter i has no gradient."""
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.parts = torch.nn.ParameterList(torch.randn(size) for size in SIZES)
    optimizer = make(model)
    for step in range(10):
        if step == reload_at:
            saved = optimizer.state_dict()
            counts = [entry["step"].data_ptr() for entry in saved["state"].values()]
            assert len(set(counts)) == len(counts)  # safetensors refuses tensors that share memory
            optimizer = make(model)
            optimizer.load_state_dict(saved)
        for i, parameter in enumerate(model.parts):
            gradient = torch.randn(parameter.shape)
            parameter.grad = None if step in missing.get(i, ()) else gradient
        optimizer.step()
    return [
        *(p.detach() for p in model.parts),
        *(x for e in optimizer.state_dict()["state"].values() for x in e.values()),
    ]


@pytest.mark.parametrize("reload_at", [0, 1, 5, 99])
@pytest.mark.parametrize("missing", [{}, {1: range(1)}, {0: range(6), 2: range(3)}, {3: range(99)}, {3: range(5, 6)}])
def test_equals_pytorchs_bit_for_bit(missing: dict[int, int], reload_at: int) -> None:
    plain = run(lambda m: torch.optim.Adam(m.parameters(), lr=0.1, fused=True), missing, reload_at)
    ours = run(lambda m: make_optimizer(m, 0.1), missing, reload_at)
    assert len(ours) == len(plain)
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
