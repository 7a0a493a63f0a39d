"""Explanations as people read them on a terminal: at each level the ten groups that tell most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from rdl_core.explanation import LEVELS, Explainer, TaskExplanation

TOP = 10
TITLES = {"table": "tables", "key": "foreign keys", "column": "columns"}


def entity_lines(explained: pd.DataFrame, explainer: Explainer) -> Iterator[str]:
    """Yields the lines of one entity's prediction, or of several the means of their contributions without signs.

    Args:
        explained: What `Explainer.explain` returned.
        explainer: What returned it.
    """
    question, questions = explainer.predictor.question, explained["question"].nunique()
    first = explained.iloc[0]
    if questions > 1:
        yield f"{question.task}: {questions:,} predictions of {question.target}; mean absolute contributions"
    else:
        key = " ".join(str(first[name]) for name in explainer.key_names)
        of = f"probability of {first['class']}" if "class" in explained else question.target
        yield (
            f"{question.entity_table} {key} at {first['time']:%Y-%m-%d %H:%M:%S}: {of} {first['prediction']:.4g}; "
            f"{first['neutral_prediction']:.4g} with all inputs neutral"
        )
    for level, top in top_contributions(explained).items():
        yield f"{TITLES[level]}:"
        for row in top.itertuples():
            telling = f"    {row.input} is {row.value:.6g}" if questions == 1 and isinstance(row.input, str) else ""
            yield f"  {row.contribution:+10.4g}  {row.name}{telling}"


def top_contributions(explained: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Returns, per level, the ten groups that add most: of one question as they are, of several with their mean absolute contributions."""
    if explained["question"].nunique() > 1:
        explained = explained.assign(contribution=explained["contribution"].abs())
        groups = explained.groupby(["level", "name"], sort=False)["contribution"].mean().reset_index()
        explained = groups.assign(input=None, value=np.nan)
    found: dict[str, pd.DataFrame] = {}
    for level in LEVELS:
        rows = explained[(explained["level"] == level) & (explained["contribution"] != 0)]
        order = rows["contribution"].abs().sort_values(ascending=False, kind="stable").index
        found[level] = rows.loc[order].head(TOP)
    return found


def task_lines(found: TaskExplanation) -> Iterator[str]:
    """Yields the lines of a task's metric."""
    if not found.is_scored:
        yield f"{found.task}: no {found.metric} of {found.rows:,} labels of {found.split}: they are hidden, or of one class"
        for level in LEVELS:
            yield f"{TITLES[level]}, mean change of the prediction:"
            for one in found.most_telling(level, TOP):
                yield f"  {one.change:10.4g}  {one.group.name}"
        return
    yield (
        f"{found.task}: {found.metric} {found.value:.4f} of {found.rows:,} of {found.labels:,} labels of {found.split}; "
        f"{found.neutral_value:.4f} with all inputs neutral"
    )
    for level in LEVELS:
        yield f"{TITLES[level]}, {found.metric} lost [95 % of all together], mean change of the prediction:"
        for one in found.most_telling(level, TOP):
            ends = "" if one.interval is None else f"[{one.interval[0]:+.4f}, {one.interval[1]:+.4f}]"
            yield f"  {one.loss:+.4f} {ends:<20} {one.change:10.4g}  {one.group.name}"
