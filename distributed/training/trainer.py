"""`pretrain`: the whole distributed run, from a store to a checkpoint. Ray Data samples, Ray Train trains.

    seeds (Dataset) -> map_batches(HGSampler) -> streaming_split -> workers (DDP) -> ray.train.report(checkpoint)

Promises: the same run folder continues an unfinished run to the same result, or is refused with the difference; what is returned is read from the
last committed checkpoint. Machines that fail are replaced as long as the run gets on; an error that would come again ends it (failures.py). An
elastic run (`max_workers`) goes on with the workers that there is place for, on the same samples.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.train
import ray.train.torch
from safetensors.torch import load_file

from distributed.cluster.preflight import (
    alive_nodes,
    check_every_node,
    check_object_store,
)
from distributed.cluster.ray_internals import fit
from distributed.cluster.session import start_ray
from distributed.console import say
from distributed.runs.checkpoint import CheckpointPolicy, check_identity, load_state, run_identity
from distributed.runs.commits import committed_checkpoint, committed_step, remove_uncommitted, repair
from distributed.runs.folder import held
from distributed.runs.journal import Journal
from distributed.runs.tracking import TrackingConfig
from distributed.runs.watch import watched
from distributed.sampling.placement import Placement, PlacementName, place
from distributed.sampling.plan import SAMPLES_PER_BLOCK, step_plan
from distributed.sampling.sampler import in_order, sampled_dataset
from distributed.training import allocator
from distributed.training.communicator import COLLECTIVE_TIMEOUT_S
from distributed.training.controller_callbacks import CommitCopies, GiveUp
from distributed.training.interruption import interruptible
from distributed.training.train_loop import WorkerConfig, train_loop_per_worker
from rdl_core.checkpoint_files import weights_digest
from rdl_core.config import PretrainingConfig
from rdl_core.future import FutureSource
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained, save_pretrained
from rdl_core.pretraining import future_targets, pretrained_checkpoint, require_continues
from rdl_core.pretraining.state import TrainState
from rdl_core.sampling.hg_sampling import max_subgraph_bytes
from rdl_core.tasks.downstream import DownstreamConfig

MAX_FAILURES = 3
"""Failures after which a fine-tuning run ends."""
MAX_STARTS = 10
"""Starts of the worker group that fail, each after RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S: how long a run waits for lost nodes."""
BACKEND = {False: "gloo", True: "cpu:gloo,cuda:nccl"}
"""Process group's backend, by whether GPUs are used; with GPUs, counts on the CPU still need gloo."""


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """The result of a run.

    Args:
        checkpoint: Folder of the best model (rdl_core/model/checkpoint.py).
        state: Last state, with the history of validations.
    """

    checkpoint: Path
    state: TrainState


