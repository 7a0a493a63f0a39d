"""Training checkpoints: what is loaded is what was saved, and going on from it is as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distributed.runs.checkpoint import CheckpointPolicy, load_training, run_identity, save_training
from rdl_core.communicator import SingleProcess
from rdl_core.config import FutureConfig, HGSamplingConfig, PretrainingConfig, ResNetRows, contrast
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import cpu_weights
from rdl_core.pretraining import fit, local_steps
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.state import TrainState
from rdl_core.pretraining.validation import Validation
from rdl_core.sampling.hg_sampling import HGSampling

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS, VALIDATION_INTERVAL = 10, 3


def config() -> PretrainingConfig:
    """A run of ten steps that saves after every step, with dropout and clipping, on all levels, balanced."""
    preset = contrast().pretraining
    rows = ResNetRows(num_layers=1, dropout=0.3)
    return dataclasses.replace(
        preset,
        sampling=HGSamplingConfig(seeds_per_sample=4, rows_per_hop=5, num_hops=2),
        backbone=dataclasses.replace(preset.backbone, channels=8, rows=rows),
        levels=("row", "link", "context", "future"),
        future=FutureConfig(questions_per_sample=8, window_shares=(1 / 16, 1 / 4)),
        balance="gradient_norm",
        balance_interval_steps=4,
        max_steps=STEPS,
        samples_per_step=2,
        learning_rate=3.0,  # so much that the last weights are not the best
        validation_interval_steps=VALIDATION_INTERVAL,
        validation_samples=2,
        validation_fresh=True,
    )


class LocalRun:
    """A run in this process that leaves a checkpoint folder after each step, as train_loop.py does."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.config = store, folder, config()
        torch.manual_seed(self.config.seed)
        self.model = PretrainingModel(store, self.config)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.config.learning_rate)
        self.state, self.best = TrainState(), cpu_weights(self.model)
        self.identity = run_identity(self.config, store.content_hash, "abc")

    def load(self, folder: Path) -> None:
        self.state, self.best = load_training(folder, self.model, self.optimizer, self.identity)

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
            checkpoint_due=lambda step: True,
            on_checkpoint=self.save,
        )
        return self

    def report(self, state: TrainState, metrics: Mapping[str, float], is_best: bool) -> None:
        if is_best:
            self.best = cpu_weights(self.model)
        self.save(state)

    def save(self, state: TrainState) -> None:
        folder = self.folder / f"checkpoint_{state.step}"
        folder.mkdir(parents=True)
        save_training(folder, self.model, self.best, self.optimizer, state, self.identity)


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


def test_a_checkpoint_is_five_files_without_pickle(whole: LocalRun) -> None:
    names = ["best.safetensors", "model.safetensors", "optimizer.safetensors", "run.json", "state.json"]
    for step in range(STEPS + 1):
        folder = whole.folder / f"checkpoint_{step}"
        assert sorted(p.name for p in folder.iterdir()) == names
        for path in folder.glob("*.safetensors"):  # eight bytes of length, then JSON
            assert path.read_bytes()[8:9] == b"{"
        assert json.loads((folder / "state.json").read_text())["step"] == step


def test_a_checkpoint_records_each_sample_of_its_steps_once(whole: LocalRun, nasty_store: Store) -> None:
    sampler = HGSampling(nasty_store.graph, whole.config.sampling, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    for step in range(STEPS + 1):
        state = json.loads((whole.folder / f"checkpoint_{step}" / "state.json").read_text())
        used = [(e, k) for e, first, end in state["consumed"] for k in range(first, end)]
        assert used == [divmod(k, sampler.samples_per_epoch) for k in range(step * whole.config.samples_per_step)]


@pytest.mark.parametrize(
    ("changes", "store", "shown"),
    [
        ({"learning_rate": 0.5}, None, "config.learning_rate: 3.0 -> 0.5"),
        ({"seed": 7}, None, "seed: 0 -> 7"),
        ({}, "another", r"store: \w+ -> another"),
        ({"samples_per_step": 4}, None, "config.samples_per_step: 2 -> 4"),
    ],
    ids=["configuration", "seed", "store", "samples per step"],
)
def test_a_checkpoint_of_another_run_is_refused_with_the_difference(
    whole: LocalRun, tmp_path: Path, changes: dict[str, Any], store: str | None, shown: str
) -> None:
    other = LocalRun(whole.store, tmp_path)
    before = cpu_weights(other.model)
    changed = dataclasses.replace(other.config, **changes)
    other.identity = run_identity(changed, store or whole.store.content_hash, "abc")
    with pytest.raises(ValueError, match=f"(?s)another run.*{shown}.*Remedy"):
        other.load(whole.folder / "checkpoint_3")
    require_same_bits(other.model.state_dict(), before)


def test_another_wandb_id_is_the_same_run(whole: LocalRun, tmp_path: Path) -> None:
    other = LocalRun(whole.store, tmp_path)
    other.identity = run_identity(other.config, whole.store.content_hash, None)
    other.load(whole.folder / "checkpoint_3")
    assert other.state.step == 3


@pytest.mark.parametrize("wrong", [{"interval_steps": 0}, {"interval_s": 0.0}, {"num_to_keep": 0}])
def test_an_interval_of_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"CheckpointPolicy.{next(iter(wrong))} is .*; it should be greater than 0"):
        CheckpointPolicy(**wrong)


def test_state_is_written_last(whole: LocalRun, tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()  # cannot be written
    with pytest.raises(IsADirectoryError):
        save_training(tmp_path, whole.model, whole.best, whole.optimizer, whole.state, whole.identity)
    assert {p.name for p in tmp_path.glob("*.safetensors")} == {
        f"{n}.safetensors" for n in ("model", "best", "optimizer")
    }
