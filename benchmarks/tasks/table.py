"""The tables of a measurement, as Markdown: what every arm and head reached, and the differences that decide, with their intervals.

    python -m benchmarks.tasks.table --results results --data DATA [DATA ...] --setting NAME [--others NAME] [--out FILE.md]

(a) validation / test of every arm and head; then the differences on test of (b) the chosen head and LightGBM, (c) the network alone and LightGBM,
(d) fine-tuned and scratch, (e) frozen pretrained and frozen untrained, and, where another setting is named, (f) fine-tuned under the two settings and
(g) fine-tuned whose pretraining left out the task's own source and scratch. Each difference is counted so that above 0 the first is better, in the
metric's unit, with its 95 % bootstrap interval over entities and seeds. The chosen head is that with the best mean validation metric. Arms that start
from no pretraining (scratch, untrained, none) may be taken from --others, a setting that differs in its pretraining alone. The end says
what is missing. Of results of `--val-only` there is table (a) alone, without test.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tasks.bootstrap import Difference
from benchmarks.tasks.comparison import Comparison, Side, TaskName, read_truths
from benchmarks.tasks.result_file import Result, read_results
from rdl_core.atomic_write import replace_file

COLUMNS = (
    ("none", "trivial"),
    ("none", "lightgbm"),
    ("none", "lightgbm_on_folds"),
    ("none", "linear"),
    ("none", "blend"),
    ("scratch", "network"),
    ("untrained", "network"),
    ("frozen", "network"),
    ("finetuned", "network"),
    ("finetuned", "blend"),
)
"""(arm, head) of the columns of table (a)."""
CANDIDATES = (
    ("none", "lightgbm_on_folds"),
    ("none", "linear"),
    ("none", "blend"),
    ("finetuned", "network"),
    ("finetuned", "blend"),
)
"""(arm, head) among which validation chooses the head of table (b)."""
UNPRETRAINED = ("none", "scratch", "untrained")
"""Arms whose results no pretraining decides."""
OF_A_RUN = ("seed", "label_share", "label_stride")
"""Settings of fine-tuning that differ between runs of one setting."""
Pair = Callable[[TaskName, float], tuple[Side, Side] | None]


def tables(
    comparison: Comparison, setting: str, *, against: str | None = None, without_source: str | None = None
) -> str:
    """Returns all tables of a setting as Markdown.

    Args:
        against: Another setting for (f).
        without_source: Another setting for (g).
    """
    side = lambda arm, head="network", of=setting: Side(of, arm, head)  # noqa: E731
    lightgbm = side("none", "lightgbm")

    def chosen(task: TaskName, share: float) -> tuple[Side, Side] | None:
        best = comparison.chosen(task, [side(*candidate) for candidate in CANDIDATES], share)
        return None if best is None else (best, lightgbm)

    pairs: dict[str, Pair] = {
        "(b) chosen head − LightGBM": chosen,
        "(c) network alone, fine-tuned − LightGBM": lambda task, share: (side("finetuned"), lightgbm),
        "(c) network alone, scratch − LightGBM": lambda task, share: (side("scratch"), lightgbm),
        "(d) fine-tuned − scratch": lambda task, share: (side("finetuned"), side("scratch")),
        "(e) frozen pretrained − frozen untrained": lambda task, share: (side("frozen"), side("untrained")),
    }
    if against is not None:
        pairs[f"(f) fine-tuned, {setting} − {against}"] = lambda task, share: (
            side("finetuned"),
            side("finetuned", of=against),
        )
    if without_source is not None:
        pairs[f"(g) fine-tuned without the task's source ({without_source}) − scratch"] = lambda task, share: (
            side("finetuned", of=without_source),
            side("scratch"),
        )
    parts = [f"# Setting {setting}"]
    for share in comparison.label_shares:
        parts.append(f"## {share:.3g} of the train labels" if share < 1 else "## All train labels")
        parts.append(metrics_table(comparison, setting, share))
        parts += [difference_table(comparison, title, pair, share) for title, pair in pairs.items()]
    return "\n\n".join([*(part for part in parts if part), missing_text(comparison, setting)]) + "\n"


def with_others(results: Sequence[Result], setting: str, others: str) -> list[Result]:
    """Returns the results with the arms of `others` that start from no pretraining as those of `setting`, too.

    Raises:
        ValueError: The two settings differ in more than their pretraining.
    """
    found, mine = list(results), next((r for r in results if r.key.setting == setting), None)
    for result in (r for r in results if r.key.setting == others and r.key.arm in UNPRETRAINED):
        if mine is not None and _besides_pretraining(result) != _besides_pretraining(mine):
            raise ValueError(f"{others} and {setting} differ in more than their pretraining; leave --others out")
        found.append(dataclasses.replace(result, key=dataclasses.replace(result.key, setting=setting)))
    return found


def _besides_pretraining(result: Result) -> dict[str, Any]:
    finetuning = {k: v for k, v in result.config.get("finetuning", {}).items() if k not in OF_A_RUN}
    return {"finetuning": finetuning} | {part: result.config.get(part) for part in ("columns", "heads")}


def metrics_table(comparison: Comparison, setting: str, share: float) -> str:
    """Returns table (a): validation / test, mean ± standard error over seeds, and the number of seeds in brackets."""
    sides = [Side(setting, *column) for column in COLUMNS]
    there = [side for side in sides if any(comparison.runs(task, side, share) for task in comparison.tasks)]
    rows = [
        [task_text(comparison, task), *(metrics_text(comparison.runs(task, side, share)) for side in there)]
        for task in comparison.tasks
    ]
    return "### (a) validation / test (seeds)\n\n" + markdown(["task", *map(str, there)], rows)


def difference_table(comparison: Comparison, title: str, pair: Pair, share: float) -> str:
    """Returns the differences of one kind for all tasks and their counts; "" if no task has both sides."""
    rows: list[list[str]] = []
    found: list[Difference] = []
    for task in comparison.tasks:
        sides = pair(task, share)
        difference = None if sides is None else comparison.difference(task, *sides, share)
        if sides is None or difference is None:
            continue
        found.append(difference)
        rows.append(
            [task_text(comparison, task), str(sides[0]), *difference_cells(difference, comparison.metric(task))]
        )
    if not found:
        return ""
    head = ["task", "first", "difference", "95 % interval", "seeds"]
    return f"### {title}\n\n{markdown(head, rows)}\n\n{counts_text(found)}"


def counts_text(found: Sequence[Difference]) -> str:
    """Returns on how many tasks what holds, in a line."""
    counts = {
        "mean above 0": sum(d.mean > 0 for d in found),
        "interval above 0": sum(d.low > 0 for d in found),
        "interval's better end at least 0": sum(d.high >= 0 for d in found),
        "interval below 0": sum(d.high < 0 for d in found),
    }
    return f"Of {len(found)} tasks: " + ", ".join(f"{what} on {count}" for what, count in counts.items()) + "."


def missing_text(comparison: Comparison, setting: str) -> str:
    """Returns which runs there are not of the columns of table (a), of every seed that some column has."""
    sides, lines = [Side(setting, *column) for column in COLUMNS], []
    for share in comparison.label_shares:
        seeds = {r.key.seed for task in comparison.tasks for side in sides for r in comparison.runs(task, side, share)}
        for task in comparison.tasks:
            for side in sides:
                missing = seeds - {run.key.seed for run in comparison.runs(task, side, share)}
                if missing:
                    lines.append(f"- {task[0]} {task[1]}, {share:.3g} of the labels, {side}: seeds {_listed(missing)}")
    return "## Missing\n\n" + ("\n".join(lines) or "Nothing: every column has every seed.")


def task_text(comparison: Comparison, task: TaskName) -> str:
    """Returns database, task and metric with its better direction."""
    return f"{task[0]} {task[1]} ({'AUROC ↑' if comparison.metric(task) == 'roc_auc' else 'MAE ↓'})"


def metrics_text(runs: Sequence[Result]) -> str:
    """Returns "validation / test ± standard error of test (seeds)"; without test, "validation ± its standard error (seeds)"."""
    if not runs:
        return "–"
    val, test = [run.val for run in runs], [run.test for run in runs if run.test is not None]
    digits = decimals(runs[0].metric, statistics.mean(val))
    parts = [f"{statistics.mean(val):.{digits}f}"]
    shown = test or val
    if test:
        parts.append(f"{statistics.mean(test):.{digits}f}")
    error = f" ± {statistics.stdev(shown) / len(shown) ** 0.5:.{digits}f}" if len(shown) > 1 else ""
    return f"{' / '.join(parts)}{error} ({len(runs)})"


def difference_cells(difference: Difference, metric: str) -> list[str]:
    """Returns the difference, its interval and the number of seeds, as text."""
    digits = decimals(metric, max(abs(difference.low), abs(difference.high)))
    mean, low, high = (f"{value:+.{digits}f}" for value in (difference.mean, difference.low, difference.high))
    return [mean, f"[{low}, {high}]", str(difference.num_seeds)]


def decimals(metric: str, value: float) -> int:
    """Returns how many decimals a value is shown with: four of AUROC, four significant digits of MAE, and at most four decimals."""
    if metric == "roc_auc" or value == 0:
        return 4
    return min(4, max(0, 3 - math.floor(math.log10(abs(value)))))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _listed(seeds: set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def main() -> None:
    """Prints the tables, and writes them where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, nargs="+", required=True, help="folders of results")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="dataset folders, for the test labels")
    parser.add_argument("--setting", required=True)
    parser.add_argument("--regime", choices=("rolling", "snapshot"), default="rolling")
    parser.add_argument("--against", help="another setting, for (f)")
    parser.add_argument("--others", help="a setting that differs in its pretraining alone, for the arms without one")
    parser.add_argument("--without-source", help="a setting whose pretraining leaves out each task's source, for (g)")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="file to write as well")
    options = parser.parse_args()
    results = [result for result in read_results(options.results) if result.key.regime == options.regime]
    if options.others is not None:
        results = with_others(results, options.setting, options.others)
    comparison = Comparison(results, read_truths(options.data, results), resamples=options.resamples)
    text = tables(comparison, options.setting, against=options.against, without_source=options.without_source)
    print(text)
    if options.out is not None:
        with replace_file(options.out) as partial:
            partial.write_text(text)


if __name__ == "__main__":
    main()
