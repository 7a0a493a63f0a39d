"""Heads that see no network: the trivial constant, and (through rdl_core/tasks/column_heads.py) linear, LightGBM and their blend.

Promises: all take the same train labels as the networks of the seed and share, except that no limit of `network_train_rows` holds; test labels are
read only where the caller asks for test.
"""

from __future__ import annotations

import time

import numpy as np
from relbench.base import EntityTask

from benchmarks.tasks.database import Database
from benchmarks.tasks.outcome import Outcome, measure
from benchmarks.tasks.settings import Setting
from rdl_core.config import Regime
from rdl_core.tasks.labels import metric_name, read_split, read_train


def run_trivial(
    database: Database, task: EntityTask, setting: Setting, regime: Regime, label_share: float, *, val_only: bool
) -> Outcome:
    """Predicts the mean (binary) or the median (regression) of the train labels for every row."""
    begun, metric = time.perf_counter(), metric_name(task)
    bound_s = database.store.test_timestamp_s
    config = setting.of_labels(label_share, 0, is_network=False)
    train, val = read_train(task, regime, bound_s, config), read_split(task, "val", regime, bound_s)
    constant = float(np.mean(train.target) if metric == "roc_auc" else np.median(train.target))
    outcome = {"metric": metric, "val": measure(metric, np.full(len(val), constant), val.target), "steps": 0}
    test, predictions = None, None
    if not val_only:
        target = read_split(task, "test", regime, bound_s).target
        predictions = np.full(len(target), constant)
        test = measure(metric, predictions, target)
    return Outcome(**outcome, test=test, predictions=predictions, seconds=time.perf_counter() - begun)  # type: ignore[arg-type]
