"""Linear maps on a row's concatenated cell vectors, without the cell vectors where that is less work.

PyTorch Frame makes a vector of every cell, e_c = E_c^T a_c, where a_c are the cell's numbers: (value, 1) of a number, 56 sines and cosines and 1 of
a time, a one-hot of a category; all zeros for null. A map on their concatenation is then one matrix on all numbers,

    sum over columns c of W_c e_c = sum over c of (E_c W_c^T)^T a_c,

so the product with W_c runs once per column and not once per cell, and a category picks a row of E_c W_c^T. Texts, lists, and categories of more
values than the batch has cells keep their cell vectors. Only the order of multiplications differs from PyTorch Frame's own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, linear, pad
from torch_frame import TensorFrame, stype
from torch_frame.data.stats import StatType
from torch_frame.nn import StypeWiseFeatureEncoder


def folded_maps(encoder: StypeWiseFeatureEncoder, frame: TensorFrame, maps: Sequence[torch.nn.Linear]) -> Tensor:
    """Returns [rows, out_features of all maps side by side] of each map on the rows' concatenated cell vectors.

    Args:
        encoder: PyTorch Frame's, with the encoders of cell_encoders.py.
        frame: The rows.
        maps: Each [columns * channels] -> [out_features].
    """
    dtype = maps[0].weight.dtype
    counts = [len(frame.col_names_dict[kind]) for kind in frame.stypes]  # the order in which PyTorch Frame concatenates
    by_map = [m.weight.view(m.out_features, frame.num_cols, -1).transpose(0, 1).split(counts) for m in maps]
    numbers, folded, others = [], [], []
    for kind, *columns in zip(frame.stypes, *by_map, strict=True):  # columns: per map [columns, out, channels]
        module: Any = encoder.encoder_dict[kind.value]
        feature: Any = frame.feat_dict[kind]
        if kind in (stype.numerical, stype.timestamp):
            of_cells, parameters = module.numbers_and_parameters(feature, dtype)
            numbers.append(of_cells.flatten(1))
            folded.append(torch.cat([torch.bmm(w, parameters.mT) for w in columns], dim=1).mT.flatten(0, 1))
        elif kind == stype.categorical and module.emb.num_embeddings <= feature.numel():
            others.append(_of_categories(module, feature, columns))
        else:
            cells = module(feature).flatten(1)
            others.append(torch.cat([linear(cells, w.transpose(0, 1).flatten(1)) for w in columns], dim=1))
    total = torch.cat([m.bias for m in maps])
    if numbers:
        total = torch.addmm(total, torch.cat(numbers, dim=1), torch.cat(folded)).to(dtype)
    return sum((part.to(dtype) for part in others), start=total)  # autocast rounds products, not sums


def _of_categories(module: Any, feature: Tensor, columns: Sequence[Tensor]) -> Tensor:
    """Returns [rows, out of all maps]: each cell picks a row of its column's categories times the maps; null picks the zeros of row 0."""
    sizes = [len(statistics[StatType.COUNT][0]) for statistics in module.stats_list]
    parts = module.vectors()[1:].split(sizes)
    products = [torch.cat([e @ w.mT for e, w in zip(parts, of_map, strict=True)]) for of_map in columns]
    folded = pad(torch.cat(products, dim=1).to(columns[0].dtype), (0, 0, 1, 0))
    places = (feature + module.offset + 1).masked_fill(feature < 0, 0)
    return embedding_bag(places, folded, mode="sum")
