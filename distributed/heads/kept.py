"""The heads of one fine-tuning run: kept in the model's folder, with intervals or calibration, and judged on labels that had no part in them.

Promises: labels on which no calibration can be fitted are refused before the work; test labels are read when nothing is chosen or fitted any more. A
model's folder is replaced as a whole, so that it has all of its heads or is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask, TaskType

from distributed.console import say
from distributed.heads.reliability_plot import draw_reliability
from rdl_core.config import CalibrationName, Regime
from rdl_core.heads import Head
from rdl_core.prediction.calibration import Calibrated, Reliability, out_of_part, require_labels
from rdl_core.prediction.head_records import HeadRecords, record_heads
from rdl_core.prediction.intervals import labels_needed, observed_coverage
from rdl_core.prediction.kept_heads import files_of_heads, keep_heads
from rdl_core.problems import InputError
from rdl_core.statistics.columns import Columns
from rdl_core.tasks.labels import Split, read_split

COVERAGE = 0.9
"""Coverage of the intervals that are reported after a run."""
RELIABILITY = "reliability.png"
Predictions = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class RunHeads:
    """The heads of one run.

    Args:
        metrics: Of each head on validation.
        predictions: Of each head {"val", "test" and, of a refit, "test_refit": float64 [labels]}.
        models: "linear" and "lightgbm", those that are kept.
        weights: Of a blend; empty without one.
        columns: What the models read; None without one.
    """

    metrics: Mapping[str, float]
    predictions: Mapping[str, Predictions]
    models: Mapping[str, Head] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    columns: Columns | None = None


class HeadKeeper:
    """Keeps the heads of one task's runs.

    Args:
        task: The task.
        regime: Of the run: which rows are seen.
        test_timestamp_s: UNIX seconds, of the database.
        calibrate: Map of probabilities; None for none.

    Raises:
        InputError: A calibration is asked for of a task that is not binary, or of which validation has too few labels.
    """

    def __init__(
        self, task: EntityTask, regime: Regime, test_timestamp_s: int, calibrate: CalibrationName | None
    ) -> None:
        self.task, self.regime, self.calibrate = task, regime, calibrate
        self._test_timestamp_s = test_timestamp_s
        self._val = self._read("val")
        if calibrate is None:
            return
        if task.task_type != TaskType.BINARY_CLASSIFICATION:
            raise InputError(
                f"task {task.name!r}: --calibrate maps probabilities of binary tasks, and this one is {task.task_type.value}.\n"
                "Remedy: leave it out; a regression has intervals"
            )
        require_labels(self._val.target, self._val.entities)

    def keep(self, heads: RunHeads, model: Path) -> dict[str, Any]:
        """Writes heads into a model's folder, and a reliability plot beside it.

        Returns:
            {"default_head"} and, of a regression, "intervals": {head: {"coverage", "val_labels", "test": share of labels held}}; with a calibration
            "calibration": {head: {"val", "test": {"brier", "ece", "brier_calibrated", "ece_calibrated"}}} and "reliability", the plot's path. Figures
            of test are those of the kept models; there are none where its labels are hidden.
        """
        val = {name: predicted["val"] for name, predicted in heads.predictions.items()}
        records = record_heads(
            self.task,
            self._val,
            heads.metrics,
            val,
            columns=None if heads.columns is None else heads.columns.config,
            calibrate=self.calibrate,
        )
        files = {} if heads.columns is None else files_of_heads(heads.models, heads.weights, heads.columns)
        keep_heads(model, records, files)
        test = {name: predicted.get("test_refit", predicted["test"]) for name, predicted in heads.predictions.items()}
        found: dict[str, Any] = {"default_head": records.default}
        if records.heads[records.default].intervals is not None:
            found["intervals"] = self._interval_figures(records, test)
        if self.calibrate is not None:
            panels = {name: self._panels(self.calibrate, records, name, val[name], test[name]) for name in val}
            found["calibration"] = {
                name: {split: panel.figures() for split, panel in both.items()} for name, both in panels.items()
            }
            found["reliability"] = str(draw_reliability(panels, model.parent / RELIABILITY))
        return found

    def _interval_figures(self, records: HeadRecords, test: Predictions) -> dict[str, Any]:
        target, found = self._test_labels(), {}
        for name, record in records.heads.items():
            assert record.intervals is not None
            found[name] = {"coverage": COVERAGE, "val_labels": record.intervals.num_labels}
            if target is not None:
                found[name]["test"] = observed_coverage(record.intervals(test[name], COVERAGE), target)
        return found

    def _panels(
        self,
        kind: CalibrationName,
        records: HeadRecords,
        name: str,
        val: NDArray[np.float64],
        test: NDArray[np.float64],
    ) -> dict[str, Calibrated]:
        calibration = records.heads[name].calibration
        assert calibration is not None
        labels, target = self._val, self._test_labels()
        of_others = out_of_part(kind, val, labels.target, labels.entities)
        panels = {"val": Calibrated(Reliability.of(val, labels.target), Reliability.of(of_others, labels.target))}
        if target is not None:
            panels["test"] = Calibrated(Reliability.of(test, target), Reliability.of(calibration(test), target))
        return panels

    def _test_labels(self) -> NDArray[np.float64] | None:
        """Returns the labels of test, None where they are hidden."""
        target = self._read("test").target
        return target if len(target) and np.isfinite(target).all() else None

    def _read(self, split: str) -> Split:
        return read_split(self.task, split, self.regime, self._test_timestamp_s)


def show_kept(kept: Mapping[str, Any]) -> None:
    """Prints what `keep` returned: the default head, how many test labels its intervals hold, what its calibration mends."""
    name = kept["default_head"]
    say(f"predictions are the {name}'s unless another head is named: it is best on validation")
    if "intervals" in kept:
        found = kept["intervals"][name]
        number, needed = found["val_labels"], labels_needed(COVERAGE)
        enough = "" if number >= needed else f"; they are infinite, since {needed} labels are needed"
        held = f", hold {found['test']:.3f} of the test labels" if "test" in found else ""
        say(f"intervals of coverage {COVERAGE:g}, of residuals on {number:,} validation labels{held}{enough}")
    for split, figures in kept.get("calibration", {}).get(name, {}).items():
        say(calibration_line(split, figures))
    if "reliability" in kept:
        say(f"reliability {kept['reliability']}")


def calibration_line(split: str, figures: Mapping[str, float]) -> str:
    """Returns one line about a calibration on "val" or "test"."""
    whose = "by maps of other entities" if split == "val" else "by the map that is kept"
    return (
        f"calibration, {split}, {whose}: Brier {figures['brier']:.4f} -> {figures['brier_calibrated']:.4f}, "
        f"ECE {figures['ece']:.4f} -> {figures['ece_calibrated']:.4f}"
    )
