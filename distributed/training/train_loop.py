"""train_loop_per_worker: the loop of every Ray Train worker. The science is rdl_core's `fit`; here are sharding, checkpoints and tracking.

Promises: a worker trains on exactly the samples that the plan gives its rank, in order, and checks that it got them; after any restart it goes on
from the last committed checkpoint to the same weights, bit for bit, on the same number of workers (one thread each).
"""

from __future__ import annotations

import dataclasses
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
import ray.train.torch
import torch
from torch.nn.parallel import DistributedDataParallel

from distributed.runs.checkpoint import CheckpointPolicy, load_training
from distributed.runs.journal import Journal
from distributed.runs.tracking import TrackingConfig, tracking
from distributed.sampling.placement import Placement
from distributed.sampling.plan import NO_SAMPLE, StepPlan, step_plan
from distributed.training.communicator import TorchCommunicator
from distributed.training.failures import add_place, error_of_task
from distributed.training.throughput import Throughput
from distributed.training.worker_callbacks import WorkerCallbacks
from rdl_core.batches.pretraining_batch import Cursor
from rdl_core.communicator import Communicator, SingleProcess
from rdl_core.config import PretrainingConfig
from rdl_core.graph.store import Store, open_store
from rdl_core.model.checkpoint import cpu_weights, from_pretrained
from rdl_core.optimizer import make_optimizer
from rdl_core.pretraining import fit, start_from
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.state import TrainState
from rdl_core.pretraining.validation import Validation
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.tasks.downstream import Downstream, DownstreamConfig

ALIVE_INTERVAL_S = 1.0
"""Seconds between signs of life in the journal while downstream tasks are measured."""
DATA_PARALLEL = {"forward_sync_buffers": False, "gradient_as_bucket_view": True}
"""DDP's settings: buffers are constants, the same on every worker; a gradient lies where it is reduced, not in a copy."""


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """Everything that a worker is told.

    Args:
        placement: Where the graph is.
        pretraining: Configuration of the run.
        tracking: Rank 0's W&B run.
        run_folder: Folder of the run's journal and checkpoints, on storage that every node sees.
        identity: The run's identity, which its checkpoints hold (checkpoint.py).
        checkpoints: How often checkpoints are written.
        downstream: Tasks that are measured at validations, or None.
        init_from: The model whose weights step 0 begins with: its folder on storage that every node sees, or its name on the hub; None: fresh ones.
    """

    placement: Placement
    pretraining: PretrainingConfig
    tracking: TrackingConfig
    run_folder: str
    identity: dict[str, Any]
    checkpoints: CheckpointPolicy
    downstream: DownstreamConfig | None = None
    init_from: str | None = None


def train_loop_per_worker(worker: WorkerConfig) -> None:
    """Trains to the end; the last checkpoint's state says why it ended. An error carries a note of rank, step and place."""
    try:
        _train(worker)
    except Exception as error:
        readable, place = error_of_task(error), traceback.extract_tb(error.__traceback__)[-1]
        step = Journal(Path(worker.run_folder)).reached()
        add_place(readable, ray.train.get_context().get_world_rank(), step, place)
        raise readable from error


def _train(worker: WorkerConfig) -> None:
    torch.set_num_threads(1)  # with more, sums may be split differently from run to run
    # A driver that uses W&B hands its service to local workers; there the run of a killed worker stays "in use" for its successor.
    os.environ.pop("WANDB_SERVICE", None)
    context = ray.train.get_context()
    is_first = context.get_world_rank() == 0
    journal = Journal(Path(worker.run_folder))
    if is_first:
        journal.append("group", workers=context.get_world_size(), pid=os.getpid())
    config, store = worker.pretraining, open_store(worker.placement.store_path)
    sampler = worker.placement.sampling(config.sampling, config.seed)
    checkpoint = ray.train.get_checkpoint()
    model = _model(worker, store, is_new=checkpoint is None)
    prepared, communicator = joined(model)
    optimizer = make_optimizer(model, config.learning_rate)
    state, best = TrainState(), cpu_weights(model)
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state, best = load_training(Path(folder), model, optimizer, worker.identity)
    rows = worker.placement.rows(store, config.corruption.distribution)
    validation_sampler = worker.placement.sampling(config.sampling, config.seed_of_validation)
    validation = Validation(store, config, validation_sampler, communicator, rows)
    plan = step_plan(config, context.get_world_size(), sampler)
    if is_first and not state.finished:
        journal.resume(state.step)
    with tracking(worker.tracking if is_first else None, dataclasses.asdict(config)) as tracker:
        throughput = Throughput()
        callbacks = WorkerCallbacks(
            model,
            optimizer,
            best,
            worker.identity,
            worker.checkpoints,
            tracker,
            throughput,
            journal if is_first else None,
            _downstream(worker, store, communicator, journal if is_first else None),
        )
        samples = ray.train.get_dataset_shard("train")
        steps = worker_steps(samples, plan, context.get_world_rank(), state.step, store)

        def validate(_: torch.nn.Module, step: int) -> dict[str, float]:
            callbacks.before_validation()
            return validation(model, step)  # past DDP: workers may hold unequal numbers of validation samples

        fit(
            prepared,
            optimizer,
            throughput.waiting(steps),
            store,
            config,
            validate,
            rows=rows,
            communicator=communicator,
            state=state,
            on_report=callbacks.report,
            on_step=callbacks.step,
            checkpoint_due=callbacks.checkpoint_due,
            on_checkpoint=callbacks.checkpoint,
        )


