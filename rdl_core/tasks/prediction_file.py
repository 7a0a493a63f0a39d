"""Predictions of a run as a Parquet file: what blends and paired comparisons start from.

    split         "val", "test" or, of the refitted model, "test_refit"; "out_of_fold": of the labels of train by models of earlier windows
    entity        row of the entity table
    source_key    the entity's key in the source, where the import has kept it (keys/<table>.parquet)
    time          the seed time, UTC, in seconds
    prediction    probability of a binary task, most likely class of a multi-class one, else target; null where no fold validates
    probability_<class>   of each class of a multi-class task

Promises: the rows of a split are in the order of the task's labels, all of them; no label is in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from relbench.base import EntityTask

from rdl_core.atomic_write import replace_file
from rdl_core.tasks.inputs import TaskInputs
from rdl_core.tasks.labels import Split, classes_of

FILE_NAME = "predictions.parquet"
PROBABILITY = "probability_"
LABELS_OF = {"test_refit": "test", "out_of_fold": "train"}


def write_predictions(path: Path, inputs: TaskInputs, predictions: Mapping[str, NDArray[np.float64]]) -> Path:
    """Writes the predictions of a run, float64 [seeds] or [seeds, classes] per split; returns the path."""
    return _write(path, [prediction_table(inputs, predictions)])


def prediction_table(inputs: TaskInputs, predictions: Mapping[str, NDArray[np.float64]]) -> pa.Table:
    """Returns what the file holds, of the predictions of a run: float64 [seeds] or [seeds, classes] per split."""
    keys, classes = _source_keys(inputs.task), classes_of(inputs.task)
    parts = [
        _rows(split, inputs.split(LABELS_OF.get(split, split)), keys, p, classes) for split, p in predictions.items()
    ]
    return pa.concat_tables(parts)


def write_head_predictions(
    path: Path,
    task: EntityTask,
    labels: Mapping[str, Split],
    predictions: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> Path:
    """Writes the predictions of several heads, by head and split, with a column `head`; returns the path.

    Args:
        labels: The seeds of "val" and "test".
    """
    keys, parts = _source_keys(task), []
    for head, of_head in predictions.items():
        for split, prediction in of_head.items():
            rows = _rows(split, labels[LABELS_OF.get(split, split)], keys, prediction)
            parts.append(rows.append_column("head", pa.array([head] * len(prediction))))
    return _write(path, parts)


def _rows(
    split: str,
    seeds: Split,
    keys: pa.ChunkedArray | None,
    prediction: NDArray[np.float64],
    classes: Sequence[str] = (),
) -> pa.Table:
    columns = {"split": pa.array([split] * len(seeds)), "entity": pa.array(seeds.entities)}
    if keys is not None:
        columns["source_key"] = keys.take(columns["entity"])
    columns["time"] = pa.array(seeds.time_s).cast(pa.timestamp("s", "UTC"))
    return pa.table(columns | prediction_columns(prediction, classes))


def prediction_columns(prediction: NDArray[np.float64], classes: Sequence[str]) -> dict[str, pa.Array]:
    """Returns the columns "prediction" and, of several classes, "probability_<class>".

    Args:
        prediction: float64 [rows]; of several classes [rows, classes].
        classes: Their names; () of a task that has none.
    """
    if not classes:
        return {"prediction": pa.array(prediction, from_pandas=True)}
    is_known = np.isfinite(prediction).all(axis=1)
    names = np.asarray(classes, dtype=object)[np.where(is_known, prediction.argmax(axis=1), 0)]
    columns = {"prediction": pa.array(names, pa.string(), mask=~is_known)}
    of_classes = zip(classes, prediction.T, strict=True)
    return columns | {f"{PROBABILITY}{name}": pa.array(column, from_pandas=True) for name, column in of_classes}


def _write(path: Path, parts: list[pa.Table]) -> Path:
    with replace_file(path) as partial:
        pq.write_table(pa.concat_tables(parts), partial, compression="zstd")
    return path


def read_predictions(path: Path) -> dict[str, NDArray[np.float64]]:
    """Returns the predictions of a file by split: float64 [seeds], of several classes [seeds, classes]; NaN for null."""
    table = pq.read_table(path)
    splits = table["split"].to_numpy()
    of_classes = [name for name in table.column_names if name.startswith(PROBABILITY)]
    columns = [table[name].to_numpy().astype(np.float64) for name in of_classes or ["prediction"]]
    predictions = np.stack(columns, axis=1) if of_classes else columns[0]
    return {split: predictions[splits == split] for split in dict.fromkeys(splits.tolist())}


def _source_keys(task: EntityTask) -> pa.ChunkedArray | None:
    """Returns the source key of each row of the entity table, or None where no import has kept them."""
    path = Path(task.dataset.dataset_dir) / "keys" / f"{task.entity_table}.parquet"
    if not path.is_file():
        return None
    return pq.read_table(path).sort_by("row_number")["source_key"]
