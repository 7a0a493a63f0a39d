"""Heads that see no network: the baselines, and the linear model, LightGBM and their blend chosen on folds (rdl_core/tasks/column_heads.py).

Promises: all learn from the same labels as the networks of the seed and share, except that no limit of `network_train_rows` holds. "lightgbm" is the
baseline, LightGBM on all generated columns, which stops early on validation; "lightgbm_on_folds" is the head, whose columns and settings are chosen
on folds inside train, and what the blends hold.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from relbench.base import EntityTask

from benchmarks.tasks.database import Database
from benchmarks.tasks.outcome import Outcome, Outcomes
from benchmarks.tasks.settings import Setting
from rdl_core.config import HeadName, Regime
from rdl_core.heads import Fold
from rdl_core.tasks.column_heads import ColumnHeads, HeadScores
from rdl_core.tasks.labels import metric_name

BASELINES = ("trivial", "lightgbm")
NAMES: dict[str, HeadName] = {"linear": "linear", "lightgbm_on_folds": "lightgbm", "blend": "blend"}
"""The names that column_heads.py has for the heads."""


class FoldedHeads(ColumnHeads):
    """ColumnHeads whose folds may be given."""

    given_folds: Sequence[Fold] | None = None

    def use_folds(self, folds: Sequence[Fold]) -> None:
        """Chooses on these folds."""
        self.given_folds = folds

    def folds(self) -> list[Fold]:
        """Returns the folds that were given, or the expanding windows."""
        return super().folds() if self.given_folds is None else list(self.given_folds)


def column_heads(
    database: Database, task: EntityTask, setting: Setting, regime: Regime, label_share: float
) -> FoldedHeads:
    """Returns the heads of a task, their columns remembered."""
    finetuning = setting.of_labels(label_share, database.num_train_rows(task.name), is_network=False)
    heads = FoldedHeads(database.store, task, regime, finetuning, setting.heads, setting.columns)
    heads.columns = database.columns(task.entity_table, setting.columns)
    return heads


def run_columns(
    database: Database, task: EntityTask, setting: Setting, regime: Regime, label_share: float, heads: Collection[str]
) -> Outcomes:
    """Chooses, fits and evaluates heads without a network.

    Args:
        setting: With the seed of the run (`Setting.of_seed`).
        heads: Names of heads of the arm "none".

    Returns:
        Outcomes of the heads, and of baselines perhaps more than was asked for; with a refit, those of the refitted ones, too.
    """
    begun = time.perf_counter()
    chosen = [NAMES[head] for head in NAMES if head in heads]
    run = column_heads(database, task, setting, regime, label_share)
    result = run.run(chosen, baseline=any(head in heads for head in BASELINES))
    found = {head: result.heads[name] for head, name in NAMES.items() if name in result.heads} | dict(result.baselines)
    seconds = time.perf_counter() - begun
    outcomes: dict[tuple[str, bool], Outcome] = {}
    for head, scores in found.items():
        outcomes |= outcome_of(head, scores, metric_name(task), steps=0, seconds=seconds)
    return outcomes


def outcome_of(
    head: str, scores: HeadScores, metric: str, *, steps: int, seconds: float
) -> dict[tuple[str, bool], Outcome]:
    """Returns the outcome of a head and, of a refit, that of the refitted one."""
    tests = {False: scores.test} | ({} if scores.test_refit is None else {True: scores.test_refit})
    return {
        (head, is_refit): Outcome(
            metric=metric,
            val=scores.val,
            test=test,
            predictions=scores.predictions["test_refit" if is_refit else "test"],
            steps=steps,
            seconds=seconds,
        )
        for is_refit, test in tests.items()
    }
