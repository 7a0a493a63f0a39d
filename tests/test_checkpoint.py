"""Training checkpoints: what is loaded is what was saved, and going on from it is as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distributed.checkpoint import committed_step, load_training, save_training
from rdl_core.communicator import SingleProcess
from rdl_core.config import PretrainingConfig, robust
from rdl_core.hg_sampling import HGSampling, HGSamplingConfig
from rdl_core.model_io import cpu_weights
from rdl_core.pretraining import PretrainingModel, TrainState, Validation, fit, local_steps
from rdl_core.row_encoder import RowEncoderConfig
from rdl_core.store import Store

STEPS = 5


def config() -> PretrainingConfig:
    """A run that validates after every step, with dropout and clipping."""
    preset = robust().pretraining
    rows = RowEncoderConfig(model="resnet", num_layers=1, dropout=0.3)
    return dataclasses.replace(
        preset,
        sampling=HGSamplingConfig(seeds_per_sample=4, rows_per_hop=5, num_hops=2),
        backbone=dataclasses.replace(preset.backbone, channels=8, rows=rows),
        max_steps=STEPS,
        samples_per_step=2,
        learning_rate=3.0,  # so much that the last weights are not the best
        validation_interval_steps=1,
        validation_samples=2,
        validation_fresh=True,
    )


class LocalRun:
    """A run in this process that leaves a checkpoint folder at each validation, as train_loop.py does."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.config = store, folder, config()
        torch.manual_seed(self.config.seed)
        self.model = PretrainingModel(store, self.config)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.config.learning_rate)
        self.state, self.best = TrainState(), cpu_weights(self.model)

    def load(self, folder: Path) -> None:
        self.state, self.best = load_training(folder, self.model, self.optimizer)

    def train(self) -> LocalRun:
        sampler = HGSampling(self.store.graph, self.config.sampling, seed=0, before_s=self.store.schema.cutoff_s + 1)
        validation = Validation(self.store, self.config, sampler, SingleProcess())
        steps = local_steps(sampler, self.config, self.state.step)
        self.state = fit(
            self.model,
            self.optimizer,
            steps,
            self.store,
            self.config,
            validation,
            state=self.state,
            on_report=self.report,
        )
        return self

    def report(self, state: TrainState, metrics: Mapping[str, float], is_best: bool) -> None:
        if is_best:
            self.best = cpu_weights(self.model)
        folder = self.folder / f"checkpoint_{state.step}"
        folder.mkdir(parents=True)
        save_training(folder, self.model, self.best, self.optimizer, state)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """With more, sums may be split differently from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> LocalRun:
    """The undisturbed run."""
    return LocalRun(nasty_store, tmp_path_factory.mktemp("whole")).train()


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{i}/{name}": value for i, entry in optimizer.state_dict()["state"].items() for name, value in entry.items()
    }


def require_same_bits(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [n for n in left if not torch.equal(left[n], right[n])] == []


def without_clock(state: TrainState) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(state).items() if k != "seconds"}


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_going_on_from_any_step_equals_the_undisturbed_run_bit_for_bit(
    whole: LocalRun, nasty_store: Store, tmp_path: Path, step: int
) -> None:
    resumed = LocalRun(nasty_store, tmp_path)
    resumed.load(whole.folder / f"checkpoint_{step}")
    assert resumed.state.step == step
    resumed.train()
    require_same_bits(resumed.model.state_dict(), whole.model.state_dict())
    require_same_bits(moments(resumed.optimizer), moments(whole.optimizer))
    require_same_bits(resumed.best, whole.best)
    assert without_clock(resumed.state) == without_clock(whole.state)
    assert len(list(tmp_path.iterdir())) == STEPS - step


def test_weights_moments_and_best_all_matter_to_the_comparison(whole: LocalRun) -> None:
    assert len(moments(whole.optimizer)) == 3 * len(list(whole.model.parameters()))
    assert whole.state.best_step < STEPS, "best and last weights must differ for the tests above to have power"
    assert any(not torch.equal(whole.best[n], w) for n, w in whole.model.state_dict().items())
    assert whole.state.finished == "max_steps"


def test_a_checkpoint_is_four_files_without_pickle(whole: LocalRun) -> None:
    names = ["best.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"]
    for step in range(STEPS + 1):
        folder = whole.folder / f"checkpoint_{step}"
        assert sorted(p.name for p in folder.iterdir()) == names
        for path in folder.glob("*.safetensors"):  # eight bytes of length, then JSON
            assert path.read_bytes()[8:9] == b"{"
        assert json.loads((folder / "state.json").read_text())["step"] == step


def test_state_is_written_last(whole: LocalRun, tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()  # cannot be written
    with pytest.raises(IsADirectoryError):
        save_training(tmp_path, whole.model, whole.best, whole.optimizer, whole.state)
    assert {p.name for p in tmp_path.glob("*.safetensors")} == {
        f"{n}.safetensors" for n in ("model", "best", "optimizer")
    }


def checkpoint(folder: Path, name: str, step: int) -> Path:
    path = folder / f"checkpoint_{name}"
    path.mkdir(parents=True)
    (path / "state.json").write_text(json.dumps(dataclasses.asdict(TrainState(step=step))))
    return path


@pytest.mark.parametrize(
    ("steps", "expected"), [((), 0), ((0,), 0), ((10,), 0), ((0, 10), 0), ((0, 10, 20), 10), ((30, 20, 40), 30)]
)
def test_samples_begin_at_the_checkpoint_before_the_newest(
    tmp_path: Path, steps: tuple[int, ...], expected: int
) -> None:
    for number, step in enumerate(steps):
        checkpoint(tmp_path, str(number), step)
    assert committed_step(tmp_path) == expected


def test_a_folder_that_is_not_there_begins_at_step_0(tmp_path: Path) -> None:
    assert committed_step(tmp_path / "none") == 0


@pytest.mark.parametrize("written", [None, "", '{"step": 3', '{"step": 30, "best_l'])
def test_a_half_written_newest_checkpoint_is_no_checkpoint(tmp_path: Path, written: str | None) -> None:
    for step in (0, 10, 20):
        checkpoint(tmp_path, str(step), step)
    newest = tmp_path / "checkpoint_30"
    newest.mkdir()
    if written is not None:
        (newest / "state.json").write_text(written)
    assert committed_step(tmp_path) <= 20
    assert committed_step(tmp_path) >= 10


def test_two_uploads_of_one_step_that_both_failed_count_once(tmp_path: Path) -> None:
    """Step 20 was uploaded twice and committed never: a group that restarts at 10 needs the samples from 10 on."""
    for name, step in (("a", 0), ("b", 10), ("c", 20), ("d", 20)):
        checkpoint(tmp_path, name, step)
    assert committed_step(tmp_path) == 10


def test_old_checkpoints_may_be_deleted(tmp_path: Path) -> None:
    for step in (0, 10, 20, 30):
        checkpoint(tmp_path, str(step), step)
    shutil.rmtree(tmp_path / "checkpoint_0")
    assert committed_step(tmp_path) == 20
