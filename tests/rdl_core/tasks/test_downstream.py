"""The downstream objective: what it measures, what it leaves alone."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from relbench.load import RelBenchDataset

from distributed.training.finetune import FinetuneJob, run_job
from rdl_core.communicator import SingleProcess
from rdl_core.config import FinetuningConfig, HGSamplingConfig, PretrainingConfig, TemporalSamplingConfig, contrast
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import cpu_weights, save_pretrained
from rdl_core.pretraining import pretrain_here, pretrained_checkpoint
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.state import TrainState
from rdl_core.tasks.downstream import Downstream, DownstreamConfig
from tests.nasty_tasks import POINTS, WINS, WatchedTask, labels

pytestmark = pytest.mark.usefixtures("one_thread")

FINETUNING = FinetuningConfig(
    sampling=TemporalSamplingConfig(num_neighbors=(4,), strategy="recent"), batch_size=10, max_steps=6,
    validation_interval_steps=2, head_channels=8, seed=3,
)  # fmt: skip


def pretraining() -> PretrainingConfig:
    base = contrast().pretraining
    return dataclasses.replace(
        base, sampling=HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6, num_hops=2), max_steps=4,
        backbone=dataclasses.replace(base.backbone, channels=16), validation_interval_steps=1, validation_samples=2,
    )  # fmt: skip


def downstream(
    store: Store, dataset: RelBenchDataset, arm: Literal["frozen", "finetuned"] = "frozen", **changes: Any
) -> Downstream:
    values: dict[str, Any] = {"tasks": (WINS, POINTS), "finetuning": FINETUNING, "steps": (2, 4)}
    config = DownstreamConfig(data=str(dataset.dataset_dir), arm=arm, regime="rolling", **values | changes)
    return Downstream(store, pretraining(), config, SingleProcess(), torch.device("cpu"))


def measured(down: Downstream, store: Store, seed: int = 0) -> dict[str, float]:
    """Of first weights drawn from a seed."""
    torch.manual_seed(seed)
    state = TrainState(step=2, history=[{"step": 2}], best_step=2)
    weights = cpu_weights(PretrainingModel(store, pretraining()))
    given = {name: weight.clone() for name, weight in weights.items()}
    down.measure(state, weights)
    assert all(weights[name].equal(weight) for name, weight in given.items())
    assert state.last == {k: v for k, v in state.history[-1].items() if k != "step"}
    return state.last


@pytest.mark.parametrize("arm", ["frozen", "finetuned"])
def test_it_is_what_finetune_gives_for_the_same_model(
    nasty_store: Store, nasty_dataset: RelBenchDataset, tmp_path: Path, arm: Literal["frozen", "finetuned"]
) -> None:
    down = downstream(nasty_store, nasty_dataset, arm)
    found = measured(down, nasty_store)
    torch.manual_seed(0)
    weights = cpu_weights(PretrainingModel(nasty_store, pretraining()))
    checkpoint = save_pretrained(
        tmp_path / "model", pretrained_checkpoint(weights, nasty_store, pretraining(), TrainState(step=2), future=None)
    )
    values = {}
    for task in (WINS, POINTS):
        job = FinetuneJob(
            data=str(nasty_dataset.dataset_dir), store_path=nasty_store.path, task=task, arm=arm, regime="rolling",
            config=down.finetuning, checkpoint=str(checkpoint), backbone=pretraining().backbone,
        )  # fmt: skip
        values[task] = run_job(job).val
    assert {task: found[f"downstream/{task}"] for task in (WINS, POINTS)} == values
    points = down.tasks[1]
    constant = np.abs(labels(points, "val") - np.median(labels(points, "train"))).mean()
    assert found["objective"] == pytest.approx((1 - values[WINS] + values[POINTS] / constant) / 2, rel=1e-12)
    assert down.finetuning.sampling.num_neighbors == (4, 2), "trees as deep as the backbone"


@pytest.mark.parametrize("arm", ["frozen", "finetuned"])
def test_measuring_changes_neither_the_run_nor_later_measurements(
    nasty_store: Store, nasty_dataset: RelBenchDataset, arm: Literal["frozen", "finetuned"]
) -> None:
    down = downstream(nasty_store, nasty_dataset, arm)
    plain, _ = pretrain_here(nasty_store, pretraining())
    best: dict[str, torch.Tensor] = {}
    first = measured(down, nasty_store, seed=5)

    def on_report(state: TrainState, metrics: dict[str, float], is_best: bool) -> None:
        best.update(cpu_weights(PretrainingModel(nasty_store, pretraining())))
        down.measure(state, best)

    watched, state = pretrain_here(nasty_store, pretraining(), on_report=on_report)
    assert [h["step"] for h in state.history if "objective" in h] == [2, 4]
    assert all(torch.equal(w, watched.state_dict()[name]) for name, w in plain.state_dict().items())
    assert measured(down, nasty_store, seed=5) == first
    assert measured(down, nasty_store, seed=6) != first, "it is of the weights"


class ShiftedValidation(WatchedTask):
    """Its validation labels are larger than those of training."""

    def get_table(self, split: str, *args: Any, **kwargs: Any) -> Any:
        table = super().get_table(split, *args, **kwargs)
        if split == "val":
            table.df[self.target_col] += 3.0
        return table


def test_the_constant_that_regression_is_measured_by_is_of_train_labels(
    nasty_store: Store, nasty_dataset: RelBenchDataset
) -> None:
    down = downstream(nasty_store, nasty_dataset, tasks=(POINTS,))
    task: Any = ShiftedValidation(down.tasks[0])
    down.tasks = [task]
    found = measured(down, nasty_store)
    median = np.median(labels(task, "train"))
    assert median != np.median(labels(task, "val"))
    assert found["objective"] == found[f"downstream/{POINTS}"] / np.abs(labels(task, "val") - median).mean()


@pytest.mark.parametrize("arm", ["frozen", "finetuned"])
def test_every_batch_is_a_sign_of_life(
    nasty_store: Store, nasty_dataset: RelBenchDataset, arm: Literal["frozen", "finetuned"]
) -> None:
    seen: list[str] = []
    down = downstream(nasty_store, nasty_dataset, arm)
    down.on_batch = seen.append
    measured(down, nasty_store)
    batches = {task.name: -(-len(labels(task, "val")) // FINETUNING.batch_size) for task in down.tasks}
    assert seen == [task for task, n in batches.items() for _ in range(3 * (2 + n))], "two steps, a validation"


def test_labels_that_no_metric_tells_apart_are_refused_before_anything_runs(
    nasty_store: Store, nasty_dataset: RelBenchDataset, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(nasty_dataset.dataset_dir, folder)
    (path,) = folder.glob(f"tasks/{WINS}/val.parquet")
    table = pq.read_table(path)
    place = table.schema.get_field_index("wins")
    column = pa.array(np.ones(table.num_rows), table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), column), path)
    with pytest.raises(ValueError, match="all .* val labels of task 'team-wins' are 1"):
        downstream(nasty_store, open_dataset(str(folder)))
    with pytest.raises(ValueError, match="named once each"):
        downstream(nasty_store, nasty_dataset, tasks=(WINS, WINS))


def test_no_test_label_is_read(nasty_store: Store, nasty_dataset: RelBenchDataset) -> None:
    down = downstream(nasty_store, nasty_dataset)
    before, watched = measured(down, nasty_store), [WatchedTask(task) for task in down.tasks]
    down.tasks = watched  # type: ignore[assignment]
    assert measured(down, nasty_store) == before
    with pytest.raises(AssertionError, match="test labels were read"):
        watched[0].get_table("test")
