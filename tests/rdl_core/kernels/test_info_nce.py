"""InfoNCE against its plain reference and against loops: value and gradient, on a CPU and, where there is one, a GPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rdl_core.kernels.info_nce import Pairs, info_nce, info_nce_reference

NO_CANDIDATE = 2**31 - 1
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
SHAPES = [(1, 1, 1), (1, 7, 5), (3, 6, 40), (2, 33, 65)]


def random_pairs(seed: int, num_samples: int, num_anchors: int, num_candidates: int) -> Pairs:
    """Some places, of which some are inputs; candidates in a random order, some of them none; bounds of any size."""
    random = np.random.default_rng(seed)
    block = random.random((num_samples, num_anchors, num_candidates))
    place = np.flatnonzero(block < 0.2)
    rank = np.argsort(random.random((num_samples, num_candidates)), axis=1).astype(np.int32)
    rank[random.random(rank.shape) < 0.2] = NO_CANDIDATE
    bound = random.integers(1, num_candidates + 2, (num_samples, num_anchors)).astype(np.int32)
    weight = np.where(random.random(len(place)) < 0.7, random.random(len(place)), 0.0)
    is_negative = (rank[:, None] < bound[:, :, None]).reshape(-1, num_candidates)
    for p in place:  # an input has a negative
        is_negative[p // num_candidates, p % num_candidates] = False
    weight *= is_negative.any(axis=1)[place // num_candidates]
    tensors = map(torch.from_numpy, (place, weight, rank, bound))
    return Pairs(*tensors, torch.tensor(int((weight > 0).sum())))


def loops(logits: Tensor, pairs: Pairs) -> Tensor:
    num_samples, num_anchors, num_candidates = logits.shape
    place, total = pairs.place.tolist(), 0.0 * logits.sum()
    for p, weight in zip(place, pairs.weight.tolist(), strict=True):
        s, a, c = p // (num_anchors * num_candidates), p // num_candidates % num_anchors, p % num_candidates
        if weight > 0:
            negatives = [
                logits[s, a, w].exp()
                for w in range(num_candidates)
                if pairs.rank[s, w] < pairs.bound[s, a] and (s * num_anchors + a) * num_candidates + w not in place
            ]
            positive = logits[s, a, c].exp()
            total = total - weight * torch.log(positive / (positive + torch.stack(negatives).sum()))
    return total


def on(device: str, pairs: Pairs) -> Pairs:
    return Pairs(*(getattr(pairs, name).to(device) for name in ("place", "weight", "rank", "bound", "count")))


def value_and_gradient(loss, logits: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    leaf = logits.clone().requires_grad_()
    total = loss(leaf, pairs)
    (gradient,) = torch.autograd.grad(2 * total, leaf, materialize_grads=True)
    return total.detach().cpu(), gradient.cpu()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_reference_and_the_loops(shape: tuple[int, int, int], device: str) -> None:
    for seed in range(3):
        pairs = random_pairs(seed, *shape)
        logits = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 5
        expected = value_and_gradient(info_nce_reference, logits, pairs)
        assert shape[2] < 10 or (int(pairs.count) > 3 and 0 < int(pairs.count) < len(pairs.place))
        for loss, of_logits, where in (
            (info_nce, logits, device),
            (loops, logits, "cpu"),
            (info_nce, logits.mT.contiguous().mT, device),
        ):
            found = value_and_gradient(loss, of_logits.to(where), on(where, pairs))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)
        found = value_and_gradient(info_nce, logits.float().to(device), on(device, pairs))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == torch.float32
            torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_two_runs_give_the_same_bits(device: str) -> None:
    pairs, logits = on(device, random_pairs(0, 8, 90, 70)), torch.randn(8, 90, 70, device=device)
    first = value_and_gradient(info_nce, logits, pairs)
    for _ in range(3):
        again = value_and_gradient(info_nce, logits, pairs)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", [info_nce, info_nce_reference])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_logits_stay_finite(size: float, loss, device: str) -> None:  # type: ignore[no-untyped-def]
    pairs = Pairs(torch.tensor([0]), torch.tensor([1.0], dtype=torch.float64), torch.tensor([[0, 1, NO_CANDIDATE]], dtype=torch.int32),
                  torch.tensor([[2]], dtype=torch.int32), torch.tensor(1))  # fmt: skip
    logits = torch.tensor([[[size, 0.0, math.nan if size > 0 else 0.0]]])
    logits[..., 2] = 3e4  # of no candidate: it must not be seen
    total, gradient = value_and_gradient(loss, logits.to(device), on(device, pairs))
    assert total.item() == pytest.approx(max(0.0, -size), rel=1e-6)
    expected = [-2.0, 2.0, 0.0] if size < 0 else [0.0, 0.0, 0.0]
    torch.testing.assert_close(gradient.view(-1), torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_logits_that_are_not_a_number_make_a_loss_that_is_none() -> None:
    pairs = random_pairs(0, 1, 4, 9)
    total, _ = value_and_gradient(info_nce, torch.full((1, 4, 9), math.nan), pairs)
    assert math.isnan(total.item())
