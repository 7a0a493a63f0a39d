"""A batch's tensors on a device: one pinned buffer and one copy per dtype, however many tensors there are, without waiting for any of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch_frame import TensorFrame

Nested = TypeVar("Nested")


def on_device(value: Nested, device: torch.device) -> Nested:
    """Returns the same dataclasses, dicts and tuples with every tensor on the device, as parts of one buffer per dtype.

    Args:
        value: Of tensors on the host; what is neither a container nor a tensor stays as it is.
        device: Where to.
    """
    by_dtype: dict[torch.dtype, list[Tensor]] = {}

    def note(tensor: Tensor) -> Tensor:
        by_dtype.setdefault(tensor.dtype, []).append(tensor)
        return tensor

    _mapped(value, note)
    moved = {}
    for dtype, tensors in by_dtype.items():
        buffer = torch.cat([t.reshape(-1) for t in tensors])
        buffer = (buffer.pin_memory() if device.type == "cuda" else buffer).to(device, non_blocking=True)
        moved[dtype] = iter(buffer.split([t.numel() for t in tensors]))
    moved_value: Nested = _mapped(value, lambda tensor: next(moved[tensor.dtype]).view(tensor.shape))
    return moved_value


def frames_on_device(frames: dict[str, TensorFrame], device: torch.device) -> dict[str, TensorFrame]:
    """Returns the frames of each table on the device, from pinned memory where that is a GPU, without waiting."""
    is_pinned = device.type == "cuda"
    return {t: (f.pin_memory() if is_pinned else f).to(device, non_blocking=True) for t, f in frames.items()}


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Returns a copy with every tensor changed, in the order of fields and keys."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(v, change) for key, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_mapped(v, change) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _mapped(getattr(value, f.name), change) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value
