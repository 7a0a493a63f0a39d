"""The worth of the figures of fine-tuning runs, in words: whether few labels bear them, and whether the network beats what costs nothing.

Promises: a figure of few labels is shown with two digits and its interval; a network that is worse than the trivial prediction, or that LightGBM
beats, is said so in a sentence, by validation and by test. A figure counts as worse if it is, by however little; where its interval on test holds
the baseline's figure, that is said.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rdl_core.evidence import is_higher_better

SPLITS = {"val": "validation", "test": "test"}
NAMES = {"trivial": "the trivial prediction", "lightgbm": "LightGBM on generated columns"}


def figure_text(runs: Sequence[Mapping[str, Any]], split: str) -> str:
    """Returns the metric of runs of one task and arm for people: "0.7123", of few labels "0.71 [0.55, 0.86]", of several seeds "0.7123 ± 0.0041".

    Args:
        runs: FinetuningResults as dictionaries, one per seed.
        split: "val" or "test".
    """
    values, is_few = [run[split] for run in runs], split in runs[0].get("labels", {})
    if len(runs) > 1 or not is_few:
        return mean_and_error(values, is_few=is_few)
    interval = runs[0].get("interval", {}).get(split)
    figure = mean_and_error(values, is_few=True)
    if interval is None:
        return f"{figure} [no interval]"
    return f"{figure} [{', '.join(mean_and_error([bound], is_few=True) for bound in interval)}]"


def mean_and_error(values: Sequence[float], *, is_few: bool = False) -> str:
    """Returns "mean ± standard error of the mean"; of one value the value.

    Args:
        is_few: Whether few labels bear it: then it has two digits.
    """
    mean = statistics.mean(values)
    digits = (2 if is_few else 4) if abs(mean) < 10 else (1 if is_few else 2)
    return f"{mean:.{digits}f}" if len(values) < 2 else f"{mean:.{digits}f} ± {standard_error(values):.{digits}f}"


def standard_error(values: Sequence[float]) -> float:
    """Returns the standard error of the mean of at least two values."""
    return statistics.stdev(values) / len(values) ** 0.5


def verdict_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns sentences about runs of one task and arm: few labels; trivial predictions and LightGBM that the network does not beat.

    Args:
        runs: Results of `finetune` as dictionaries, one per seed; of a refitted model that is scored again without "val".
    """
    first = runs[0]
    lines = []
    for split, words in ((split, words) for split, words in first.get("labels", {}).items() if split in first):
        has_interval = first["interval"].get(split) is not None
        advice = (
            "read the interval, not the digits" if has_interval else "no interval can be given, and they say nothing"
        )
        lines.append(f"{first['task']}: the {SPLITS[split]} figures rest on {words}; {advice}")
    for baseline in first.get("baselines", {}):
        lines += _beaten_by(baseline, runs)
    return lines


def _beaten_by(baseline: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence if the network is worse than a baseline on validation or test, or not told from it by its interval on test."""
    first = runs[0]
    sign = 1 if is_higher_better(first["metric"]) else -1
    worse = []
    for split, name in ((split, name) for split, name in SPLITS.items() if split in first):
        network, theirs = (
            statistics.mean(values)
            for values in ([r[split] for r in runs], [r["baselines"][baseline][split] for r in runs])
        )
        if sign * network < sign * theirs:
            worse.append(
                f"{name} ({first['metric']} {mean_and_error([network])}, {mean_and_error([theirs])} without it)"
            )
    about = first.get("about", {}).get(f"baseline {baseline}", "")
    who = NAMES[baseline] + (f" ({about})" if about and baseline == "trivial" else "")
    which = f"{first['task']}, {first['arm']}"
    if worse:
        verb = "is worse than" if baseline == "trivial" else "is beaten by"
        return [f"{which}: the network {verb} {who} on {' and on '.join(worse)}"]
    interval, figure = first.get("interval", {}).get("test"), first["baselines"][baseline]["test"]
    if len(runs) == 1 and interval is not None and interval[0] <= figure <= interval[1]:
        bounds = ", ".join(mean_and_error([bound]) for bound in interval)
        return [
            f"{which}: the network is not told from {who} on test: its interval [{bounds}] holds {mean_and_error([figure])}"
        ]
    return []
