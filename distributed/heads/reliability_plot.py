"""The reliability plot: mean probability against the share of positives, before and after calibration, a column per head, a row per split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rdl_core.atomic_write import replace_file
from rdl_core.prediction.calibration import Calibrated


def draw_reliability(panels: Mapping[str, Mapping[str, Calibrated]], path: Path) -> Path:
    """Draws panels, {head: {split: panel}}, as a PNG; returns the path."""
    splits = list(next(iter(panels.values())))
    figure = Figure(figsize=(3.6 * len(panels), 3.6 * len(splits)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(splits), len(panels), squeeze=False)
    for column, (head, of_head) in enumerate(panels.items()):
        for row, split in enumerate(splits):
            _draw(axes[row, column], of_head[split], f"{head}, {split}")
    with replace_file(path) as partial:
        figure.savefig(partial, dpi=120)
    return path


def _draw(axes: Axes, panel: Calibrated, title: str) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for name, found, color in (("model", panel.before, "tab:grey"), ("calibrated", panel.after, "tab:blue")):
        label = f"{name}: Brier {found.brier:.3f}, ECE {found.ece:.3f}"
        axes.plot(found.probability, found.frequency, color=color, linewidth=1, label=label)
        axes.scatter(found.probability, found.frequency, s=120 * found.count / found.count.max(), color=color)
    axes.set(xlabel="mean probability", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1), title=title)
    axes.legend(fontsize="x-small", loc="upper left")