def _model(worker: WorkerConfig, store: Store, *, is_new: bool) -> PretrainingModel:
    """Returns the model with the weights of step 0; those of `init_from` are read by a run that is new only."""
    torch.manual_seed(worker.pretraining.seed)
    model = PretrainingModel(store, worker.pretraining)
    if is_new and worker.init_from is not None:
        start_from(model, from_pretrained(worker.init_from, kind="pretrained"), store)
    return model


def joined(model: torch.nn.Module) -> tuple[torch.nn.Module, Communicator]:
    """Returns the model on this worker's device, its gradients averaged over the group's workers, and the group's communicator."""
    prepared = ray.train.torch.prepare_model(model, parallel_strategy_kwargs=DATA_PARALLEL)
    if not isinstance(prepared, DistributedDataParallel):
        return prepared, SingleProcess()
    return prepared, TorchCommunicator()


def _downstream(
    worker: WorkerConfig, store: Store, communicator: Communicator, journal: Journal | None
) -> Downstream | None:
    """Returns the tasks that all workers measure together; rank 0's batches are signs of life in the journal, at most one per second."""
    if worker.downstream is None:
        return None
    told_s = time.monotonic()

    def alive(task: str) -> None:
        nonlocal told_s
        if journal is not None and time.monotonic() - told_s > ALIVE_INTERVAL_S:
            journal.append("downstream", task=task)
            told_s = time.monotonic()

    return Downstream(
        store,
        worker.pretraining,
        worker.downstream,
        communicator,
        ray.train.torch.get_device(),
        wrap=lambda model: ray.train.torch.prepare_model(
            model, parallel_strategy_kwargs={"find_unused_parameters": True}
        ),
        on_batch=alive,
    )


def worker_steps(
    shard: ray.data.DataIterator, plan: StepPlan, rank: int, first_step: int, store: Store
) -> Iterator[tuple[list[Subgraph], list[Cursor]]]:
    """Yields this worker's samples of each step from `first_step` on.

    Raises:
        RuntimeError: The pipeline delivered another sample than the plan's next one.
    """
    node_types, edge_types = tuple(store.schema.tables), store.graph.edge_types
    step: int | None = None
    waiting: list[Subgraph] = []
    blocks = shard.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)  # type: ignore[arg-type]
    for block in blocks:
        assert isinstance(block, pa.Table)
        for row_step, epoch, sample, packed in zip(
            *(block.column(c) for c in ("step", "epoch", "sample", "subgraph")), strict=True
        ):
            if row_step.as_py() < first_step or sample.as_py() == NO_SAMPLE:
                continue
            if step is None:
                step = first_step
            cursors = plan.cursors(step, rank)
            expected = (step, *cursors[len(waiting)])
            got = (row_step.as_py(), epoch.as_py(), sample.as_py())
            if got != expected:
                raise RuntimeError(
                    f"rank {rank} expected sample (step, epoch, sample) {expected}, got {got}: Ray Data dealt its blocks otherwise than planned"
                )
            waiting.append(Subgraph.from_bytes(packed.as_buffer(), node_types, edge_types))
            if len(waiting) == len(cursors):
                yield waiting, cursors
                step, waiting = step + 1, []
