"""The contrastive pretraining loss on three levels (rows, links, contexts), and measures of collapse.

Owns the levels' matrices and how logits are made; which of them are positives and negatives comes with the batch (`batches.sample_layout`).
"""

from rdl_core.contrast.collapse import alignment, effective_rank, uniformity
from rdl_core.contrast.levels import ContextLevel, Level, LinkLevel, LossSum, RowLevel
from rdl_core.contrast.loss import LEVELS, ThreeLevelLoss

__all__ = [
    "LEVELS",
    "ContextLevel",
    "Level",
    "LinkLevel",
    "LossSum",
    "RowLevel",
    "ThreeLevelLoss",
    "alignment",
    "effective_rank",
    "uniformity",
]
