"""One trial: a whole pretraining run that reports every validation to Ray Tune.

Promises: a trial of one CPU worker runs in the trial's own process (no start-up of Ray Train and Ray Data) with the same bits as
`distributed.pretrain` on one worker; it goes on from its newest checkpoint to the same weights; it reports each validation once, in order of
step, also those that a killed driver missed; a trial is called finished only when its model is there; one that fails says why in its folder, and one
that makes no step for too long ends its process (watchdog.py).

    trials/<id>/preset.yaml       its complete configuration
    trials/<id>/checkpoint_*      the checkpoint from which it goes on; trials with Ray Train have train/checkpoint_*
    trials/<id>/model             the best model, once the trial has finished
    trials/<id>/error.json        the error that it threw, and whether a machine's failure was behind it
    trials/<id>/hang.txt          where it stood when it hung
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.exceptions
import ray.tune
import torch
from ray.tune.integration.ray_train import TuneReportCallback

from distributed.cluster.ray_internals import startup_errors
from distributed.runs.checkpoint import load_state, load_training, run_identity, save_training
from distributed.runs.commits import committed_checkpoint, repair
from distributed.runs.folder import write_json
from distributed.runs.preset_file import read_preset_file
from distributed.runs.tracking import TrackingConfig
from distributed.training.failures import innermost_error
from distributed.training.trainer import pretrain
from rdl_core.atomic_write import replace_folder
from rdl_core.communicator import SingleProcess
from rdl_core.config import PretrainingConfig
from rdl_core.graph.store import Store, open_store
from rdl_core.model.checkpoint import cpu_weights, save_pretrained
from rdl_core.optimizer import make_optimizer
from rdl_core.place import Place
from rdl_core.pretraining import fit, local_sampler, local_steps, pretrained_checkpoint
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.state import TrainState
from rdl_core.pretraining.validation import Validation, validation_loss
from rdl_core.tasks.downstream import Downstream, DownstreamConfig
from tune.trials.watchdog import ended_when_hung, ended_when_silent

ReportResult = Callable[[dict[str, Any]], None]
CHECKPOINTS = "checkpoint_*[0-9]"
"""Pattern of the folders of whole checkpoints."""
MACHINE_ERRORS: tuple[type[Exception], ...] = (ray.exceptions.RayError, ConnectionError, *startup_errors())
"""Errors of lost nodes and killed processes that the retries of a Ray Train run (failures.py) did not get over."""


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """The message to the processes of all trials.

    Args:
        store_path: The store that all trials map.
        folder: The sweep's folder, readable on every node.
        reported: {trial: the last step that the ledger has, -1 for none}.
        workers: Workers per trial.
        in_process: Whether a trial trains in its own process.
        hang_after_s: Seconds without a step after which a trial has hung.
        downstream: Tasks by which trials are measured, or None.
    """

    store_path: Place
    folder: str
    reported: Mapping[str, int]
    workers: int
    in_process: bool
    hang_after_s: float
    downstream: DownstreamConfig | None = None


def run_trial(job: TrialJob, trial: str) -> None:
    """Runs a trial to its end inside a Tune session; leaves error.json if it fails."""
    folder = Path(job.folder) / "trials" / trial
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("error.json", "hang.txt"):
        (folder / name).unlink(missing_ok=True)
    last = job.reported.get(trial, -1)

    def report(result: dict[str, Any]) -> None:
        nonlocal last
        if result["step"] > last:
            last = result["step"]
            ray.tune.report(result)

    train = train_in_process if job.in_process else train_with_ray
    try:
        train(open_store(job.store_path), read_preset_file(folder / "preset.yaml"), folder, report, job)
    except Exception as error:
        inner = innermost_error(error)
        thrown = {"type": type(inner).__name__, "message": str(inner), "by_machine": is_machine_error(inner)}
        write_json(folder / "error.json", thrown)
        raise


def is_machine_error(error: BaseException) -> bool:
    """Returns whether a process or node that died is behind an error, so that the trial may go on."""
    return isinstance(error, MACHINE_ERRORS) and not isinstance(error, ray.exceptions.RayTaskError)


def train_in_process(
    store: Store, config: PretrainingConfig, folder: Path, report: ReportResult, job: TrialJob
) -> None:
    """Trains with one worker without Ray Data and Ray Train: `pretrain_here` with checkpoints."""
    torch.set_num_threads(1)  # like Ray Train's workers; with more, sums may be split differently from run to run
    torch.manual_seed(config.seed)
    model = PretrainingModel(store, config)
    optimizer = make_optimizer(model, config.learning_rate)
    state, best = TrainState(), cpu_weights(model)
    identity = run_identity(config, store.content_hash, None)
    if (checkpoint := newest_checkpoint(folder)) is not None:
        state, best = load_training(checkpoint, model, optimizer, identity)
    report_missed(state, config.levels, report)
    validation = Validation(store, config, local_sampler(store, config, config.seed_of_validation), SingleProcess())
    downstream: Downstream | None = None

    def on_report(state: TrainState, metrics: dict[str, float], is_best: bool) -> None:
        nonlocal best
        best = cpu_weights(model) if is_best else best
        require_finite(metrics)
        if downstream is not None:
            downstream.measure(state, best)
        if state.finished:  # the model comes first: a finished checkpoint is not trained again
            made = pretrained_checkpoint(best, store, config, state, future=model.future_targets)
            save_pretrained(folder / "model", made)
        save_checkpoint(folder, model, best, optimizer, state, identity)
        report(results_of(state, config.levels)[-1])

    with ended_when_hung(folder / "hang.txt", job.hang_after_s) as alive:
        if job.downstream is not None:
            downstream = Downstream(
                store, config, job.downstream, SingleProcess(), torch.device("cpu"), on_batch=lambda task: alive()
            )
        steps = local_steps(local_sampler(store, config, config.seed), config, state.step)
        fit(
            model,
            optimizer,
            steps,
            store,
            config,
            validation,
            state=state,
            on_report=on_report,
            on_step=lambda step, losses, counts: alive(),
        )


def train_with_ray(store: Store, config: PretrainingConfig, folder: Path, report: ReportResult, job: TrialJob) -> None:
    """Trains by a Ray Train run of its own; rank 0's reduced metrics reach Tune as they come."""
    repair(folder / "train")
    if (checkpoint := committed_checkpoint(folder / "train")) is not None:
        state = load_state(checkpoint)
        if not state.finished:  # the end is reported with the model
            report_missed(state, config.levels, report)
    tracking = TrackingConfig(directory=str(folder), run_id="", name="", enabled=False)  # the driver tracks
    with ended_when_silent(folder, job.hang_after_s):
        done = pretrain(
            store,
            config,
            folder,
            workers=job.workers,
            tracking=tracking,
            downstream=job.downstream,
            callbacks=[ReportToTune()],
        )
    ray.tune.report(results_of(done.state, config.levels)[-1])


