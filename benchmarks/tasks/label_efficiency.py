"""The label-efficiency picture: the metric against the share of the train labels, a line for each arm and head, a panel for each task.

    python -m benchmarks.tasks.label_efficiency --results results --setting NAME --out FILE.png [--split val]

Points are means over seeds, bars their standard errors. The ordinate of MAE is turned round, so that higher is better everywhere.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.tasks.comparison import TaskName, task_of
from benchmarks.tasks.result_file import Result, read_results
from rdl_core.atomic_write import replace_file

LINES = {
    ("none", "lightgbm"): ("LightGBM", "#7a7a7a", "--"),
    ("scratch", "network"): ("scratch", "#e08214", "-"),
    ("frozen", "network"): ("frozen", "#80b1d3", "-"),
    ("finetuned", "network"): ("fine-tuned", "#1f6fb4", "-"),
    ("finetuned", "blend"): ("blend", "#2e7d32", "-"),
}
"""(arm, head): name, colour and style of its line."""


def draw_label_efficiency(results: Sequence[Result], path: Path, *, split: str = "test") -> Path:
    """Draws the picture of results of one setting and regime as a PNG; returns its path.

    Args:
        split: "test", or "val" for results that left test alone.
    """
    tasks = sorted({task_of(result) for result in results})
    columns = min(4, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 2.9 * rows + 0.4), squeeze=False, constrained_layout=True
    )
    for place, task in zip(axes.flat, tasks, strict=False):
        _draw_task(place, task, [result for result in results if task_of(result) == task], split)
    for place in list(axes.flat)[len(tasks) :]:
        place.axis("off")
    shown = {
        label: handle for place in axes.flat for handle, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=len(shown), frameon=False)
    with replace_file(path) as partial:
        figure.savefig(partial, dpi=120)
    plt.close(figure)
    return path


def curve(results: Sequence[Result], arm: str, head: str, split: str) -> list[tuple[float, float, float, int]]:
    """Returns (share of the labels, mean, standard error, seeds) of one line, by share."""
    values: dict[float, list[float]] = {}
    for result in results:
        value = getattr(result, split)
        if (result.key.arm, result.key.head) == (arm, head) and value is not None:
            values.setdefault(result.key.label_share, []).append(value)
    return [
        (
            share,
            statistics.mean(found),
            statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0,
            len(found),
        )
        for share, found in sorted(values.items())
    ]


def _draw_task(axes: Axes, task: TaskName, results: Sequence[Result], split: str) -> None:
    for (arm, head), (name, colour, style) in LINES.items():
        if points := curve(results, arm, head, split):
            shares, means, errors, _ = zip(*points, strict=True)
            percents = [100 * share for share in shares]
            axes.errorbar(
                percents,
                means,
                yerr=errors,
                label=name,
                color=colour,
                linestyle=style,
                marker=".",
                capsize=2,
                linewidth=1.2,
            )
    is_auroc = results[0].metric == "roc_auc"
    axes.set_xscale("log")
    ticks = sorted({100 * result.key.label_share for result in results})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_title(" ".join(task), fontsize=9)
    axes.set_xlabel("% of the train labels", fontsize=8)
    axes.set_ylabel(f"{'AUROC' if is_auroc else 'MAE (turned round)'}, {split}", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if not is_auroc:
        axes.invert_yaxis()


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, nargs="+", required=True, help="folders of results")
    parser.add_argument("--setting", required=True)
    parser.add_argument("--regime", choices=("rolling", "snapshot"), default="rolling")
    parser.add_argument("--split", choices=("test", "val"), default="test")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    options = parser.parse_args()
    results = [
        result
        for result in read_results(options.results)
        if (result.key.setting, result.key.regime) == (options.setting, options.regime)
    ]
    if not results:
        parser.error(f"there is no {options.regime} result of setting {options.setting!r} in the folders")
    print(draw_label_efficiency(results, options.out, split=options.split))


if __name__ == "__main__":
    main()
