"""The picture of a task check: how many labels there are over time, and what they say."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from distributed.tasks.check import TaskCheck
from rdl_core.atomic_write import replace_file
from rdl_core.database.label_checks import SPLITS

COLORS = {"train": "#4c78a8", "val": "#f58518", "test": "#54a24b"}
MAX_CLASSES = 8


def draw_check(found: TaskCheck, path: Path) -> Path:
    """Draws labels per seed time, coloured by split, above the share of positives, the median or the shares of classes, as a PNG."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5.5), sharex=True, constrained_layout=True)
    times = [pd.Timestamp(one.time) for one in found.seed_times]
    gap = min((later - earlier for earlier, later in zip(times, times[1:], strict=False)), default=pd.Timedelta(days=1))
    width = max(gap, pd.Timedelta(days=1)) * 0.8
    for split in SPLITS:
        chosen = [(time, one) for time, one in zip(times, found.seed_times, strict=True) if one.split == split]
        if chosen:
            top.bar(
                [t for t, _ in chosen], [o.labels for _, o in chosen], width=width, color=COLORS[split], label=split
            )
            values = [(t, o.value) for t, o in chosen if o.value is not None]
            bottom.plot([t for t, _ in values], [v for _, v in values], "o-", color=COLORS[split])
    top.set(ylabel="labels", title=f"{found.task} ({found.task_type})")
    top.legend()
    classes = list(found.splits["train"].classes)[:MAX_CLASSES] if any(one.classes for one in found.seed_times) else []
    for name in classes:
        bottom.plot(times, [one.classes.get(name, 0.0) for one in found.seed_times], "o-", label=name)
    if classes:
        bottom.legend(fontsize=7)
    what = {"binary_classification": "share of positives", "regression": "median label"}
    bottom.set(
        xlabel="seed time",
        ylabel=what.get(found.task_type, "share of each class"),
        ylim=(0, None) if found.task_type != "regression" else None,
    )
    with replace_file(path) as partial:
        figure.savefig(partial, dpi=120)
    plt.close(figure)
    return path
