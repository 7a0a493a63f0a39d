"""train_loop_per_worker: what every Ray Train worker runs. The science is rdl_core's `fit`; here are sharding, checkpoints and tracking.

Promises: a worker trains on exactly the samples that the plan gives its rank, in order, and checks that it got them; after any restart it goes on
from the last committed checkpoint to the same weights, bit for bit, on the same number of workers (one thread each).
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
import ray.train.torch
import torch

from distributed.checkpoint import load_training, save_training
from distributed.communicator import TorchCommunicator
from distributed.seeds import StepPlan, step_plan
from distributed.shards import Placement
from distributed.tracking import Tracker, TrackingConfig, tracking
from rdl_core.batch import Cursor
from rdl_core.communicator import Communicator, SingleProcess
from rdl_core.config import PretrainingConfig
from rdl_core.model_io import cpu_weights
from rdl_core.optimizer import make_optimizer
from rdl_core.pretraining import PretrainingModel, TrainState, Validation, fit
from rdl_core.store import Store, open_store
from rdl_core.subgraph import Subgraph

BOARD_INTERVAL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker is told.

    Args:
        placement: Where the graph is.
        pretraining: The run.
        tracking: Rank 0's W&B run.
        board: Where rank 0 shows its progress, or None.
    """

    placement: Placement
    pretraining: PretrainingConfig
    tracking: TrackingConfig
    board: Any = None


def train_loop_per_worker(worker: WorkerConfig) -> None:
    """Trains to the end; the last checkpoint's state says why it ended."""
    torch.set_num_threads(1)  # with more, sums may be split differently from run to run
    # A driver that uses W&B hands its service to local workers; there the run of a killed worker stays "in use" for its successor.
    os.environ.pop("WANDB_SERVICE", None)
    context = ray.train.get_context()
    config, store = worker.pretraining, open_store(worker.placement.store_path)
    sampler = worker.placement.sampling(config.sampling, config.seed)
    communicator: Communicator = TorchCommunicator() if context.get_world_size() > 1 else SingleProcess()
    torch.manual_seed(config.seed)
    model = PretrainingModel(store, config)
    # Without relative time the encoder's time maps are unused. Buffers are constants, the same on every worker.
    ddp = {"find_unused_parameters": True, "broadcast_buffers": False}
    prepared = ray.train.torch.prepare_model(model, parallel_strategy_kwargs=ddp)
    optimizer = make_optimizer(model, config.learning_rate)
    state, best = TrainState(), cpu_weights(model)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state, best = load_training(Path(folder), model, optimizer)
    rows = worker.placement.rows(store, config.corruption.distribution)
    validation_sampler = worker.placement.sampling(config.sampling, config.seed_of_validation)
    validation = Validation(store, config, validation_sampler, communicator, rows)
    plan = step_plan(config, context.get_world_size(), sampler)
    is_first = context.get_world_rank() == 0
    with tracking(worker.tracking if is_first else None, dataclasses.asdict(config)) as tracker:
        recorder = Recorder(model, optimizer, best, tracker, worker.board if is_first else None, is_first)
        fit(
            prepared,
            optimizer,
            worker_steps(ray.train.get_dataset_shard("train"), plan, context.get_world_rank(), state.step, store),
            store,
            config,
            lambda _, step: validation(model, step),  # past DDP: workers may hold unequal numbers of validation samples
            rows=rows,
            communicator=communicator,
            state=state,
            on_report=recorder.report,
            on_step=recorder.step,
        )


def worker_steps(
    shard: ray.data.DataIterator, plan: StepPlan, rank: int, first_step: int, store: Store
) -> Iterator[tuple[list[Subgraph], list[Cursor]]]:
    """This worker's samples of each step from `first_step` on.

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
            if row_step.as_py() < first_step:
                continue
            if step is None:
                step = first_step
            expected = (step, *plan.cursors(step, rank)[len(waiting)])
            got = (row_step.as_py(), epoch.as_py(), sample.as_py())
            if got != expected:
                raise RuntimeError(
                    f"rank {rank} expected sample (step, epoch, sample) {expected} and got {got}: blocks were dealt otherwise than planned"
                )
            waiting.append(Subgraph.from_bytes(packed.as_buffer(), node_types, edge_types))
            if len(waiting) == plan.samples_per_worker:
                yield waiting, plan.cursors(step, rank)
                step, waiting = step + 1, []


class Recorder:
    """Turns `fit`'s callbacks into Ray Train reports, W&B logs and progress."""

    def __init__(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor], tracker: Tracker,
        board: Any, is_first: bool,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.best = model, optimizer, best
        self.tracker, self.board, self.is_first = tracker, board, is_first
        self._shown_s = 0.0

    def step(self, step: int, losses: Mapping[str, float], subgraphs: list[Subgraph]) -> None:
        """After each update: losses per level, rows per table and links per key of this worker's samples."""
        if not self.is_first:
            return
        counts = {f"rows/{t}": n for t, n in _sum(s.num_rows for s in subgraphs).items()}
        counts |= {f"links/{'.'.join(e[:2])}": n for e, n in _sum(s.num_links for s in subgraphs).items()}
        self.tracker.log({f"train/{k}": v for k, v in losses.items()} | counts, step)
        if self.board is not None and time.monotonic() - self._shown_s > BOARD_INTERVAL_S:
            self._shown_s = time.monotonic()
            self.board.show.remote(step, dict(losses), "training")

    def report(self, state: TrainState, metrics: dict[str, float], is_best: bool) -> None:
        """After each validation: a checkpoint from rank 0; all workers meet here."""
        if is_best:
            self.best = cpu_weights(self.model)
        self.tracker.log(metrics, state.step)
        if not self.is_first:
            ray.train.report(metrics)
            return
        if self.board is not None:
            self.board.show.remote(state.step, metrics, "validated")
        with tempfile.TemporaryDirectory() as folder:
            save_training(Path(folder), self.model, self.best, self.optimizer, state)
            reached = {name: getattr(state, name) for name in ("step", "best_loss", "finished", "seconds")}
            ray.train.report({**metrics, **reached}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _sum(counts: Any) -> Counter:
    total: Counter = Counter()
    for count in counts:
        total.update(count)
    return total
