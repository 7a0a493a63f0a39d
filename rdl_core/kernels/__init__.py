"""Fused primitives, one autograd operation per file, each beside its plain reference and tested against it in float64.

Owns what an ordinary composition of PyTorch's operations would make markedly slower; knows tensors only, no tables and no batches.
"""

from rdl_core.kernels.info_nce import Pairs, info_nce, info_nce_reference
from rdl_core.kernels.softmax_rows import softmax_rows, softmax_rows_reference
from rdl_core.kernels.sum_rows import sum_rows, sum_rows_reference

__all__ = [
    "Pairs",
    "info_nce",
    "info_nce_reference",
    "softmax_rows",
    "softmax_rows_reference",
    "sum_rows",
    "sum_rows_reference",
]
