"""The curve of a fine-tuning run: the metric on validation and the loss in training over the updates, as a PNG beside its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from distributed.pictures import plt, save_figure


def draw_curve(
    validations: Sequence[Mapping[str, Any]], baselines: Mapping[str, Mapping[str, float]], path: Path
) -> Path:
    """Draws a run.

    Args:
        validations: Events "validated" of its journal, by step (finetuning_journal.py).
        baselines: {name: {"val": ...}}, each a dashed line.
        path: PNG to write; returned.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for phase, entries in groupby(validations, key=lambda entry: str(entry["phase"])):
        of_phase = list(entries)
        steps = [entry["step"] for entry in of_phase]
        left.plot(steps, [entry["value"] for entry in of_phase], marker=".", label=phase)
        right.plot(steps, [entry["loss"] for entry in of_phase], marker=".", label=phase)
    if validations:
        last = validations[-1]
        left.plot([last["best_step"]], [last["best"]], marker="o", markersize=9, fillstyle="none", color="black")
        left.set(ylabel=f"{last['metric']} on validation")
    for name, figures in baselines.items():
        left.axhline(figures["val"], color="grey", linewidth=0.8, linestyle="--", label=f"baseline {name}")
    left.set(xlabel="update", title="validation; a ring marks the weights that are kept")
    left.legend()
    right.set(xlabel="update", ylabel="mean loss since the validation before", title="training")
    return save_figure(figure, path)
