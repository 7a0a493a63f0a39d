"""Predictions of a run as a Parquet file: what blends and paired comparisons start from.

    split         "val", "test" or, of the refitted model, "test_refit"; "out_of_fold": of the labels of train by models of earlier windows
    entity        row of the entity table
    source_key    the entity's key in the source, where the import has kept it (keys/<table>.parquet)
    time          the seed time, UTC, in seconds
    prediction    probability of a binary task, else target; null where no fold validates

Promises: the rows of a split are in the order of the task's labels, all of them; no label is in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from relbench.base import EntityTask

from rdl_core.atomic_write import replace_file
from rdl_core.tasks.inputs import TaskInputs
from rdl_core.tasks.labels import Split

FILE_NAME = "predictions.parquet"
LABELS_OF = {"test_refit": "test", "out_of_fold": "train"}


def write_predictions(path: Path, inputs: TaskInputs, predictions: Mapping[str, NDArray[np.float64]]) -> Path:
    """Writes the predictions of a run, float64 [seeds] per split; returns the path."""
    return _write(path, [prediction_table(inputs, predictions)])


def prediction_table(inputs: TaskInputs, predictions: Mapping[str, NDArray[np.float64]]) -> pa.Table:
    """Returns what the file holds, of the predictions of a run: float64 [seeds] per split."""
    keys = _source_keys(inputs.task)
    parts = [_rows(split, inputs.split(LABELS_OF.get(split, split)), keys, p) for split, p in predictions.items()]
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


def _rows(split: str, seeds: Split, keys: pa.ChunkedArray | None, prediction: NDArray[np.float64]) -> pa.Table:
    columns = {"split": pa.array([split] * len(seeds)), "entity": pa.array(seeds.entities)}
    if keys is not None:
        columns["source_key"] = keys.take(columns["entity"])
    columns["time"] = pa.array(seeds.time_s).cast(pa.timestamp("s", "UTC"))
    columns["prediction"] = pa.array(prediction, from_pandas=True)
    return pa.table(columns)


def _write(path: Path, parts: list[pa.Table]) -> Path:
    with replace_file(path) as partial:
        pq.write_table(pa.concat_tables(parts), partial, compression="zstd")
    return path


def read_predictions(path: Path) -> dict[str, NDArray[np.float64]]:
    """Returns the predictions of a file by split: float64 [seeds], NaN for null."""
    table = pq.read_table(path, columns=["split", "prediction"])
    splits = table["split"].to_numpy()
    predictions = table["prediction"].to_numpy().astype(np.float64)
    return {split: predictions[splits == split] for split in dict.fromkeys(splits.tolist())}


def _source_keys(task: EntityTask) -> pa.ChunkedArray | None:
    """Returns the source key of each row of the entity table, or None where no import has kept them."""
    path = Path(task.dataset.dataset_dir) / "keys" / f"{task.entity_table}.parquet"
    if not path.is_file():
        return None
    return pq.read_table(path).sort_by("row_number")["source_key"]
