"""A batch's tensors as parts of few buffers: the same numbers, shapes and structure."""

from __future__ import annotations

import pytest
import torch

from rdl_core.batches.transfer import on_device
from rdl_core.kernels.info_nce import Pairs

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


@pytest.mark.parametrize("device", DEVICES)
def test_all_arrives_in_its_place_and_tensors_of_a_dtype_share_a_buffer(device: str) -> None:
    numbers = torch.arange(3), torch.rand(3, dtype=torch.float64)
    pairs = Pairs(*numbers, torch.ones(2, 4, dtype=torch.int32), torch.ones(2, 0, dtype=torch.int32), torch.tensor(7))
    value = {"a": (pairs, None, 5), "b": torch.rand(2, 3)}
    moved = on_device(value, torch.device(device))
    found, *rest = moved["a"]
    assert isinstance(found, Pairs) and rest == [None, 5]
    for name in ("place", "weight", "rank", "bound", "count"):
        one, other = getattr(found, name), getattr(pairs, name)
        assert one.dtype == other.dtype and one.shape == other.shape and one.device.type == device
        assert torch.equal(one.cpu(), other)
    assert torch.equal(moved["b"].cpu(), value["b"])
    assert found.place.untyped_storage().data_ptr() == found.count.untyped_storage().data_ptr()
