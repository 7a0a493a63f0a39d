"""The contrastive pretraining loss on three levels (rows, links, contexts), and the measure of collapse.

Owns the levels' matrices and how logits are made; which of them are positives and negatives comes with the batch (`batches.sample_layout`).
"""

from rdl_core.contrast.collapse import effective_rank
from rdl_core.contrast.levels import ContextLevel, LinkLevel, LossSum, RowLevel
from rdl_core.contrast.loss import LEVELS, ThreeLevelLoss

__all__ = [
    "LEVELS",
    "ContextLevel",
    "LinkLevel",
    "LossSum",
    "RowLevel",
    "ThreeLevelLoss",
    "effective_rank",
]
