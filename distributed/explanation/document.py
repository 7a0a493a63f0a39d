"""Explanations as JSON: the same explanation gives the same bytes, there whole or not at all; what is undefined is null.

    of entities    {about the model, "neutral", "predictions": [{"key", "time", "prediction", "neutral_prediction", "contributions": [...]}, ...]}
    of a split     {about the model, "neutral", "split", "rows", "metric", "value", "neutral_value", "groups": [{..., "loss", "interval", "change"}]}

A contribution has level, name, table, key, column, contribution and, of a column, input and value: the generated column that alone adds most.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from rdl_core.atomic_write import replace_file
from rdl_core.explanation import Explainer, TaskExplanation
from rdl_core.explanation.explainer import ABOUT_GROUP
from rdl_core.prediction import Predictor

NEUTRAL = (
    "generated columns and statistics: the median of past events; cells of sampled rows: a number's mean, a time's median, otherwise null; "
    "ages: the table's median; edges: left out"
)


def entities_document(explained: pd.DataFrame, explainer: Explainer) -> dict[str, Any]:
    """Returns what is written of entities.

    Args:
        explained: What `Explainer.explain` returned.
        explainer: What returned it.
    """
    predictions, predictor = [], explainer.predictor
    names = dict(zip(predictor.keys.names, explainer.key_names, strict=True))
    for _, rows in explained.groupby("question", sort=False):
        first = rows.iloc[0]
        predictions.append(
            {
                "key": {name: first[shown] for name, shown in names.items()},
                "time": first["time"].isoformat(),
                **({"class": first["class"]} if "class" in rows else {}),
                "prediction": first["prediction"],
                "neutral_prediction": first["neutral_prediction"],
                "contributions": rows[[*ABOUT_GROUP, "contribution", "input", "value"]].to_dict("records"),
            }
        )
    return {**predictor.describe(), "neutral": NEUTRAL, "predictions": predictions}


def task_document(found: TaskExplanation, predictor: Predictor) -> dict[str, Any]:
    """Returns what is written of a split."""
    groups = [
        {name: getattr(one.group, name) for name in ABOUT_GROUP}
        | {"loss": one.loss, "interval": one.interval, "change": one.change}
        for one in found.groups
    ]
    names = ("split", "rows", "labels", "metric", "value", "neutral_value")
    return {
        **predictor.describe(),
        "neutral": NEUTRAL,
        **{name: getattr(found, name) for name in names},
        "groups": groups,
    }


def write_document(document: dict[str, Any], path: Path) -> None:
    """Writes a document."""
    text = json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    with replace_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it: what is not finite or missing is null, what JSON has no form for is text."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)
