"""Labels of an entity task: those of a split, and those that a model learns from.

Promises: seed times are rounded down and row times up (timestamps.py), so "strictly before" holds in whole seconds; the two regimes differ only in
the bound: `rolling` sees what exists before the seed's own time, `snapshot` the same of a database cut at the test timestamp. `read_train` and
`read_closed` are the only places that decide which labels are learned from: networks and other heads that are given the same configuration get the
same rows, whatever the workers. Labels of test are never among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.base import EntityTask, TaskType

from rdl_core.config import FinetuningConfig, Regime
from rdl_core.database.label_checks import class_name, class_names
from rdl_core.database.label_replay import further_labels
from rdl_core.random_streams import PURPOSE_LABEL_SHARE, permuted, stream
from rdl_core.timestamps import series_to_unix_seconds


@dataclass(frozen=True, kw_only=True)
class Split:
    """Seeds and labels of one split, or of all that is learned from.

    Args:
        entities: int64 [seeds], rows of the entity table.
        time_s: int64 [seeds], UNIX seconds.
        before_s: int64 [seeds], what a tree may hold exists strictly before.
        target: float64 [seeds]. Of a multi-class task the class's place among `classes_of`; -1 for a class that train lacks.
            NaN where a label is hidden.
        numbers: int64 [seeds], distinct: a seed's tree is drawn by its number. The row of the label's table; validation's come after those of train,
            labels of a replay after both.
        weights: float64 [seeds], of each label in the loss; their sum is the number of the task's own labels among those that are learned from.
    """

    entities: NDArray[np.int64]
    time_s: NDArray[np.int64]
    before_s: NDArray[np.int64]
    target: NDArray[np.float64]
    numbers: NDArray[np.int64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.entities)

    def rows(self, rows: NDArray[np.int64]) -> Split:
        """Returns some of the seeds, each with the weight 1."""
        return Split(
            entities=self.entities[rows],
            time_s=self.time_s[rows],
            before_s=self.before_s[rows],
            target=self.target[rows],
            numbers=self.numbers[rows],
            weights=np.ones(len(rows)),
        )


def read_split(task: EntityTask, split: str, regime: Regime, test_timestamp_s: int) -> Split:
    """All seeds and labels of "train", "val" or "test".

    Args:
        regime: "rolling" or "snapshot".
        test_timestamp_s: UNIX seconds; rows up to it (inclusive) are the snapshot.
    """
    return _split(task, task.get_table(split, mask_input_cols=False).df, regime, test_timestamp_s)


def classes_of(task: EntityTask) -> tuple[str, ...]:
    """The classes of a multi-class task, which are those of its train labels, as texts; () for other tasks.

    A label of val or test whose class is not among them can only be predicted wrongly, and is counted so; a refit leaves it out.
    """
    if not is_multiclass(task):
        return ()
    return class_names(task.get_table("train", mask_input_cols=False).df[task.target_col])


def read_train(task: EntityTask, regime: Regime, test_timestamp_s: int, config: FinetuningConfig) -> Split:
    """The labels that are learned from while validation decides: train's, or `config.label_share` of them, or with those of `config.label_stride`.

    A share is drawn from (config.seed, labels): what a smaller share of a seed keeps, a larger one keeps, too (but for the one row that brings in a
    class that would be missing). At least two labels are kept and, of a binary task, one of each class.

    Raises:
        DatabaseError: Labels cannot be replayed (label_replay.py says when).
    """
    train = read_split(task, "train", regime, test_timestamp_s)
    if config.label_share < 1.0:
        return train.rows(_kept(task, train.target, config))
    return _with_replay(task, train, ("train",), regime, test_timestamp_s, config.label_stride)


def read_closed(task: EntityTask, regime: Regime, test_timestamp_s: int, config: FinetuningConfig) -> Split:
    """The labels that a model learns from again, once all is chosen (`refit`): every one whose window has closed by the test timestamp.

    These are the labels of `read_train`, then those of validation, of both those whose time plus the task's timedelta is at most the test timestamp;
    with `config.label_stride`, the replay goes on through the validation period.

    Raises:
        ValueError: No window of a validation label has closed.
        DatabaseError: Labels cannot be replayed (label_replay.py says when).
    """
    train = read_split(task, "train", regime, test_timestamp_s)
    val = read_split(task, "val", regime, test_timestamp_s)
    window_s = int(np.ceil(pd.Timedelta(task.timedelta).total_seconds()))
    is_closed = np.flatnonzero((val.time_s + window_s <= test_timestamp_s) & _is_learnable(task, val))
    if not len(is_closed):
        raise ValueError(
            f"task {task.name!r}: no validation label's window of {task.timedelta} closes by the test timestamp, so a refit would learn from the "
            "train labels again. Remedy: leave out --refit"
        )
    closed = val.rows(is_closed)
    kept = np.arange(len(train)) if config.label_share == 1.0 else _kept(task, train.target, config)
    kept = kept[train.time_s[kept] + window_s <= test_timestamp_s]
    own = _joined([train.rows(kept), closed], numbers=np.concatenate([kept, len(train) + is_closed]))
    return _with_replay(task, own, ("train", "val"), regime, test_timestamp_s, config.label_stride)


def metric_name(task: EntityTask) -> str:
    """The metric that selects and is reported: "roc_auc", of several classes "accuracy" (higher is better), or "mae" (lower is better)."""
    if is_multiclass(task):
        return "accuracy"
    return "roc_auc" if _is_binary(task) else "mae"


def is_multiclass(task: EntityTask) -> bool:
    """Tells whether the label is one of several classes."""
    return bool(task.task_type == TaskType.MULTICLASS_CLASSIFICATION)


def kept_rows(num_rows: int, num_kept: int, seed: int, classes: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Returns which of `num_rows` rows are kept: int64 [num_kept], ascending.

    Args:
        classes: float64 [num_rows], the labels of a binary task: where two rows or more would be of one class, the last gives its place to the first
            of the other class.
    """
    order = permuted(np.arange(num_rows), num_rows, stream(seed, PURPOSE_LABEL_SHARE))
    kept = order[:num_kept].copy()
    if classes is not None and num_kept > 1:
        for missing in np.setdiff1d(classes, classes[kept]):
            kept[-1] = order[np.argmax(classes[order] == missing)]
    return np.sort(kept)


