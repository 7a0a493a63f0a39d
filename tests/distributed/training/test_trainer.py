"""The distributed run against itself: repeated, killed and continued, on one worker; and what workers refuse."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import ray.train
import torch
from safetensors.torch import load_file

from distributed.__main__ import main
from distributed.cannot_run import CannotRun
from distributed.runs.checkpoint import CheckpointPolicy
from distributed.runs.commits import SNAPSHOT
from distributed.runs.journal import Journal
from distributed.runs.tracking import TrackingConfig
from distributed.sampling.placement import Placement
from distributed.sampling.plan import StepPlan, seed_tables, step_plan
from distributed.sampling.sampler import HGSampler
from distributed.training.train_loop import worker_steps
from distributed.training.trainer import BACKEND, PretrainResult, pretrain
from rdl_core.checkpoint_files import weights_digest
from rdl_core.contrast import LEVELS
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.pretraining import num_samples, pretrain_here
from rdl_core.sampling.hg_sampling import HGSampling
from tests import own_environment
from tests.distributed.small_runs import INTERVAL, STEPS, run, small_config

# Of Ray's own code: deprecated fields of its DataContext, read whenever the context is copied.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # its callbacks run in processes that cannot import it


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Weights after the last update, from the checkpoint of the last step."""
    steps = {json.loads(p.read_text())["step"]: p.parent for p in folder.glob("train/checkpoint_*/state.json")}
    return load_file(steps[max(steps)] / "model.safetensors")


def require_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [n for n in left if not torch.equal(left[n], right[n])]
    assert not different


def curve(result: PretrainResult) -> list[dict[str, float]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in result.state.history]


def require_each_sample_once(result: PretrainResult) -> None:
    """The committed history holds the samples of all steps, each once, from the first on: whole epochs and a beginning."""
    assert num_samples(result.state.consumed) == 2 * STEPS
    assert [first for _, first, _ in result.state.consumed] == [0] * len(result.state.consumed)
    assert [epoch for epoch, _, _ in result.state.consumed] == list(range(len(result.state.consumed)))
    assert len({end for _, _, end in result.state.consumed[:-1]}) <= 1


# ------------------------------------------------------------------------------------------------ what a worker gets


class Blocks:
    """What `get_dataset_shard` gives a worker, with blocks of our choice."""

    def __init__(self, blocks: list[pa.Table]) -> None:
        self.blocks = blocks

    def iter_batches(self, *, batch_size: None, batch_format: str, prefetch_batches: int) -> Iterator[pa.Table]:
        assert (batch_size, batch_format) == (None, "pyarrow")
        yield from self.blocks


@pytest.fixture(scope="module", params=[2, 5], ids=["even", "uneven"])
def dealt(request: pytest.FixtureRequest, nasty_store: Store) -> tuple[StepPlan, HGSampling, list[pa.Table]]:
    """The plan of 60 steps on two workers, its sampler, and blocks of 24 steps."""
    config = small_config(samples_per_step=request.param)
    sampler = HGSampling(nasty_store.graph, config.sampling, seed=config.seed, before_s=nasty_store.schema.cutoff_s + 1)
    plan = step_plan(config, 2, sampler)
    plan = dataclasses.replace(plan, samples_per_block=24 * plan.rows_per_worker)
    hg_sampler = HGSampler(Placement(str(nasty_store.path)), config.sampling, config.seed)
    return plan, sampler, [hg_sampler(t) for t in seed_tables(plan, sampler, 0, 60)]


Dealt = tuple[StepPlan, HGSampling, list[pa.Table]]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("first_step", [0, 1, 24, 31, 59])
def test_a_worker_gets_the_samplers_samples_of_its_steps_in_order(
    dealt: Dealt, nasty_store: Store, rank: int, first_step: int
) -> None:
    plan, sampler, blocks = dealt
    got = list(worker_steps(Blocks(blocks[rank::2]), plan, rank, first_step, nasty_store))  # type: ignore[arg-type]
    assert [cursors for _, cursors in got] == [plan.cursors(step, rank) for step in range(first_step, 60)]
    for subgraphs, cursors in got:
        expected = [sampler.sample(epoch, [sample])[0] for epoch, sample in cursors]
        assert [s.to_bytes() for s in subgraphs] == [s.to_bytes() for s in expected]


