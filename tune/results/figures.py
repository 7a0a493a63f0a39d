"""The pictures of a sweep: learning curves and marginal plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from distributed.pictures import save_figure
from tune.results.ledger import TrialRecord
from tune.search_space import short

COLORS = {
    "finished": "#2f7d4f",
    "stopped": "#d99a2b",
    "failed": "#c23b3b",
    "hung": "#7d2f6b",
    "died": "#c58fb6",
    "running": "#1f6fb4",
    "pending": "#999999",
}


def draw_curves(
    records: Sequence[TrialRecord],
    settings: Mapping[str, Mapping[str, Any]],
    path: Path,
    best: TrialRecord | None,
    objective: str,
) -> None:
    """Draws the validation loss (sum of levels) over steps, one line per trial; beside it the downstream objective, where there is one."""
    panels = 1 if objective == "loss" else 2
    figure, all_axes = plt.subplots(1, panels, figsize=(8 * panels, 4.5), constrained_layout=True, squeeze=False)
    for record in records:
        is_best = best is not None and record.id == best.id
        style: dict[str, Any] = {"color": COLORS[record.status], "linewidth": 0.9, "zorder": 2}
        if is_best:
            label = f"best: {record.id} ({short(settings[record.id])})"
            style = {"color": "black", "linewidth": 2.2, "zorder": 3, "label": label}
        losses = [sum(v for k, v in r.items() if k.startswith("validation/")) for r in record.results]
        all_axes[0][0].plot([r["step"] for r in record.results], losses, **style)
        measured = [(r["step"], r["objective"]) for r in record.results if "objective" in r]
        if panels > 1 and measured:
            all_axes[0][1].plot(*zip(*measured, strict=True), marker="o", markersize=3, **style)
    for axes, label in zip(all_axes[0], ("validation loss, sum of levels", "downstream objective"), strict=False):
        axes.set(xlabel="step", ylabel=label, title=f"{len(records)} trials")
    _legend(figure, records, all_axes[0][0].get_legend_handles_labels()[0])
    save_figure(figure, path)


def draw_marginals(
    records: Sequence[TrialRecord], settings: Mapping[str, Mapping[str, Any]], path: Path, objective: str
) -> None:
    """Draws the objective of every trial against each hyperparameter that varies."""
    values: dict[str, list[Any]] = {}
    for setting in settings.values():
        for name, value in setting.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    varied = [name for name, found in values.items() if len(found) > 1] or list(values)
    if not varied:
        varied, values = ["(nothing varies)"], {"(nothing varies)": [None]}
    figure, all_axes = plt.subplots(
        1, len(varied), figsize=(3.1 * len(varied) + 0.8, 3.6), sharey=True, squeeze=False, constrained_layout=True
    )
    for axes, name in zip(all_axes[0], varied, strict=True):
        is_number = all(isinstance(v, float) for v in values[name]) and len(values[name]) > 6
        for record in records:
            if record.metric is not None and name in settings[record.id]:
                value = settings[record.id][name]
                place = value if is_number else values[name].index(value)
                axes.plot(place, record.metric, "o", color=COLORS[record.status], alpha=0.75, markersize=5)
        if is_number:
            axes.set_xscale("log" if min(values[name]) > 0 else "linear")
        else:
            axes.set_xticks(range(len(values[name])), [str(v) for v in values[name]])
            axes.set_xlim(-0.5, len(values[name]) - 0.5)
        axes.set_xlabel(name, fontsize=9)
    all_axes[0][0].set_ylabel("lowest validation loss" if objective == "loss" else "downstream objective")
    _legend(figure, records, [])
    save_figure(figure, path)


def _legend(figure: Figure, records: Sequence[TrialRecord], more: Sequence[Any]) -> None:
    found = [status for status in COLORS if any(r.status == status for r in records)]
    lines = [Line2D([], [], color=COLORS[status], marker="s", linestyle="", label=status) for status in found]
    figure.legend(
        handles=[*more, *lines], loc="outside lower center", ncols=len(lines) + len(more), frameon=False, fontsize=8
    )
