"""Predictions of a run as a Parquet file: what blends and paired comparisons start from.

    split         "val", "test" or, of the refitted model, "test_refit"
    entity        row of the entity table
    source_key    the entity's key in the source, where the import has kept it (keys/<table>.parquet)
    time          the seed time, UTC, in seconds
    prediction    probability of a binary task, else target

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

FILE_NAME = "predictions.parquet"


def write_predictions(path: Path, inputs: TaskInputs, predictions: Mapping[str, NDArray[np.float64]]) -> Path:
    """Writes the predictions of a run, float64 [seeds] per split; returns the path."""
    parts = []
    for split, prediction in predictions.items():
        seeds = inputs.split(split.removesuffix("_refit"))
        columns = {"split": pa.array([split] * len(seeds)), "entity": pa.array(seeds.entities)}
        keys = _source_keys(inputs.task)
        if keys is not None:
            columns["source_key"] = keys.take(columns["entity"])
        columns["time"] = pa.array(seeds.time_s).cast(pa.timestamp("s", "UTC"))
        columns["prediction"] = pa.array(prediction)
        parts.append(pa.table(columns))
    with replace_file(path) as partial:
        pq.write_table(pa.concat_tables(parts), partial, compression="zstd")
    return path


def _source_keys(task: EntityTask) -> pa.ChunkedArray | None:
    """Returns the source key of each row of the entity table, or None where no import has kept them."""
    path = Path(task.dataset.dataset_dir) / "keys" / f"{task.entity_table}.parquet"
    if not path.is_file():
        return None
    return pq.read_table(path).sort_by("row_number")["source_key"]
