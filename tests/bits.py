"""Comparisons bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch_frame import TensorFrame

from rdl_core.sampling.subgraph import Subgraph


def same_subgraphs(first: Sequence[Subgraph], second: Sequence[Subgraph]) -> bool:
    """Returns whether two lists of samples are equal."""
    return [s.to_bytes() for s in first] == [s.to_bytes() for s in second]


def frame_bytes(frame: TensorFrame) -> dict[str, list[bytes]]:
    """Returns {semantic type and column names: bytes of its blocks}."""
    blocks = {}
    for kind, feature in frame.feat_dict.items():
        tensors = [feature] if isinstance(feature, torch.Tensor) else [feature.values, feature.offset]
        blocks[f"{kind} {frame.col_names_dict[kind]}"] = [t.contiguous().numpy().tobytes() for t in tensors]
    return blocks