@pytest.mark.parametrize(
    "order",
    [[2, 0], [1, 3], [0, 0], [0, 4], [0, 3]],
    ids=["swapped", "of another rank", "twice", "one lost", "then another's"],
)
def test_a_worker_refuses_blocks_that_were_dealt_otherwise(dealt: Dealt, nasty_store: Store, order: list[int]) -> None:
    plan, _, blocks = dealt
    steps = worker_steps(Blocks([blocks[i] for i in order]), plan, 0, 0, nasty_store)  # type: ignore[arg-type]
    with pytest.raises(
        RuntimeError, match="rank 0 expected sample .* Ray Data dealt its blocks otherwise than planned"
    ):
        list(steps)


def test_a_worker_refuses_samples_that_begin_after_its_checkpoint(dealt: Dealt, nasty_store: Store) -> None:
    plan, _, blocks = dealt
    with pytest.raises(RuntimeError, match=r"expected sample \(step, epoch, sample\) \(5, .* got \(24, "):
        list(worker_steps(Blocks(blocks[2::2]), plan, 0, 5, nasty_store))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- whole runs


@pytest.mark.parametrize(("use_gpu", "expected"), [(False, {"cpu": "gloo"}), (True, {"cpu": "gloo", "cuda": "nccl"})])
def test_with_gpus_what_is_on_them_goes_through_nccl_and_the_rest_through_gloo(
    use_gpu: bool, expected: dict[str, str]
) -> None:
    backends = torch.distributed.distributed_c10d.BackendConfig(torch.distributed.Backend(BACKEND[use_gpu]))
    found = backends.get_device_backend_map()
    assert {device: found[device] for device in expected} == expected
    assert use_gpu or "nccl" not in found.values()