def pretrain(
    store: Store,
    config: PretrainingConfig,
    run_dir: Path,
    *,
    workers: int = 1,
    max_workers: int | None = None,
    resize_interval_s: float = 20.0,
    samplers: int = 1,
    placement: PlacementName = "auto",
    num_shards: int | None = None,
    tracking: TrackingConfig,
    checkpoints: CheckpointPolicy = CheckpointPolicy(),  # noqa: B008  frozen
    downstream: DownstreamConfig | None = None,
    init_from: str | None = None,
    callbacks: list[ray.train.UserCallback] | None = None,
) -> PretrainResult:
    """Pretrains a backbone on a store.

    Args:
        store: The REG store; its folder must be readable on every node, or it is remote and every node gets a copy.
        config: Configuration of the run.
        run_dir: Checkpoints go to run_dir/train, the model to run_dir/model; a run already there goes on.
        workers: DDP workers (gloo on CPU, nccl on GPU).
        max_workers: Elastic: as many as there is place for, from `workers` to so many. Then the curve is the same, and not its last bits.
        resize_interval_s: Seconds between looks whether an elastic run has place for more; to grow, the group starts again from its last checkpoint.
        samplers: Sampling tasks at a time.
        placement, num_shards: Where the graph is (placement.py).
        tracking: W&B on rank 0.
        checkpoints: How often checkpoints are written besides those at validations.
        downstream: Tasks by which the backbone is measured at validations.
        init_from: A model whose weights step 0 begins with (rdl_core/pretraining/continuation.py): its folder, which every node sees, or its name on
            the hub. A run that goes on takes its own.
        callbacks: Ray Train callbacks of the caller (tune's).

    Raises:
        CannotRun: Resources that would never do, folders that not all nodes share (preflight.py), or another process runs this folder.
        KeyboardInterrupt: Ctrl-C; the text says at which step, and from which the same run goes on.
        ValueError: The run folder holds a run of another configuration or store, or the future level has nothing to ask; or pretraining cannot go on
            from `init_from`.
        ray.train.TrainingFailedError: The run failed for good; `failures.last_screen` says why.
    """
    run_dir, most = run_dir.resolve(), max_workers or workers
    if config.samples_per_step < most:
        raise ValueError(f"samples_per_step is {config.samples_per_step}; {most} workers need one each at least")
    identity = run_identity(config, store.content_hash, tracking.run_id if tracking.enabled else None)
    if init_from is not None:
        init_from = _beginning(init_from, store, config)
        identity["init_from"] = weights_digest(init_from)
    with held(run_dir), interruptible(run_dir, config.max_steps):
        is_finished = _check_run(run_dir, identity)
        future = None
        if "future" in config.levels:  # refused here, if there is nothing to ask, and not by every worker
            future = future_targets(FutureSource(store, config.future, config.backbone))
        if not is_finished:
            use_gpu = start_ray(most, samplers, least=workers)
            _check_memory(store, config, most, samplers)
            check_every_node(run_dir, store.place)
            worker = WorkerConfig(
                placement=_placed(store, config, placement, num_shards),
                pretraining=config,
                tracking=tracking,
                run_folder=str(run_dir),
                identity=identity,
                checkpoints=checkpoints,
                downstream=downstream,
                init_from=init_from,
            )
            Journal(run_dir).append("driver", workers=workers, max_workers=most)
            scaling = _scaling(workers, most, use_gpu, resize_interval_s)
            _fit(worker, scaling, samplers, callbacks or [])
        return _finish(store, config, run_dir, future, identity.get("init_from"))


def _beginning(init_from: str, store: Store, config: PretrainingConfig) -> str:
    """Returns where workers find the model that a run begins with: its folder, absolute, or its name on the hub; refuses one that does not fit."""
    require_continues(from_pretrained(init_from, kind="pretrained"), store, config.backbone)
    return str(Path(init_from).resolve()) if Path(init_from).exists() else init_from


def _fit(
    worker: WorkerConfig, scaling: ray.train.ScalingConfig, samplers: int, callbacks: list[ray.train.UserCallback]
) -> None:
    """Trains to the end, shown from the run's journal, and stops the shards of the graph, however it ends."""
    try:
        with watched("pretraining", worker.pretraining.max_steps, Journal(Path(worker.run_folder))):
            fit(_trainer(worker, scaling, samplers, callbacks))
    finally:
        if worker.placement.shards is not None:
            worker.placement.shards.stop()


def _check_memory(store: Store, config: PretrainingConfig, workers: int, samplers: int) -> None:
    size = max_subgraph_bytes(len(store.graph.node_types), len(store.graph.edge_types), config.sampling)
    of_worker = -(-config.samples_per_step // workers)
    samples = max(of_worker, min(SAMPLES_PER_BLOCK, config.max_steps * of_worker))
    check_object_store([node["Resources"] for node in alive_nodes()], size * samples, workers, samplers)


def _placed(store: Store, config: PretrainingConfig, placement: PlacementName, num_shards: int | None) -> Placement:
    placed = place(store, config.sampling, placement, num_shards)
    say(f"graph placement: {placed.why}")
    seeds = placed.sampling(config.sampling, config.seed).seeds
    if seeds.num_dropped:
        say(f"each epoch drops its partial last sample: {seeds.num_dropped} of {len(seeds.eligible)} seed rows")
    return placed


def _trainer(
    worker: WorkerConfig, scaling: ray.train.ScalingConfig, samplers: int, callbacks: list[ray.train.UserCallback]
) -> ray.train.torch.TorchTrainer:
    memory = {} if "GLIBC_TUNABLES" in os.environ else allocator.ENVIRONMENT  # a user's own stay
    run_dir = Path(worker.run_folder)
    return ray.train.torch.TorchTrainer(
        train_loop_per_worker,  # type: ignore[arg-type]
        train_loop_config=worker,  # type: ignore[arg-type]
        datasets={"train": ray.data.range(1)},  # its place only: PlannedSamples makes the samples
        dataset_config=PlannedSamples(worker, samplers, is_elastic=isinstance(scaling.num_workers, tuple)),
        torch_config=ray.train.torch.TorchConfig(
            backend=BACKEND[bool(scaling.use_gpu)], timeout_s=COLLECTIVE_TIMEOUT_S
        ),
        scaling_config=scaling,
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            name="train",
            storage_path=str(run_dir),
            failure_config=ray.train.FailureConfig(  # type: ignore[call-arg]
                max_failures=-1, controller_failure_limit=MAX_STARTS
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=worker.checkpoints.num_to_keep),
            callbacks=[CommitCopies(run_dir / "train"), GiveUp(run_dir), *callbacks],  # type: ignore[list-item]
            worker_runtime_env={"env_vars": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "WANDB_SILENT": "true", **memory}},
        ),
    )


