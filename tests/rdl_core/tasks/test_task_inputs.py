"""Fine-tuning a backbone that reads statistics and columns: every arm, columns at hand or computed anew, tables that were not pretrained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from relbench.base import EntityTask
from relbench.load import RelBenchDataset

from rdl_core.config import (
    Arm,
    BackboneConfig,
    ColumnsConfig,
    FinetuningConfig,
    LinearRows,
    StatisticsConfig,
    TemporalKernelsAggregation,
    TemporalSamplingConfig,
)
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.fitting import new_encoder
from rdl_core.statistics.columns import Columns
from rdl_core.tasks import inputs as task_inputs
from rdl_core.tasks.finetuning import Finetuning

pytestmark = pytest.mark.usefixtures("one_thread")

BACKBONE = BackboneConfig(
    channels=8,
    aggregation=TemporalKernelsAggregation(),
    rows=LinearRows(rich_numbers=True),
    statistics=StatisticsConfig(num_last=(1,), window_shares=(1 / 16,)),
    columns=ColumnsConfig(hops=2),
    seed_cells=False,
)
FINETUNING = FinetuningConfig(
    sampling=TemporalSamplingConfig(num_neighbors=(4, 3), strategy="recent"),
    batch_size=10,
    max_steps=4,
    validation_interval_steps=2,
    head_channels=8,
    head_dropout=0.2,
)


@pytest.fixture(scope="module")
def task(nasty_dataset: RelBenchDataset) -> EntityTask:
    return load_task(nasty_dataset, "team-wins")


def make(store: Store, task: EntityTask, arm: Arm = "scratch", encoder: RelationalEncoder | None = None) -> Finetuning:
    torch.manual_seed(0)
    return Finetuning(store, task, encoder or new_encoder(store, BACKBONE), arm, "rolling", FINETUNING)


@pytest.mark.parametrize("arm", ["scratch", "frozen", "finetuned"])
def test_every_arm_learns_and_gives_the_same_bits_again(nasty_store: Store, task: EntityTask, arm: Arm) -> None:
    runs = [make(nasty_store, task, arm) for _ in range(2)]
    results = [run.run() for run in runs]
    assert results[0].val == results[1].val
    for name, weight in runs[0].model.state_dict().items():
        assert torch.equal(weight, runs[1].model.state_dict()[name]), name
        assert weight.isfinite().all()


def test_columns_are_those_of_the_rows_whether_they_are_kept_or_not(
    nasty_store: Store, task: EntityTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BACKBONE.columns is not None
    seeds, rows = make(nasty_store, task).inputs.split("val"), np.array([7, 2, 5])
    expected = Columns(nasty_store, "teams", BACKBONE.columns)(seeds.entities[rows], seeds.before_s[rows])
    for most_bytes in (1 << 31, 0):
        monkeypatch.setattr(task_inputs, "MAX_COLUMNS_BYTES", most_bytes)
        found = make(nasty_store, task).inputs.trees("val", rows).columns
        assert found is not None
        np.testing.assert_array_equal(found.numpy(), expected)


def test_columns_that_were_not_pretrained_are_learned_unless_the_backbone_is_frozen(
    nasty_store: Store, task: EntityTask
) -> None:
    encoders = [new_encoder(nasty_store, BACKBONE) for _ in range(2)]
    for encoder in encoders:
        del encoder.columns[str(encoder.tables.index("teams"))]
    run = make(nasty_store, task, "finetuned", encoders[0])
    assert "teams" in run.model.encoder.columns_widths
    with pytest.raises(ValueError, match="without columns of 'teams'.*--arm finetuned"):
        make(nasty_store, task, "frozen", encoders[1])


def test_a_backbone_of_other_statistics_is_refused(nasty_store: Store, task: EntityTask) -> None:
    encoder = new_encoder(nasty_store, BACKBONE)
    encoder.add_statistics("teams", 3)
    with pytest.raises(ValueError, match="reads statistics per table .*'teams': 3.*the store has"):
        make(nasty_store, task, encoder=encoder)
