"""Heads on columns: linear, LightGBM and blended models of arrays, all choices made on expanding windows inside train.

Owns the promise that a choice never sees a label of its own fold's validation block, of a later time, or of a window that was still open. Knows
neither databases nor torch.
"""

from rdl_core.heads.blend import blended, greedy_weights
from rdl_core.heads.boosting import Boosting, BoostingModel, Trees
from rdl_core.heads.choice import Blend, Chooser, Chosen, Head, Penalty
from rdl_core.heads.examples import Examples, weighted_median
from rdl_core.heads.folds import Fold, expanding_folds
from rdl_core.heads.head_files import head_files, read_head
from rdl_core.heads.linear import LinearModel
from rdl_core.heads.score import fold_score, score

__all__ = [
    "Blend",
    "Boosting",
    "BoostingModel",
    "Chooser",
    "Chosen",
    "Examples",
    "Fold",
    "Head",
    "LinearModel",
    "Penalty",
    "Trees",
    "blended",
    "expanding_folds",
    "fold_score",
    "greedy_weights",
    "head_files",
    "read_head",
    "score",
    "weighted_median",
]
