"""WorkerCallbacks: what a worker does when `fit` calls back: Ray Train reports, checkpoints, W&B logs, journal and progress.

Promises: all workers report at the same steps; rank 0 writes a checkpoint, first to its node and then, while training goes on, to the run's storage.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train
import torch
import wandb

from distributed.console import loss_text
from distributed.runs.checkpoint import CheckpointPolicy, save_training
from distributed.runs.journal import Journal
from distributed.training.throughput import Throughput
from rdl_core.model.checkpoint import cpu_weights
from rdl_core.pretraining import Counts
from rdl_core.pretraining.state import TrainState
from rdl_core.tasks.downstream import Downstream

PREEMPTION_INTERVAL_STEPS = 20
"""Steps between questions whether a node is about to be taken away; each question is a barrier of some milliseconds."""


class WorkerCallbacks:
    """The callbacks of one worker.

    Args:
        model, optimizer, best: What is saved; `best` are weights.
        identity: The run's identity (checkpoint.py).
        policy: When to save.
        tracker: The W&B run; elsewhere than on rank 0 a disabled one.
        throughput: This worker's clock.
        journal: The run's journal on rank 0; None on the others.
        downstream: Tasks that are measured at validations, or None.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        best: dict[str, torch.Tensor],
        identity: Mapping[str, Any],
        policy: CheckpointPolicy,
        tracker: wandb.Run,
        throughput: Throughput,
        journal: Journal | None,
        downstream: Downstream | None = None,
    ) -> None:
        self.model, self.optimizer, self.best, self.identity = model, optimizer, best, identity
        self.policy, self.tracker, self.throughput, self.journal = policy, tracker, throughput, journal
        self.downstream = downstream
        self._saved_s = time.monotonic()
        self._stepped, self._saw_preemption = False, False
        self._speed: dict[str, float] = {}
        if journal is not None:
            # In the session's own folder, which goes with the session; other runs of the session have theirs in it too.
            self._unsent = Path.cwd() / f"unsent-{hashlib.sha256(str(journal.path).encode()).hexdigest()[:12]}"
            shutil.rmtree(self._unsent, ignore_errors=True)  # of a killed predecessor

    def step(self, step: int, losses: Mapping[str, float], counts: Counts) -> None:
        """Called after each update with losses per level, rows per table and links per key, over all workers' samples."""
        self.throughput.add(sum(counts["rows"].values()))
        is_first_of_group, self._stepped = not self._stepped, True
        if is_first_of_group:
            self.throughput.restart()
        if self.journal is None:
            return
        self.journal.reach(step, f"training {loss_text(losses)}")
        if is_first_of_group:
            self.journal.append("stepped", step=step)
        sizes = {f"{kind}/{name}": n for kind, named in counts.items() for name, n in named.items()}
        self.tracker.log({f"train/{level}": loss for level, loss in losses.items()} | sizes, step)

    def checkpoint_due(self, step: int) -> bool:
        """Returns whether this worker wants a checkpoint: after so many steps, so many seconds, or at once when a node is to be taken away."""
        if step % PREEMPTION_INTERVAL_STEPS == 0 and not self._saw_preemption:
            self._saw_preemption = ray.train.get_preemption_info() is not None
            if self._saw_preemption:
                return True
        if self.policy.interval_steps is not None and step % self.policy.interval_steps == 0:
            return True
        is_clock = self.journal is not None and self.policy.interval_s is not None  # one clock decides
        return is_clock and time.monotonic() - self._saved_s >= (self.policy.interval_s or 0.0)

    def report(self, state: TrainState, metrics: dict[str, float], is_best: bool) -> None:
        """Called after each validation; writes a checkpoint with its metrics."""
        if is_best:
            self.best = cpu_weights(self.model)
        if self.downstream is not None:
            self.downstream.measure(state, self.best)
        if self.journal is not None:
            self.journal.append("validated", step=state.step, **self._speed)
            self.journal.reach(state.step, f"validated {loss_text(metrics)}")
            self.tracker.log({**state.last, **self._speed, **self.journal.survival()}, state.step)
        self.checkpoint(state)
        self.throughput.restart()

    def before_validation(self) -> None:
        """Ends the window of throughput."""
        self._speed = self.throughput.rates()

    def checkpoint(self, state: TrainState) -> None:
        """Reports a checkpoint from rank 0, uploaded while training goes on; a collective. The last validation's metrics and step go with it."""
        self._saved_s = time.monotonic()
        reached = {name: getattr(state, name) for name in ("best_loss", "finished", "seconds")}
        reported = {**state.last, **reached, "step": int(state.history[-1]["step"]), "checkpoint_step": state.step}
        if self.journal is None:
            ray.train.report(reported)
            return
        folder = self._unsent / str(state.step)
        folder.mkdir(parents=True)
        save_training(folder, self.model, self.best, self.optimizer, state, self.identity)
        ray.train.report(
            reported,
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
        )
