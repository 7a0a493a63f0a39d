"""Masks that belong to rows: the kernel against PyTorch's integer operations, and what a mask depends on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from rdl_core.kernels.dropout_mask import dropout_mask, dropout_mask_reference, row_keys
from rdl_core.model.dropout import MAX_CALLS, KeyedDropout, masks, replace_dropout

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("probability", [0.0, 0.2, 0.4, 0.99])
@pytest.mark.parametrize("cells", [0, 1, 2, 6, 7, 128])
def test_the_kernel_draws_the_bits_of_the_reference(cells: int, probability: float, device: str) -> None:
    keys = row_keys([(5, (3, 1, 7, 0)), (0, (9,)), (3, (3, 1, 8, 0))])
    expected = dropout_mask_reference(keys, range(77, 80, 2), cells, probability)
    found = dropout_mask(keys.to(device), range(77, 80, 2), cells, probability)
    assert found.shape == (2, 8, cells)
    assert torch.equal(found.cpu(), expected)


def dropped(*segments: tuple[int, tuple[int, ...]], number: int = 0) -> Tensor:
    return dropout_mask(row_keys(segments), range(number, number + 1), 32, 0.4)[0]


def test_the_mask_of_a_sample_is_the_same_in_any_batch() -> None:
    a, b, c = (5, (0, 1, 7, 0)), (3, (0, 1, 8, 0)), (4, (0, 2, 7, 0))
    assert torch.equal(dropped(a, b, c), torch.cat([dropped(a), dropped(b), dropped(c)]))
    assert torch.equal(dropped(c, a), torch.cat([dropped(c), dropped(a)]))


@pytest.mark.parametrize("place", range(4), ids=["seed", "epoch", "sample", "view"])
def test_the_mask_differs_between_streams(place: int) -> None:
    stream = [3, 1, 7, 0]
    other = [n + (i == place) for i, n in enumerate(stream)]
    assert not torch.equal(dropped((6, tuple(stream))), dropped((6, tuple(other))))


def test_the_mask_differs_between_modules_and_rows() -> None:
    segment = (6, (3, 1, 7, 0))
    mask = dropped(segment)
    assert not torch.equal(mask, dropped(segment, number=1))
    assert len(mask.unique(dim=0)) == 6


def test_a_mask_drops_its_share_and_keeps_the_mean() -> None:
    mask = dropped((400, (3, 1, 7, 0)))
    assert (mask == 0).float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert torch.allclose(mask[mask != 0], torch.tensor(1 / 0.6))


def test_each_call_within_a_pass_has_a_mask_of_its_own_and_a_pass_can_be_repeated() -> None:
    dropout, x = KeyedDropout(0.4, 3), torch.ones(6, 5, 7)
    keys = row_keys([(6, (3, 1, 7, 0))])
    dropout.set_keys(keys)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    dropout.set_keys(keys)
    assert torch.equal(dropout(x), first)


def test_masks_that_modules_draw_together_are_those_that_each_draws_alone() -> None:
    keys = row_keys([(6, (3, 1, 7, 0)), (2, (3, 1, 8, 0))])
    together = dropout_mask_reference(keys, range(70_000 * MAX_CALLS + 2, 70_003 * MAX_CALLS, MAX_CALLS), 10, 0.4)
    alone = [masks(keys, range(i, i + 1), 2, 10, 0.4)[0] for i in range(70_000, 70_003)]
    assert torch.equal(together, torch.stack(alone))


@pytest.mark.parametrize("device", DEVICES)
def test_every_pass_uses_the_masks_of_its_own_keys_also_after_evaluation_and_in_a_copy(device: str) -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(0.4), torch.nn.Identity(), torch.nn.Dropout(0.4)).to(device)
    replace_dropout(model, 5)
    keys = [row_keys([(6, (3, 1, sample, 0))]).to(device) for sample in (7, 8)]

    def passed(one: torch.nn.Module, number: int) -> Tensor:
        for module in one.modules():
            if isinstance(module, KeyedDropout):
                module.set_keys(keys[number])
        out: Tensor = one(torch.ones(6, 32, device=device))
        return out

    expected = [masks(k, range(5, 6), 0, 32, 0.4)[0] * masks(k, range(6, 7), 0, 32, 0.4)[0] for k in keys]
    other = copy.deepcopy(model)
    for one, number in ((model, 0), (model, 1), (other, 0), (model, 1), (other, 0)):
        assert torch.equal(passed(one, number), expected[number])
    model.eval()
    assert (passed(model, 0) == 1).all()
    model.train()
    assert torch.equal(passed(model, 0), expected[0])


def test_keys_of_another_batch_are_refused() -> None:
    dropout = KeyedDropout(0.4, 0)
    dropout.set_keys(row_keys([(6, (3, 1, 7, 0))]))
    with pytest.raises(ValueError, match="keys for 6 rows, the input has 7"):
        dropout(torch.ones(7, 8))


def test_dropout_without_keys_follows_the_global_generator() -> None:
    dropout, x = KeyedDropout(0.4, 0), torch.ones(6, 32)
    torch.manual_seed(5)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(5)
    dropout.set_keys(None)
    assert not torch.equal(first, second)
    assert torch.equal(dropout(x), first)


def test_dropout_does_nothing_in_evaluation() -> None:
    x = torch.ones(2, 8)
    assert KeyedDropout(0.4, 0).eval()(x) is x
    assert KeyedDropout(0.0, 0)(x) is x
