"""Explanations as one picture: bars of the ten groups that tell most at each level, as SVG whose text stays text; the same bytes each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from distributed.explanation.words import TITLES, TOP, top_contributions
from rdl_core.atomic_write import replace_file
from rdl_core.explanation import LEVELS, Explainer, GroupImportance, TaskExplanation

UP, DOWN = "#f58518", "#4c78a8"
MAX_NAME = 56
Bars = Sequence[tuple[str, float, tuple[float, float] | None]]
"""Name, length and ends of the interval of each bar."""


def draw_contributions(explained: pd.DataFrame, explainer: Explainer, path: Path) -> Path:
    """Draws what `Explainer.explain` returned, of several entities the means of their contributions without signs; returns the path."""
    panels: dict[str, Bars] = {
        level: [(str(name), float(added), None) for name, added in zip(top["name"], top["contribution"], strict=True)]
        for level, top in top_contributions(explained).items()
    }
    first, question = explained.iloc[0], explainer.predictor.question
    target = f"probability of {first['class']}" if "class" in explained else question.target
    number = explained["question"].nunique()
    if number > 1:
        return _draw(
            panels, f"{question.task}: {number:,} predictions", f"mean absolute contribution to {target}", path
        )
    key = " ".join(str(first[name]) for name in explainer.key_names)
    title = f"{question.task}, {question.entity_table} {key}: {first['prediction']:.4g} ({first['neutral_prediction']:.4g} neutral)"
    return _draw(panels, title, f"contribution to {target}", path)


def draw_importance(found: TaskExplanation, path: Path) -> Path:
    """Draws a task's explanation with its intervals; returns the path."""

    def bars(ones: Sequence[GroupImportance]) -> Bars:
        return [(one.group.name, one.loss if found.is_scored else one.change, one.interval) for one in ones]

    panels: dict[str, Bars] = {level: bars(found.most_telling(level, TOP)) for level in LEVELS}
    if not found.is_scored:
        return _draw(panels, f"{found.task}, {found.split}", "mean absolute change of the prediction", path)
    title = f"{found.task}, {found.split}: {found.metric} {found.value:.4f} ({found.neutral_value:.4f} neutral)"
    return _draw(panels, title, f"{found.metric} lost without it", path)


def _draw(panels: Mapping[str, Bars], title: str, label: str, path: Path) -> Path:
    with matplotlib.rc_context({"svg.hashsalt": "explanation", "svg.fonttype": "none"}):
        heights = [1.0 + max(len(bars), 1) for bars in panels.values()]
        figure = Figure(figsize=(9, 0.27 * sum(heights) + 1.2), layout="constrained")
        FigureCanvasSVG(figure)
        figure.suptitle(title, parse_math=False)
        for axes, (level, bars) in zip(
            figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], panels.items(), strict=True
        ):
            _draw_bars(axes, bars, TITLES[level])
        axes.set_xlabel(label, parse_math=False)
        with replace_file(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})
    return path


def _draw_bars(axes: Axes, bars: Bars, title: str) -> None:
    places = range(len(bars))
    lengths = [length for _, length, _ in bars]
    axes.barh(places, lengths, color=[UP if length >= 0 else DOWN for length in lengths])
    for place, (_, _, interval) in zip(places, bars, strict=True):
        if interval is not None:
            axes.plot(interval, [place, place], color="black", linewidth=1)
    axes.axvline(0, color="grey", linewidth=0.8)
    names = [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..." for name, _, _ in bars]
    axes.set_yticks(places, names, parse_math=False, fontsize="small")
    axes.invert_yaxis()
    axes.set_title(title if bars else f"{title}: none is read", fontsize="medium", loc="left")
