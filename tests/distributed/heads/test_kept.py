"""What is said of kept heads where labels are hidden or few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from relbench.load import RelBenchDataset

from distributed.heads.kept import HeadKeeper, RunHeads, show_kept
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from tests.nasty_tasks import POINTS, WatchedTask
from tests.rdl_core.prediction.small_models import fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")


class HiddenTest(WatchedTask):
    """A task whose test labels are NaN, as a benchmark hides them."""

    def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
        table = self._task.get_table(split, *args, **kwargs)
        if split == "test":
            table.df = table.df.assign(**{self.target_col: np.nan})
        return table


@pytest.mark.parametrize("is_hidden", [False, True])
def test_intervals_are_kept_with_or_without_test_labels(
    nasty_store: Store, nasty_dataset: RelBenchDataset, tmp_path: Path, is_hidden: bool, capsys: Any
) -> None:
    task: Any = load_task(nasty_dataset, POINTS)
    model, predictions = fine_tune(tmp_path, nasty_store, task)
    asked = HiddenTest(task) if is_hidden else task
    keeper = HeadKeeper(asked, "rolling", nasty_store.test_timestamp_s, None)
    found = keeper.keep(RunHeads(metrics={"network": 1.0}, predictions={"network": predictions}), model)
    of_network = found["intervals"]["network"]
    assert ("test" in of_network) is not is_hidden
    show_kept(found)
    shown = " ".join(capsys.readouterr().err.split())
    assert ("of the test labels" in shown) is not is_hidden
    assert "infinite" not in shown


def test_infinite_intervals_are_said(capsys: Any) -> None:
    show_kept({"default_head": "linear", "intervals": {"linear": {"coverage": 0.9, "val_labels": 18, "test": 1.0}}})
    assert "they are infinite, since 19 labels are needed" in " ".join(capsys.readouterr().err.split())
