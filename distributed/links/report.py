"""What people see of runs on a link task: MAP, precision and recall beside the baselines, and a sentence where a baseline is not beaten."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from distributed.console import console, say
from distributed.finetuning.verdict import mean_and_error, standard_error
from rdl_core.links.scoring import LinkResult

NAMES = {"popularity": "popularity", "past_links": "past links"}
SPLITS = {"val": "validation", "test": "test"}


def show_link_results(results: Sequence[LinkResult]) -> None:
    """Prints one row per arm and baseline: mean ± standard error over the seeds."""
    first = results[0]
    table = Table(
        title=f"{first.task}, {first.regime}, {len(results)} seed{'s' * (len(results) > 1)}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("", "map, val", "map, test", "precision, test", "recall, test", "s"):
        table.add_column(name, no_wrap=True, justify="right" if name else "left")
    columns = (("val", "map"), ("test", "map"), ("test", "precision"), ("test", "recall"))
    of_model = [mean_and_error([r.metrics[split][metric] for r in results]) for split, metric in columns]
    table.add_row(first.arm, *of_model, f"{sum(r.seconds for r in results) / len(results):.0f}")
    for name, figures in first.baseline_metrics.items():
        table.add_row(NAMES[name], *(mean_and_error([figures[split][metric]]) for split, metric in columns), "")
    console.print(table)
    for what, words in first.about.items():
        say(f"{what}: {words}")


def link_verdict_lines(results: Sequence[LinkResult]) -> list[str]:
    """Returns a sentence for each baseline that the model does not beat by the mean over its seeds, on validation or test."""
    lines = []
    for name, figures in results[0].baselines.items():
        for split, words in SPLITS.items():
            mean = sum(getattr(result, split) for result in results) / len(results)
            if mean <= figures[split]:
                lines.append(
                    f"warning: on {words} the model (map {mean:.4f}) does not beat {NAMES[name]} (map {figures[split]:.4f})"
                )
    return lines


def link_summary(results: Sequence[LinkResult]) -> dict[str, Any]:
    """Returns {"metric", "seeds", "val" and "test": {"mean", "standard_error"}} of several seeds."""
    summary: dict[str, Any] = {"metric": results[0].metric, "seeds": [result.seed for result in results]}
    for split in SPLITS:
        values = [getattr(result, split) for result in results]
        summary[split] = {"mean": statistics.mean(values), "standard_error": standard_error(values)}
    return summary