@pytest.fixture(scope="module")
def whole(
    ray_session: None, nasty_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PretrainResult]:
    """(run folder, result) of an undisturbed run on two workers."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(nasty_store, folder, workers=2)


@pytest.mark.ray
def test_a_run_on_two_workers_does_all_its_steps_and_learns(
    whole: tuple[Path, PretrainResult], nasty_store: Store
) -> None:
    _, result = whole
    state = result.state
    assert (state.step, state.finished) == (STEPS, "max_steps")
    assert [entry["step"] for entry in state.history] == list(range(0, STEPS + 1, INTERVAL))
    assert all(state.first[f"validation/{level}"] == pytest.approx(1.0, abs=0.05) for level in LEVELS)
    assert sum(state.best[f"validation/{level}"] for level in LEVELS) == state.best_loss < 2.95
    assert set(state.sampled["rows"]) == set(nasty_store.schema.tables)
    assert state.sampled["rows"]["order_line"] >= 4 * STEPS
    require_each_sample_once(whole[1])
    assert set(state.sampled["links"]) == {f"{child}.{key}" for child, key, _ in nasty_store.graph.edge_types}


@pytest.mark.ray
def test_the_model_of_a_run_is_its_best_and_loads_for_its_store(
    whole: tuple[Path, PretrainResult], nasty_store: Store
) -> None:
    folder, result = whole
    checkpoint = from_pretrained(result.checkpoint, kind="pretrained")
    checkpoint.require_same_schema(nasty_store)
    encoder = checkpoint.encoder()
    assert all(torch.equal(w, checkpoint.weights[f"encoder.{n}"]) for n, w in encoder.state_dict().items())
    assert checkpoint.about["store"] == nasty_store.content_hash
    assert checkpoint.about["step"] == result.state.best_step
    if result.state.best_step == STEPS:
        require_same_bits(checkpoint.weights, last_weights(folder))


@pytest.mark.ray
def test_only_rank_0_tracks_the_run(whole: tuple[Path, PretrainResult]) -> None:
    folder, _ = whole
    assert [p.name for p in folder.glob("wandb/offline-run-*/*.wandb")] == ["run-whole.wandb"]


@pytest.mark.ray
def test_a_second_fresh_run_on_a_sharded_graph_gives_the_same_weights_bit_for_bit(
    whole: tuple[Path, PretrainResult], nasty_store: Store, tmp_path: Path
) -> None:
    again = run(nasty_store, tmp_path / "again", workers=2, num_shards=3)
    require_same_bits(last_weights(tmp_path / "again"), last_weights(whole[0]))
    assert curve(again) == curve(whole[1])


@pytest.mark.ray
def test_one_worker_gives_the_weights_of_two_up_to_rounding(
    whole: tuple[Path, PretrainResult], nasty_store: Store, tmp_path: Path
) -> None:
    alone = run(nasty_store, tmp_path / "alone", workers=1)
    for entry, other in zip(alone.state.history, whole[1].state.history, strict=True):
        losses = {k: v for k, v in other.items() if "/" in k}
        assert {k: v for k, v in entry.items() if "/" in k} == pytest.approx(losses, rel=2e-3)
    first, second = last_weights(tmp_path / "alone"), last_weights(whole[0])
    # Adam divides by tiny second moments, so that single weights may differ by more than rounding.
    distance = sum(float((first[n] - second[n]).square().sum()) for n in first) ** 0.5
    size = sum(float(w.square().sum()) for w in second.values()) ** 0.5
    assert distance < 1e-3 * size


@pytest.mark.ray
def test_a_run_begins_with_another_s_weights_and_goes_on_with_its_own(
    whole: tuple[Path, PretrainResult], nasty_store: Store, tmp_path: Path, one_thread: None
) -> None:
    begun, changes = str(whole[1].checkpoint), {"seed": 12, "max_steps": 4}
    result = run(nasty_store, tmp_path / "on", workers=1, init_from=begun, **changes)
    assert from_pretrained(result.checkpoint).about["init_from"] == weights_digest(begun)
    here, _ = pretrain_here(nasty_store, small_config(**changes), init_from=from_pretrained(begun))
    require_same_bits(from_pretrained(result.checkpoint).weights, here.state_dict())
    with pytest.raises(ValueError, match="init_from"):
        run(nasty_store, tmp_path / "on", workers=1, **changes)


@pytest.mark.ray
def test_a_finished_run_called_again_returns_what_it_found(
    whole: tuple[Path, PretrainResult], nasty_store: Store
) -> None:
    folder, result = whole
    before = last_weights(folder)
    again = run(nasty_store, folder, workers=2)
    assert again.state == result.state
    require_same_bits(last_weights(folder), before)


# ------------------------------------------------------------------------------------- a killed driver, a killed worker


def kill_driver_after(folder: Path, store: Store, num_checkpoints: int) -> None:
    """Starts the run in a process of its own and kills that with -9 as soon as so many checkpoints are there."""
    command = [sys.executable, "-m", "tests.distributed.small_runs", str(store.path), str(folder)]
    with (folder.parent / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command, env=own_environment(), stdout=log, stderr=log, cwd=folder.parent)
    try:
        end = time.monotonic() + 150
        while len(list(folder.glob("train/checkpoint_*/state.json"))) < num_checkpoints:
            assert driver.poll() is None, (folder.parent / "driver.log").read_text()[-3000:]
            assert time.monotonic() < end, "no checkpoint within 150 s"
            time.sleep(0.02)
    finally:
        started = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.send_signal(signal.SIGKILL)
        for process in started:  # as a machine dies: workers would go on for seconds after their driver
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        driver.wait()
        psutil.wait_procs(started, timeout=5)


class KillWorker(ray.train.UserCallback):
    """Kills rank 0 with -9, once, when a checkpoint of this step or a later one is committed."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step, self.is_done = folder, step, False

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        if checkpoint is not None and not self.is_done and metrics[0]["step"] >= self.step:
            self.is_done = True
            os.kill(Journal(self.folder).events("group")[-1]["pid"], signal.SIGKILL)


