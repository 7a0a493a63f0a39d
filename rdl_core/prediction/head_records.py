"""Records of the heads of a fine-tuned checkpoint: which there are, which one predicts by default, their intervals and calibrations, as numbers.

    about["heads"]   {"default", "table", "columns", "of": {head: {"val", "intervals", "calibration"}}}

Promise: the default is the head with the best metric on validation; of equal ones the one named first, which is the network. Validation chose the
network's number of updates, too, but nothing of a linear model, LightGBM or a blend, so that the choice leans towards the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask, TaskType

from rdl_core.config import CalibrationName, ColumnsConfig, decode
from rdl_core.prediction.calibration import Calibration
from rdl_core.prediction.intervals import Intervals
from rdl_core.tasks.labels import Split

ABOUT = "heads"
"""The key of a checkpoint's `about`."""


@dataclass(frozen=True, kw_only=True)
class HeadRecord:
    """One head.

    Args:
        val: The task's metric on validation, of the head fitted on train.
        intervals: Of a regression.
        calibration: Of a binary task, where one was asked for.
    """

    val: float
    intervals: Intervals | None = None
    calibration: Calibration | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns numbers, lists and None."""
        parts = {"intervals": self.intervals, "calibration": self.calibration}
        return {"val": self.val} | {name: None if part is None else part.to_json() for name, part in parts.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeadRecord:
        """Returns what `to_json` described."""
        intervals, calibration = values["intervals"], values["calibration"]
        return cls(
            val=values["val"],
            intervals=None if intervals is None else Intervals.from_json(intervals),
            calibration=None if calibration is None else Calibration.from_json(calibration),
        )


@dataclass(frozen=True, kw_only=True)
class HeadRecords:
    """The heads of one checkpoint.

    Args:
        default: The head that predicts where none is named.
        heads: What can predict.
        table: The task's entity table.
        columns: Form of the columns that linear model and LightGBM read.
    """

    default: str
    heads: Mapping[str, HeadRecord]
    table: str
    columns: ColumnsConfig = ColumnsConfig()

    def to_json(self) -> dict[str, Any]:
        """Returns what `about["heads"]` holds."""
        return {
            "default": self.default,
            "table": self.table,
            "columns": dataclasses.asdict(self.columns),
            "of": {name: head.to_json() for name, head in self.heads.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeadRecords:
        """Returns what `to_json` described.

        Raises:
            ValueError: The settings of the columns are not those of this version.
        """
        return cls(
            default=values["default"],
            table=values["table"],
            columns=decode(ColumnsConfig, values["columns"], "the checkpoint's about.heads.columns"),
            heads={name: HeadRecord.from_json(head) for name, head in values["of"].items()},
        )


def record_heads(
    task: EntityTask,
    val: Split,
    metrics: Mapping[str, float],
    predictions: Mapping[str, NDArray[np.float64]],
    *,
    columns: ColumnsConfig | None = None,
    calibrate: CalibrationName | None = None,
) -> HeadRecords:
    """Returns what is to be kept of heads beside their models.

    Args:
        task: Their task.
        val: Seeds and labels of validation.
        metrics: Of each head on validation.
        predictions: Of each head for validation, float64 [labels], by models that have not learned from it.
        columns: As the heads on columns read them; None without such.
        calibrate: The map of probabilities, of a binary task.

    Raises:
        InputError: Validation has too few labels of a class for a calibration.
    """
    is_regression = task.task_type == TaskType.REGRESSION
    sign = -1 if is_regression else 1
    heads: dict[str, HeadRecord] = {}
    for name, prediction in predictions.items():
        heads[name] = HeadRecord(
            val=metrics[name],
            intervals=Intervals.fit(prediction, val.target) if is_regression else None,
            calibration=None if calibrate is None else Calibration.fit(calibrate, prediction, val.target),
        )
    return HeadRecords(
        default=max(heads, key=lambda name: sign * heads[name].val),
        heads=heads,
        table=task.entity_table,
        columns=columns or ColumnsConfig(),
    )
