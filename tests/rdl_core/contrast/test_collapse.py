"""Collapse measures against closed forms and at their edges."""

import math

import pytest
import torch
from torch import Tensor

from rdl_core.contrast.collapse import effective_rank


def test_effective_rank_of_known_singular_values() -> None:
    # Rows +-a_k e_k are centred and have singular values a_k * sqrt(2): here shares 1/2, 1/4, 1/4.
    scaled = torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
    expected = math.exp(0.5 * math.log(2) + 2 * 0.25 * math.log(4))
    assert effective_rank(torch.cat([scaled, -scaled]) + 7.0) == pytest.approx(expected, rel=1e-12)
    simplex = torch.eye(5, dtype=torch.float64)  # centred: four equal singular values
    assert effective_rank(simplex) == pytest.approx(4.0, rel=1e-12)


def test_effective_rank_of_a_line_is_one() -> None:
    line = torch.arange(9.0).unsqueeze(1) * torch.tensor([1.0, -2.0, 0.5]) + 3.0
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("h", [torch.zeros(0, 4), torch.ones(1, 4), torch.full((6, 4), 0.1), torch.zeros(3, 4)])
def test_nothing_varies_is_the_collapsed_extreme(h: Tensor) -> None:
    assert effective_rank(h) == 1.0


def test_effective_rank_does_not_count_rounding_noise() -> None:
    row = torch.randn(16, generator=torch.Generator().manual_seed(0))
    one_ulp = torch.randint(0, 2, (50, 16), generator=torch.Generator().manual_seed(1))
    noisy = torch.where(one_ulp == 1, row.nextafter(torch.tensor(9.0)), row)
    assert not torch.equal(noisy[0], noisy[1])
    assert effective_rank(noisy) == 1.0


def test_no_graph_and_any_dtype() -> None:
    h = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert isinstance(effective_rank(h), float)
    assert effective_rank(h.bfloat16()) == pytest.approx(effective_rank(h), abs=0.05)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    h = torch.ones(4, 3)
    h[2, 1] = value
    with pytest.raises(ValueError, match=r"h: row 2, channel 1 is (nan|inf)"):
        effective_rank(h)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="floating matrix"):
        effective_rank(torch.ones(4, dtype=torch.int64))