class ReportToTune(TuneReportCallback):
    """Reports rank 0's validations as they are committed, each once, from Ray Train's controller; the trial reports the last, with the model."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -1

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        step = metrics[0].get("step", -1)
        if step > self._last and "best_loss" in metrics[0] and not metrics[0]["finished"]:
            self._last = step
            super().after_report(run_context, metrics, checkpoint)


def results_of(state: TrainState, levels: Sequence[str]) -> list[dict[str, Any]]:
    """Returns what Tune is told of each validation so far; `levels` are those that are on."""
    results, best = [], math.inf
    for entry in state.history:
        best = min(best, validation_loss(entry, levels))
        last = entry is state.history[-1]
        results.append(
            {**entry, "best_loss": best, "seconds": state.seconds, "finished": state.finished if last else ""}
        )
    return results


def report_missed(state: TrainState, levels: Sequence[str], report: ReportResult) -> None:
    """Reports the validations that the checkpoint knows and the ledger does not."""
    for result in results_of(state, levels):
        report(result)


def require_finite(metrics: Mapping[str, float]) -> None:
    """Raises FloatingPointError for a validation that no comparison can use."""
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise FloatingPointError(f"{', '.join(wrong)} is not finite: {dict(metrics)}; lower the learning rate")


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    best: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    state: TrainState,
    identity: Mapping[str, Any],
) -> None:
    """Writes checkpoint_<step> whole or not at all; then removes the older ones."""
    with replace_folder(folder / f"checkpoint_{state.step:09d}") as partial:
        save_training(partial, model, best, optimizer, state, identity)
    for older in sorted(folder.glob(CHECKPOINTS))[:-1]:
        shutil.rmtree(older)


def newest_checkpoint(folder: Path) -> Path | None:
    """Returns the checkpoint of a trial's last validation, or None."""
    found = sorted(folder.glob(CHECKPOINTS))
    return found[-1] if found else None
