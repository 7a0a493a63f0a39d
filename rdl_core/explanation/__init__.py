"""Contributions of tables, foreign keys and columns to predictions and to a task's metric: each group of inputs left out against a neutral value.

Owns the promise that a contribution is a difference of two predictions of the model itself: it is a function of the model, the row and the time,
never of what is asked beside it, and it is exactly 0 for a group that the model does not read.
"""

from rdl_core.explanation.explainer import Explainer
from rdl_core.explanation.groups import LEVELS
from rdl_core.explanation.importance import GroupImportance, TaskExplanation, explain_task

__all__ = ["LEVELS", "Explainer", "GroupImportance", "TaskExplanation", "explain_task"]