def _check_run(run_dir: Path, identity: dict[str, Any]) -> bool:
    """Refuses another run's folder, and mends what a crash left half written; returns whether the run is at its end."""
    if (repaired := repair(run_dir / "train")) is not None:
        say(repaired)
    checkpoint = committed_checkpoint(run_dir / "train")
    if checkpoint is None:
        return False
    check_identity(checkpoint, identity)
    return load_state(checkpoint).finished != ""


def _scaling(least: int, most: int, use_gpu: bool, resize_interval_s: float) -> ray.train.ScalingConfig:
    return ray.train.ScalingConfig(  # type: ignore[call-arg]
        num_workers=least if most == least else (least, most),  # type: ignore[arg-type]
        use_gpu=use_gpu,
        resources_per_worker={"CPU": 1} | ({"GPU": 1} if use_gpu else {}),
        elastic_resize_monitor_interval_s=resize_interval_s,
    )


class PlannedSamples(ray.train.DataConfig):
    """Deals the plan's samples to the workers of a group, made anew for each of its starts, with its checkpoint and number of workers.

    Args:
        worker: What the workers are told.
        samplers: Sampling tasks at a time.
        is_elastic: Whether workers may take every CPU.
    """

    def __init__(self, worker: WorkerConfig, samplers: int, *, is_elastic: bool) -> None:
        super().__init__(execution_options=in_order())
        self._worker, self._samplers, self._is_elastic = worker, samplers, is_elastic

    def configure(
        self, datasets: dict[str, ray.data.Dataset], world_size: int, *arguments: Any, **more: Any
    ) -> list[dict[str, ray.data.DataIterator]]:
        """Returns one iterator per worker; Ray calls this at each start of a group."""
        config, placement = self._worker.pretraining, self._worker.placement
        train_folder = Path(self._worker.run_folder) / "train"
        plan = step_plan(config, world_size, placement.sampling(config.sampling, config.seed))
        remove_uncommitted(train_folder)
        samples = sampled_dataset(
            placement,
            config.sampling,
            config.seed,
            plan,
            # At least one step, which workers skip if they are at the end: Ray Data refuses to execute nothing.
            first_step=min(committed_step(train_folder), config.max_steps - 1),
            max_steps=config.max_steps,
            samplers=self._samplers,
            beside_workers=self._is_elastic,
        )
        return super().configure(dict.fromkeys(datasets, samples), world_size, *arguments, **more)


def _finish(
    store: Store, config: PretrainingConfig, run_dir: Path, future: dict[str, Any] | None, init_from: str | None
) -> PretrainResult:
    checkpoint = committed_checkpoint(run_dir / "train")
    assert checkpoint is not None  # the loop ends with one
    state, best = load_state(checkpoint), load_file(checkpoint / "best.safetensors")
    made = pretrained_checkpoint(best, store, config, state, future=future, init_from=init_from)
    path = save_pretrained(run_dir / "model", made)
    Journal(run_dir).append("finished", step=state.step, why=state.finished)
    return PretrainResult(checkpoint=path, state=state)