@pytest.mark.ray
def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(
    whole: tuple[Path, PretrainResult], nasty_store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    kill_driver_after(folder, nasty_store, num_checkpoints=2)
    reached = [json.loads(p.read_text())["step"] for p in folder.glob("train/checkpoint_*/state.json")]
    assert 0 < max(reached) < STEPS - 4 * INTERVAL, "killed too late for this test to have power"
    assert not (folder / "model").exists()
    result = run(nasty_store, folder, workers=2, callbacks=[KillWorker(folder, max(reached) + INTERVAL)])
    require_same_bits(last_weights(folder), last_weights(whole[0]))
    require_same_bits(from_pretrained(result.checkpoint).weights, from_pretrained(whole[1].checkpoint).weights)
    assert curve(result) == curve(whole[1])
    journal = Journal(folder)
    assert len(list(folder.glob("wandb/offline-run-*/run-killed.wandb"))) == 3
    assert [failure["error"].split(":")[0] for failure in journal.events("failure")] == ["ActorDiedError"]
    require_each_sample_once(result)
    underway = max(event["reached"] - event["step"] for event in journal.events("committed"))
    wasted = [event["wasted_steps"] for event in journal.events("resumed")]
    assert len(wasted) == 3
    assert all(0 <= steps <= INTERVAL + underway for steps in wasted)
    names = {
        r["checkpoint_dir_name"] for r in json.loads((folder / "train" / SNAPSHOT).read_text())["checkpoint_results"]
    }
    assert {p.name for p in folder.glob("train/checkpoint_*/")} == names
    assert len(names) == CheckpointPolicy().num_to_keep


# ------------------------------------------------------------------------------------- the other users of the session


def test_fewer_samples_per_step_than_workers_are_refused(nasty_store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="samples_per_step is 2; 3 workers need one each at least"):
        run(nasty_store, tmp_path, workers=1, max_workers=3)


@pytest.mark.ray
def test_more_cpus_than_the_session_has_are_refused_with_the_arithmetic(
    ray_session: None, nasty_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(CannotRun, match=r"the run needs 106 = 100 workers \+ 5 samplers \+ 1"):
        pretrain(
            nasty_store,
            small_config(samples_per_step=100),
            tmp_path,
            workers=100,
            samplers=5,
            tracking=TrackingConfig(directory=str(tmp_path), run_id="x", name="x", enabled=False),
        )


@pytest.mark.ray
def test_fine_tuning_on_two_workers_reports_what_its_checkpoint_scores(
    ray_session: None, nasty_dataset: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(nasty_dataset.dataset_dir), "--runs-dir", str(tmp_path / "runs"), "--json"]
    arguments = ["finetune", *common, "--task", "team-points", "--arm", "scratch", "--max-steps", "6", "--workers", "2"]
    assert main([*arguments, "--validation-interval-steps", "2", "--rows", "linear"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    journal = Journal(Path(result["run"]))
    assert [(e["step"], e["value"]) for e in journal.events("validated")][-1][0] == 6
    assert "team-points scratch seed 0: training, step" in err, "the driver tells what rank 0 does"
    assert not (Path(result["run"]) / "training.safetensors").exists()
    assert main(["evaluate", *common, "--checkpoint", result["checkpoint"]]) == 0
    scored = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scored["val"] == pytest.approx(result["metrics"]["val"], rel=1e-5)
    assert scored["test"] == pytest.approx(result["metrics"]["test"], rel=1e-5)
