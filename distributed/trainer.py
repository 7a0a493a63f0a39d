"""`pretrain`: the whole distributed run, from a store to a checkpoint. Ray Data samples, Ray Train trains.

    seeds (Dataset) -> map_batches(HGSampler) -> streaming_split -> workers (DDP) -> ray.train.report(checkpoint)

Promises: the same run folder continues an unfinished run to the same result; what is returned is read from the last committed checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.train
import ray.train.torch
from safetensors.torch import load_file

from distributed.checkpoint import committed_step
from distributed.preflight import start_ray
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
    callbacks: list[ray.train.UserCallback] | None = None,
) -> PretrainResult:
    """Pretrains a backbone on a store.

    Args:
        store: The REG store; its folder must be readable on every node.
        config: The run.
        run_dir: Checkpoints go to run_dir/train, the model to run_dir/model; a run already there goes on.
        workers: DDP workers (gloo on CPU, nccl on GPU).
        samplers: Sampling tasks at a time.
        placement, num_shards: Where the graph is (shards.py).
        tracking: W&B on rank 0.
        callbacks: Ray Train callbacks of the caller (tune's).

    Raises:
        RuntimeError: Resources that would never do (preflight.py).
        ray.train.TrainingFailedError: The training function failed more often than allowed.
    """
    use_gpu = start_ray(workers, samplers)
    run_dir = run_dir.resolve()
    steps = samples_per_step(config, workers)
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
    worker = WorkerConfig(placement=placed, pretraining=config, tracking=tracking, board=board)
    trainer = ray.train.torch.TorchTrainer(
        train_loop_per_worker,  # type: ignore[arg-type]
        train_loop_config=worker,  # type: ignore[arg-type]
        datasets={"train": _samples(worker, workers, samplers, run_dir / "train")},
        dataset_config=ray.train.DataConfig(execution_options=in_order()),
        torch_config=ray.train.torch.TorchConfig(backend=BACKEND[use_gpu]),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": 1} | ({"GPU": 1} if use_gpu else {})
        ),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            name="train",
            storage_path=str(run_dir),
            failure_config=ray.train.FailureConfig(  # type: ignore[call-arg]
                max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=3),
            callbacks=callbacks or [],  # type: ignore[arg-type]
            worker_runtime_env={"env_vars": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "WANDB_SILENT": "true"}},
        ),
    )
    try:
        with watched(board, "pretraining", config.max_steps):
            result = trainer.fit()
    finally:
        if placed.shards is not None:
            placed.shards.stop()
    return _finish(result, store, config, run_dir)


def _samples(worker: WorkerConfig, workers: int, samplers: int, train_folder: Path) -> Callable[[], ray.data.Dataset]:
    """A callable, so that every start of the worker group begins at its own checkpoint."""
    config = worker.pretraining

    def dataset() -> ray.data.Dataset:
        sampler = worker.placement.sampling(config.sampling, config.seed)
        plan = step_plan(config, workers, sampler)
        return sampled_dataset(
            worker.placement, config.sampling, config.seed, plan, first_step=committed_step(train_folder),
            max_steps=config.max_steps, samplers=samplers,
        )  # fmt: skip

    return dataset


def _finish(result: Any, store: Store, config: PretrainingConfig, run_dir: Path) -> PretrainResult:

    with result.checkpoint.as_directory() as folder:
        state = TrainState(**json.loads((Path(folder) / "state.json").read_text()))
        best = load_file(Path(folder) / "best.safetensors")
    path = save_pretrained(run_dir / "model", pretrained_checkpoint(best, store, config, state))
    return PretrainResult(checkpoint=path, state=state)
