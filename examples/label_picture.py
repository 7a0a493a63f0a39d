"""The picture of label efficiency that `make run` leaves: each arm's test metric against the share of the train labels, LightGBM beside it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from distributed.commands.report import ARMS
from distributed.pictures import save_figure
from rdl_core.tasks.finetuning_result import FinetuningResult

COLOURS = {"scratch": "#e08214", "frozen": "#80b1d3", "finetuned": "#1f6fb4"}


def draw_label_efficiency(
    arms: Mapping[float, Sequence[FinetuningResult]], beside: Mapping[str, Any], path: Path
) -> Path:
    """Draws a panel per task as a PNG; returns its path.

    Args:
        arms: Per share of the train labels the results of all tasks and arms; means over seeds are drawn.
        beside: Per task {"metric", "baselines": {"lightgbm": {"test"}}, ...}.
        path: The file.
    """
    figure, axes = plt.subplots(
        1, len(beside), figsize=(4.2 * len(beside), 3.2), squeeze=False, constrained_layout=True
    )
    shares = sorted(arms)
    for place, (task, found) in zip(axes.flat, beside.items(), strict=True):
        for arm in ARMS:
            means = [statistics.mean(r.test for r in arms[share] if (r.task, r.arm) == (task, arm)) for share in shares]
            place.plot([100 * share for share in shares], means, marker=".", label=arm, color=COLOURS[arm])
        place.axhline(
            found["baselines"]["lightgbm"]["test"], color="#7a7a7a", linestyle="--", label="LightGBM, all labels"
        )
        place.set_xscale("log")
        place.set_xticks([100 * share for share in shares], [f"{share:.0%}" for share in shares])
        place.minorticks_off()
        place.set_title(task, fontsize=10)
        place.set_xlabel("share of the train labels")
        place.set_ylabel("AUROC, test" if found["metric"] == "roc_auc" else "MAE, test (turned round)")
        place.spines[["top", "right"]].set_visible(False)
        if found["metric"] != "roc_auc":
            place.invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return save_figure(figure, path)
