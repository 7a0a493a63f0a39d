"""Predictions for tomorrow, at the end of `make run`: a file per task, and one picture.

Promises: each customer of the shop who ordered in the 90 days before the day after its last row is predicted, as the tasks ask, by the head that was
best on validation, refitted on every label whose window had closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import pyarrow.parquet as pq

from distributed.commands.report import save_figure
from rdl_core.atomic_write import replace_file
from rdl_core.database import open_dataset, read_table
from rdl_core.graph.store import Store
from rdl_core.prediction import Predictor

ACTIVE_DAYS = 90
"""Days before the prediction in which a customer must have ordered: whom both tasks ask about."""


def predict_tomorrow(models: Mapping[str, Path], data: Path, store: Store, out: Path) -> dict[str, pd.DataFrame]:
    """Predicts with a model per task, writes `out/predictions-TASK.parquet`, and returns the predictions: {task: frame}."""
    predictions: dict[str, pd.DataFrame] = {}
    for task, model in models.items():
        predictor = Predictor.load(model, data, store=store.path)
        predictions[task] = predictor.predict(active_customers(data, predictor.tomorrow))
        with replace_file(out / f"predictions-{task}.parquet") as partial:
            predictions[task].to_parquet(partial, index=False)
    return predictions


def active_customers(data: Path, time: pd.Timestamp) -> list[str]:
    """Returns the source's keys of the customers who ordered in the 90 days before a time, in order."""
    orders = read_table(open_dataset(data), "orders").to_pandas()
    recent = orders["time"] >= (time - pd.Timedelta(days=ACTIVE_DAYS)).tz_localize(None)
    rows = orders.loc[recent, "customer_id"].unique()
    keys = pq.read_table(data / "keys" / "customers.parquet").to_pandas().iloc[sorted(rows), 0]
    return list(keys)


def draw_tomorrow(predictions: Mapping[str, pd.DataFrame], path: Path) -> Path:
    """Draws how many customers get which prediction, a panel per task, as a PNG; returns its path."""
    figure, axes = plt.subplots(
        1, len(predictions), figsize=(4.2 * len(predictions), 3.0), squeeze=False, constrained_layout=True
    )
    for place, (task, frame) in zip(axes.flat, predictions.items(), strict=True):
        place.hist(frame["prediction"], bins=30, color="#1f6fb4")
        place.set_title(f"{task}, as of {frame['time'].iloc[0]:%Y-%m-%d}", fontsize=10)
        place.set_xlabel("predicted " + ("value" if "lower" in frame else "probability"))
        place.set_ylabel("customers")
        place.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)