def _is_binary(task: EntityTask) -> bool:
    return bool(task.task_type == TaskType.BINARY_CLASSIFICATION)


def _split(task: EntityTask, frame: pd.DataFrame, regime: Regime, test_timestamp_s: int) -> Split:
    time_s = series_to_unix_seconds(frame[task.time_col])
    return Split(
        entities=frame[task.entity_col].to_numpy().astype(np.int64),
        time_s=time_s,
        before_s=time_s if regime == "rolling" else np.minimum(time_s, test_timestamp_s + 1),
        target=_target(task, frame[task.target_col]),
        numbers=np.arange(len(frame)),
        weights=np.ones(len(frame)),
    )


def _target(task: EntityTask, labels: pd.Series) -> NDArray[np.float64]:
    if not is_multiclass(task):
        return labels.to_numpy().astype(np.float64)
    places = {name: place for place, name in enumerate(classes_of(task))}
    names = labels.map(lambda label: np.nan if pd.isna(label) else places.get(class_name(label), -1))
    return names.to_numpy().astype(np.float64)


def _is_learnable(task: EntityTask, split: Split) -> NDArray[np.bool_]:
    """Returns which labels a model can learn from, all but those of classes that train lacks: bool [seeds]."""
    return split.target >= 0 if is_multiclass(task) else np.ones(len(split), dtype=bool)


def _kept(task: EntityTask, target: NDArray[np.float64], config: FinetuningConfig) -> NDArray[np.int64]:
    """Returns the train rows of the configured share: int64 [kept], ascending."""
    num_kept = min(len(target), max(2, int(np.ceil(round(config.label_share * len(target), 6)))))
    return kept_rows(len(target), num_kept, config.seed, target if _is_binary(task) else None)


def _with_replay(
    task: EntityTask, own: Split, splits: tuple[str, ...], regime: Regime, test_timestamp_s: int, stride: float | None
) -> Split:
    """Returns the labels with those of a replay behind them, all of one weight; themselves without a stride."""
    if stride is None:
        return own
    further = _split(task, further_labels(task, stride, splits), regime, test_timestamp_s)
    further = further.rows(np.flatnonzero(_is_learnable(task, further)))
    first_number = int(own.numbers.max()) + 1
    joined = _joined([own, further], numbers=np.concatenate([own.numbers, first_number + further.numbers]))
    joined.weights[:] = len(own) / len(joined)
    return joined


def _joined(parts: list[Split], numbers: NDArray[np.int64]) -> Split:
    def column(name: str) -> NDArray:
        return np.concatenate([getattr(part, name) for part in parts])

    return Split(
        entities=column("entities"),
        time_s=column("time_s"),
        before_s=column("before_s"),
        target=column("target"),
        numbers=numbers,
        weights=column("weights"),
    )
