"""`pretrain`: the whole distributed run, from a store to a checkpoint. Ray Data samples, Ray Train trains.

    seeds (Dataset) -> map_batches(HGSampler) -> streaming_split -> workers (DDP) -> ray.train.report(checkpoint)

Promises: the same run folder continues an unfinished run to the same result, or is refused with the difference; what is returned is read from the
last committed checkpoint. Machines that fail are replaced as long as the run gets on; an error that would come again ends it (failures.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.train
import ray.train.torch
from safetensors.torch import load_file

from distributed.checkpoint import CheckpointPolicy, check_identity, load_state, run_identity
from distributed.commits import CommitCopies, committed_checkpoint, committed_step, remove_uncommitted, repair
from distributed.failures import GiveUp
from distributed.journal import Journal
from distributed.preflight import check_shared, fetch_on_every_node, start_ray
from distributed.progress import make_board, say, watched
from distributed.sampling import in_order, sampled_dataset
from distributed.seeds import samples_per_step, step_plan
from distributed.shards import PlacementName, place
from distributed.tracking import TrackingConfig
from distributed.train_loop import WorkerConfig, train_loop_per_worker
from rdl_core.config import PretrainingConfig
from rdl_core.model_io import save_pretrained
from rdl_core.pretraining import TrainState, pretrained_checkpoint
from rdl_core.store import Store

MAX_FAILURES = 3
"""Of a fine-tuning run."""
MAX_STARTS = 10
"""Starts of the worker group that fail, each after RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S: how long a run waits for lost nodes."""
COLLECTIVE_TIMEOUT_S = 180
"""A rank that is silent for so long is lost; the longest that ranks wait for each other is a validation."""
BACKEND = {False: "gloo", True: "cpu:gloo,cuda:nccl"}
"""By whether GPUs are used; with GPUs, clocks and counts on the CPU still need gloo."""


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """What a run gives.

    Args:
        checkpoint: Folder of the best model (model_io.py).
        state: How it went.
    """

    checkpoint: Path
    state: TrainState


def pretrain(
    store: Store,
    config: PretrainingConfig,
    run_dir: Path,
    *,
    workers: int = 1,
    samplers: int = 1,
    placement: PlacementName = "auto",
    num_shards: int | None = None,
    tracking: TrackingConfig,
    checkpoints: CheckpointPolicy = CheckpointPolicy(),  # noqa: B008  frozen
    callbacks: list[ray.train.UserCallback] | None = None,
) -> PretrainResult:
    """Pretrains a backbone on a store.

    Args:
        store: The REG store; its folder must be readable on every node, or it is remote and every node gets a copy.
        config: The run.
        run_dir: Checkpoints go to run_dir/train, the model to run_dir/model; a run already there goes on.
        workers: DDP workers (gloo on CPU, nccl on GPU).
        samplers: Sampling tasks at a time.
        placement, num_shards: Where the graph is (shards.py).
        tracking: W&B on rank 0.
        checkpoints: How often, besides those at validations.
        callbacks: Ray Train callbacks of the caller (tune's).

    Raises:
        RuntimeError: Resources that would never do, or folders that not all nodes share (preflight.py).
        ValueError: The run folder holds a run of another configuration, store or samples per step.
        ray.train.TrainingFailedError: The run failed for good (failures.py: `last_screen` says why).
    """
    run_dir = run_dir.resolve()
    steps = samples_per_step(config, workers)
    identity = run_identity(config, store.content_hash, steps, tracking.run_id if tracking.enabled else None)
    if _check_run(run_dir, identity):
        return _finish(store, config, run_dir)
    use_gpu = start_ray(workers, samplers)
    if len(ray.nodes()) > 1:
        for folder in (run_dir, *([] if store.remote else [store.path.resolve()])):
            check_shared(folder)
    if store.remote is not None:
        say(fetch_on_every_node(store.remote))
    if steps != config.samples_per_step:
        say(f"samples per step raised from {config.samples_per_step} to {steps}, a multiple of {workers} workers")
    placed = place(store, config.sampling, placement, num_shards)
    say(f"graph placement: {placed.why}")
    sampler = placed.sampling(config.sampling, config.seed)
    if sampler.seeds.num_dropped:
        say(
            f"each epoch drops its partial last sample: {sampler.seeds.num_dropped} of {len(sampler.seeds.eligible)} seed rows"
        )
    board = make_board()
    worker = WorkerConfig(
        placement=placed, pretraining=config, tracking=tracking, run_folder=str(run_dir), identity=identity,
        checkpoints=checkpoints, board=board,
    )  # fmt: skip
    Journal(run_dir).note("driver", workers=workers)
    trainer = ray.train.torch.TorchTrainer(
        train_loop_per_worker,  # type: ignore[arg-type]
        train_loop_config=worker,  # type: ignore[arg-type]
        datasets={"train": _samples(worker, workers, samplers, run_dir / "train")},
        dataset_config=ray.train.DataConfig(execution_options=in_order()),
        torch_config=ray.train.torch.TorchConfig(backend=BACKEND[use_gpu], timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": 1} | ({"GPU": 1} if use_gpu else {})
        ),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            name="train",
            storage_path=str(run_dir),
            failure_config=ray.train.FailureConfig(  # type: ignore[call-arg]
                max_failures=-1, controller_failure_limit=MAX_STARTS
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=checkpoints.num_to_keep),
            callbacks=[CommitCopies(run_dir / "train"), GiveUp(run_dir), *(callbacks or [])],  # type: ignore[list-item]
            worker_runtime_env={"env_vars": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "WANDB_SILENT": "true"}},
        ),
    )
    try:
        with watched(board, "pretraining", config.max_steps, Journal(run_dir)):
            trainer.fit()
    finally:
        if placed.shards is not None:
            placed.shards.stop()
    return _finish(store, config, run_dir)


def _check_run(run_dir: Path, identity: dict[str, Any]) -> bool:
    """Refuses another run's folder, and mends what a crash left half written; returns whether the run is at its end."""
    run_dir.mkdir(parents=True, exist_ok=True)
    if (repaired := repair(run_dir / "train")) is not None:
        say(repaired)
    checkpoint = committed_checkpoint(run_dir / "train")
    if checkpoint is None:
        return False
    check_identity(checkpoint, identity)
    return load_state(checkpoint).finished != ""


def _samples(worker: WorkerConfig, workers: int, samplers: int, train_folder: Path) -> Callable[[], ray.data.Dataset]:
    """A callable, so that every start of the worker group begins at its own checkpoint."""
    config = worker.pretraining

    def dataset() -> ray.data.Dataset:
        sampler = worker.placement.sampling(config.sampling, config.seed)
        plan = step_plan(worker.identity["samples_per_step"], workers, sampler)
        remove_uncommitted(train_folder)
        # At least one step, which workers skip if they are at the end: Ray Data refuses to execute nothing.
        first_step = min(committed_step(train_folder), config.max_steps - 1)
        return sampled_dataset(
            worker.placement, config.sampling, config.seed, plan, first_step=first_step,
            max_steps=config.max_steps, samplers=samplers,
        )  # fmt: skip

    return dataset


def _finish(store: Store, config: PretrainingConfig, run_dir: Path) -> PretrainResult:
    checkpoint = committed_checkpoint(run_dir / "train")
    assert checkpoint is not None  # the loop ends with one
    state, best = load_state(checkpoint), load_file(checkpoint / "best.safetensors")
    path = save_pretrained(run_dir / "model", pretrained_checkpoint(best, store, config, state))
    Journal(run_dir).note("finished", step=state.step, why=state.finished)
    return PretrainResult(checkpoint=path, state=state)
